//! Bounds on figures, and whether they held.

use crate::metric::Metric;
use crate::report::{Run, Section, ThresholdResult};
use crate::scenario::Threshold;
use crate::surely::Surely;

/// What became of each threshold: of a workload's `runs`, beside the `baseline`'s and those of `earlier` workloads.
///
/// A figure is the median of the rounds that count, a ratio that of two medians. Where a round's figure is only a bound, the
/// threshold holds if it does so wherever the truth lies. What is missing holds nothing.
pub fn judge(
    thresholds: &[Threshold],
    runs: &[Run],
    baseline: &str,
    earlier: &[Section],
) -> Vec<ThresholdResult> {
    thresholds
        .iter()
        .map(|threshold| {
            let found = find(threshold, runs, baseline, earlier);
            ThresholdResult {
                bound: describe(threshold),
                value: found.map(|found| found.measured),
                surely: found.and_then(Surely::doubtful),
                held: found.is_some_and(|found| is_within(threshold, found)),
            }
        })
        .collect()
}

fn find(threshold: &Threshold, runs: &[Run], baseline: &str, earlier: &[Section]) -> Option<Surely> {
    let Threshold { server, metric, to_server, to_workload, .. } = threshold;
    if threshold.ratio {
        return ratio_of_pairs(server, baseline, *metric, runs);
    }
    let own = Surely::median(&values(runs, server, *metric))?;
    if to_server.is_none() && to_workload.is_none() {
        return Some(own);
    }
    let others = match to_workload {
        Some(name) => &earlier.iter().find(|section| section.name == *name)?.runs,
        None => runs,
    };
    let other = Surely::median(&values(others, to_server.as_ref().unwrap_or(server), *metric))?;
    own.ratio_to(other)
}

/// Only rounds that count for both.
fn ratio_of_pairs(server: &str, baseline: &str, metric: Metric, runs: &[Run]) -> Option<Surely> {
    let (own, other): (Vec<_>, Vec<_>) = runs
        .iter()
        .filter(|run| run.subject == server)
        .filter_map(|run| {
            let beside = |other: &&Run| other.subject == baseline && other.round == run.round;
            Some((run.surely(metric)?, runs.iter().find(beside)?.surely(metric)?))
        })
        .unzip();
    let (own, other) = (Surely::median(&own)?, Surely::median(&other)?);
    own.ratio_to(other).or_else(|| as_good_as_equal(own, other, metric))
}

/// There is no ratio to a baseline of 0; one that is not, by more than what is negligible, is as good as 1.
fn as_good_as_equal(own: Surely, other: Surely, metric: Metric) -> Option<Surely> {
    ((own.measured - other.measured).abs() <= metric.negligible()).then(|| Surely::exactly(1.0))
}

fn values(runs: &[Run], server: &str, metric: Metric) -> Vec<Surely> {
    runs.iter().filter(|run| run.subject == server).filter_map(|run| run.surely(metric)).collect()
}

fn is_within(threshold: &Threshold, found: Surely) -> bool {
    threshold.most.is_none_or(|most| found.high <= most)
        && threshold.least.is_none_or(|least| found.low >= least)
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
    use crate::metric::Figure;
    use crate::validity::Doubt;

    fn threshold(metric: Metric, least: Option<f64>, most: Option<f64>) -> Threshold {
        let server = "ferry".to_owned();
        Threshold { server, metric, ratio: false, to_server: None, to_workload: None, most, least }
    }

    fn run(subject: &str, round: u32, metric: Metric, value: f64) -> Run {
        Run {
            subject: subject.to_owned(),
            round,
            figures: vec![Figure { metric, value }],
            doubts: Vec::new(),
            record: None,
            readings: Vec::new(),
            knee: None,
            failure: None,
        }
    }

    /// A busy generator: a time is then the longest that it was, a rate the least.
    fn doubted(paced: bool, run: Run) -> Run {
        Run { doubts: vec![Doubt::GeneratorBusy { share: 0.9, paced }], ..run }
    }

    /// One server's p99 by round, in µs; those below 0 are only bounds.
    fn p99(subject: &str, rounds: &[f64]) -> Vec<Run> {
        rounds
            .iter()
            .zip(0..)
            .map(|(value, round)| {
                let run = run(subject, round, Metric::LatencyP99, value.abs());
                if *value < 0.0 { doubted(true, run) } else { run }
            })
            .collect()
    }

    fn section(name: &str, runs: Vec<Run>) -> Section {
        Section {
            name: name.to_owned(),
            description: String::new(),
            ceiling: None,
            note: None,
            runs,
            summaries: Vec::new(),
            comparisons: Vec::new(),
            thresholds: Vec::new(),
        }
    }

    fn judge_one(threshold: Threshold, runs: &[Run], earlier: &[Section]) -> ThresholdResult {
        judge(&[threshold], runs, "derper", earlier).remove(0)
    }

    fn held(threshold: Threshold, runs: &[Run]) -> bool {
        judge_one(threshold, runs, &[]).held
    }

    #[test]
    fn a_bound_holds_up_to_the_bound_itself() {
        let of = |least, most| {
            held(threshold(Metric::LatencyP99, least, most), &p99("ferry", &[1.0, 5_000.0, 9_000.0]))
        };
        assert!(of(None, Some(5_000.0)));
        assert!(!of(None, Some(4_999.0)));
        assert!(of(Some(5_000.0), None));
        assert!(!of(Some(5_001.0), None));
        assert!(of(Some(1.0), Some(9_000.0)));
    }

    #[test]
    fn a_figure_that_is_missing_holds_no_bound() {
        let bound = || threshold(Metric::Delivered, None, None);
        assert!(!held(bound(), &[]));
        assert!(!held(bound(), &p99("ferry", &[1.0])));
        assert!(!held(bound(), &[run("derper", 0, Metric::Delivered, 1.0)]));
        assert!(held(bound(), &[run("ferry", 0, Metric::Delivered, 1.0)]));
        let spoilt = doubted(false, run("ferry", 0, Metric::LatencyP99, 1.0));
        assert!(!held(threshold(Metric::LatencyP99, None, Some(5.0)), &[spoilt]));
    }

    #[test]
    fn a_ratio_is_that_of_the_medians_of_rounds_that_both_have() {
        let of = |most, theirs: &[f64]| {
            let bound = Threshold { ratio: true, ..threshold(Metric::LatencyP99, None, Some(most)) };
            let runs = [p99("ferry", &[110.0, 90.0, 120.0, 900.0]), p99("derper", theirs)].concat();
            judge_one(bound, &runs, &[])
        };
        let result = of(1.1, &[100.0, 100.0, 110.0]);
        assert_eq!((result.value, result.surely, result.held), (Some(1.1), None, true));
        assert!(!of(1.1, &[99.0, 99.0, 99.0]).held);
        assert_eq!(of(1.1, &[]).value, None);
    }

    #[test]
    fn a_figure_that_is_only_a_bound_holds_what_it_holds_in_any_case() {
        let of = |least, most| held(threshold(Metric::LatencyP99, least, most), &p99("ferry", &[-4.0]));
        assert!(of(None, Some(5.0)));
        assert!(!of(Some(3.0), None));
        assert!(of(Some(0.0), None));
        let at_least = |least, most| {
            let busy = doubted(false, run("ferry", 0, Metric::Delivered, 4.0));
            held(threshold(Metric::Delivered, least, most), &[busy])
        };
        assert!(at_least(Some(3.0), None));
        assert!(!at_least(None, Some(5.0)));
    }

    /// Of five rounds, the median may be known where two are not.
    #[test]
    fn a_round_that_is_only_a_bound_counts_as_whatever_speaks_against_the_threshold() {
        let of = |most, theirs: &[f64]| {
            let bound = Threshold { ratio: true, ..threshold(Metric::LatencyP99, None, Some(most)) };
            let runs = [p99("ferry", &[10.0; 5]), p99("derper", theirs)].concat();
            judge_one(bound, &runs, &[])
        };
        // Theirs are 40, 50, 80, 100 and one of 0 to 90: a median of 50 to 80.
        let result = of(0.2, &[40.0, 50.0, 100.0, 80.0, -90.0]);
        assert_eq!(result.value, Some(0.125));
        let surely = result.surely.unwrap();
        assert_eq!((surely.low, surely.high), (0.125, 0.2));
        assert!(result.held);
        assert!(!of(0.19, &[40.0, 50.0, 100.0, 80.0, -90.0]).held);
        // Of three that may be anything below, so may be the median.
        let unknown = of(1000.0, &[40.0, 50.0, -100.0, -80.0, -90.0]);
        assert_eq!((unknown.value, unknown.held), (Some(0.125), false));
        assert!(unknown.surely.unwrap().high.is_infinite());
    }

    #[test]
    fn no_loss_beside_no_loss_is_a_ratio_of_one() {
        let of = |own, other| {
            let runs = [run("ferry", 0, Metric::LossShare, own), run("derper", 0, Metric::LossShare, other)];
            held(Threshold { ratio: true, ..threshold(Metric::LossShare, None, Some(1.0)) }, &runs)
        };
        assert!(of(0.0, 0.0));
        assert!(of(0.000_05, 0.0));
        assert!(!of(0.01, 0.0));
    }

    #[test]
    fn a_ratio_may_be_to_another_server_and_to_another_workload() {
        let loaded = [p99("ferry", &[300.0]), p99("floor", &[200.0])].concat();
        let earlier = [section("alone", [p99("ferry", &[100.0]), p99("floor", &[50.0])].concat())];
        let value = |to_server: Option<&str>, to_workload: Option<&str>| {
            let bound = Threshold {
                to_server: to_server.map(str::to_owned),
                to_workload: to_workload.map(str::to_owned),
                ..threshold(Metric::LatencyP99, None, Some(3.0))
            };
            judge_one(bound, &loaded, &earlier).value
        };
        assert_eq!(value(Some("floor"), None), Some(1.5));
        assert_eq!(value(None, Some("alone")), Some(3.0));
        assert_eq!(value(Some("floor"), Some("alone")), Some(6.0));
        assert_eq!(value(None, Some("never run")), None);
    }

    #[test]
    fn bounds_are_told_in_words() {
        let told = |threshold: Threshold| judge_one(threshold, &[], &[]).bound;
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
