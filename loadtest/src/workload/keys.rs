//! A workload's keys, in a scenario's TOML and on the command line: `{ kind = "pairs", pairs = 10, rate = 10000, size = 1400 }`.

mod check;
mod error;
mod read;
mod write;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use self::error::WorkloadError;
use crate::sizes::SizeName;

/// The shape of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pairs of clients; one sends to the other, or both do.
    Pairs,
    /// Many senders, one receiver.
    FanIn,
    /// One sender, many receivers in turn.
    FanOut,
    /// Everybody to everybody.
    AllToAll,
    /// Pairs that ask and answer, beside background load.
    RequestReply,
    /// One flow, and perhaps others to the same receiver.
    Probe,
    /// Clients that only are there.
    Idle,
    /// Connections at a rate.
    ConnectionStorm,
    /// Pairs beside connections at a rate.
    PairsBesideStorm,
    /// Clients whose relay is restarted.
    ReconnectStorm,
    /// Pairs of which a share reads slowly.
    SlowReaders,
    /// Pairs whose receivers come and go.
    Churn,
}

/// Everything that can be said about a workload; what has to be, and what may, depends on its kind. A [`Workload`] is made of
/// it with `try_from`, which names what is missing, does not belong, or is out of bounds.
///
/// Exactly one of `rate`, `window` and `unlimited` says when packets are due.
///
/// [`Workload`]: super::Workload
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// The shape of the load.
    pub kind: Kind,
    /// Pairs of clients (pairs, request-reply, pairs-beside-storm, slow-readers, churn).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u32>,
    /// The second of each pair sends too (pairs).
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_false")]
    pub both_ways: bool,
    /// Senders (fan-in); those beside a probe (probe).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senders: Option<u32>,
    /// Receivers (fan-out).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receivers: Option<u32>,
    /// Clients (all-to-all, idle, reconnect-storm).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Draw receivers by Zipf's law with this exponent; 1 is the classic (all-to-all).
    #[arg(long, value_name = "S")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponent: Option<f64>,
    /// Requests a second in all (request-reply).
    #[arg(long, value_name = "PER_SECOND")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
    /// Size of requests and answers; 128 bytes if not said (request-reply).
    #[arg(long, value_name = "SIZE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_size: Option<SizeName>,
    /// Pairs that send one way beside the requests, by `rate` and `size` (request-reply).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background_pairs: Option<u32>,
    /// Packets a second of the flow that is measured (probe).
    #[arg(long, value_name = "PER_SECOND")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_rate: Option<f64>,
    /// Their size; 128 bytes if not said (probe).
    #[arg(long, value_name = "SIZE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_size: Option<SizeName>,
    /// Seconds that clients send at the window's start, by `rate` and `size`, before they are quiet again (idle).
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// Connections a second (connection-storm, pairs-beside-storm).
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Seconds that each connection is held; 0 if not said (connection-storm, pairs-beside-storm).
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<f64>,
    /// Resume TLS sessions (connection-storm).
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumption: bool,
    /// Wait for the relay's answers where it offers a fast start (connection-storm).
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_false")]
    pub ordinary_start: bool,
    /// Share of the pairs that reads slowly, up to 1 (slow-readers).
    #[arg(long, value_name = "SHARE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_share: Option<f64>,
    /// How fast slow ones read; 0 is not at all (slow-readers).
    #[arg(long, value_name = "BYTES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Seconds that a receiver stays (churn).
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stay: Option<f64>,
    /// Seconds that it is away (churn).
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<f64>,
    /// Packets a second of all senders together: open loop, evenly.
    #[arg(long, value_name = "PER_SECOND")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// With `rate`: at random moments instead of evenly.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_false")]
    pub poisson: bool,
    /// With `rate`: go from it to this one.
    #[arg(long, value_name = "PER_SECOND")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_to: Option<f64>,
    /// Seconds that takes.
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_over: Option<f64>,
    /// With `rate`: seconds of it, in turns with `off`.
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<f64>,
    /// Seconds of nothing.
    #[arg(long, value_name = "SECONDS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<f64>,
    /// Closed loop: so many packets under way per sender.
    #[arg(long, value_name = "PACKETS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// As fast as the relay takes it.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlimited: bool,
    /// Bytes of a packet without DERP's header: 1400, 100-1400, imix, tailscale, or 64:7,512:4.
    #[arg(long, value_name = "SIZE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeName>,
}

impl Keys {
    /// Nothing but a kind.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            pairs: None,
            both_ways: false,
            senders: None,
            receivers: None,
            clients: None,
            exponent: None,
            request_rate: None,
            request_size: None,
            background_pairs: None,
            probe_rate: None,
            probe_size: None,
            burst: None,
            per_second: None,
            hold: None,
            resumption: false,
            ordinary_start: false,
            slow_share: None,
            bytes_per_second: None,
            stay: None,
            away: None,
            rate: None,
            poisson: false,
            ramp_to: None,
            ramp_over: None,
            on: None,
            off: None,
            window: None,
            unlimited: false,
            size: None,
        }
    }
}

impl Kind {
    /// As in TOML and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::FanIn => "fan-in",
            Self::FanOut => "fan-out",
            Self::AllToAll => "all-to-all",
            Self::RequestReply => "request-reply",
            Self::Probe => "probe",
            Self::Idle => "idle",
            Self::ConnectionStorm => "connection-storm",
            Self::PairsBesideStorm => "pairs-beside-storm",
            Self::ReconnectStorm => "reconnect-storm",
            Self::SlowReaders => "slow-readers",
            Self::Churn => "churn",
        }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}
