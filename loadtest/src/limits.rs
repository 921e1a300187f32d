//! What the tool refuses to do to others.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::server::ports;

/// Files of a process that are no clients: the program's own, timers, a page of counters.
const FILES_ASIDE: u64 = 64;
/// Where Linux says how many files there may be in all processes together.
#[cfg(target_os = "linux")]
const FILES_OF_ALL: &str = "/proc/sys/fs/file-max";
/// The most files that a process may count on where the system names no bound.
const FILES_UNBOUNDED: u64 = 1 << 20;
/// Of the ports that outgoing connections get, the share that may be used up: the kernel searches longer for the last ones.
const PORTS_SHARE: f64 = 0.9;
/// Source addresses in 127.0.0.0/16 from 127.0.1.1 on.
const SOURCES_MOST: u32 = 0xffff - 0x100;

/// The most that one command may do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Packets (or STUN requests, or connects) a second.
    pub per_second: f64,
    /// Connections at the same time.
    pub connections: u32,
    /// All runs of the command together.
    #[serde(with = "crate::seconds")]
    pub duration: Duration,
}

/// What a command is about to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Packets (or STUN requests, or connects) a second at most.
    pub per_second: f64,
    /// Connections at the same time.
    pub connections: u32,
    /// All its runs together.
    pub duration: Duration,
}

/// Why a load is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Not this machine, and not named.
    #[error("{host} is not on this machine; if you may load it, say so: --allow {host}")]
    Stranger {
        /// As it was given.
        host: String,
    },
    /// More than the limits allow.
    #[error("{what} of {wanted} is over the limit of {most}; raise it with {flag}")]
    Over {
        /// What.
        what: &'static str,
        /// How much was asked for.
        wanted: f64,
        /// How much may be.
        most: f64,
        /// The flag that raises it.
        flag: &'static str,
    },
    /// More connections than the system may have files.
    #[error(
        "{wanted} connections need {needed} files, server and clients together; the system has {most} (fs.file-max)"
    )]
    System {
        /// Connections asked for.
        wanted: u32,
        /// Files that they need.
        needed: u64,
        /// Files that there may be.
        most: u64,
    },
    /// More connections than a process may have files.
    #[error(
        "{wanted} connections need more files than the {most} that a process may have here; use --processes {processes}"
    )]
    Files {
        /// Connections asked for.
        wanted: u32,
        /// Files a process may have.
        most: u64,
        /// Processes that would do.
        processes: u32,
    },
    /// More connections than one address has ports for.
    #[error(
        "{wanted} connections need more ports than the {ports} of one source address; only a server on 127.0.0.0/8 can be asked from several"
    )]
    Ports {
        /// Connections asked for.
        wanted: u32,
        /// Ports of an address that may be used.
        ports: u32,
    },
}

impl Limits {
    /// On this machine: what no test needs more of.
    pub const LOOPBACK: Self =
        Self { per_second: 2_000_000.0, connections: 200_000, duration: Duration::from_secs(2 * 60 * 60) };
    /// Over a network: what no relay's owner minds.
    pub const ELSEWHERE: Self =
        Self { per_second: 20_000.0, connections: 2_000, duration: Duration::from_secs(10 * 60) };

    /// Those for servers at these addresses, before any flag raises them.
    pub fn for_targets<'a>(addresses: impl IntoIterator<Item = &'a SocketAddr>) -> Self {
        match addresses.into_iter().all(|address| is_loopback(address.ip())) {
            true => Self::LOOPBACK,
            false => Self::ELSEWHERE,
        }
    }

    /// Whether a command may do this.
    ///
    /// # Errors
    ///
    /// The first that is too much, and the flag that raises it.
    pub fn check(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let over = |what, wanted: f64, most: f64, flag| Err(Refusal::Over { what, wanted, most, flag });
        // Written so that what is not a number is refused as well.
        if !matches!(wanted.per_second.partial_cmp(&self.per_second), Some(Ordering::Less | Ordering::Equal))
        {
            return over("a rate per second", wanted.per_second, self.per_second, "--rate-most");
        }
        if wanted.connections > self.connections {
            let [wanted, most] = [wanted.connections, self.connections].map(f64::from);
            return over("a number of connections", wanted, most, "--connections-most");
        }
        if wanted.duration > self.duration {
            let [wanted, most] = [wanted.duration, self.duration].map(|time| time.as_secs_f64().ceil());
            return over("a time in seconds", wanted, most, "--time-most");
        }
        Ok(())
    }
}

/// Whether `host` (as given, and all its addresses) may be loaded: loopback, or named exactly by an `--allow`.
///
/// # Errors
///
/// Names the flag that allows it. A name without addresses is nobody's loopback.
pub fn may_load(host: &str, addresses: &[SocketAddr], allowed: &[String]) -> Result<(), Refusal> {
    let here = !addresses.is_empty() && addresses.iter().all(|address| is_loopback(address.ip()));
    if here || allowed.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(Refusal::Stranger { host: host.to_owned() })
}

/// 127.0.0.0/8 and ::1, and the former written as IPv6.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Raises this process' bound of open files as far as it may itself, for servers that it starts as well; returns the bound.
pub fn raise_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where the system has a lower bound of its own (macOS), the old one stays.
        let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(FILES_UNBOUNDED)
}

/// Files that a process may have here, at most.
pub fn files_most() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(FILES_UNBOUNDED)
}

/// Whether `connections` fit into so many processes of the generator. A server that is started here has as many files of its
/// own in its own process, so only the system's bound knows both.
///
/// # Errors
///
/// How many processes would do, or that none would.
pub fn check_files(connections: u32, processes: u32, server_here: bool) -> Result<(), Refusal> {
    fit(connections, processes, server_here, files_most(), files_of_all())
}

fn fit(
    connections: u32,
    processes: u32,
    server_here: bool,
    most: u64,
    of_all: Option<u64>,
) -> Result<(), Refusal> {
    let each = u64::from(connections.div_ceil(processes.max(1)));
    if each + FILES_ASIDE > most {
        let room = most.saturating_sub(FILES_ASIDE).max(1);
        let processes = u64::from(connections).div_ceil(room);
        let processes = u32::try_from(processes).unwrap_or(u32::MAX);
        return Err(Refusal::Files { wanted: connections, most, processes });
    }
    let needed = u64::from(connections) * if server_here { 2 } else { 1 };
    match of_all {
        Some(of_all) if needed > of_all => Err(Refusal::System { wanted: connections, needed, most: of_all }),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn files_of_all() -> Option<u64> {
    std::fs::read_to_string(FILES_OF_ALL).ok()?.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn files_of_all() -> Option<u64> {
    None
}

/// Source addresses for so many connections to one address and port; empty leaves it to the system, which has ports for some
/// 25,000. More than one needs a server on 127.0.0.0/8: 127.0.1.1 and on are this machine as well.
///
/// # Errors
///
/// If the server is elsewhere: then the machine's own addresses are all there are.
pub fn sources(connections: u32, server: SocketAddr) -> Result<Vec<IpAddr>, Refusal> {
    spread(connections, server, ports::ephemeral())
}

fn spread(connections: u32, server: SocketAddr, (first, last): (u16, u16)) -> Result<Vec<IpAddr>, Refusal> {
    let ports = (f64::from(last - first) + 1.0) * PORTS_SHARE;
    let needed = (f64::from(connections) / ports).ceil() as u32;
    if needed <= 1 {
        return Ok(Vec::new());
    }
    let loopback_v4 = server.is_ipv4() && is_loopback(server.ip());
    if !loopback_v4 || needed > SOURCES_MOST {
        return Err(Refusal::Ports { wanted: connections, ports: ports as u32 });
    }
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    Ok((first..first + needed).map(|address| IpAddr::V4(Ipv4Addr::from(address))).collect())
}

#[cfg(test)]
mod tests;
