//! Looks for a server's knee, and offers rates in terms of one.

use crate::figures;
use crate::knee::{Knee, Next, Search};
use crate::live::Live;
use crate::metric::{Figure, Metric};
use crate::report::{Run, Section};
use crate::scenario::{KneeSettings, Load, OfKnee, ServerRecipe};
use crate::statistics;
use crate::validity::Doubt;

use super::one_run::{self, Setting};

/// How often a rate is tried at which the generator was late though it had little to do.
const TRIES: u32 = 3;
/// Less than this of a core is little to do.
const IDLE_MOST: f64 = 0.5;

/// One search: many short runs, each with a fresh server.
pub(super) fn run(
    setting: &Setting<'_>,
    recipe: &ServerRecipe,
    load: &Load,
    round: u32,
    knee: &KneeSettings,
    live: &mut Live,
) -> Run {
    let failed = |why: String| Run::failed(recipe.name.clone(), round, why);
    let mut search = Search::new(knee.criteria, knee.first, knee.most);
    let mut next = search.next_step();
    let mut doubts = Vec::new();
    let mut kept: Vec<(f64, Run)> = Vec::new();
    loop {
        let rate = match next {
            Next::Found(found) => {
                let (figures, readings) = at(&found, kept);
                return Run::searched(recipe.name.clone(), round, figures, doubts, found, readings);
            }
            Next::Try(rate) => rate,
        };
        let Some(load) = load.at_rate(rate) else {
            return failed("this load has no rate that could be searched".to_owned());
        };
        let mut step = one_run::run(setting, recipe, &load, round, live);
        for _ in 1..TRIES {
            if setting.stop.is_stopped() || !was_kept_from_its_core(&step) {
                break;
            }
            live.say("  the machine kept the generator from its core; once more");
            step = one_run::run(setting, recipe, &load, round, live);
        }
        if setting.stop.is_stopped() {
            return failed("stopped before the knee was found".to_owned());
        }
        if let Some(failure) = step.failure {
            return failed(failure);
        }
        let point = figures::point(rate, &step.figures, &step.doubts);
        live.say(&format!(
            "  {} offered: {} delivered, p99 {}, {} lost{}",
            Metric::Offered.format(rate),
            Metric::Delivered.format(point.delivered),
            Metric::LatencyP99.format(point.p99),
            Metric::LossShare.format(point.loss),
            if point.generator_limited { "; the generator was the limit" } else { "" },
        ));
        // What is about the counting speaks against the whole search; the rest is the search's own business.
        doubts.extend(step.doubts.iter().filter(|doubt| doubt.is_about_counting()).cloned());
        if doubts.iter().any(|doubt| matches!(doubt, Doubt::Books { .. })) {
            return failed("the tool's books do not add up".to_owned());
        }
        next = search.tried(point);
        kept.push((rate, step));
    }
}

/// Late, and not because there was too much to do: other programs, or the host of a virtual machine, had the core. That says
/// nothing about the rate.
fn was_kept_from_its_core(run: &Run) -> bool {
    let late = run.doubts.iter().any(|doubt| matches!(doubt, Doubt::GeneratorLate { .. }));
    late && run.figure(Metric::GeneratorBusiest).is_some_and(|busiest| busiest < IDLE_MOST)
}

/// The knee as a figure, and the other figures of the run next below it.
fn at(knee: &Knee, runs: Vec<(f64, Run)>) -> (Vec<Figure>, Vec<crate::process::Reading>) {
    let below = runs.into_iter().filter(|(rate, _)| *rate <= knee.rate);
    let nearest = below.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, run)| run);
    let (mut figures, readings) = nearest.map(|run| (run.figures, run.readings)).unwrap_or_default();
    figures.extend(figures::of_knee(knee));
    (figures, readings)
}

/// The load at a multiple of the baseline's knee: the same rate for every server. The error says why there is none.
pub(super) fn at_knee(load: &Load, of: &OfKnee, baseline: &str, earlier: &[Section]) -> Result<Load, String> {
    let section = earlier.iter().find(|section| section.name == of.workload);
    let knees: Vec<f64> = section
        .into_iter()
        .flat_map(|section| &section.runs)
        .filter(|run| run.subject == baseline)
        .filter_map(|run| run.figure(Metric::Knee))
        .filter(|knee| *knee > 0.0)
        .collect();
    let knee = statistics::estimate(&knees, 0).ok_or_else(|| {
        format!("{} found no knee of {baseline}, so there is no rate to offer", of.workload)
    })?;
    load.at_rate(knee.median * of.times).ok_or_else(|| "this load has no rate".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_generator_with_little_to_do_was_kept_from_its_core() {
        let run = |busiest, doubts| Run {
            figures: vec![Figure { metric: Metric::GeneratorBusiest, value: busiest }],
            doubts,
            ..Run::failed("relay".to_owned(), 0, String::new())
        };
        let late = || vec![Doubt::GeneratorLate { share: 0.02, by: 2_000.0 }];
        assert!(was_kept_from_its_core(&run(0.2, late())));
        assert!(!was_kept_from_its_core(&run(0.7, late())));
        assert!(!was_kept_from_its_core(&run(0.2, Vec::new())));
        assert!(!was_kept_from_its_core(&Run { figures: Vec::new(), ..run(0.0, late()) }));
    }
}
