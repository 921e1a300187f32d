//! The report in words: what works, what does not, how that is known, and what to change.

use std::fmt;
use std::net::IpAddr;

use ferry_stun::discovery::{Filtering, Hairpin, Mapping};
use serde::Serialize;

use super::family::{Family, PerFamily};
use super::portal::Portal;
use super::report::{FamilyReport, RegionReport, Report};

/// Regions that a sentence names before it only counts.
const NAMED_MAX: usize = 3;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, but not as well as it could.
    Warning,
    /// Does not work.
    Error,
}

/// What was found, by a name that does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A captive portal answers in the relays' place.
    CaptivePortal,
    /// No relay answers in any way.
    NoRelay,
    /// Names cannot be resolved.
    NamesUnresolved,
    /// No UDP answer came, but relays answer over TCP.
    UdpBlocked,
    /// UDP works, but no relay answers over HTTPS.
    RelaysBlocked,
    /// Relays answer over HTTPS through a proxy.
    RelaysProxied,
    /// One region's relays do not answer over HTTPS, others do.
    RelayUnusable,
    /// Some regions answered nothing.
    RegionSilent,
    /// Another address for each destination.
    MappingVaries,
    /// One address for all destinations.
    MappingStable,
    /// The mapping could not be told.
    MappingUnknown,
    /// Two computers behind the same NAT cannot meet at its outside address.
    NoHairpin,
    /// The router opens ports when it is asked.
    PortMapping,
    /// There is another NAT behind the router.
    DoubleNat,
    /// The provider translates addresses too.
    SharedAddressSpace,
    /// A box on the way rewrites addresses inside packets.
    PayloadsRewritten,
    /// IPv6 works.
    Ipv6Works,
    /// There is an IPv6 route, and nothing answers.
    Ipv6Broken,
    /// IPv4 does not work, but IPv6 does.
    Ipv6Only,
    /// The network reaches IPv4 by NAT64.
    Nat64,
    /// Datagrams that answered nothing.
    StrayDatagrams,
}

/// One thing that a report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its name.
    pub code: Code,
    /// What it is.
    pub what: String,
    /// How that is known.
    pub evidence: String,
    /// What to do; None if there is nothing to do.
    pub remedy: Option<&'static str>,
}

/// Stray datagrams that are no news: answers that come twice, or late.
const STRAY_USUAL_MAX: u32 = 20;

impl Report {
    /// What the report says, the worst first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.find_obstacles(&mut findings);
        self.find_regions(&mut findings);
        for family in Family::BOTH {
            self.find_behaviour(family, &mut findings);
        }
        self.find_port_mapping(&mut findings);
        self.find_ipv6(&mut findings);
        let ignored = self.ignored;
        let strays = [ignored.malformed, ignored.unknown_transaction, ignored.from_elsewhere]
            .into_iter()
            .fold(0, u32::saturating_add);
        if strays > STRAY_USUAL_MAX {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::StrayDatagrams,
                what: "datagrams came that answer nothing".to_owned(),
                evidence: format!(
                    "{} unreadable, {} to no question, {} from elsewhere than asked",
                    ignored.malformed, ignored.unknown_transaction, ignored.from_elsewhere
                ),
                remedy: Some("they changed nothing here; somebody on this network may be guessing"),
            });
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// What keeps everything from working.
    fn find_obstacles(&self, findings: &mut Vec<Finding>) {
        if let Portal::Captive { instead_of, status, location } = &self.portal {
            let led =
                location.as_ref().map_or_else(String::new, |location| format!(" and leads to {location}"));
            findings.push(Finding {
                severity: Severity::Error,
                code: Code::CaptivePortal,
                what: "this network wants you to log in first".to_owned(),
                evidence: format!(
                    "somebody answered in place of {instead_of} with HTTP status {status}{led}"
                ),
                remedy: Some("open any http:// page in a browser and log in, then try again"),
            });
        }
        if !self.unresolved.is_empty() {
            findings.push(Finding {
                severity: Severity::Error,
                code: Code::NamesUnresolved,
                what: "host names of relays cannot be resolved".to_owned(),
                evidence: named(self.unresolved.iter().map(String::as_str)),
                remedy: Some("check this machine's DNS; a map that has the relays' addresses works without"),
            });
        }
        self.find_proxy(findings);
        let over_https = self.regions.values().filter(|region| answered_https(region) == Some(true)).count();
        let asked_https = self.regions.values().filter(|region| region.https.is_some()).count();
        if self.udp() {
            if asked_https > 0 && over_https == 0 {
                findings.push(Finding {
                    severity: Severity::Error,
                    code: Code::RelaysBlocked,
                    what: "relays answer over UDP, but no connection to them can be made".to_owned(),
                    evidence: self.https_evidence(),
                    remedy: Some("allow TCP to the relays' ports (443 unless the map says otherwise)"),
                });
            }
            return;
        }
        let asked: usize = Family::BOTH.map(|family| self.families.of(family).asked).iter().sum();
        if over_https > 0 {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::UdpBlocked,
                what: "UDP does not work here: all traffic will go through relays".to_owned(),
                evidence: format!("none of {asked} STUN questions was answered; relays answer over HTTPS"),
                remedy: Some("allow outgoing UDP, at least to port 3478 and to the ports of your peers"),
            });
        } else {
            findings.push(Finding {
                severity: Severity::Error,
                code: Code::NoRelay,
                what: "no relay can be reached".to_owned(),
                evidence: format!("none of {asked} nodes answered STUN; {}", self.https_evidence()),
                remedy: Some(
                    "check that this machine is online, and that TCP 443 to the relays is allowed, or name the proxy in HTTPS_PROXY",
                ),
            });
        }
    }

    /// Relays that are behind a proxy.
    fn find_proxy(&self, findings: &mut Vec<Finding>) {
        let answered = self.regions.values().filter_map(|region| region.https.as_ref()?.answered.as_ref());
        let proxied: Vec<_> = answered.filter(|(_, times)| times.proxied).collect();
        let Some((_, times)) = proxied.first() else { return };
        let proxy = times.remote;
        findings.push(Finding {
            severity: Severity::Warning,
            code: Code::RelaysProxied,
            what: "what goes through relays goes through a proxy too, and takes its detour".to_owned(),
            evidence: format!("{proxy} led to {}", named(proxied.iter().map(|(name, _)| name.as_str()))),
            remedy: Some("name the relays in NO_PROXY, if they can be reached without it"),
        });
    }

    /// Why relays did not answer over HTTPS.
    fn https_evidence(&self) -> String {
        let failed = self.regions.values().filter_map(|region| region.https.as_ref());
        let failed = failed.flat_map(|https| &https.failed).map(|(name, why)| format!("{name}: {why}"));
        let failed: Vec<_> = failed.collect();
        match failed.is_empty() {
            true => "no relay was asked over HTTPS".to_owned(),
            false => named(failed.iter().map(String::as_str)),
        }
    }

    /// Regions that are worse off than others.
    fn find_regions(&self, findings: &mut Vec<Finding>) {
        if !self.udp() {
            return;
        }
        let any_https = self.regions.values().any(|region| answered_https(region) == Some(true));
        for region in
            self.regions.values().filter(|region| answered_https(region) == Some(false) && any_https)
        {
            let failed = region.https.iter().flat_map(|https| &https.failed);
            let failed: Vec<_> = failed.map(|(name, why)| format!("{name}: {why}")).collect();
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::RelayUnusable,
                what: format!("{} answers over UDP, but cannot be used as a relay", region_name(region)),
                evidence: named(failed.iter().map(String::as_str)),
                remedy: Some(
                    "see whether its relay runs, and whether its certificate is the one that the map says",
                ),
            });
        }
        let was_asked = |region: &&RegionReport| {
            let exchanges = region.nodes.iter().flat_map(|node| [node.stun.ipv4, node.stun.ipv6]);
            exchanges.flatten().any(|exchange| exchange.sent > 0)
        };
        let silent: Vec<_> = self
            .regions
            .values()
            .filter(was_asked)
            .filter(|region| region.stun.ipv4.is_none() && region.stun.ipv6.is_none())
            .map(region_name)
            .collect();
        if !silent.is_empty() {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::RegionSilent,
                what: match silent.len() {
                    1 => "a region did not answer".to_owned(),
                    many => format!("{many} regions did not answer"),
                },
                evidence: named(silent.iter().map(String::as_str)),
                remedy: Some("their relays may be down, or their UDP port 3478 closed"),
            });
        }
    }

    /// What the NAT does.
    fn find_behaviour(&self, family: Family, findings: &mut Vec<Finding>) {
        let it = self.families.of(family);
        if !it.udp() {
            return;
        }
        let found = it.behaviour.known();
        let mapping = found.and_then(|found| found.mapping.known());
        let filtering = found.and_then(|found| found.filtering.known());
        let stable = mapping.map(|mapping| mapping == Mapping::EndpointIndependent);
        let evidence = behaviour_evidence(it);
        if it.mapping_varies() == Some(true) || stable == Some(false) {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::MappingVaries,
                what: format!("the NAT ({family}) shows another address to each destination: direct paths are often impossible"),
                evidence,
                remedy: Some(
                    "on the router, turn off \"symmetric NAT\" (or turn on \"static port\", \"endpoint-independent\" or \"full cone\"), \
                     or forward a port, or turn on PCP, NAT-PMP or UPnP",
                ),
            });
        } else if it.mapping_varies() == Some(false) || stable == Some(true) || it.nat() == Some(false) {
            let nat = if it.nat() == Some(false) { "there is no NAT" } else { "the NAT is friendly" };
            let firewall = match (it.nat(), filtering) {
                (Some(false), Some(Filtering::EndpointIndependent)) => ", and nothing filters",
                (_, Some(Filtering::EndpointIndependent)) => ", and lets anyone in",
                (Some(false), Some(Filtering::AddressDependent | Filtering::AddressAndPortDependent)) => {
                    ", and a firewall that lets in whom you send to"
                }
                (_, Some(Filtering::AddressDependent | Filtering::AddressAndPortDependent)) => {
                    ", and lets in whom you send to"
                }
                (_, None) => "",
            };
            findings.push(Finding {
                severity: Severity::Good,
                code: Code::MappingStable,
                what: format!("{nat} ({family}){firewall}: direct paths are possible"),
                evidence,
                remedy: None,
            });
        } else {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::MappingUnknown,
                what: format!("what the NAT ({family}) does could not be told"),
                evidence,
                remedy: Some("ask nodes at two addresses at least, or one that does RFC 5780"),
            });
        }
        let Some(found) = found else { return };
        if found.hairpin.known() == Some(Hairpin::No) {
            findings.push(Finding {
                severity: Severity::Good,
                code: Code::NoHairpin,
                what: "computers behind this NAT meet at their inside addresses only (it does not hairpin)"
                    .to_owned(),
                evidence: "datagrams to its outside address did not come back in".to_owned(),
                remedy: None,
            });
        }
        if found.shared_address_space {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::SharedAddressSpace,
                what: "the provider translates addresses too (CGNAT): ports forwarded on your own router do not reach the internet"
                    .to_owned(),
                evidence: "an address of 100.64.0.0/10 was seen".to_owned(),
                remedy: Some("ask the provider for a public address, or use IPv6"),
            });
        }
        if found.rewrites_payloads == Some(true) {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::PayloadsRewritten,
                what: "a box on the way rewrites addresses inside packets".to_owned(),
                evidence: "MAPPED-ADDRESS differs from XOR-MAPPED-ADDRESS".to_owned(),
                remedy: Some("turn off the router's application layer gateway (ALG) for STUN or SIP"),
            });
        }
    }

    /// What the router does when it is asked.
    fn find_port_mapping(&self, findings: &mut Vec<Finding>) {
        let ports = &self.port_mapping;
        let (Some(gateway), Some(true)) = (ports.gateway, ports.any()) else { return };
        let ways = [("PCP", ports.pcp), ("NAT-PMP", ports.pmp), ("UPnP", ports.upnp)];
        let ways = named(ways.into_iter().filter(|(_, works)| *works).map(|(name, _)| name));
        let global = self.families.ipv4.global.map(|global| global.ip());
        let double = ports.external.zip(global).filter(|(external, global)| IpAddr::V4(*external) != *global);
        if let Some((external, global)) = double {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::DoubleNat,
                what:
                    "there is another NAT behind the router: ports that it opens are not open to the internet"
                        .to_owned(),
                evidence: format!("the router {gateway} has {external}, and nodes see {global}"),
                remedy: Some(
                    "connect the router to the internet directly, or set one of the two to bridge mode",
                ),
            });
        } else {
            findings.push(Finding {
                severity: Severity::Good,
                code: Code::PortMapping,
                what: "the router opens ports when it is asked".to_owned(),
                evidence: format!("{gateway} answers {ways}"),
                remedy: None,
            });
        }
    }

    /// How the two families compare.
    fn find_ipv6(&self, findings: &mut Vec<Finding>) {
        let PerFamily { ipv4, ipv6 } = &self.families;
        if let Some(prefix) = self.nat64 {
            findings.push(Finding {
                severity: Severity::Good,
                code: Code::Nat64,
                what: "this network reaches IPv4 by translation (NAT64)".to_owned(),
                evidence: format!("names get addresses of {prefix}"),
                remedy: None,
            });
        }
        if ipv6.works() && !ipv4.works() {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::Ipv6Only,
                what: "only IPv6 works here: peers and relays without it cannot be reached directly"
                    .to_owned(),
                evidence: format!("{}; nothing over IPv4", answered(ipv6)),
                remedy: None,
            });
        } else if ipv6.works() {
            findings.push(Finding {
                severity: Severity::Good,
                code: Code::Ipv6Works,
                what: "IPv6 works".to_owned(),
                evidence: answered(ipv6),
                remedy: None,
            });
        } else if ipv6.can_send && ipv6.asked > 0 && ipv4.works() {
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::Ipv6Broken,
                what: "there is an IPv6 route, but nothing answers over it".to_owned(),
                evidence: format!("none of {} nodes answered", ipv6.asked),
                remedy: Some(
                    "repair IPv6 on the router, or turn it off: programs that try it first wait for nothing",
                ),
            });
        }
    }
}

/// Who answered over a family that works.
fn answered(family: &FamilyReport) -> String {
    match family.udp() {
        true => format!("{} of {} nodes answered", family.answered, family.asked),
        false => "a relay answered over HTTPS".to_owned(),
    }
}

fn behaviour_evidence(family: &FamilyReport) -> String {
    let mut said = vec![answered(family)];
    if let Some(found) = family.behaviour.known() {
        match found.mapping.reason() {
            None => said.extend(found.mapping.known().map(|it| format!("mapping {}", it.name()))),
            Some(why) => said.push(format!("mapping unknown: {why}")),
        }
        match found.filtering.reason() {
            None => said.extend(found.filtering.known().map(|it| format!("filtering {}", it.name()))),
            Some(why) => said.push(format!("filtering unknown: {why}")),
        }
    }
    let seen: Vec<_> = family.seen.iter().map(|(address, _)| address.to_string()).collect();
    said.push(format!("seen as {}", named(seen.iter().map(String::as_str))));
    said.join("; ")
}

/// Whether a region's relays answered over HTTPS; None if they were not asked.
fn answered_https(region: &RegionReport) -> Option<bool> {
    Some(region.https.as_ref()?.answered.is_some())
}

/// What people call a region.
fn region_name(region: &RegionReport) -> String {
    match (region.role.name.is_empty(), region.role.code.is_empty()) {
        (false, _) => region.role.name.clone(),
        (true, false) => region.role.code.clone(),
        (true, true) => format!("region {}", region.role.region),
    }
}

/// The first few, and how many more there are.
fn named<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<_> = all.collect();
    let first: Vec<_> = all.iter().take(NAMED_MAX).copied().collect();
    let more = all.len() - first.len();
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_as_in_json() {
        assert_eq!(Code::UdpBlocked.to_string(), "udp-blocked");
        assert_eq!(serde_json::to_string(&Code::Ipv6Only).unwrap(), "\"ipv6-only\"");
    }

    #[test]
    fn few_are_named_and_many_are_counted() {
        assert_eq!(named(["a", "b"].into_iter()), "a, b");
        assert_eq!(named(["a", "b", "c", "d", "e"].into_iter()), "a, b, c and 2 more");
    }
}
