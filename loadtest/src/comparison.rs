//! Two servers' rounds side by side.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::metric::{Better, Figure, Metric};
use crate::statistics::{self, Estimate};

/// A difference by less than this factor, either way, is none.
const MARGIN: f64 = 1.03;
/// With fewer rounds than this nothing is said.
const ROUNDS_LEAST: u32 = 3;
/// What varies more than this, as standard deviation over mean, is marked.
const VARIATION_MOST: f64 = 0.10;

/// One metric of two servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub metric: Metric,
    /// The server under judgement.
    pub subject: Estimate,
    /// What it is compared with.
    pub baseline: Estimate,
    /// Subject over baseline; None where the baseline was 0 in a round.
    pub ratio: Option<Estimate>,
    /// Mann-Whitney's p; None with fewer than three rounds each.
    pub p: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
    /// One of the two varies by more than 10 %, and not by next to nothing: look at the rounds.
    pub unstable: bool,
    /// The baseline's is only a bound: it may be better than that.
    #[serde(default)]
    pub against_bound: bool,
}

/// Better, worse, or nothing to be said.
///
/// 3 % means the same either way: a ratio of 1.03, or of 1/1.03. Where the baseline was 0 there is no ratio: then the intervals
/// decide, if they do not overlap. Three rounds are the least that anything is said of; with as few, noise alone looks like a
/// difference in one case of four (three ratios on the same side of 1), with five rounds in one of sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The ratio's interval lies wholly on the better side, by at least 3 %.
    Better,
    /// Wholly on the worse side, by at least 3 %.
    Worse,
    /// Wholly within 3 % of 1; or both intervals together within what is [negligible](Metric::negligible).
    Same,
    /// Too few rounds, or too much noise.
    Unclear,
    /// The metric has no better side.
    Neutral,
}

/// The table: every metric that both have, in the metrics' order. Each slice is one round's figures; where both have as many
/// rounds, the n-th of the one was made beside the n-th of the other.
pub fn compare(subject: &[&[Figure]], baseline: &[&[Figure]], seed: u64) -> Vec<Row> {
    let metrics: BTreeSet<Metric> = subject.iter().copied().flatten().map(|figure| figure.metric).collect();
    metrics.into_iter().filter_map(|metric| row(metric, subject, baseline, seed)).collect()
}

fn row(metric: Metric, subject: &[&[Figure]], baseline: &[&[Figure]], seed: u64) -> Option<Row> {
    let (subject, baseline) = values(metric, subject, baseline);
    let ratio = statistics::ratio(&subject, &baseline, seed);
    let enough = subject.len().min(baseline.len()) >= ROUNDS_LEAST as usize;
    let p = if enough { statistics::mann_whitney(&subject, &baseline) } else { None };

    let subject = statistics::estimate(&subject, seed)?;
    let baseline = statistics::estimate(&baseline, seed)?;
    let verdict = verdict(metric, &subject, &baseline, ratio.as_ref());
    let unstable = [subject, baseline].iter().any(|estimate| is_unstable(metric, estimate));
    Some(Row { metric, subject, baseline, ratio, p, verdict, unstable, against_bound: false })
}

/// The metric's values of both, in pairs where there are as many rounds: those that lack it on one side are left out on both.
fn values(metric: Metric, subject: &[&[Figure]], baseline: &[&[Figure]]) -> (Vec<f64>, Vec<f64>) {
    let value =
        |round: &&[Figure]| round.iter().find(|figure| figure.metric == metric).map(|figure| figure.value);
    if subject.len() == baseline.len() {
        return subject
            .iter()
            .zip(baseline)
            .filter_map(|(ours, theirs)| Some((value(ours)?, value(theirs)?)))
            .unzip();
    }
    (subject.iter().filter_map(value).collect(), baseline.iter().filter_map(value).collect())
}

fn verdict(metric: Metric, subject: &Estimate, baseline: &Estimate, ratio: Option<&Estimate>) -> Verdict {
    let higher_is_better = match metric.better() {
        Better::Higher => true,
        Better::Lower => false,
        Better::Neither => return Verdict::Neutral,
    };
    if subject.rounds.min(baseline.rounds) < ROUNDS_LEAST {
        return Verdict::Unclear;
    }
    let negligible = metric.negligible();
    if subject.high.max(baseline.high) - subject.low.min(baseline.low) <= negligible {
        return Verdict::Same;
    }

    let (is_higher, is_lower) = match ratio {
        Some(ratio) => (ratio.low >= MARGIN, ratio.high <= 1.0 / MARGIN),
        None => (subject.low - baseline.high > negligible, baseline.low - subject.high > negligible),
    };
    if is_higher || is_lower {
        return if is_higher == higher_is_better { Verdict::Better } else { Verdict::Worse };
    }
    let is_same = ratio.is_some_and(|ratio| ratio.low > 1.0 / MARGIN && ratio.high < MARGIN);
    if is_same { Verdict::Same } else { Verdict::Unclear }
}

fn is_unstable(metric: Metric, estimate: &Estimate) -> bool {
    estimate.variation > VARIATION_MOST && estimate.high - estimate.low > metric.negligible()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row from a metric's values, round by round.
    fn row(metric: Metric, subject: &[f64], baseline: &[f64]) -> Row {
        let rounds = |values: &[f64]| -> Vec<Vec<Figure>> {
            values.iter().map(|&value| vec![Figure { metric, value }]).collect()
        };
        let (subject, baseline) = (rounds(subject), rounds(baseline));
        let mut rows = compare(&slices(&subject), &slices(&baseline), 7);
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    fn slices(rounds: &[Vec<Figure>]) -> Vec<&[Figure]> {
        rounds.iter().map(Vec::as_slice).collect()
    }

    fn verdict(metric: Metric, subject: &[f64], baseline: &[f64]) -> Verdict {
        row(metric, subject, baseline).verdict
    }

    #[test]
    fn a_ratio_wholly_on_one_side_is_better_or_worse_by_the_metrics_own_sense() {
        let (high, low) = ([110.0, 112.0, 115.0], [100.0, 101.0, 102.0]);
        assert_eq!(verdict(Metric::Delivered, &high, &low), Verdict::Better);
        assert_eq!(verdict(Metric::Delivered, &low, &high), Verdict::Worse);
        assert_eq!(verdict(Metric::LatencyP99, &high, &low), Verdict::Worse);
        assert_eq!(verdict(Metric::LatencyP99, &low, &high), Verdict::Better);
    }

    #[test]
    fn a_difference_below_three_percent_is_none() {
        assert_eq!(verdict(Metric::Delivered, &[102.0, 101.0, 100.0], &[100.0, 100.0, 100.0]), Verdict::Same);
        assert_eq!(verdict(Metric::Delivered, &[97.5, 98.0, 99.0], &[100.0, 100.0, 100.0]), Verdict::Same);
        assert_eq!(verdict(Metric::Delivered, &[103.0; 3], &[100.0; 3]), Verdict::Better);
    }

    #[test]
    fn an_interval_that_reaches_over_a_margin_is_unclear() {
        assert_eq!(verdict(Metric::Delivered, &[101.0, 110.0, 120.0], &[100.0; 3]), Verdict::Unclear);
        assert_eq!(verdict(Metric::Delivered, &[90.0, 100.0, 110.0], &[100.0; 3]), Verdict::Unclear);
    }

    #[test]
    fn two_rounds_say_nothing() {
        let row = row(Metric::Delivered, &[200.0, 201.0], &[100.0, 100.0]);
        assert_eq!(row.verdict, Verdict::Unclear);
        assert_eq!(row.p, None);
        assert_eq!(row.ratio.unwrap().median, 2.005);
        assert_eq!(verdict(Metric::Delivered, &[100.0, 100.0], &[100.0, 100.0]), Verdict::Unclear);
    }

    #[test]
    fn what_tells_about_the_run_is_neutral() {
        assert_eq!(verdict(Metric::GeneratorBusiest, &[0.9; 5], &[0.1; 5]), Verdict::Neutral);
        assert_eq!(verdict(Metric::UncorrectedP99, &[1.0; 5], &[9.0; 5]), Verdict::Neutral);
    }

    #[test]
    fn no_loss_on_either_side_is_the_same() {
        let row = row(Metric::LossShare, &[0.0; 3], &[0.0; 3]);
        assert_eq!((row.verdict, row.ratio, row.unstable), (Verdict::Same, None, false));
    }

    #[test]
    fn losses_below_a_hundredth_of_a_percent_are_the_same() {
        let row = row(Metric::LossShare, &[0.000_09, 0.0, 0.000_02], &[0.000_01, 0.000_01, 0.000_01]);
        assert_eq!((row.verdict, row.unstable), (Verdict::Same, false));
    }

    #[test]
    fn a_loss_beside_none_is_judged_without_a_ratio() {
        assert_eq!(verdict(Metric::LossShare, &[0.01, 0.02, 0.03], &[0.0; 3]), Verdict::Worse);
        assert_eq!(verdict(Metric::LossShare, &[0.0; 3], &[0.01, 0.02, 0.03]), Verdict::Better);
        assert_eq!(verdict(Metric::LossShare, &[0.01, 0.02, 0.03], &[0.0, 0.02, 0.0]), Verdict::Unclear);
    }

    #[test]
    fn what_varies_by_more_than_a_tenth_is_unstable() {
        assert!(row(Metric::LatencyP99, &[100.0, 130.0, 160.0], &[100.0; 3]).unstable);
        assert!(row(Metric::LatencyP99, &[100.0; 3], &[100.0, 130.0, 160.0]).unstable);
        assert!(!row(Metric::LatencyP99, &[100.0, 105.0, 110.0], &[100.0; 3]).unstable);
    }

    #[test]
    fn only_metrics_that_both_have_are_compared_in_the_metrics_order() {
        let figure = |metric| Figure { metric, value: 1.0 };
        let subject = [vec![figure(Metric::Knee), figure(Metric::LatencyP50), figure(Metric::Sent)]];
        let baseline = [vec![figure(Metric::Sent), figure(Metric::Fairness), figure(Metric::Knee)]];
        let rows = compare(&slices(&subject), &slices(&baseline), 0);
        assert_eq!(rows.iter().map(|row| row.metric).collect::<Vec<_>>(), [Metric::Sent, Metric::Knee]);
        assert_eq!(compare(&[], &slices(&baseline), 0), []);
    }

    #[test]
    fn a_round_that_lacks_a_figure_on_one_side_is_left_out_on_both() {
        let figure = |value| vec![Figure { metric: Metric::LatencyP99, value }];
        let subject = [figure(1.0), figure(20.0), figure(3.0), figure(4.0)];
        let baseline = [figure(1.0), Vec::new(), figure(3.0), figure(4.0)];
        let rows = compare(&slices(&subject), &slices(&baseline), 0);
        assert_eq!((rows[0].subject.rounds, rows[0].baseline.rounds), (3, 3));
        let ratio = rows[0].ratio.unwrap();
        assert_eq!((ratio.low, ratio.high), (1.0, 1.0));
    }

    #[test]
    fn swapping_the_servers_turns_the_verdict_round() {
        let samples = [[100.0, 104.0, 103.0, 99.0], [103.0, 103.0, 103.0, 103.0], [97.0, 120.0, 80.0, 95.0]];
        let turned = |verdict| match verdict {
            Verdict::Better => Verdict::Worse,
            Verdict::Worse => Verdict::Better,
            Verdict::Same | Verdict::Unclear | Verdict::Neutral => verdict,
        };
        for a in &samples {
            for b in &samples {
                let (forth, back) = (verdict(Metric::Delivered, a, b), verdict(Metric::Delivered, b, a));
                assert_eq!(forth, turned(back), "{a:?} {b:?}");
            }
        }
    }
}
