//! What the network here can do: which relays answer and how fast, whether UDP passes, what the NAT does, and who stands in
//! the way.
//!
//! [`Netcheck`] is one check as a state machine: it has no socket, no clock and no randomness. Poll it, do what its [`Output`] says, tell
//! it what happens ([`Input`]), until it is [done](Output::Done) with a [`Report`], which [says in words](Report::findings) what works,
//! what does not, and what to change.
#![cfg_attr(feature = "net", doc = "[`Checker`] gives it sockets and time.")]
//!
//! # What is asked
//!
//! - **STUN**, as a Tailscale client asks, so that derper answers too. In a [full report](Scope::Full) each region's first
//!   [three nodes](NODES_MAX) over IPv4 and IPv6, all from one socket of each family, and again until they answer, the first node five times within
//!   1.2 s; then once more, and the shorter time counts. In an [incremental one](Scope::Incremental) the home and the three regions that were fastest, by their first node and, if that is silent,
//!   their next.
//! - **The NAT or firewall**, once a node has answered: a node with two addresses (OTHER-ADDRESS, RFC 5780) is asked everything, and without one
//!   several nodes are compared. See [`ferry_stun::discovery`].
//! - **Relays over HTTPS**: without a STUN answer for half a second all of them, since that is then the only latency there is;
//!   else the three fastest and the home, for a relay that answers STUN may still be out of TCP's reach.
//! - **A captive portal**: relays that the map marks are asked for `/generate_204` with a challenge that only they can answer.
//! - **The router**, if it is known: whether it opens ports by PCP, NAT-PMP or UPnP. None is opened.
//! - **NAT64**: whether the network translates IPv4 (RFC 7050).
//!
//! # When it ends
//!
//! [`Output::Nearest`] comes after two round trips of the home (without one, of the nearest region): who is nearer has answered by then.
//! The report comes when all has been answered or given up, or [enough regions](Config::enough_regions) have answered and the
//! rest has had its time; a full one takes about 2 s where a NAT's silence has to be listened to, and [2.9 s](REPORT_TIME_MAX) at most
//! whatever happens.
//!
//! # What differs from Tailscale's client
//!
//! A lost datagram costs it a region (three tries in 200 ms), and home with it; here the home is waited for, and tries go on for 1.2 s.
//! It stops at a region's first answer, so with one region it never learns that the mapping varies; here every node counts, but only
//! one at another address can say that it does not vary. It takes an answer from anywhere if the transaction ID fits; here it has to
//! come from where the question went. It reports a TCP-blocked relay as the nearest; here the [preferred](Report::preferred) one has answered over
//! HTTPS, if it was asked. Without any STUN answer it needs 3 s before it tries HTTPS; here that is half a second.
//!
//! # Bounds
//!
//! [`REGIONS_MAX`] regions of three nodes, 4,096 requests, 64 outside addresses, 32 lookups and 16 HTTPS probes at a time. Datagrams that answer
//! nothing are [counted](Report::ignored) and change nothing.

mod behaviour;
#[cfg(feature = "net")]
mod checker;
mod family;
mod finding;
mod json;
mod machine;
mod names;
mod nat64;
mod plan;
mod port_mapping;
mod portal;
mod relays;
mod report;
mod rounds;
mod stun;
mod target;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;
use ferry_stun::discovery;

use crate::dial::ProxyRules;

pub use behaviour::{Behaviour, NotDiscovered};
#[cfg(feature = "net")]
pub use checker::{CheckError, Checker, default_gateway};
pub use family::{Family, PerFamily};
pub use finding::{Code, Finding, Severity};
pub use machine::Netcheck;
pub use names::{LOOKUP_TIME_MAX, LOOKUPS_AT_ONCE, LookupId};
pub use nat64::{IPV4_ONLY_HOST, Nat64Prefix};
pub use plan::Previous;
pub use port_mapping::PortMapping;
pub use portal::{PORTAL_AFTER, PORTAL_TIME_MAX, Portal, PortalAnswer, PortalId, PortalProbe};
pub use relays::{
    HTTPS_TIME_MAX, HttpsFailure, HttpsId, HttpsOutcome, HttpsProbe, HttpsStage, HttpsTimes, HttpsWay,
};
pub use report::{Exchange, FamilyReport, Ignored, NodeReport, RegionReport, Report};
pub use rounds::Rounds;

/// A report is done by then, whatever is still unknown.
pub const REPORT_TIME_MAX: Duration = Duration::from_millis(2900);

/// Who checks again and again asks all regions as often as this, and in between the fastest: Tailscale's interval.
pub const FULL_EVERY: Duration = Duration::from_secs(5 * 60);

/// Regions of a map that are asked, those of the lowest numbers.
pub const REGIONS_MAX: usize = 256;

/// Nodes of a region that are asked, the first ones, as Tailscale's client does.
pub const NODES_MAX: usize = crate::derp_map::MEASURED_NODES_MAX;

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Everything, or what may have changed.
    pub scope: Scope,
    /// The home so far: it is measured whatever else is, and stays the preferred region unless another is clearly better.
    pub home: Option<RegionId>,
    /// When so many regions have answered, the others are not waited for much longer.
    pub enough_regions: usize,
    /// Find out in a full report what the NAT does.
    pub behaviour: bool,
    /// Ask the fastest relays over HTTPS even where UDP works.
    pub relays: bool,
    /// Look for a captive portal in a full report even where UDP works.
    pub portal: bool,
    /// Look in a full report for NAT64, with a lookup of [`IPV4_ONLY_HOST`].
    pub nat64: bool,
    /// The router that a full report asks whether it opens ports; None if it is not known, and nobody is to be asked.
    pub gateway: Option<Ipv4Addr>,
    /// Which relays are reached through a proxy, and so asked over HTTPS.
    pub proxies: ProxyRules,
    /// Whether the system has IPv6 at all; only reported.
    pub os_has_ipv6: bool,
}

impl Config {
    /// A full report for a client that looks for its home: three regions are enough.
    pub const fn full(home: Option<RegionId>) -> Self {
        let scope = Scope::Full;
        Self {
            scope,
            home,
            enough_regions: 3,
            behaviour: true,
            relays: true,
            portal: false,
            nat64: true,
            gateway: None,
            proxies: ProxyRules::none(),
            os_has_ipv6: true,
        }
    }

    /// An incremental report for a client that looks after its home.
    pub const fn incremental(home: Option<RegionId>, previous: Previous) -> Self {
        let scope = Scope::Incremental(previous);
        Self {
            scope,
            home,
            enough_regions: 3,
            behaviour: false,
            relays: false,
            portal: false,
            nat64: false,
            gateway: None,
            proxies: ProxyRules::none(),
            os_has_ipv6: true,
        }
    }

    /// A full report for a person: everything is asked and waited for.
    pub fn complete() -> Self {
        Self { enough_regions: usize::MAX, portal: true, ..Self::full(None) }
    }
}

/// How much is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every region, and what the NAT does.
    Full,
    /// The home, and the regions that were fastest.
    Incremental(Previous),
}

/// One of a report's sockets, each bound to a port that the system picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketId {
    /// That from which all nodes of a family are asked. A client whose peers are to use what is learned takes the socket that it
    /// talks to them with.
    Data(Family),
    /// One of those that are there to find out what the NAT does.
    Behaviour(Family, discovery::SocketId),
    /// That from which the router is asked, of IPv4.
    PortMapping,
}

impl SocketId {
    /// Which family it is of.
    pub const fn family(self) -> Family {
        match self {
            Self::Data(family) | Self::Behaviour(family, _) => family,
            Self::PortMapping => Family::Ipv4,
        }
    }
}

/// The first word: who is nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest {
    /// The region that answered fastest.
    pub region: RegionId,
    /// Its round trip.
    pub latency: Duration,
    /// It was measured over UDP; else over HTTPS, because UDP is silent so far.
    pub udp: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a UDP socket of the socket's family (IPv6 without IPv4), and answer with [`Input::Opened`] or [`Input::OpenFailed`].
    Open {
        /// Which.
        socket: SocketId,
        /// Where will be sent to first: the way there decides the host's own address.
        toward: SocketAddr,
    },
    /// Send a datagram; if the system does not take it, say so with [`Input::Unsendable`]. A firewall of the host itself that
    /// swallows it (EPERM on Linux) is no reason: that is a loss like any other.
    Send {
        /// From which socket.
        socket: SocketId,
        /// Where to.
        to: SocketAddr,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// Resolve a host name, both families, and answer with [`Input::Resolved`].
    Resolve {
        /// To be named with the answer.
        lookup: LookupId,
        /// The name.
        host: String,
    },
    /// Ask a relay over HTTPS, and answer with [`Input::Https`].
    Https(HttpsProbe),
    /// Ask a relay over HTTP, and answer with [`Input::Portal`].
    Portal(PortalProbe),
    /// The first word. It comes once, or never if nobody answers.
    Nearest(Nearest),
    /// Nothing to do before this time, which is later than now, or the next input.
    Wait(Instant),
    /// The report. Sockets can be closed, and whatever is under way can be dropped.
    Done(Box<Report>),
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// A socket is open.
    Opened {
        /// Which.
        socket: SocketId,
        /// Its address here: that of the way to where it will send, not an unspecified one.
        local: SocketAddr,
    },
    /// A socket could not be opened.
    OpenFailed {
        /// Which.
        socket: SocketId,
    },
    /// A datagram came.
    Datagram {
        /// To which socket.
        socket: SocketId,
        /// From where.
        from: SocketAddr,
        /// Its bytes.
        datagram: &'a [u8],
    },
    /// The system did not take a datagram: there is no route.
    Unsendable {
        /// From which socket.
        socket: SocketId,
    },
    /// A name has these addresses; none if it could not be resolved.
    Resolved {
        /// Which.
        lookup: LookupId,
        /// Those that matter are few: 16 are looked at.
        addresses: &'a [IpAddr],
    },
    /// What came of an HTTPS probe.
    Https {
        /// Which.
        probe: HttpsId,
        /// The times, or why there are none.
        outcome: Result<HttpsTimes, HttpsFailure>,
    },
    /// What came of a captive-portal probe.
    Portal {
        /// Which.
        probe: PortalId,
        /// The answer; None if nobody answered, or not in HTTP.
        answer: Option<PortalAnswer>,
    },
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing to do any more.
    Settled,
    /// Nothing to do before this time or the next input.
    Until(Instant),
}

impl Progress {
    /// That of two parts together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Until(one), Self::Until(other)) => Self::Until(one.min(other)),
            (Self::Settled, other) => other,
            (one, Self::Settled) => one,
        }
    }
}
