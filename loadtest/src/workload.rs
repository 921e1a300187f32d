//! The shapes of load, as a person names them, and the plans they become.

mod cast;
mod describe;
mod keys;
mod pace;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::keys::{Keys, Kind, WorkloadError};
pub use self::pace::Pace;
use crate::plan::{Plan, Target};
pub use crate::sizes::SizeName;

/// The most clients that one workload may have.
pub const CLIENTS_MOST: u32 = 1_000_000;
/// The highest total rate, in packets (connections, for storms) a second.
pub const RATE_MOST: f64 = 10_000_000.0;
/// The most packets that one sender of a closed loop may have under way.
pub const WINDOW_MOST: u32 = 65_536;
/// The longest time that a workload may name.
pub const TIME_MOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The greatest exponent of a Zipf distribution: beyond, nearly everything goes to one client.
pub const EXPONENT_MOST: f64 = 10.0;

/// A shape of load on a relay, as a scenario's TOML or the command line names it ([`Keys`]).
///
/// Rates are packets a second of the whole workload, divided evenly between its senders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub enum Workload {
    /// `pairs` times two clients; one sends to the other, or both do.
    Pairs {
        /// Pairs of clients.
        pairs: u32,
        /// The second of each pair sends too.
        both_ways: bool,
        /// What is sent.
        traffic: Traffic,
    },
    /// Many senders, one receiver.
    FanIn {
        /// Senders.
        senders: u32,
        /// What is sent.
        traffic: Traffic,
    },
    /// One sender, many receivers in turn.
    FanOut {
        /// Receivers.
        receivers: u32,
        /// What is sent.
        traffic: Traffic,
    },
    /// Everybody to everybody, packet by packet at random.
    AllToAll {
        /// Clients.
        clients: u32,
        /// The k-th client is drawn with weight 1/k^exponent (Zipf); None draws all alike.
        exponent: Option<f64>,
        /// What is sent.
        traffic: Traffic,
    },
    /// Pairs of which one asks and the other answers, in the class `request`, beside `background` of that name.
    RequestReply {
        /// Pairs that ask and answer.
        pairs: u32,
        /// Requests a second of all pairs together.
        request_rate: f64,
        /// How large requests, and so their answers, are.
        request_size: SizeName,
        /// What else there is.
        background: Option<Background>,
    },
    /// One flow to a receiver of its own, in the class `probe`, or to one that `others` write to as well, in the class `background`.
    Probe {
        /// Packets a second of the flow.
        probe_rate: f64,
        /// How large they are.
        probe_size: SizeName,
        /// Who else writes to its receiver.
        others: Option<Others>,
    },
    /// Clients that only are there, but for one burst of traffic.
    Idle {
        /// Clients; with a burst, an even number: each sends to its partner.
        clients: u32,
        /// What they send at the window's start, before they are quiet again.
        burst: Option<Burst>,
    },
    /// Connections, open loop.
    ConnectionStorm {
        /// Connections begun a second.
        per_second: f64,
        /// How long each is held.
        hold: Duration,
        /// TLS session tickets are kept and used.
        resumption: bool,
        /// A relay that offers a fast start is waited for all the same.
        ordinary_start: bool,
    },
    /// One-way pairs, and beside them connections that come, each with a handshake in full, and go.
    PairsBesideStorm {
        /// Pairs of clients, connected before the storm.
        pairs: u32,
        /// What they send.
        traffic: Traffic,
        /// Connections begun a second.
        per_second: f64,
        /// How long each is held.
        hold: Duration,
    },
    /// Clients whose relay is restarted in mid-window and who come back with back-off; in pairs, each sends to the other.
    ReconnectStorm {
        /// Clients; an even number.
        clients: u32,
        /// What is sent.
        traffic: Traffic,
    },
    /// Pairs of which a share reads slowly. Classes `prompt` and `slow`.
    ///
    /// Every receiver has a sender of its own: what the class `prompt` shows is whether the relay keeps connections apart, not
    /// whether one sender's slow peer holds up the same sender's others.
    SlowReaders {
        /// Pairs, slow ones included.
        pairs: u32,
        /// The share of slow ones, more than 0 to 1; at least one pair is slow.
        slow_share: f64,
        /// How fast they read; 0: not at all.
        bytes_per_second: u64,
        /// What is sent.
        traffic: Traffic,
    },
    /// Pairs whose receivers come and go, while the senders stay and send.
    Churn {
        /// Pairs.
        pairs: u32,
        /// How long a receiver stays, on average: each has a time of its own, from half of it to one and a half.
        stay: Duration,
        /// How long it is away, likewise.
        away: Duration,
        /// What is sent.
        traffic: Traffic,
    },
}

/// One-way pairs beside what is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    /// Pairs of clients.
    pub pairs: u32,
    /// What is sent.
    pub traffic: Traffic,
}

/// Senders to the receiver of a flow that is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Others {
    /// How many.
    pub senders: u32,
    /// What they send.
    pub traffic: Traffic,
}

/// Traffic for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Burst {
    /// Packets a second of all senders together.
    pub rate: f64,
    /// How large they are.
    pub size: SizeName,
    /// How long it lasts.
    pub lasting: Duration,
}

/// What the senders of a workload send.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// When.
    pub pace: Pace,
    /// How large.
    pub size: SizeName,
}

/// How long each part of a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Traffic before anything is measured.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
    /// The wait for what is under way.
    pub drain: Duration,
}

/// What a plan needs that is not the workload's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The relay.
    pub target: Target,
    /// The run's name in its packets.
    pub run: u64,
    /// The seed.
    pub seed: u64,
    /// The run's parts.
    pub phases: Phases,
    /// Worker threads per process.
    pub threads: u32,
    /// Their cores.
    pub cores: Vec<usize>,
    /// See [`Plan::coalesce`].
    pub coalesce: bool,
    /// See [`Plan::stay_awake`].
    pub stay_awake: bool,
}

impl Workload {
    /// The plan for it. Refused if a number is out of bounds: only for workloads that were not read but made, and for storms
    /// whose run is so long that there would be too many connections.
    pub fn plan(&self, frame: Frame) -> Result<Plan, WorkloadError> {
        self.check()?;
        let cast = cast::cast(self, &frame.phases, frame.seed)?;
        let mut target = frame.target;
        if let Self::ConnectionStorm { resumption, ordinary_start, .. } = self {
            target.resumption |= resumption;
            target.ordinary_start |= ordinary_start;
        }
        Ok(Plan {
            run: frame.run,
            seed: frame.seed,
            target,
            classes: cast.classes.into_iter().map(str::to_owned).collect(),
            clients: cast.clients,
            arrival: cast.arrival,
            warm_up: frame.phases.warm_up,
            window: frame.phases.window,
            drain: frame.phases.drain,
            interval: interval(&frame.phases),
            threads: frame.threads,
            cores: frame.cores,
            coalesce: frame.coalesce,
            stay_awake: frame.stay_awake,
        })
    }

    /// The same shape with another total rate ([`offered`](Self::offered)); None if its load is no rate of packets. For searching the knee.
    ///
    /// Beside a background, requests (and a probe) stay as they are and the background makes up the rest.
    pub fn at_rate(&self, per_second: f64) -> Option<Self> {
        let mut other = self.clone();
        match &mut other {
            Self::Pairs { traffic, .. }
            | Self::FanIn { traffic, .. }
            | Self::FanOut { traffic, .. }
            | Self::AllToAll { traffic, .. }
            | Self::ReconnectStorm { traffic, .. }
            | Self::SlowReaders { traffic, .. }
            | Self::PairsBesideStorm { traffic, .. }
            | Self::Churn { traffic, .. } => traffic.pace = traffic.pace.at_rate(per_second)?,
            Self::Probe { probe_rate, others: Some(others), .. } => {
                let rest = (per_second - *probe_rate).max(0.0);
                others.traffic.pace = others.traffic.pace.at_rate(rest)?;
            }
            Self::Probe { probe_rate, others: None, .. } => *probe_rate = per_second,
            Self::RequestReply { request_rate, background: Some(background), .. } => {
                let rest = (per_second - *request_rate).max(0.0);
                background.traffic.pace = background.traffic.pace.at_rate(rest)?;
            }
            Self::RequestReply { request_rate, background: None, .. } => *request_rate = per_second,
            Self::Idle { .. } | Self::ConnectionStorm { .. } => return None,
        }
        Some(other)
    }

    /// The same shape as a closed loop, with at most `under_way` packets under way, and at least one per sender but no more than
    /// `window`; None if it is about more than packets that are relayed. For finding out what the tool itself can do.
    pub fn closed_loop(&self, window: u32, under_way: u32) -> Option<Self> {
        let mut other = self.clone();
        let closed = |senders: u32| Pace::Closed { window: (under_way / senders.max(1)).clamp(1, window) };
        match &mut other {
            Self::Pairs { traffic, pairs, both_ways } => {
                traffic.pace = closed(if *both_ways { pairs.saturating_mul(2) } else { *pairs });
            }
            Self::FanIn { traffic, senders: count } | Self::AllToAll { traffic, clients: count, .. } => {
                traffic.pace = closed(*count);
            }
            Self::FanOut { traffic, .. } => traffic.pace = closed(1),
            Self::RequestReply { .. }
            | Self::Probe { .. }
            | Self::Idle { .. }
            | Self::ConnectionStorm { .. }
            | Self::PairsBesideStorm { .. }
            | Self::ReconnectStorm { .. }
            | Self::SlowReaders { .. }
            | Self::Churn { .. } => return None,
        }
        Some(other)
    }

    /// The total rate it offers, in packets (connections, for storms) a second; None if it has none. Answers are not counted:
    /// they depend on the relay. Nor is a burst: it ends.
    pub fn offered(&self) -> Option<f64> {
        match self {
            Self::Pairs { traffic, .. }
            | Self::FanIn { traffic, .. }
            | Self::FanOut { traffic, .. }
            | Self::AllToAll { traffic, .. }
            | Self::ReconnectStorm { traffic, .. }
            | Self::SlowReaders { traffic, .. }
            | Self::PairsBesideStorm { traffic, .. }
            | Self::Churn { traffic, .. } => traffic.pace.offered(),
            Self::Probe { probe_rate, others: None, .. } => Some(*probe_rate),
            Self::Probe { probe_rate, others: Some(others), .. } => {
                Some(probe_rate + others.traffic.pace.offered()?)
            }
            Self::RequestReply { request_rate, background: None, .. } => Some(*request_rate),
            Self::RequestReply { request_rate, background: Some(background), .. } => {
                Some(request_rate + background.traffic.pace.offered()?)
            }
            Self::ConnectionStorm { per_second, .. } => Some(*per_second),
            Self::Idle { .. } => None,
        }
    }

    /// One line for a report: `10 pairs, 10,000 packets/s of 1,400 bytes, evenly`.
    pub fn describe(&self) -> String {
        describe::describe(self)
    }
}

/// A time series of some hundred steps, none shorter than what a person can watch.
pub(crate) fn interval(phases: &Phases) -> Duration {
    let run = phases.warm_up + phases.window + phases.drain;
    match run.as_secs() {
        0..15 => Duration::from_millis(100),
        15..60 => Duration::from_millis(250),
        60..600 => Duration::from_secs(1),
        _ => run / 600,
    }
}

#[cfg(test)]
mod tests;
