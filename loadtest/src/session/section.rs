//! One workload of a session: its runs in turns, and what they say together.

use std::time::Duration;

use crate::engine::Stop;
use crate::live::Live;
use crate::metric::Metric;
use crate::report::{Run, Section, Subject};
use crate::scenario::{Load, Scenario, ServerRecipe, WorkloadEntry};
use crate::workload::Phases;
use crate::{summary, thresholds};

use super::one_run::{self, Setting};
use super::{bounds, ceiling, search};

/// Where a session stands.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) subjects: &'a [Subject],
    pub(super) null: Option<&'a ServerRecipe>,
    pub(super) live: &'a mut Live,
    pub(super) stop: &'a Stop,
    /// Runs made so far, of [`steps`](Self::steps).
    pub(super) step: u32,
    pub(super) steps: u32,
}

/// How many runs a workload takes: all servers in every round, the null server once, and once more for the tool's ceiling.
pub(super) fn steps(scenario: &Scenario, entry: &WorkloadEntry, with_null: bool) -> u32 {
    let servers = taking_part(scenario, entry).count() as u32;
    let ceiling = u32::from(with_null && entry.knee.is_none() && ceiling::load(&entry.load).is_some());
    rounds(scenario, entry) * servers + u32::from(with_null) + ceiling
}

/// The servers that a workload is about.
pub(super) fn taking_part<'a>(
    scenario: &'a Scenario,
    entry: &'a WorkloadEntry,
) -> impl Iterator<Item = &'a ServerRecipe> {
    scenario.server.iter().filter(|server| entry.is_for(&server.name))
}

/// How many rounds a workload has.
pub(super) fn rounds(scenario: &Scenario, entry: &WorkloadEntry) -> u32 {
    entry.rounds.unwrap_or(scenario.rounds).max(1)
}

/// How long its runs' parts are.
pub(super) fn phases(scenario: &Scenario, entry: &WorkloadEntry) -> Phases {
    let seconds = Duration::from_secs_f64;
    Phases {
        warm_up: seconds(scenario.run.warm_up),
        window: seconds(entry.window.unwrap_or(scenario.run.window)),
        drain: seconds(scenario.run.drain),
    }
}

/// Who has a turn in a round: everybody, first to last and back to front by turns.
fn turns<'a>(servers: impl Iterator<Item = &'a ServerRecipe>, round: u32) -> Vec<&'a ServerRecipe> {
    let mut order: Vec<_> = servers.collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

impl<'a> Stage<'a> {
    /// All runs of one workload; `earlier` sections have the knees that its rate may depend on.
    pub(super) fn section(&mut self, entry: &WorkloadEntry, earlier: &[Section]) -> Section {
        let scenario = self.scenario;
        let load = match &entry.of_knee {
            None => Ok(entry.load.clone()),
            Some(of) => search::at_knee(&entry.load, of, &scenario.baseline, earlier),
        };
        let mut section = empty(&entry.name, load.as_ref().unwrap_or(&entry.load));
        let load = match load {
            Ok(load) => load,
            Err(why) => {
                self.live.say(&format!("{}: not run, {why}", entry.name));
                section.note = Some(why);
                section.thresholds = thresholds::judge(&entry.threshold, &[], &scenario.baseline, earlier);
                return section;
            }
        };
        self.live.say(&format!("{}: {}", entry.name, section.description));
        let rounds = rounds(scenario, entry);
        for round in 0..rounds {
            for server in turns(taking_part(scenario, entry), round) {
                self.turn(&mut section, entry, server, &load, round, rounds);
            }
            // Beside servers none of which could be measured, it would say nothing.
            if round == 0
                && section.runs.iter().any(|run| run.failure.is_none())
                && let Some(null) = self.null
            {
                self.turn(&mut section, entry, null, &load, 0, 1);
                section.ceiling = self.ceiling(entry, null, &load);
            }
        }
        section.summaries = summary::summarise(&section.runs, scenario.seed);
        section.comparisons =
            summary::compare(&section.runs, self.subjects, &scenario.baseline, scenario.seed);
        section.thresholds = thresholds::judge(&entry.threshold, &section.runs, &scenario.baseline, earlier);
        section
    }

    /// One run of one server, unless everything was stopped.
    fn turn(
        &mut self,
        section: &mut Section,
        entry: &WorkloadEntry,
        server: &ServerRecipe,
        load: &Load,
        round: u32,
        rounds: u32,
    ) {
        if self.stop.is_stopped() {
            return;
        }
        let setting = self.setting(entry);
        self.begin(
            &format!("{}, {}, round {} of {rounds}", entry.name, server.name, round + 1),
            setting.phases,
        );
        let run = match entry.knee {
            None => one_run::run(&setting, server, load, round, self.live),
            Some(knee) => search::run(&setting, server, load, round, &knee, self.live),
        };
        self.live.end(&line(&run));
        section.runs.push(run);
        self.cool_down();
    }

    /// What the tool delivers of this shape when nothing is in its way, packets a second.
    fn ceiling(&mut self, entry: &WorkloadEntry, null: &ServerRecipe, load: &Load) -> Option<f64> {
        if entry.knee.is_some() || self.stop.is_stopped() {
            return None;
        }
        let load = ceiling::load(load)?;
        let setting = Setting { phases: ceiling::PHASES, ..self.setting(entry) };
        self.begin(&format!("{}, the tool's own ceiling", entry.name), setting.phases);
        let run = one_run::run(&setting, null, &load, 0, self.live);
        self.live.end(&line(&run));
        self.cool_down();
        run.figure(Metric::Delivered)
    }

    fn begin(&mut self, what: &str, phases: Phases) {
        self.step += 1;
        self.live.begin(what, phases.warm_up + phases.window, self.step, self.steps);
    }

    fn setting(&self, entry: &WorkloadEntry) -> Setting<'a> {
        Setting {
            run: &self.scenario.run,
            phases: phases(self.scenario, entry),
            seed: self.scenario.seed,
            connections: bounds::connections(self.scenario, entry),
            stop: self.stop,
        }
    }

    fn cool_down(&self) {
        if !self.stop.is_stopped() {
            std::thread::sleep(Duration::from_secs_f64(self.scenario.run.cool_down));
        }
    }
}

/// A section in which nothing has been run yet.
fn empty(name: &str, load: &Load) -> Section {
    Section {
        name: name.to_owned(),
        description: load.describe(),
        ceiling: None,
        note: None,
        runs: Vec::new(),
        summaries: Vec::new(),
        comparisons: Vec::new(),
        thresholds: Vec::new(),
    }
}

/// One line about a run, for the terminal.
fn line(run: &Run) -> String {
    if let Some(failure) = &run.failure {
        return format!("failed: {failure}");
    }
    let shown = [Metric::Knee, Metric::Delivered, Metric::LatencyP50, Metric::LatencyP99, Metric::LossShare];
    let shown = shown.iter().chain(&[
        Metric::ServerCpuPerPacket,
        Metric::ServerCpuPerConnect,
        Metric::ServerResidentPerClient,
        Metric::ServerResidentKept,
        Metric::ConnectP99,
    ]);
    let mut parts: Vec<_> = shown
        .filter_map(|metric| {
            run.figure(*metric).map(|value| format!("{} {}", metric.title(), metric.format(value)))
        })
        .collect();
    parts.extend(run.doubts.iter().map(|doubt| format!("doubt: {doubt}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(name: &str) -> ServerRecipe {
        ServerRecipe {
            name: name.to_owned(),
            command: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            url: "https://127.0.0.1:1".to_owned(),
            pid: None,
            counters: None,
        }
    }

    #[test]
    fn who_goes_first_changes_with_the_round() {
        let servers = [recipe("a"), recipe("b")];
        let order = |round| {
            turns(servers.iter(), round).iter().map(|server| server.name.as_str()).collect::<String>()
        };
        assert_eq!([order(0), order(1), order(2)], ["ab", "ba", "ab"]);
    }
}
