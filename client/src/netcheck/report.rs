//! What a netcheck found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ferry_protocol::derp_map::RegionId;

use super::behaviour::Behaviour;
use super::family::{PerFamily, same_endpoint};
use super::nat64::Nat64Prefix;
use super::plan::Previous;
use super::port_mapping::PortMapping;
use super::portal::Portal;
use super::relays::HttpsOutcome;
use crate::derp_map::RegionRole;
use crate::home::{GAIN_MIN, SHARE_MAX};

/// All that a netcheck found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// All regions were asked, not only the fastest.
    pub full: bool,
    /// How long it took.
    pub took: Duration,
    /// Whether the system has IPv6 at all.
    pub os_has_ipv6: bool,
    /// What UDP does, by family.
    pub families: PerFamily<FamilyReport>,
    /// The regions of the map.
    pub regions: BTreeMap<RegionId, RegionReport>,
    /// The region to call home if no more is known than this report.
    pub preferred: Option<RegionId>,
    /// Whether a captive portal answers in the relays' place.
    pub portal: Portal,
    /// Whether the router opens ports when it is asked.
    pub port_mapping: PortMapping,
    /// The prefix under which a NAT64 has all of IPv4.
    pub nat64: Option<Nat64Prefix>,
    /// The host's own IPv4 address is that of a translator on it (464XLAT).
    pub translated_ipv4: bool,
    /// Host names of the map that could not be resolved.
    pub unresolved: Vec<String>,
    /// Datagrams that came and were no answers.
    pub ignored: Ignored,
}

impl Report {
    /// Whether a STUN answer came over any family.
    pub const fn udp(&self) -> bool {
        self.families.ipv4.udp() || self.families.ipv6.udp()
    }

    /// What [`home::Input::Report`](crate::home::Input::Report) wants to know: the latency of each region that has one.
    pub fn latencies(&self) -> Vec<(RegionId, Duration)> {
        self.regions.iter().filter_map(|(id, region)| Some((*id, region.latency?))).collect()
    }

    /// What the next incremental report wants to know.
    pub fn previous(&self) -> Previous {
        Previous { latencies: self.latencies().into_iter().collect(), ipv6: self.families.ipv6.udp() }
    }

    /// Whether two destinations see different addresses over IPv4; None if too few answered.
    pub fn mapping_varies(&self) -> Option<bool> {
        self.families.ipv4.mapping_varies()
    }

    /// The region to call home: the fastest by latency and score, but one that is home already stays unless the other is better by
    /// 10 ms and a third.
    pub(super) fn prefer(&self, home: Option<RegionId>) -> Option<RegionId> {
        let usable = |region: &RegionReport| {
            let unreachable = region.https.as_ref().is_some_and(|https| https.answered.is_none());
            region.role.is_home_for_some() && !unreachable
        };
        // Relays whose TCP is blocked are of no use; if it is blocked everywhere, latency is all that is left to go by.
        let any_usable = self.regions.values().any(|region| region.latency.is_some() && usable(region));
        let score = |region: &RegionReport| Some(region.latency?.as_secs_f64() * region.role.score);
        let candidates = self.regions.iter().filter_map(|(id, region)| {
            let wanted = if any_usable { usable(region) } else { region.role.is_home_for_some() };
            Some((region.role.avoid, score(region).filter(|_| wanted)?, *id))
        });
        let order = |a: &(bool, f64, RegionId), b: &(bool, f64, RegionId)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        };
        let Some((_, best, fastest)) = candidates.min_by(order) else { return home };
        let kept = home.and_then(|home| {
            let now = self.regions.get(&home).filter(|region| usable(region) && !region.role.avoid)?;
            let now = score(now)?;
            let better = now - best >= GAIN_MIN.as_secs_f64() && best <= now * SHARE_MAX;
            (!better).then_some(home)
        });
        Some(kept.unwrap_or(fastest))
    }
}

/// What UDP does over one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyReport {
    /// A datagram could be handed to the system: there is a route.
    pub can_send: bool,
    /// Nodes that were asked.
    pub asked: usize,
    /// Nodes that answered.
    pub answered: usize,
    /// The address of the socket here, on the way to the nodes.
    pub local: Option<SocketAddr>,
    /// Its address outside, as the first answer has it.
    pub global: Option<SocketAddr>,
    /// All addresses outside that answers had, and how many had each.
    pub seen: Vec<(SocketAddr, u32)>,
    /// Whether two of the nodes saw different addresses; None if fewer than two different nodes answered.
    pub varies: Option<bool>,
    /// A relay answered over HTTPS.
    pub https: bool,
    /// What the NAT or firewall does.
    pub behaviour: Behaviour,
}

impl FamilyReport {
    /// Whether a STUN answer came.
    pub const fn udp(&self) -> bool {
        self.answered > 0
    }

    /// Whether anything answered: STUN, or HTTPS.
    pub const fn works(&self) -> bool {
        self.udp() || self.https
    }

    /// Whether addresses are translated.
    pub fn nat(&self) -> Option<bool> {
        Some(!same_endpoint(self.local?, self.global?))
    }

    /// Whether two destinations see different addresses.
    pub fn mapping_varies(&self) -> Option<bool> {
        self.varies.or_else(|| self.behaviour.known()?.varies_by_destination)
    }
}

/// One region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionReport {
    /// What it is for.
    pub role: RegionRole,
    /// The lowest round trip over STUN; over HTTPS if no STUN answer came from anywhere.
    pub latency: Option<Duration>,
    /// The lowest round trip over STUN, by family.
    pub stun: PerFamily<Option<Duration>>,
    /// What its relays did over HTTPS; None if they were not asked.
    pub https: Option<HttpsOutcome>,
    /// Its nodes that were asked.
    pub nodes: Vec<NodeReport>,
}

/// One node that was asked over STUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// What it was asked, by family; None if it has no address of it.
    pub stun: PerFamily<Option<Exchange>>,
}

/// What one node was asked over one family, and what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Where it was asked.
    pub to: SocketAddr,
    /// Requests.
    pub sent: u32,
    /// Answers.
    pub answered: u32,
    /// The shortest time that an answer took.
    pub round_trip: Option<Duration>,
    /// Our address, as the first answer has it.
    pub mapped: Option<SocketAddr>,
}

impl Exchange {
    pub(super) const fn new(to: SocketAddr) -> Self {
        Self { to, sent: 0, answered: 0, round_trip: None, mapped: None }
    }

    pub(super) fn note_answer(&mut self, took: Duration, mapped: SocketAddr) {
        self.answered += 1;
        self.round_trip = Some(self.round_trip.map_or(took, |before| before.min(took)));
        self.mapped.get_or_insert(mapped);
    }
}

/// Datagrams that came to the sockets of a report and were no answers. A few come late; many are somebody who guesses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// No answer that can be read.
    pub malformed: u32,
    /// An answer to nothing that was asked, or to something that was answered already.
    pub unknown_transaction: u32,
    /// The answer to a request, but not from where that went.
    pub from_elsewhere: u32,
    /// A server that does not want to answer.
    pub refused: u32,
}
