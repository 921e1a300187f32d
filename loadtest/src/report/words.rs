//! What the comparisons say, in sentences.

use crate::comparison::{Row, Verdict};
use crate::digits::grouped;
use crate::metric::Metric;

use super::view::{HEADLINES, headlines, ratio};
use super::{Comparison, Report, ThresholdResult};
use crate::surely::Surely;
use crate::validity::Doubt;

/// What there is to say about one subject beside the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Whose.
    pub(super) subject: String,
    /// The most important in a sentence: `ferry-relay needs 0.52 to 0.55 of derper's CPU per delivered packet, ...`; None if
    /// nothing of that was decided.
    pub(super) lead: Option<String>,
    /// `of 24 headline figures, 17 are better than derper's, ...`.
    pub(super) score: String,
    /// Every metric that is better somewhere.
    pub(super) better: Vec<Finding>,
    /// And worse.
    pub(super) worse: Vec<Finding>,
}

/// How much better or worse a metric is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// `CPU per delivered packet: 0.52 to 0.55 × derper's`.
    pub(super) what: String,
    /// The workloads: `pairs-10k, fan-in`.
    pub(super) workloads: String,
}

/// A judgement for everybody who was compared.
pub(super) fn judgements(report: &Report) -> Vec<Judgement> {
    let Some(baseline) = report.baseline.as_deref() else { return Vec::new() };
    let judged = report.subjects.iter().filter_map(|subject| {
        let rows = rows_of(report, &subject.name);
        if rows.is_empty() {
            return None;
        }
        Some(Judgement {
            subject: subject.name.clone(),
            lead: lead(&rows, &subject.name, baseline),
            score: score(&rows, baseline),
            better: findings(&rows, Verdict::Better, baseline),
            worse: findings(&rows, Verdict::Worse, baseline),
        })
    });
    judged.collect()
}

/// What a threshold's figure was: `it was 0.071, surely 0.123 at most`.
pub(super) fn found(threshold: &ThresholdResult) -> String {
    let Some(value) = threshold.value else { return "there is no figure".to_owned() };
    let was = format!("it was {}", short(value));
    match threshold.surely {
        None => was,
        Some(Surely { low, high, .. }) if high.is_infinite() => {
            format!("{was}, surely {} at least", short(low))
        }
        Some(Surely { low: 0.0, high, .. }) => format!("{was}, surely {} at most", short(high)),
        Some(Surely { low, high, .. }) => format!("{was}, surely {} to {}", short(low), short(high)),
    }
}

/// A figure of an unknown unit, to four digits or so.
fn short(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The headline rows of one subject, with their workloads' names.
fn rows_of<'a>(report: &'a Report, subject: &'a str) -> Vec<(&'a str, &'a Row)> {
    let comparisons = report.sections.iter().filter_map(|section| {
        section.comparison(subject).map(|Comparison { rows, .. }| (section.name.as_str(), rows))
    });
    comparisons.flat_map(|(name, rows)| headlines(rows).into_iter().map(move |row| (name, row))).collect()
}

fn score(rows: &[(&str, &Row)], baseline: &str) -> String {
    let having = |verdict| rows.iter().filter(|(_, row)| row.verdict == verdict).count();
    let (better, worse, same) = (having(Verdict::Better), having(Verdict::Worse), having(Verdict::Same));
    let unclear = rows.len() - better - worse - same;
    let undecided =
        if unclear == 0 { String::new() } else { format!(", {unclear} not decided by these rounds") };
    format!(
        "of {} headline figures {better} are better than {baseline}'s, {worse} worse, {same} the same{undecided}",
        rows.len()
    )
}

/// For every metric that has the verdict in a workload, in the headlines' order, how much and where.
fn findings(rows: &[(&str, &Row)], verdict: Verdict, baseline: &str) -> Vec<Finding> {
    let finding = |metric: Metric| {
        let decided = decided(rows, metric, &[verdict]);
        let names: Vec<&str> = decided.iter().map(|(name, _)| *name).collect();
        let what = format!("{}: {} × {baseline}'s", metric.title(), range(&decided)?);
        Some(Finding { what, workloads: names.join(", ") })
    };
    HEADLINES.into_iter().filter_map(finding).collect()
}

/// The ratios of one metric that have one of the verdicts, with their workloads.
fn decided<'a>(rows: &[(&'a str, &Row)], metric: Metric, verdicts: &[Verdict]) -> Vec<(&'a str, f64)> {
    let rows = rows.iter().filter(|(_, row)| row.metric == metric && verdicts.contains(&row.verdict));
    rows.filter_map(|(name, row)| row.ratio.map(|ratio| (*name, ratio.median))).collect()
}

/// `0.52`, or `0.52 to 0.71`; None of nothing.
fn range(decided: &[(&str, f64)]) -> Option<String> {
    let least = decided.iter().map(|(_, value)| *value).min_by(f64::total_cmp)?;
    let most = decided.iter().map(|(_, value)| *value).max_by(f64::total_cmp)?;
    let (least, most) = (ratio(least), ratio(most));
    Some(if least == most { least } else { format!("{least} to {most}") })
}

/// What matters most, better or worse alike, as one sentence.
fn lead(rows: &[(&str, &Row)], subject: &str, baseline: &str) -> Option<String> {
    let range = |metric| range(&decided(rows, metric, &[Verdict::Better, Verdict::Worse]));
    let parts = [
        range(Metric::ServerCpuPerPacket)
            .map(|r| format!("needs {r} of {baseline}'s CPU per delivered packet")),
        range(Metric::Knee).map(|r| format!("keeps up with {r} times {baseline}'s rate")),
        range(Metric::LatencyP99).map(|r| format!("has {r} of its p99 latency")),
        range(Metric::ServerResidentPerClient).map(|r| format!("takes {r} of its memory per client")),
        range(Metric::ServerCpuPerConnect).map(|r| format!("pays {r} of its CPU per connect")),
        range(Metric::OutageP95).map(|r| format!("has 95 % of its clients back in {r} of its time")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let (last, others) = parts.split_last()?;
    if others.is_empty() {
        return Some(format!("{subject} {last}."));
    }
    Some(format!("{subject} {} and {last}.", others.join(", ")))
}

/// How many runs were not compared, or in part only, and why in general; None if all were.
pub(super) fn left_out(report: &Report) -> Option<String> {
    let runs = report.sections.iter().flat_map(|section| &section.runs);
    let all = runs.clone().count();
    let failed = runs.clone().filter(|run| run.failure.is_some()).count();
    let left_out = runs.clone().filter(|run| !run.counts()).count();
    let in_part = runs.filter(|run| run.counts() && !run.doubts.iter().all(Doubt::is_note)).count();
    if left_out + in_part == 0 {
        return None;
    }
    let are = if left_out == 1 { "is" } else { "are" };
    let failed = if failed == 0 { String::new() } else { format!(" ({failed} failed)") };
    Some(format!(
        "{} of {} runs {are} not compared{failed}, {} in part only: where the tool was the limit, its figures would say nothing \
         about the server. The workloads have the reasons.",
        grouped(left_out as u64),
        grouped(all as u64),
        grouped(in_part as u64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Estimate;

    fn row(metric: Metric, ratio: f64, verdict: Verdict) -> Row {
        let estimate = Estimate { median: ratio, low: ratio, high: ratio, variation: 0.0, rounds: 5 };
        Row {
            metric,
            subject: estimate,
            baseline: estimate,
            ratio: Some(estimate),
            p: None,
            verdict,
            unstable: false,
            against_bound: false,
        }
    }

    #[test]
    fn findings_say_how_much_and_where() {
        let (a, b) = (row(Metric::Knee, 0.71, Verdict::Better), row(Metric::Knee, 0.52, Verdict::Better));
        let found = findings(&[("pairs", &a), ("fan-in", &b)], Verdict::Better, "derper");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, format!("{}: 0.52 to 0.71 × derper's", Metric::Knee.title()));
        assert_eq!(found[0].workloads, "pairs, fan-in");
        assert!(findings(&[("pairs", &a)], Verdict::Worse, "derper").is_empty());
    }

    #[test]
    fn the_lead_tells_what_is_worse_as_it_tells_what_is_better() {
        let (a, b) = (row(Metric::Knee, 1.81, Verdict::Better), row(Metric::LatencyP99, 1.4, Verdict::Worse));
        let text = lead(&[("saturation", &a), ("pairs", &b)], "ours", "theirs").unwrap();
        assert_eq!(text, "ours keeps up with 1.81 times theirs's rate and has 1.40 of its p99 latency.");
        let unclear = row(Metric::Knee, 1.81, Verdict::Unclear);
        assert_eq!(lead(&[("saturation", &unclear)], "ours", "theirs"), None);
    }

    #[test]
    fn what_a_threshold_found_is_told_with_what_is_sure() {
        let told = |surely: Option<(f64, f64)>| {
            let surely = surely.map(|(low, high)| Surely { measured: 0.0714, low, high });
            found(&ThresholdResult { bound: String::new(), value: Some(0.0714), surely, held: true })
        };
        assert_eq!(told(None), "it was 0.071");
        assert_eq!(told(Some((0.0, 0.1234))), "it was 0.071, surely 0.123 at most");
        assert_eq!(told(Some((0.05, f64::INFINITY))), "it was 0.071, surely 0.050 at least");
        assert_eq!(told(Some((0.05, 2_000.0))), "it was 0.071, surely 0.050 to 2000");
    }
}
