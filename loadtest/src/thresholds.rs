//! Bounds on figures, and whether they held.

use crate::comparison::Row;
use crate::metric::Metric;
use crate::report::{Comparison, Section, Summary, ThresholdResult};
use crate::scenario::Threshold;
use crate::validity::Standing;

/// What became of each threshold. A figure is the median of the rounds that count; one that is missing holds no bound, nor does a
/// ratio to one that is only a bound itself. `earlier` sections have the figures of the workloads that thresholds name.
pub fn judge(
    thresholds: &[Threshold],
    summaries: &[Summary],
    comparisons: &[Comparison],
    earlier: &[Section],
) -> Vec<ThresholdResult> {
    thresholds
        .iter()
        .map(|threshold| {
            let value = if threshold.ratio {
                ratio(threshold, comparisons)
            } else if threshold.to_server.is_some() || threshold.to_workload.is_some() {
                ratio_to_other(threshold, summaries, earlier)
            } else {
                median(&threshold.server, threshold.metric, summaries)
            };
            ThresholdResult {
                bound: describe(threshold),
                value,
                held: value.is_some_and(|value| is_within(threshold, value, summaries)),
            }
        })
        .collect()
}

fn summary_of<'a>(server: &str, summaries: &'a [Summary]) -> Option<&'a Summary> {
    summaries.iter().find(|summary| summary.subject == server)
}

fn median(server: &str, metric: Metric, summaries: &[Summary]) -> Option<f64> {
    Some(summary_of(server, summaries)?.estimate(metric)?.median)
}

/// The ratio of two medians: to another server's, to that of another workload, or both.
fn ratio_to_other(threshold: &Threshold, summaries: &[Summary], earlier: &[Section]) -> Option<f64> {
    let Threshold { server, metric, to_server, to_workload, .. } = threshold;
    let others = match to_workload {
        Some(name) => &earlier.iter().find(|section| section.name == *name)?.summaries,
        None => summaries,
    };
    let own = median(server, *metric, summaries)?;
    let other = summary_of(to_server.as_ref().unwrap_or(server), others)?;
    if other.standing(*metric) != Standing::Counts {
        return None;
    }
    let other = other.estimate(*metric)?.median;
    (other > 0.0).then(|| own / other)
}

fn ratio(threshold: &Threshold, comparisons: &[Comparison]) -> Option<f64> {
    let comparison = comparisons.iter().find(|comparison| comparison.subject == threshold.server)?;
    let row = comparison.rows.iter().find(|row| row.metric == threshold.metric && !row.against_bound)?;
    row.ratio.map(|ratio| ratio.median).or_else(|| as_good_as_equal(row))
}

/// There is no ratio to a baseline of 0; one that is not, by more than what is negligible, is as good as 1.
fn as_good_as_equal(row: &Row) -> Option<f64> {
    let difference = (row.subject.median - row.baseline.median).abs();
    (difference <= row.metric.negligible()).then_some(1.0)
}

/// Whether a value is within the bounds, whatever the figure may be where it is only a bound itself.
fn is_within(threshold: &Threshold, value: f64, summaries: &[Summary]) -> bool {
    let standing = summary_of(&threshold.server, summaries).map(|summary| summary.standing(threshold.metric));
    let may_be_more = standing == Some(Standing::AtLeast);
    // No figure with a bound is below 0.
    let surely_least = if standing == Some(Standing::AtMost) { 0.0 } else { value };
    threshold.most.is_none_or(|most| value <= most && !may_be_more)
        && threshold.least.is_none_or(|least| surely_least >= least)
}

/// `ferry: latency p99 at most 5.00 ms`.
fn describe(threshold: &Threshold) -> String {
    let Threshold { server, metric, .. } = threshold;
    let what = match (&threshold.to_server, &threshold.to_workload) {
        (None, None) if threshold.ratio => ", as a ratio to the baseline's,".to_owned(),
        (None, None) => String::new(),
        (Some(server), None) => format!(", as a ratio to {server}'s,"),
        (None, Some(workload)) => format!(", as a ratio to that of {workload},"),
        (Some(server), Some(workload)) => format!(", as a ratio to {server}'s of {workload},"),
    };
    let show = |bound: f64| if what.is_empty() { metric.format(bound) } else { format!("{bound}") };
    let bounds = match (threshold.least, threshold.most) {
        (Some(least), Some(most)) => format!("at least {} and at most {}", show(least), show(most)),
        (Some(least), None) => format!("at least {}", show(least)),
        (None, Some(most)) => format!("at most {}", show(most)),
        (None, None) => "known".to_owned(),
    };
    format!("{server}: {}{what} {bounds}", metric.title())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Verdict;
    use crate::statistics::Estimate;

    fn estimate(median: f64) -> Estimate {
        Estimate { median, low: median, high: median, variation: 0.0, rounds: 3 }
    }

    fn threshold(metric: Metric, least: Option<f64>, most: Option<f64>) -> Threshold {
        let server = "ferry".to_owned();
        Threshold { server, metric, ratio: false, to_server: None, to_workload: None, most, least }
    }

    fn summary(metric: Metric, median: f64) -> Summary {
        let estimates = vec![(metric, estimate(median))];
        let (at_least, at_most) = (Vec::new(), Vec::new());
        Summary { subject: "ferry".to_owned(), valid: 3, rounds: 3, estimates, at_least, at_most }
    }

    fn comparison(metric: Metric, subject: f64, baseline: f64) -> Comparison {
        let ratio = (baseline > 0.0).then(|| estimate(subject / baseline));
        let row = Row {
            metric,
            subject: estimate(subject),
            baseline: estimate(baseline),
            ratio,
            p: None,
            verdict: Verdict::Unclear,
            unstable: false,
            against_bound: false,
        };
        Comparison { subject: "ferry".to_owned(), rows: vec![row] }
    }

    fn held(threshold: Threshold, summaries: &[Summary], comparisons: &[Comparison]) -> bool {
        judge(&[threshold], summaries, comparisons, &[])[0].held
    }

    #[test]
    fn a_bound_holds_up_to_the_bound_itself() {
        let of = |least, most| {
            let summaries = [summary(Metric::LatencyP99, 5_000.0)];
            held(threshold(Metric::LatencyP99, least, most), &summaries, &[])
        };
        assert!(of(None, Some(5_000.0)));
        assert!(!of(None, Some(4_999.0)));
        assert!(of(Some(5_000.0), None));
        assert!(!of(Some(5_001.0), None));
        assert!(of(Some(1.0), Some(9_000.0)));
    }

    #[test]
    fn a_figure_that_is_missing_holds_no_bound() {
        let bound = || threshold(Metric::Knee, None, None);
        assert!(!held(bound(), &[], &[]));
        assert!(!held(bound(), &[summary(Metric::LatencyP99, 1.0)], &[]));
        assert!(held(bound(), &[summary(Metric::Knee, 1.0)], &[]));
    }

    #[test]
    fn a_ratio_is_that_of_the_comparison() {
        let bound = || Threshold { ratio: true, ..threshold(Metric::LatencyP99, None, Some(1.1)) };
        assert!(held(bound(), &[], &[comparison(Metric::LatencyP99, 110.0, 101.0)]));
        assert!(!held(bound(), &[], &[comparison(Metric::LatencyP99, 112.0, 101.0)]));
        assert!(!held(bound(), &[summary(Metric::LatencyP99, 1.0)], &[]));
    }

    #[test]
    fn a_figure_that_is_only_a_bound_holds_what_it_holds_in_any_case() {
        let at_most =
            |median| Summary { at_most: vec![Metric::LatencyP99], ..summary(Metric::LatencyP99, median) };
        let at_least =
            |median| Summary { at_least: vec![Metric::Delivered], ..summary(Metric::Delivered, median) };
        assert!(held(threshold(Metric::LatencyP99, None, Some(5.0)), &[at_most(4.0)], &[]));
        assert!(!held(threshold(Metric::LatencyP99, Some(3.0), None), &[at_most(4.0)], &[]));
        assert!(held(threshold(Metric::LatencyP99, Some(0.0), None), &[at_most(4.0)], &[]));
        assert!(held(threshold(Metric::Delivered, Some(3.0), None), &[at_least(4.0)], &[]));
        assert!(!held(threshold(Metric::Delivered, None, Some(5.0)), &[at_least(4.0)], &[]));
    }

    #[test]
    fn a_ratio_to_a_bound_holds_nothing() {
        let mut beside = comparison(Metric::LatencyP99, 1.0, 10.0);
        let bound = || Threshold { ratio: true, ..threshold(Metric::LatencyP99, None, Some(0.5)) };
        assert!(held(bound(), &[], &[beside.clone()]));
        beside.rows[0].against_bound = true;
        assert!(!held(bound(), &[], &[beside]));

        let floor =
            |at_most| Summary { subject: "floor".to_owned(), at_most, ..summary(Metric::LatencyP99, 10.0) };
        let to_floor = || Threshold {
            to_server: Some("floor".to_owned()),
            ..threshold(Metric::LatencyP99, None, Some(0.5))
        };
        let own = || summary(Metric::LatencyP99, 1.0);
        assert!(held(to_floor(), &[own(), floor(Vec::new())], &[]));
        assert!(!held(to_floor(), &[own(), floor(vec![Metric::LatencyP99])], &[]));
    }

    #[test]
    fn no_loss_beside_no_loss_is_a_ratio_of_one() {
        let bound = || Threshold { ratio: true, ..threshold(Metric::LossShare, None, Some(1.0)) };
        assert!(held(bound(), &[], &[comparison(Metric::LossShare, 0.0, 0.0)]));
        assert!(held(bound(), &[], &[comparison(Metric::LossShare, 0.000_05, 0.0)]));
        assert!(!held(bound(), &[], &[comparison(Metric::LossShare, 0.01, 0.0)]));
    }

    #[test]
    fn a_ratio_may_be_to_another_server_and_to_another_workload() {
        let p99 = |subject: &str, median| Summary {
            subject: subject.to_owned(),
            ..summary(Metric::LatencyP99, median)
        };
        let loaded = [p99("ferry", 300.0), p99("floor", 200.0)];
        let section = |name: &str, summaries| Section {
            name: name.to_owned(),
            description: String::new(),
            ceiling: None,
            note: None,
            runs: Vec::new(),
            summaries,
            comparisons: Vec::new(),
            thresholds: Vec::new(),
        };
        let earlier = [section("alone", vec![p99("ferry", 100.0), p99("floor", 50.0)])];
        let value = |to_server: Option<&str>, to_workload: Option<&str>| {
            let bound = Threshold {
                to_server: to_server.map(str::to_owned),
                to_workload: to_workload.map(str::to_owned),
                ..threshold(Metric::LatencyP99, None, Some(3.0))
            };
            judge(&[bound], &loaded, &[], &earlier).remove(0).value
        };
        assert_eq!(value(Some("floor"), None), Some(1.5));
        assert_eq!(value(None, Some("alone")), Some(3.0));
        assert_eq!(value(Some("floor"), Some("alone")), Some(6.0));
        assert_eq!(value(None, Some("never run")), None);
    }

    #[test]
    fn bounds_are_told_in_words() {
        let told = |threshold: Threshold| judge(&[threshold], &[], &[], &[]).remove(0).bound;
        assert_eq!(
            told(threshold(Metric::LatencyP99, None, Some(5_000.0))),
            "ferry: latency p99 at most 5.00 ms"
        );
        assert_eq!(
            told(threshold(Metric::Knee, Some(2e5), Some(1e6))),
            "ferry: knee at least 200,000/s and at most 1,000,000/s"
        );
        assert_eq!(
            told(Threshold { ratio: true, ..threshold(Metric::LossShare, None, Some(1.1)) }),
            "ferry: loss, as a ratio to the baseline's, at most 1.1"
        );
        let alone = Some("alone".to_owned());
        assert_eq!(
            told(Threshold { to_workload: alone, ..threshold(Metric::LatencyP99, None, Some(3.0)) }),
            "ferry: latency p99, as a ratio to that of alone, at most 3"
        );
    }
}
