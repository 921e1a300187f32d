//! Whether relays answer over HTTPS, and how fast: all the latency that there is while UDP is blocked.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;

use super::names::{Found, Names};
use super::target::{Area, Target};
use super::{Family, Output, Progress};
use crate::derp_map::Identity;
use crate::dial::{Proxy, ProxyRules};

/// What one node is given: a connection, TLS and one request.
pub const HTTPS_TIME_MAX: Duration = Duration::from_millis(1500);

/// A region's next node is tried beside one that takes longer than this.
const NEXT_NODE_AFTER: Duration = Duration::from_millis(600);

/// Probes that are under way at a time at most.
const PROBES_AT_ONCE: usize = 16;

/// What is told of a failure at most, in bytes: part of it may be the server's words.
const WHY_BYTES_MAX: usize = 200;

/// One HTTPS probe of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpsId(u32);

/// Which relay to ask, and how: connect; then TLS; then `GET /derp/latency-check` on the open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsProbe {
    /// To be named with the outcome.
    pub id: HttpsId,
    /// The node's host name: for SNI and `Host`.
    pub host_name: String,
    /// What its certificate is checked for.
    pub identity: Identity,
    /// How it is connected to.
    pub way: HttpsWay,
}

/// How a relay is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpsWay {
    /// At one of these addresses, the better family first; never empty. The first that takes the connection is it, and the next one is tried
    /// beside it after a quarter of a second.
    Direct(Vec<SocketAddr>),
    /// Through a proxy, which is told the host's name and this port.
    Proxy {
        /// Through which.
        proxy: Proxy,
        /// The relay's port.
        port: u16,
    },
}

/// How long a relay took over HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpsTimes {
    /// The address that answered: the relay's, or the proxy's.
    pub remote: SocketAddr,
    /// It is the proxy's.
    pub proxied: bool,
    /// Until TCP was connected, to the relay.
    pub connect: Duration,
    /// TLS alone.
    pub tls: Duration,
    /// The request alone, on the open connection: a round trip, and what the relay takes to answer.
    pub request: Duration,
}

/// How far a probe came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpsStage {
    /// It has no address.
    Resolve,
    /// TCP.
    Connect,
    /// The proxy.
    Proxy,
    /// TLS.
    Tls,
    /// The request.
    Request,
}

impl fmt::Display for HttpsStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name",
            Self::Connect => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
            Self::Request => "HTTP",
        })
    }
}

/// Why a relay did not answer over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {why}")]
pub struct HttpsFailure {
    /// How far it came.
    pub stage: HttpsStage,
    /// What went wrong there.
    pub why: String,
}

impl HttpsFailure {
    /// A failure, told in 200 bytes at most.
    pub fn new(stage: HttpsStage, why: &impl fmt::Display) -> Self {
        let mut why = why.to_string();
        let end = (0..=WHY_BYTES_MAX.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
        why.truncate(end.unwrap_or_default());
        Self { stage, why }
    }
}

/// What a region's relays did over HTTPS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpsOutcome {
    /// The first that answered.
    pub answered: Option<(String, HttpsTimes)>,
    /// Those that did not, by name.
    pub failed: Vec<(String, HttpsFailure)>,
}

/// The HTTPS probes of a report.
#[derive(Debug)]
pub(super) struct Relays {
    /// Which are reached through a proxy.
    proxies: ProxyRules,
    pub(super) regions: Vec<RegionCheck>,
    flying: Vec<Flying>,
    asked: u32,
}

/// One region.
#[derive(Debug)]
pub(super) struct RegionCheck {
    pub(super) region: RegionId,
    /// Its relays that have not been asked, the first last.
    left: Vec<usize>,
    last_asked: Option<Instant>,
    pub(super) outcome: HttpsOutcome,
}

#[derive(Debug)]
struct Flying {
    id: HttpsId,
    target: usize,
    region: RegionId,
    since: Instant,
}

impl Relays {
    /// None is asked yet.
    pub(super) const fn new(proxies: ProxyRules) -> Self {
        Self { proxies, regions: Vec::new(), flying: Vec::new(), asked: 0 }
    }

    /// Has a region asked too.
    pub(super) fn add(&mut self, area: &Area, targets: &[Target], names: &mut Names) {
        let region = area.role.region;
        if self.regions.iter().any(|check| check.region == region) {
            return;
        }
        let is_relay = |target: &&usize| targets.get(**target).is_some_and(|node| node.derp_port.is_some());
        let left: Vec<_> = area.targets.iter().filter(is_relay).rev().copied().collect();
        let direct = left.iter().filter_map(|target| targets.get(*target));
        for node in direct.filter(|node| proxied(&self.proxies, node).is_none()) {
            names.want(node.derp.ipv4);
            names.want(node.derp.ipv6);
        }
        if !left.is_empty() {
            let outcome = HttpsOutcome::default();
            self.regions.push(RegionCheck { region, left, last_asked: None, outcome });
        }
    }

    /// Asks, and gives up what takes too long. `ipv6_first` says which family works; where that is not known, every other relay is asked over
    /// IPv6 first, so that it is known then.
    pub(super) fn step(
        &mut self,
        now: Instant,
        end: Instant,
        ipv6_first: Option<bool>,
        names: &Names,
        targets: &[Target],
        queue: &mut VecDeque<Output>,
    ) -> Progress {
        let late: Vec<_> = self.flying.iter().filter(|probe| probe.since + HTTPS_TIME_MAX <= now).collect();
        let late: Vec<_> = late.into_iter().map(|probe| probe.id).collect();
        for id in late {
            let why = format_args!("no answer within {} ms", HTTPS_TIME_MAX.as_millis());
            self.answered(id, Err(HttpsFailure::new(HttpsStage::Connect, &why)), targets);
        }
        let mut all = Progress::Settled;
        for check in &mut self.regions {
            let flying: Vec<_> = self.flying.iter().filter(|probe| probe.region == check.region).collect();
            let patient = check.last_asked.map(|at| at + NEXT_NODE_AFTER).filter(|_| !flying.is_empty());
            for probe in &flying {
                all = all.and(Progress::Until(probe.since + HTTPS_TIME_MAX));
            }
            if check.outcome.answered.is_some() || check.left.is_empty() {
                continue;
            }
            if let Some(until) = patient
                && until > now
            {
                all = all.and(Progress::Until(until));
                continue;
            }
            if self.flying.len() >= PROBES_AT_ONCE {
                all = all.and(Progress::Until(end));
                continue;
            }
            let Some(&target) = check.left.last() else { continue };
            let Some(node) = targets.get(target) else { continue };
            let way = match proxied(&self.proxies, node) {
                Some(way) => Some(way),
                None => {
                    addresses(node, ipv6_first.unwrap_or(self.asked % 2 == 1), names).map(HttpsWay::Direct)
                }
            };
            match way {
                None => all = all.and(Progress::Until(end)),
                Some(HttpsWay::Direct(addresses)) if addresses.is_empty() => {
                    check.left.pop();
                    let why = format_args!("{} could not be resolved", node.host_name);
                    let failure = HttpsFailure::new(HttpsStage::Resolve, &why);
                    check.outcome.failed.push((node.name.clone(), failure));
                    all = all.and(Progress::Until(now));
                }
                Some(way) => {
                    check.left.pop();
                    check.last_asked = Some(now);
                    let id = HttpsId(self.asked);
                    self.asked += 1;
                    self.flying.push(Flying { id, target, region: check.region, since: now });
                    let (host_name, identity) = (node.host_name.clone(), node.identity.clone());
                    queue.push_back(Output::Https(HttpsProbe { id, host_name, identity, way }));
                    let next = if check.left.is_empty() { HTTPS_TIME_MAX } else { NEXT_NODE_AFTER };
                    all = all.and(Progress::Until(now + next));
                }
            }
        }
        all
    }

    /// What came of a probe; one that was given up is not heard any more.
    pub(super) fn answered(
        &mut self,
        id: HttpsId,
        outcome: Result<HttpsTimes, HttpsFailure>,
        targets: &[Target],
    ) {
        let Some(place) = self.flying.iter().position(|probe| probe.id == id) else { return };
        let probe = self.flying.swap_remove(place);
        let Some(node) = targets.get(probe.target) else { return };
        let Some(check) = self.regions.iter_mut().find(|check| check.region == probe.region) else { return };
        let name = node.name.clone();
        match outcome {
            Ok(times) if check.outcome.answered.is_none() => check.outcome.answered = Some((name, times)),
            Ok(_) => {}
            Err(failure) => check.outcome.failed.push((name, failure)),
        }
    }

    /// Whether any relay answered over a family, and not through a proxy, of which nobody knows what it goes on with.
    pub(super) fn any_over(&self, family: Family) -> bool {
        let answered = self.regions.iter().filter_map(|check| check.outcome.answered.as_ref());
        answered.into_iter().any(|(_, times)| !times.proxied && Family::of(times.remote.ip()) == family)
    }
}

/// The way to a relay that is behind a proxy; None for one that is not.
fn proxied(proxies: &ProxyRules, node: &Target) -> Option<HttpsWay> {
    let port = node.derp_port?;
    let proxy = proxies.proxy_for(&node.host_name, port)?.clone();
    Some(HttpsWay::Proxy { proxy, port })
}

/// Where a relay is; None while its name is being resolved.
fn addresses(node: &Target, ipv6_first: bool, names: &Names) -> Option<Vec<SocketAddr>> {
    let port = node.derp_port?;
    let mut found = Vec::new();
    for family in Family::BOTH {
        match names.find(*node.derp.of(family), family) {
            Found::Pending => return None,
            Found::At(ip) => found.push(SocketAddr::new(ip, port)),
            Found::Nowhere => {}
        }
    }
    if ipv6_first {
        found.reverse();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_shortly() {
        let failure = HttpsFailure::new(HttpsStage::Tls, &"ä".repeat(500));
        assert_eq!(failure.why.len(), WHY_BYTES_MAX);
        assert_eq!(HttpsFailure::new(HttpsStage::Connect, &"refused").to_string(), "TCP: refused");
    }
}
