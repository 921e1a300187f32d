//! One server, one load, once.

use std::time::{Duration, Instant};

use crate::agent;
use crate::engine::Stop;
use crate::figures::{self, ServerReadings};
use crate::limits;
use crate::live::Live;
use crate::outcome::Outcome;
use crate::plan::Target;
use crate::process::{Reading, Watched};
use crate::report::Run;
use crate::scenario::{Load, RunSettings, ServerRecipe};
use crate::server::{Counters, Server};
use crate::shape::Shape;
use crate::stun::{self, StunPlan};
use crate::validity::{self, Doubt};
use crate::workload::{Frame, Phases, Workload};

use super::watcher::{Seen, Watcher};

/// How long a server is given to bring its counters up to date after the last packet.
const COUNTERS_WITHIN: Duration = Duration::from_millis(500);
/// How often they are looked at until then.
const COUNTERS_EVERY: Duration = Duration::from_millis(50);

/// What is the same for all runs of a load.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) run: &'a RunSettings,
    pub(super) phases: Phases,
    pub(super) seed: u64,
    /// Connections at the same time, for ports and source addresses.
    pub(super) connections: u32,
    /// Stops everything.
    pub(super) stop: &'a Stop,
}

/// What a load gave, before anybody judges it.
struct Raw {
    shape: Shape,
    outcome: Outcome,
    doubts: Vec<Doubt>,
    seen: Seen,
}

/// Carries it out; what goes wrong is in the result.
pub(super) fn run(
    setting: &Setting<'_>,
    recipe: &ServerRecipe,
    load: &Load,
    round: u32,
    live: &mut Live,
) -> Run {
    attempt(setting, recipe, load, round, live)
        .unwrap_or_else(|error| Run::failed(recipe.name.clone(), round, format!("{error:#}")))
}

fn attempt(
    setting: &Setting<'_>,
    recipe: &ServerRecipe,
    load: &Load,
    round: u32,
    live: &mut Live,
) -> anyhow::Result<Run> {
    let mut server = Server::start(recipe, &setting.run.server_cores)?;
    let before = server.watched().as_ref().and_then(Watched::read);
    // The same seed in every turn of a round: each server gets the same packets at the same times.
    let seed = setting.seed.wrapping_add(u64::from(round));
    let raw = match load {
        Load::Relay(workload) => relay(setting, &mut server, workload, seed, live)?,
        Load::Stun(load) => {
            let plan = StunPlan {
                load: load.clone(),
                target: server.address(),
                seed,
                phases: setting.phases,
                interval: crate::workload::interval(&setting.phases),
                threads: setting.run.threads,
                cores: setting.run.generator_cores.clone(),
                stay_awake: setting.run.stay_awake,
            };
            let mut watcher = Watcher::new(live, &mut server, None);
            let outcome = stun::run(&plan, setting.stop, &mut watcher)?;
            let doubts = validity::doubts(&plan, &outcome);
            Raw { shape: Shape::from(&plan), outcome, doubts, seen: watcher.finish()? }
        }
    };
    server.stop();
    let Raw { shape, outcome, doubts, seen } = raw;
    let connected = outcome.series.iter().map(|interval| interval.connections).max().unwrap_or(0);
    let server = ServerReadings { before, opened: seen.opened, closed: seen.closed };
    let figures = figures::of_run(shape, &outcome, &server, connected);
    let readings: Vec<Reading> =
        [server.before, server.opened, server.closed].into_iter().flatten().collect();
    Ok(Run::measured(recipe.name.clone(), round, figures, doubts, &outcome, readings))
}

fn relay(
    setting: &Setting<'_>,
    server: &mut Server,
    workload: &Workload,
    seed: u64,
    live: &mut Live,
) -> anyhow::Result<Raw> {
    let target = Target {
        url: server.url().to_owned(),
        address: server.address(),
        sources: limits::sources(setting.connections, server.address())?,
        pinned: server.pin(),
        resumption: false,
        ordinary_start: false,
    };
    let plan = workload.plan(Frame {
        target,
        // Nothing else sends packets to a server that was just started; one that runs already may still have an earlier run's.
        run: run_id()?,
        seed,
        phases: setting.phases,
        threads: setting.run.threads,
        cores: setting.run.generator_cores.clone(),
        coalesce: setting.run.coalesce,
        stay_awake: setting.run.stay_awake,
    })?;
    let counters = server.counters()?;
    let restart_at = matches!(workload, Workload::ReconnectStorm { .. })
        .then(|| setting.phases.warm_up + setting.phases.window / 4);
    let mut watcher = Watcher::new(live, server, restart_at);
    let outcome = agent::run(&plan, setting.run.processes, setting.stop, &mut watcher)?;
    let seen = watcher.finish()?;
    let shape = Shape::from(&plan);
    let mut doubts = validity::doubts(&plan, &outcome);
    if let (Some(before), false) = (counters, seen.restarted) {
        doubts.extend(contradiction(server, before, shape, &outcome)?);
    }
    Ok(Raw { shape, outcome, doubts, seen })
}

/// What the server's own counters say against the outcome, once they had time to be right.
fn contradiction(
    server: &Server,
    before: Counters,
    shape: Shape,
    outcome: &Outcome,
) -> anyhow::Result<Option<Doubt>> {
    let began = Instant::now();
    loop {
        let Some(after) = server.counters()? else { return Ok(None) };
        let doubt = validity::check_counters(shape, before, after, outcome);
        if doubt.is_none() || began.elapsed() > COUNTERS_WITHIN {
            return Ok(doubt);
        }
        std::thread::sleep(COUNTERS_EVERY);
    }
}

fn run_id() -> anyhow::Result<u64> {
    Ok(getrandom::u64()?)
}
