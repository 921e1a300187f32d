//! What a section's runs say together: per subject, and beside the baseline.

use std::collections::BTreeSet;

use crate::comparison::{self, Row, Verdict};
use crate::metric::{Figure, Metric};
use crate::report::{Comparison, Run, Subject, Summary};
use crate::statistics;
use crate::validity::{Doubt, Standing};

impl Run {
    /// Whether it counts: it gave something, and nothing speaks against all of it.
    pub fn counts(&self) -> bool {
        self.failure.is_none() && !self.doubts.iter().any(Doubt::is_fatal)
    }

    /// What doubts leave of one of its figures.
    pub fn standing(&self, metric: Metric) -> Standing {
        let own = match &self.knee {
            _ if self.failure.is_some() => Standing::Spoilt,
            None => Standing::Counts,
            // The other figures were taken next below each server's own knee: not at the same load.
            Some(_) if metric != Metric::Knee => Standing::Spoilt,
            Some(knee) if knee.at_least => Standing::AtLeast,
            Some(_) => Standing::Counts,
        };
        let value = self.figure(metric);
        let leaves = |doubt: &Doubt| match value {
            Some(value) => doubt.leaves_of(Figure { metric, value }),
            None => doubt.leaves(metric),
        };
        self.doubts.iter().map(leaves).fold(own, Standing::max)
    }

    /// Its figures that may be compared.
    fn figures_that_count(&self) -> Vec<Figure> {
        let figures = self.figures.iter().copied();
        figures.filter(|figure| self.standing(figure.metric) < Standing::Spoilt).collect()
    }
}

/// What the rounds of each subject say, in the order in which the subjects first ran. Only figures that no doubt
/// [spoils](Standing::Spoilt).
pub fn summarise(runs: &[Run], seed: u64) -> Vec<Summary> {
    subjects(runs).into_iter().map(|subject| summary(subject, runs, seed)).collect()
}

/// Every subject beside the baseline, but the null server. Only rounds that count for both are held against each other, so that
/// each is beside its own neighbour in time; the estimates in the rows are those of these rounds.
pub fn compare(runs: &[Run], subjects: &[Subject], baseline: &str, seed: u64) -> Vec<Comparison> {
    subjects
        .iter()
        .filter(|subject| !subject.null && subject.name != baseline)
        .filter(|subject| runs.iter().any(|run| run.subject == subject.name))
        .map(|subject| Comparison {
            subject: subject.name.clone(),
            rows: rows(runs, &subject.name, baseline, seed),
        })
        .collect()
}

fn subjects(runs: &[Run]) -> Vec<&str> {
    let mut subjects: Vec<&str> = Vec::new();
    for run in runs {
        if !subjects.contains(&run.subject.as_str()) {
            subjects.push(&run.subject);
        }
    }
    subjects
}

fn summary(subject: &str, runs: &[Run], seed: u64) -> Summary {
    let all: Vec<&Run> = runs.iter().filter(|run| run.subject == subject).collect();
    let figures: Vec<Figure> = all.iter().flat_map(|run| run.figures_that_count()).collect();
    let metrics: BTreeSet<Metric> = figures.iter().map(|figure| figure.metric).collect();
    let estimate = |metric: &Metric| {
        let values: Vec<f64> =
            figures.iter().filter(|figure| figure.metric == *metric).map(|figure| figure.value).collect();
        Some((*metric, statistics::estimate(&values, seed)?))
    };
    Summary {
        subject: subject.to_owned(),
        valid: count(all.iter().filter(|run| run.counts()).count()),
        rounds: count(all.len()),
        estimates: metrics.iter().filter_map(estimate).collect(),
        at_least: metrics.iter().copied().filter(|metric| any_is(&all, *metric, Standing::AtLeast)).collect(),
        at_most: metrics.iter().copied().filter(|metric| any_is(&all, *metric, Standing::AtMost)).collect(),
    }
}

fn rows(runs: &[Run], subject: &str, baseline: &str, seed: u64) -> Vec<Row> {
    let (subject, baseline): (Vec<&Run>, Vec<&Run>) = runs
        .iter()
        .filter(|run| run.subject == subject)
        .filter_map(|run| {
            let beside = |other: &&Run| other.subject == baseline && other.round == run.round;
            Some((run, runs.iter().find(beside)?))
        })
        .unzip();
    let figures =
        |runs: &[&Run]| runs.iter().map(|run| run.figures_that_count()).collect::<Vec<Vec<Figure>>>();
    let (ours, theirs) = (figures(&subject), figures(&baseline));
    let mut rows = comparison::compare(&slices(&ours), &slices(&theirs), seed);

    for row in &mut rows {
        row.against_bound = is_bound(&baseline, row.metric);
        row.verdict = of_bounds(row.verdict, is_bound(&subject, row.metric), row.against_bound);
    }
    rows
}

fn slices(figures: &[Vec<Figure>]) -> Vec<&[Figure]> {
    figures.iter().map(Vec::as_slice).collect()
}

/// Whether one of these runs' figures has that standing.
fn any_is(runs: &[&Run], metric: Metric, standing: Standing) -> bool {
    runs.iter().any(|run| run.figure(metric).is_some() && run.standing(metric) == standing)
}

/// Whether one of these runs' figures is only a bound: a rate that may be higher, or a time that may be shorter. Either way the
/// server may be better than it looks.
fn is_bound(runs: &[&Run], metric: Metric) -> bool {
    any_is(runs, metric, Standing::AtLeast) || any_is(runs, metric, Standing::AtMost)
}

/// What is left of a verdict on figures of which one, or both, may be better than was found.
fn of_bounds(verdict: Verdict, subject_may_be_better: bool, baseline_may_be_better: bool) -> Verdict {
    let stands = match verdict {
        Verdict::Better => !baseline_may_be_better,
        Verdict::Worse => !subject_may_be_better,
        Verdict::Same => !subject_may_be_better && !baseline_may_be_better,
        Verdict::Unclear | Verdict::Neutral => true,
    };
    if stands { verdict } else { Verdict::Unclear }
}

fn count(runs: usize) -> u32 {
    u32::try_from(runs).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knee::Knee;

    fn run(subject: &str, round: u32, delivered: f64) -> Run {
        Run {
            subject: subject.to_owned(),
            round,
            figures: vec![Figure { metric: Metric::Delivered, value: delivered }],
            doubts: Vec::new(),
            record: None,
            readings: Vec::new(),
            knee: None,
            failure: None,
        }
    }

    fn knee_run(subject: &str, round: u32, rate: f64, at_least: bool) -> Run {
        Run {
            figures: vec![Figure { metric: Metric::Knee, value: rate }],
            knee: Some(Knee { rate, at_least, confirmed: true, curve: Vec::new() }),
            ..run(subject, round, 0.0)
        }
    }

    fn servers() -> [Subject; 3] {
        ["ferry", "derper", "null"].map(|name| Subject {
            name: name.to_owned(),
            command: String::new(),
            null: name == "null",
        })
    }

    fn spoilt(run: Run) -> Run {
        Run { doubts: vec![Doubt::RateMissed { due: 2.0, sent: 1.0 }], ..run }
    }

    #[test]
    fn only_rounds_without_a_fatal_doubt_or_a_failure_count() {
        let noted = Run { doubts: vec![Doubt::Connections { count: 1 }], ..run("ferry", 1, 2.0) };
        let failed = Run { failure: Some("it did not start".to_owned()), ..run("ferry", 3, 9.0) };
        let runs = [run("ferry", 0, 1.0), noted, spoilt(run("ferry", 2, 9.0)), failed];
        let summaries = summarise(&runs, 0);
        assert_eq!(summaries.len(), 1);
        assert_eq!((summaries[0].valid, summaries[0].rounds), (2, 4));
        assert_eq!(summaries[0].estimates.len(), 1);
        let (metric, estimate) = summaries[0].estimates[0];
        assert_eq!((metric, estimate.median, estimate.rounds), (Metric::Delivered, 1.5, 2));
    }

    #[test]
    fn a_busy_generator_leaves_costs_and_makes_rates_lower_bounds() {
        let figures = [Metric::Delivered, Metric::LatencyP99, Metric::ServerCpuPerPacket]
            .map(|metric| Figure { metric, value: 5.0 });
        let busy = vec![Doubt::GeneratorBusy { share: 0.9, paced: false }];
        let runs = [Run { figures: figures.to_vec(), doubts: busy, ..run("ferry", 0, 0.0) }];
        let summary = &summarise(&runs, 0)[0];
        let metrics: Vec<Metric> = summary.estimates.iter().map(|(metric, _)| *metric).collect();
        assert_eq!(metrics, [Metric::Delivered, Metric::ServerCpuPerPacket]);
        assert_eq!((summary.valid, summary.at_least.as_slice()), (1, [Metric::Delivered].as_slice()));
    }

    #[test]
    fn a_busy_generator_that_kept_to_its_times_leaves_upper_bounds_of_them() {
        let figures = vec![Figure { metric: Metric::LatencyP99, value: 5.0 }];
        let busy = vec![Doubt::GeneratorBusy { share: 0.9, paced: true }];
        let runs = [Run { figures, doubts: busy, ..run("ferry", 0, 0.0) }];
        let summary = &summarise(&runs, 0)[0];
        assert_eq!(
            (summary.at_least.as_slice(), summary.at_most.as_slice()),
            ([].as_slice(), [Metric::LatencyP99].as_slice())
        );
    }

    #[test]
    fn a_late_generator_makes_times_upper_bounds_unless_they_are_long_beside_its_lateness() {
        let figures = [
            (Metric::Delivered, 5.0),
            (Metric::LossShare, 0.1),
            (Metric::LatencyP50, 700.0),
            (Metric::LatencyP99, 90_000.0),
        ]
        .map(|(metric, value)| Figure { metric, value });
        let late = |by| vec![Doubt::GeneratorLate { share: 0.02, by }];
        let at_most = |by| {
            let runs = [Run { figures: figures.to_vec(), doubts: late(by), ..run("ferry", 0, 0.0) }];
            let summary = &summarise(&runs, 0)[0];
            assert_eq!((summary.estimates.len(), summary.at_least.as_slice()), (4, [].as_slice()));
            summary.at_most.clone()
        };
        assert_eq!(at_most(8_000.0), [Metric::LatencyP50]);
        assert_eq!(at_most(10_000.0), [Metric::LatencyP50, Metric::LatencyP99]);
    }

    #[test]
    fn a_time_that_is_only_a_bound_may_win_and_never_makes_another_win() {
        let verdict = |ours: f64, ours_busy: bool, theirs: f64, theirs_busy: bool| {
            let of = |name, value, busy: bool, round| Run {
                figures: vec![Figure { metric: Metric::LatencyP99, value }],
                doubts: busy
                    .then_some(Doubt::GeneratorBusy { share: 0.9, paced: true })
                    .into_iter()
                    .collect(),
                ..run(name, round, 0.0)
            };
            let runs: Vec<Run> = (0..3)
                .flat_map(|round| {
                    [of("ferry", ours, ours_busy, round), of("derper", theirs, theirs_busy, round)]
                })
                .collect();
            compare(&runs, &servers(), "derper", 0)[0].rows[0].verdict
        };
        assert_eq!(verdict(100.0, true, 200.0, false), Verdict::Better);
        assert_eq!(verdict(100.0, true, 200.0, true), Verdict::Unclear);
        assert_eq!(verdict(200.0, true, 100.0, false), Verdict::Unclear);
        assert_eq!(verdict(200.0, false, 100.0, true), Verdict::Worse);
    }

    #[test]
    fn a_rate_that_the_generator_held_down_never_wins_by_what_is_not_known() {
        let verdict = |ours: f64, ours_busy: bool, theirs: f64, theirs_busy: bool| {
            let of = |name, rate, busy: bool, round| Run {
                doubts: busy
                    .then_some(Doubt::GeneratorBusy { share: 0.9, paced: false })
                    .into_iter()
                    .collect(),
                ..run(name, round, rate)
            };
            let runs: Vec<Run> = (0..3)
                .flat_map(|round| {
                    [of("ferry", ours, ours_busy, round), of("derper", theirs, theirs_busy, round)]
                })
                .collect();
            compare(&runs, &servers(), "derper", 0)[0].rows[0].verdict
        };
        assert_eq!(verdict(200.0, true, 100.0, false), Verdict::Better);
        assert_eq!(verdict(200.0, true, 100.0, true), Verdict::Unclear);
        assert_eq!(verdict(100.0, true, 200.0, false), Verdict::Unclear);
    }

    #[test]
    fn subjects_are_summed_up_in_the_order_in_which_they_ran() {
        let runs = [run("b", 0, 1.0), run("a", 0, 2.0), run("a", 1, 3.0), spoilt(run("c", 0, 1.0))];
        let summaries = summarise(&runs, 0);
        let names: Vec<&str> = summaries.iter().map(|summary| summary.subject.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert!(summaries[2].estimates.is_empty());
    }

    #[test]
    fn everybody_but_the_baseline_and_the_null_server_is_compared() {
        let runs: Vec<Run> =
            (0..3).flat_map(|round| ["ferry", "derper", "null"].map(|name| run(name, round, 10.0))).collect();
        let comparisons = compare(&runs, &servers(), "derper", 0);
        assert_eq!(comparisons.len(), 1);
        assert_eq!(comparisons[0].subject, "ferry");
        assert_eq!(comparisons[0].rows[0].verdict, Verdict::Same);
    }

    #[test]
    fn rounds_are_compared_with_their_own_neighbours_in_time() {
        // Both get faster together; each lost another round.
        let mut runs = Vec::new();
        for round in 0..5 {
            let drift = f64::from(round + 1);
            let (ours, theirs) = (run("ferry", round, 2.0 * drift), run("derper", round, drift));
            runs.push(if round == 0 { spoilt(ours) } else { ours });
            runs.push(if round == 4 { spoilt(theirs) } else { theirs });
        }
        let row = &compare(&runs, &servers(), "derper", 0)[0].rows[0];
        let ratio = row.ratio.unwrap();
        assert_eq!((row.subject.rounds, row.baseline.rounds), (3, 3));
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
        assert_eq!(row.verdict, Verdict::Better);
    }

    #[test]
    fn a_subject_without_a_round_beside_the_baseline_has_an_empty_table() {
        let runs = [run("ferry", 0, 1.0), spoilt(run("derper", 0, 1.0))];
        let comparisons = compare(&runs, &servers(), "derper", 0);
        assert_eq!((comparisons.len(), comparisons[0].rows.len()), (1, 0));
        assert_eq!(compare(&[], &servers(), "derper", 0), []);
    }

    #[test]
    fn of_searches_nothing_but_the_knee_is_compared() {
        let at_knee = |name, rate| {
            let mut run = knee_run(name, 0, rate, false);
            run.figures.push(Figure { metric: Metric::LatencyP99, value: 5.0 });
            run
        };
        let runs = [at_knee("ferry", 200.0), at_knee("derper", 100.0)];
        let rows = &compare(&runs, &servers(), "derper", 0)[0].rows;
        assert_eq!(rows.iter().map(|row| row.metric).collect::<Vec<_>>(), [Metric::Knee]);
    }

    #[test]
    fn a_knee_that_is_only_a_lower_bound_never_wins_by_what_is_not_known() {
        let verdict = |ours: f64, ours_at_least, theirs: f64, theirs_at_least| {
            let runs: Vec<Run> = (0..3)
                .flat_map(|round| {
                    [
                        knee_run("ferry", round, ours, ours_at_least),
                        knee_run("derper", round, theirs, theirs_at_least),
                    ]
                })
                .collect();
            compare(&runs, &servers(), "derper", 0)[0].rows[0].verdict
        };
        assert_eq!(verdict(200.0, true, 100.0, false), Verdict::Better);
        assert_eq!(verdict(200.0, false, 100.0, true), Verdict::Unclear);
        assert_eq!(verdict(100.0, true, 200.0, false), Verdict::Unclear);
        assert_eq!(verdict(100.0, false, 200.0, true), Verdict::Worse);
        assert_eq!(verdict(100.0, true, 100.0, false), Verdict::Unclear);
        assert_eq!(verdict(100.0, true, 100.0, true), Verdict::Unclear);
        assert_eq!(verdict(100.0, false, 100.0, false), Verdict::Same);
    }
}
