//! What every client of one run does, and when: everything the engine has to know, and nothing it has to decide.
//!
//! A plan can be written down (serde), split between processes, and gives the same load again with the same seed. Node keys
//! come from the seed and the client's index ([`node_key`]), so that every process knows everybody's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferry_protocol::NodePrivateKey;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::sizes::Sizes;

/// A client's place in [`Plan::clients`].
pub type ClientIndex = u32;

/// One run against one relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In every payload of this run, so that another run's packets are known as foreign.
    pub run: u64,
    /// Seeds keys, schedules, sizes and destinations.
    pub seed: u64,
    /// The relay.
    pub target: Target,
    /// Names of the kinds of traffic that are measured apart ([`Sending::class`]).
    pub classes: Vec<String>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// How clients come to be there.
    pub arrival: Arrival,
    /// Traffic before anything is measured.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
    /// How long to wait afterwards for what is under way. Ends early when everything has arrived.
    pub drain: Duration,
    /// Length of a time series' steps.
    pub interval: Duration,
    /// Worker threads of each process.
    pub threads: u32,
    /// Cores for the worker threads; empty leaves it to the system.
    pub cores: Vec<usize>,
    /// Several frames that are due at once for one connection share a write. Off, every frame is a write of its own, as with
    /// Tailscale's client.
    pub coalesce: bool,
    /// Worker threads never sleep while there is traffic: on a virtual machine that shares its processors with others, a core that
    /// went idle may get its turn again only milliseconds later. For cores that the load has for itself.
    #[serde(default)]
    pub stay_awake: bool,
}

/// The relay that is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `https://HOST:PORT` and so on (ferry-client's `RelayUrl`).
    pub url: String,
    /// Where the host is.
    pub address: SocketAddr,
    /// Source addresses to connect from, in turns; empty leaves it to the system. One address has some 28,000 ports.
    pub sources: Vec<IpAddr>,
    /// SHA-256 of the only certificate that is believed, whatever else it is; None believes any.
    pub pinned: Option<[u8; 32]>,
    /// TLS session tickets are kept and used.
    pub resumption: bool,
    /// A relay that offers a fast start is waited for all the same. Without, clients say who they are in their first flight, as
    /// Tailscale's do.
    pub ordinary_start: bool,
}

/// How clients come to be there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Arrival {
    /// All connect first, at most `at_once` under way; the clock starts when all are there (or `timeout` ran out: the run fails).
    Before {
        /// Connections under way at the same time, per thread.
        at_once: u32,
        /// How long it may take.
        timeout: Duration,
    },
    /// The clock starts at once and each client connects at its own [`ClientPlan::connect_at`]: connecting is what is measured.
    Scheduled,
    /// The first clients connect as with [`Before`](Self::Before), the others as with [`Scheduled`](Self::Scheduled).
    Partly {
        /// How many have to be there before the start.
        first: u32,
        /// Connections under way at the same time, per thread, until then.
        at_once: u32,
        /// How long that may take.
        timeout: Duration,
    },
}

impl Plan {
    /// Whether a client has to be there before the clock starts.
    pub fn comes_first(&self, client: ClientIndex) -> bool {
        match self.arrival {
            Arrival::Before { .. } => true,
            Arrival::Scheduled => false,
            Arrival::Partly { first, .. } => client < first,
        }
    }
}

/// What one client does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Clients of one group share a worker thread: both ends of a closed-loop flow have to.
    pub group: u32,
    /// When it connects, after the start, if it need not [come first](Plan::comes_first).
    pub connect_at: Duration,
    /// What it sends.
    pub sending: Option<Sending>,
    /// How it reads.
    pub reading: Reading,
    /// Sends each request back where it came from.
    pub answers: bool,
    /// When it leaves, and whether it comes back.
    pub life: Life,
    /// What it does when the relay hangs up; None stays away, and says so in the outcome.
    pub reconnect: Option<Backoff>,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sending {
    /// To whom.
    pub to: Destinations,
    /// When.
    pub pacing: Pacing,
    /// How large.
    pub sizes: Sizes,
    /// Index into [`Plan::classes`].
    pub class: u8,
    /// Each packet asks to be sent back; latency is then the round trip.
    pub requests: bool,
}

/// To whom a client sends. Never to itself: a draw that hits it is drawn again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Destinations {
    /// One peer.
    One {
        /// The peer.
        client: ClientIndex,
    },
    /// One after the other, from `first`.
    InTurn {
        /// The first peer.
        first: ClientIndex,
        /// How many.
        count: u32,
    },
    /// Any of them, each as likely.
    Uniform {
        /// The first peer.
        first: ClientIndex,
        /// How many.
        count: u32,
    },
    /// Any of them, the k-th with weight 1/k^exponent.
    Zipf {
        /// The first and most popular peer.
        first: ClientIndex,
        /// How many.
        count: u32,
        /// 1 is the classic; 0 is uniform.
        exponent: f64,
    },
}

/// When a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Pacing {
    /// Open loop: at the schedule's times, whatever the relay does. Latency counts from the scheduled time.
    Open {
        /// The times.
        schedule: Schedule,
    },
    /// Closed loop: at most `window` packets under way. One that has not arrived within a second is given up.
    Closed {
        /// Packets under way.
        window: u32,
    },
    /// As fast as the socket takes it. Latency counts from the time of sending.
    Unlimited,
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Reading {
    /// At once.
    Prompt,
    /// At most so many bytes a second.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Not at all, once connected.
    Stopped,
}

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Life {
    /// At the end of the run.
    Stays,
    /// So long after it was connected, for good.
    Leaves {
        /// How long it stays.
        after: Duration,
    },
    /// Comes and goes.
    Churns {
        /// How long it stays.
        stay: Duration,
        /// How long it is away.
        away: Duration,
    },
}

/// How long a client waits before it connects again: doubling from `first` to `most`, each drawn between half and all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

/// The node key of a client: the same in every process.
///
/// Whoever knows the seed knows the key. That is what a load tester wants, and nobody else.
pub fn node_key(seed: u64, client: ClientIndex) -> NodePrivateKey {
    // An odd factor gives every client of one seed a state of its own.
    let state = seed.wrapping_add((u64::from(client) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    NodePrivateKey::from_random(SmallRng::seed_from_u64(state).random())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_the_same_in_every_process_and_differ_between_clients_and_seeds() {
        let public = |seed, client| node_key(seed, client).public();
        assert_eq!(public(1, 2), public(1, 2));
        let keys: HashSet<_> =
            (0..4).flat_map(|seed| (0..50).map(move |client| public(seed, client))).collect();
        assert_eq!(keys.len(), 200);
    }

    #[test]
    fn keys_are_never_zero() {
        assert!((0..50).all(|client| !node_key(0, client).is_zero()));
        assert!(!node_key(u64::MAX, ClientIndex::MAX).is_zero());
    }
}
