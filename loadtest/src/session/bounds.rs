//! Whether a session may do what it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use crate::limits::{self, Limits, Wanted};
use crate::scenario::{Load, Scenario, WorkloadEntry};
use crate::workload::{Phases, Workload};

use super::Options;
use super::section::{phases, rounds, taking_part};

/// How many runs a search for the knee takes at most ([`Search`](crate::knee::Search)).
const SEARCH_RUNS_MOST: u32 = 24;

/// Bounds that a person raised (or lowered); None is the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raise {
    /// Packets (or STUN requests, or connects) a second.
    pub per_second: Option<f64>,
    /// Connections at the same time.
    pub connections: Option<u32>,
    /// Seconds of all runs together.
    pub seconds: Option<f64>,
}

/// Refuses a scenario that loads strangers, or more than the limits allow, before anything is started.
pub(super) fn check(scenario: &Scenario, options: &Options) -> anyhow::Result<()> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for server in &scenario.server {
        let (host, found) = server.host()?;
        limits::may_load(&host, &found, &options.allowed)?;
        addresses.extend(found);
    }
    let usual = Limits::for_targets(&addresses);
    let most = Limits {
        per_second: options.raise.per_second.unwrap_or(usual.per_second),
        connections: options.raise.connections.unwrap_or(usual.connections),
        duration: match options.raise.seconds {
            Some(seconds) => Duration::try_from_secs_f64(seconds).context("--time-most")?,
            None => usual.duration,
        },
    };
    let started_here = scenario.server.iter().any(|server| !server.command.is_empty());
    let mut whole = Duration::ZERO;
    for entry in &scenario.workload {
        whole = whole.saturating_add(length(scenario, entry));
        let wanted =
            Wanted { per_second: rate(entry), connections: connections(scenario, entry), duration: whole };
        most.check(&wanted).with_context(|| format!("workload {:?}", entry.name))?;
        if matches!(entry.load, Load::Relay(_)) {
            limits::check_files(wanted.connections, scenario.run.processes, started_here)
                .with_context(|| format!("workload {:?}", entry.name))?;
        }
    }
    Ok(())
}

/// How long the servers are loaded by a workload, all rounds together.
fn length(scenario: &Scenario, entry: &WorkloadEntry) -> Duration {
    let phases = phases(scenario, entry);
    let once = phases.warm_up + phases.window + phases.drain;
    let searched = if entry.knee.is_some() { SEARCH_RUNS_MOST } else { 1 };
    let servers = taking_part(scenario, entry).count() as u32;
    once.saturating_mul(rounds(scenario, entry).saturating_mul(servers).saturating_mul(searched))
}

/// The highest rate that it may come to. That of a multiple of a knee is bounded where it is known.
fn rate(entry: &WorkloadEntry) -> f64 {
    let searched = entry.knee.map(|knee| knee.most);
    let offered = match &entry.load {
        Load::Relay(Workload::Idle { burst: Some(burst), .. }) => Some(burst.rate),
        Load::Relay(workload) => workload.offered(),
        Load::Stun(load) => load.rate,
    };
    searched.or(offered).unwrap_or(0.0)
}

/// Connections at the same time.
pub(super) fn connections(scenario: &Scenario, entry: &WorkloadEntry) -> u32 {
    match &entry.load {
        Load::Relay(workload) => workload.connections(&phases(scenario, entry)),
        Load::Stun(load) => load.sockets,
    }
}

impl Workload {
    /// The most connections that it has at the same time.
    pub fn connections(&self, phases: &Phases) -> u32 {
        match self {
            Self::Probe { others, .. } => {
                others.as_ref().map_or(0, |others| others.senders).saturating_add(2)
            }
            Self::Pairs { pairs, .. } | Self::SlowReaders { pairs, .. } | Self::Churn { pairs, .. } => {
                pairs.saturating_mul(2)
            }
            Self::RequestReply { pairs, background, .. } => pairs
                .saturating_add(background.as_ref().map_or(0, |background| background.pairs))
                .saturating_mul(2),
            Self::FanIn { senders: others, .. } | Self::FanOut { receivers: others, .. } => {
                others.saturating_add(1)
            }
            Self::AllToAll { clients, .. }
            | Self::Idle { clients, .. }
            | Self::ReconnectStorm { clients, .. } => *clients,
            Self::ConnectionStorm { per_second, hold, .. } => storm(*per_second, *hold, phases),
            Self::PairsBesideStorm { pairs, per_second, hold, .. } => {
                pairs.saturating_mul(2).saturating_add(storm(*per_second, *hold, phases))
            }
        }
    }
}

/// The most connections that a storm has at the same time.
fn storm(per_second: f64, hold: Duration, phases: &Phases) -> u32 {
    // A connection is there while its handshake lasts, too; a second for that, at the most for the whole run.
    let there = (hold.as_secs_f64() + 1.0).min((phases.warm_up + phases.window).as_secs_f64());
    (per_second * there).ceil() as u32
}
