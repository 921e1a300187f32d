//! Load for STUN servers, over UDP.
//!
//! Every socket is connected to the server, as a client's is: requests leave one by one, each with a system call of its own
//! (no bursts by segmentation offload, which no crowd of clients sends), and answers from another address than the one
//! asked are not seen. So requests of RFC 5780 that ask for those are no part of a mix. STUN over TCP and TLS is not loaded.

mod answer;
mod books;
mod crew;
mod drops;
mod pace;
mod probe;
mod request;
mod socket;
mod under_way;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{Conductor, RunError, Stop};
use crate::outcome::Outcome;
use crate::workload::Phases;
use request::{Kind, Transactions};
use socket::Socket;

/// The class of what is no request: its outcome has `due`, and neither deliveries nor losses.
pub const JUNK: &str = "junk";
/// Answers that the generator's own sockets dropped, among [`Outcome::control_frames`]: lost, and not by the server.
pub const OWN_DROPS: &str = "dropped-by-own-socket";

/// Source addresses, at most: 127.0.1.1 to 127.0.255.255.
const SOURCES_MOST: u32 = 65_279;

/// A load of STUN requests, as a scenario's TOML or the command line names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StunLoad {
    /// Always `stun`.
    pub kind: StunKind,
    /// Requests a second of all sockets, junk included; None with `window`.
    #[serde(default)]
    pub rate: Option<f64>,
    /// At random instead of evenly.
    #[serde(default)]
    pub poisson: bool,
    /// Closed loop: requests under way per socket. One that is not answered within a second keeps no place.
    #[serde(default)]
    pub window: Option<u32>,
    /// Sockets, each with a port of its own; a thread's take turns.
    pub sockets: u32,
    /// Source addresses 127.0.1.1 and on, in turns; 0 leaves it to the system. Only on loopback.
    #[serde(default)]
    pub sources: u32,
    /// Shares of the kinds of request; none is all Tailscale's.
    #[serde(default)]
    pub mix: StunMix,
}

/// Says in TOML that a load is STUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StunKind {
    /// It is.
    Stun,
}

/// How often each kind of request comes, in proportion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct StunMix {
    /// SOFTWARE `tailnode` and FINGERPRINT.
    pub tailscale: f64,
    /// A header alone.
    pub bare: f64,
    /// Bytes that are no STUN: no answer is expected.
    pub junk: f64,
}

impl Default for StunMix {
    fn default() -> Self {
        Self { tailscale: 1.0, bare: 0.0, junk: 0.0 }
    }
}

/// Everything that one run needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StunPlan {
    /// The load.
    pub load: StunLoad,
    /// The server.
    pub target: SocketAddr,
    /// Seeds transaction IDs, schedules and the mix.
    pub seed: u64,
    /// The run's parts.
    pub phases: Phases,
    /// Length of a time series' steps.
    pub interval: Duration,
    /// Worker threads; no more than there are sockets.
    pub threads: u32,
    /// Their cores.
    pub cores: Vec<usize>,
    /// They never sleep while there is traffic; see [`Plan::stay_awake`](crate::plan::Plan::stay_awake).
    #[serde(default)]
    pub stay_awake: bool,
}

/// Why a load was not, or not wholly, put on a server.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// The load means nothing.
    #[error("{what} cannot be {value}; {instead}")]
    Load {
        /// What of it.
        what: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        instead: &'static str,
    },
    /// Nobody answers.
    #[error("no answer from {target} in 1 s{why}; is a STUN server there?")]
    NoAnswer {
        /// Who was asked.
        target: SocketAddr,
        /// What the system says of it, in brackets, or nothing.
        why: String,
    },
    /// A socket cannot be had.
    #[error("cannot ask {target} from {from}: {error}")]
    Socket {
        /// Our address.
        from: IpAddr,
        /// The server.
        target: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

impl StunLoad {
    /// The same load at another rate; None if it is a closed loop. For searching the knee.
    pub fn at_rate(&self, per_second: f64) -> Option<Self> {
        self.rate.map(|_| Self { rate: Some(per_second), ..self.clone() })
    }

    /// The rate it offers, in requests that a server answers a second: all but the junk. None if it is a closed loop.
    pub fn offered(&self) -> Option<f64> {
        let StunMix { tailscale, bare, junk } = self.mix;
        self.rate.map(|rate| rate * (tailscale + bare) / (tailscale + bare + junk))
    }

    /// One line for a report: `50000 STUN requests/s evenly from 16 sockets, 90 % tailscale, 10 % junk`.
    pub fn describe(&self) -> String {
        let when = match (self.rate, self.window) {
            (Some(rate), _) if self.poisson => format!("{rate:.0} STUN requests/s at random"),
            (Some(rate), _) => format!("{rate:.0} STUN requests/s evenly"),
            (None, window) => format!("{} STUN requests under way per socket", window.unwrap_or(0)),
        };
        let from = match self.sources {
            0 => format!("from {} sockets", self.sockets),
            sources => format!("from {} sockets of {sources} addresses", self.sockets),
        };
        let sum: f64 = Kind::ALL.iter().map(|kind| kind.share(&self.mix)).sum();
        let shares = Kind::ALL
            .iter()
            .filter(|kind| kind.share(&self.mix) > 0.0)
            .map(|kind| format!("{:.0} % {}", 100.0 * kind.share(&self.mix) / sum, kind.name()));
        let shares: Vec<_> = shares.collect();
        format!("{when} {from}, {}", shares.join(", "))
    }

    /// Whether it means something, for a server at `target`.
    ///
    /// # Errors
    ///
    /// [`StunError::Load`] names what does not.
    pub fn check(&self, target: SocketAddr) -> Result<(), StunError> {
        let refuse = |what, value: String, instead| Err(StunError::Load { what, value, instead });
        match (self.rate, self.window) {
            (Some(rate), None) if rate.is_finite() && rate > 0.0 => {}
            (Some(rate), None) => return refuse("rate", rate.to_string(), "it is requests a second"),
            (None, Some(1..)) => {}
            (None, Some(0)) => {
                return refuse("window", "0".to_owned(), "it is requests under way per socket");
            }
            (Some(_), Some(_)) => {
                return refuse("rate", "given with window".to_owned(), "choose one of them");
            }
            (None, None) => return refuse("rate", "missing".to_owned(), "give it, or window"),
        }
        if self.sockets == 0 {
            return refuse("sockets", "0".to_owned(), "one is the least");
        }
        let loopback_v4 = target.is_ipv4() && target.ip().is_loopback();
        if self.sources > 0 && !loopback_v4 {
            return refuse("sources", self.sources.to_string(), "only IPv4's loopback has so many addresses");
        }
        if self.sources > SOURCES_MOST {
            return refuse("sources", self.sources.to_string(), "127.0.1.1 to 127.0.255.255 are 65279");
        }
        for kind in Kind::ALL {
            let share = kind.share(&self.mix);
            if !share.is_finite() || share < 0.0 {
                return refuse("a share of the mix", share.to_string(), "it is a proportion, 0 or more");
            }
        }
        if self.mix.tailscale + self.mix.bare == 0.0 {
            return refuse("the mix", "without requests".to_owned(), "junk alone measures nothing");
        }
        Ok(())
    }
}

/// Carries out a plan. In the outcome, a request is `sent`, a right answer `delivered` (once; `duplicates` after that, and
/// `ancient` from 3 s after the request on), a wrong one `corrupt`, one to nobody's request `foreign`; what has none of them at
/// the end is `lost`. Classes are `tailscale`, `bare` and `junk`, those of them that the mix has; a flow is a socket. Junk is in
/// nothing but its class's `due` and in [`Outcome::control_frames`], where also errors of sockets and wrong answers are, by
/// name. Beforehand up to three requests ask whether a server is there.
pub fn run(plan: &StunPlan, stop: &Stop, conductor: &mut dyn Conductor) -> Result<Outcome, RunError> {
    plan.load.check(plan.target)?;
    if plan.interval.is_zero() {
        return Err(RunError::Plan("steps of the time series have no length".into()));
    }
    let transactions = Transactions::new(plan.seed);
    probe::probe(plan.target, plan.load.sources, transactions)?;
    crew::run(plan, open_sockets(plan, transactions)?, stop, conductor)
}

/// Every thread's sockets; the first socket is the first thread's, the second the second's.
fn open_sockets(plan: &StunPlan, transactions: Transactions) -> Result<Vec<Vec<Socket>>, StunError> {
    let StunLoad { sockets, sources, .. } = plan.load;
    // Where the limit stays too low, the socket that cannot be had says so.
    let _ = crate::engine::processor::raise_files_limit();
    let threads = plan.threads.clamp(1, sockets);
    let per_thread = sockets.div_ceil(threads) as usize;
    let mut shares: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::with_capacity(per_thread)).collect();
    for (index, thread) in (0..sockets).zip((0..threads as usize).cycle()) {
        shares[thread].push(Socket::open(index, plan.target, sources, per_thread, transactions)?);
    }
    Ok(shares)
}

#[cfg(test)]
mod tests;
