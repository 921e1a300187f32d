//! What all forms of a report for people show: which figures matter, and a workload's table.

use crate::comparison::{Row, Verdict};
use crate::knee::Knee;
use crate::metric::{Better, Metric};
use crate::statistics::Estimate;
use crate::validity::{Doubt, Standing};

use super::{Report, Section};

/// The figures that a reader wants first, in the order in which he asks.
pub(super) const HEADLINES: [Metric; 14] = [
    Metric::Knee,
    Metric::ServerCpuPerPacket,
    Metric::Delivered,
    Metric::LossShare,
    Metric::LatencyP50,
    Metric::LatencyP99,
    Metric::Fairness,
    Metric::ServerResidentPerClient,
    Metric::ServerProportionalPerClient,
    Metric::ConnectsPerSecond,
    Metric::ConnectP99,
    Metric::ServerCpuPerConnect,
    Metric::OutageP95,
    Metric::OutageMost,
];

/// The headline rows of one comparison: those with a ratio, less figures that are the same because the load makes them so
/// (a rate that is offered is delivered by every server that keeps up).
pub(super) fn headlines(rows: &[Row]) -> Vec<&Row> {
    HEADLINES
        .iter()
        .filter_map(|metric| rows.iter().find(|row| row.metric == *metric))
        .filter(|row| row.ratio.is_some())
        .filter(|row| !(follows_load(row.metric) && row.verdict == Verdict::Same))
        .collect()
}

/// Whether a server that keeps up has no say in it.
fn follows_load(metric: Metric) -> bool {
    matches!(metric, Metric::Delivered | Metric::LossShare | Metric::ConnectsPerSecond | Metric::Fairness)
}

/// Whether `metric` says nothing here but that everybody kept up with the load.
pub(super) fn is_the_loads(section: &Section, metric: Metric) -> bool {
    let rows = section.comparisons.iter().filter_map(|comparison| comparison.row(metric));
    follows_load(metric) && rows.into_iter().all(|row| row.verdict == Verdict::Same)
}

/// Whether a figure is one of the first that a reader wants.
pub(super) fn is_headline(metric: Metric) -> bool {
    HEADLINES.contains(&metric)
}

/// How many times better than the baseline: the ratio itself where more is better, its inverse where less is.
pub(super) fn advantage(metric: Metric, ratio: &Estimate) -> Option<Estimate> {
    match metric.better() {
        Better::Higher => Some(*ratio),
        Better::Lower if ratio.low > 0.0 => Some(Estimate {
            median: 1.0 / ratio.median,
            low: 1.0 / ratio.high,
            high: 1.0 / ratio.low,
            ..*ratio
        }),
        Better::Lower | Better::Neither => None,
    }
}

/// A workload's table: a line per metric that anybody has.
pub(super) struct Table<'a> {
    /// The baseline's name, if it takes part.
    pub(super) baseline: Option<&'a str>,
    /// The others' names, without the null server.
    pub(super) others: Vec<&'a str>,
    /// The null server's name, if it takes part.
    pub(super) null: Option<&'a str>,
    /// By metric.
    pub(super) lines: Vec<Line<'a>>,
}

/// One metric of everybody.
pub(super) struct Line<'a> {
    /// Which.
    pub(super) metric: Metric,
    /// The baseline's.
    pub(super) baseline: Option<Value<'a>>,
    /// The others', each beside the baseline, in the table's order.
    pub(super) others: Vec<(Option<Value<'a>>, Option<&'a Row>)>,
    /// The null server's.
    pub(super) null: Option<Value<'a>>,
}

/// One metric of one subject.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// Over its rounds.
    pub(super) estimate: &'a Estimate,
    /// `≥ ` or `≤ ` where it is only a bound.
    bound: &'static str,
}

impl Value<'_> {
    /// For people: `41,647/s`, `≥ 41,647/s`, `≤ 1.24 ms`.
    pub(super) fn median(&self, metric: Metric) -> String {
        let median = metric.format(self.estimate.median);
        // A knee says so itself, round by round.
        if metric == Metric::Knee { median } else { format!("{}{median}", self.bound) }
    }
}

impl<'a> Table<'a> {
    /// The table of `section`.
    pub(super) fn of(report: &'a Report, section: &'a Section) -> Self {
        let took_part = |name: &str| section.summary(name).is_some();
        let null = report.null().filter(|name| took_part(name));
        let baseline = report.baseline.as_deref().filter(|name| took_part(name));
        let names = report.subjects.iter().map(|subject| subject.name.as_str());
        let others: Vec<&str> =
            names.filter(|name| took_part(name) && Some(*name) != null && Some(*name) != baseline).collect();
        let mut metrics: Vec<Metric> = section
            .summaries
            .iter()
            .flat_map(|summary| summary.estimates.iter().map(|(metric, _)| *metric))
            .collect();
        metrics.sort_unstable();
        metrics.dedup();
        let value = |name: &str, metric| {
            let summary = section.summary(name)?;
            let bound = match summary.standing(metric) {
                Standing::AtLeast => "≥ ",
                Standing::AtMost => "≤ ",
                Standing::Counts | Standing::Spoilt => "",
            };
            Some(Value { estimate: summary.estimate(metric)?, bound })
        };
        let line = |metric| Line {
            metric,
            baseline: baseline.and_then(|name| value(name, metric)),
            others: others
                .iter()
                .map(|name| (value(name, metric), section.comparison(name).and_then(|rows| rows.row(metric))))
                .collect(),
            null: null.and_then(|name| value(name, metric)),
        };
        let lines = metrics.into_iter().map(line).collect();
        Self { baseline, others, null, lines }
    }
}

/// A run's name in a list of doubts: `derper, round 2`. Rounds count from 1 for people.
pub(super) fn run_name(subject: &str, round: u32) -> String {
    format!("{subject}, round {}", round + 1)
}

/// What is to be known about the runs of a workload before its figures are believed.
pub(super) struct Remark {
    /// Of which run.
    pub(super) run: String,
    /// In words.
    pub(super) what: String,
    /// What it means for the run.
    pub(super) weight: Weight,
}

/// How much of a run a remark spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// All of it: the run is not compared.
    All,
    /// Some of its figures.
    Some,
    /// None.
    None,
}

impl Weight {
    fn of(doubt: &Doubt) -> Self {
        match (doubt.is_fatal(), doubt.is_note()) {
            (true, _) => Self::All,
            (false, true) => Self::None,
            (false, false) => Self::Some,
        }
    }
}

/// Every failure and doubt of `section`, in the runs' order.
pub(super) fn remarks(section: &Section) -> Vec<Remark> {
    let of_run = |run: &super::Run| {
        let name = run_name(&run.subject, run.round);
        let failure = run.failure.iter().map(|what| (format!("failed: {what}"), Weight::All));
        let doubts = run.doubts.iter().map(|doubt| (doubt.to_string(), Weight::of(doubt)));
        failure
            .chain(doubts)
            .map(|(what, weight)| Remark { run: name.clone(), what, weight })
            .collect::<Vec<_>>()
    };
    section.runs.iter().flat_map(of_run).collect()
}

/// What a search found: `41,647/s`, `at least 200,000/s`, `about 41,647/s (not confirmed)`.
pub(super) fn knee(knee: &Knee) -> String {
    let rate = Metric::Knee.format(knee.rate);
    match (knee.rate > 0.0, knee.at_least, knee.confirmed) {
        (false, true, _) => "unknown: the generator was the limit at every rate".to_owned(),
        (false, false, _) => "below every rate that was tried".to_owned(),
        (true, true, _) => format!("at least {rate}"),
        (true, false, true) => rate,
        (true, false, false) => format!("about {rate} (not confirmed)"),
    }
}

/// A ratio with two or three digits: `0.52`, `1.81`, `12.4`.
pub(super) fn ratio(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else if value >= 0.1 || value == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A ratio with its interval: `0.52 [0.49–0.55]`.
pub(super) fn ratio_with_interval(estimate: &Estimate) -> String {
    if estimate.rounds < 2 {
        return ratio(estimate.median);
    }
    format!("{} [{}–{}]", ratio(estimate.median), ratio(estimate.low), ratio(estimate.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(median: f64, low: f64, high: f64) -> Estimate {
        Estimate { median, low, high, variation: 0.0, rounds: 5 }
    }

    fn row(metric: Metric, verdict: Verdict) -> Row {
        let one = estimate(1.0, 1.0, 1.0);
        Row {
            metric,
            subject: one,
            baseline: one,
            ratio: Some(one),
            p: None,
            verdict,
            unstable: false,
            against_bound: false,
        }
    }

    #[test]
    fn less_is_an_advantage_where_less_is_better() {
        let halved = advantage(Metric::ServerCpuPerPacket, &estimate(0.5, 0.4, 0.8)).unwrap();
        assert_eq!((halved.median, halved.low, halved.high), (2.0, 1.25, 2.5));
        let halved = advantage(Metric::Knee, &estimate(0.5, 0.4, 0.8)).unwrap();
        assert_eq!((halved.median, halved.low, halved.high), (0.5, 0.4, 0.8));
        assert!(advantage(Metric::Offered, &estimate(0.5, 0.4, 0.8)).is_none());
    }

    #[test]
    fn an_offered_rate_that_both_deliver_is_no_headline() {
        let rows = [
            row(Metric::Delivered, Verdict::Same),
            row(Metric::LatencyP99, Verdict::Same),
            row(Metric::ServerCpuPerPacket, Verdict::Better),
        ];
        let metrics: Vec<_> = headlines(&rows).iter().map(|row| row.metric).collect();
        assert_eq!(metrics, [Metric::ServerCpuPerPacket, Metric::LatencyP99]);
        assert_eq!(
            headlines(&[row(Metric::Delivered, Verdict::Worse)]).len(),
            1,
            "one that falls behind is told"
        );
    }

    #[test]
    fn a_knee_says_how_sure_it_is() {
        let found = |rate, at_least, confirmed| knee(&Knee { rate, at_least, confirmed, curve: Vec::new() });
        let rate = Metric::Knee.format(41_000.0);
        assert_eq!(found(41_000.0, false, true), rate);
        assert_eq!(found(41_000.0, true, true), format!("at least {rate}"));
        assert_eq!(found(41_000.0, false, false), format!("about {rate} (not confirmed)"));
        assert_eq!(found(0.0, false, false), "below every rate that was tried");
        assert!(found(0.0, true, false).starts_with("unknown"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0.0123, 0.523, 1.808, 12.44, 250.0].map(ratio), ["0.012", "0.52", "1.81", "12.4", "250"]);
        assert_eq!(ratio_with_interval(&estimate(0.52, 0.49, 0.55)), "0.52 [0.49–0.55]");
    }
}
