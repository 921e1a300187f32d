//! The report as JSON: the names of `tailscale netcheck --format=json`, and below `Ferry` what it does not have.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferry_protocol::derp_map::RegionId;
use ferry_stun::discovery::{Filtering, Finding as Verdict, Hairpin, Mapping, Pooling, PortAllocation};
use serde::Serialize;

use super::family::PerFamily;
use super::finding::Finding;
use super::port_mapping::PortMapping;
use super::portal::Portal;
use super::relays::HttpsOutcome;
use super::report::{FamilyReport, Ignored, NodeReport, RegionReport, Report};

impl Report {
    /// The report as JSON, as of this time: Tailscale's fields with its names, order and units (nanoseconds; null is what was not
    /// checked), and `Ferry` with all else.
    pub fn to_json(&self, now: SystemTime) -> String {
        serde_json::to_string(&Tailscale::of(self, now)).expect("texts and numbers always serialize")
    }

    /// The same over several lines.
    pub fn to_json_pretty(&self, now: SystemTime) -> String {
        serde_json::to_string_pretty(&Tailscale::of(self, now)).expect("texts and numbers always serialize")
    }
}

/// `netcheck.Report` of Tailscale's client, in the order of its fields.
#[derive(Serialize)]
struct Tailscale<'a> {
    #[serde(rename = "Now")]
    now: String,
    #[serde(rename = "UDP")]
    udp: bool,
    #[serde(rename = "IPv6")]
    ipv6: bool,
    #[serde(rename = "IPv4")]
    ipv4: bool,
    #[serde(rename = "IPv6CanSend")]
    ipv6_can_send: bool,
    #[serde(rename = "IPv4CanSend")]
    ipv4_can_send: bool,
    #[serde(rename = "OSHasIPv6")]
    os_has_ipv6: bool,
    /// Never asked: HTTPS says more, and needs no privilege.
    #[serde(rename = "ICMPv4")]
    icmpv4: bool,
    #[serde(rename = "MappingVariesByDestIP")]
    mapping_varies_by_dest_ip: Option<bool>,
    #[serde(rename = "UPnP")]
    upnp: Option<bool>,
    #[serde(rename = "PMP")]
    pmp: Option<bool>,
    #[serde(rename = "PCP")]
    pcp: Option<bool>,
    #[serde(rename = "PreferredDERP")]
    preferred_derp: RegionId,
    #[serde(rename = "RegionLatency")]
    region_latency: BTreeMap<RegionId, u128>,
    #[serde(rename = "RegionV4Latency")]
    region_v4_latency: BTreeMap<RegionId, u128>,
    #[serde(rename = "RegionV6Latency")]
    region_v6_latency: BTreeMap<RegionId, u128>,
    #[serde(rename = "GlobalV4Counters")]
    global_v4_counters: BTreeMap<SocketAddr, u32>,
    #[serde(rename = "GlobalV6Counters")]
    global_v6_counters: BTreeMap<SocketAddr, u32>,
    #[serde(rename = "GlobalV4")]
    global_v4: String,
    #[serde(rename = "GlobalV6")]
    global_v6: String,
    #[serde(rename = "CaptivePortal")]
    captive_portal: Option<bool>,
    #[serde(rename = "Ferry")]
    ferry: Ferry<'a>,
}

impl<'a> Tailscale<'a> {
    fn of(report: &'a Report, now: SystemTime) -> Self {
        let PerFamily { ipv4, ipv6 } = &report.families;
        let ports = &report.port_mapping;
        let latencies = |latency: fn(&RegionReport) -> Option<Duration>| {
            let measured = report.regions.iter().filter_map(|(id, region)| Some((*id, latency(region)?)));
            measured.map(|(id, latency)| (id, latency.as_nanos())).collect()
        };
        let global = |family: &FamilyReport| family.global.map_or_else(String::new, |at| at.to_string());
        Self {
            now: rfc3339(now),
            udp: report.udp(),
            ipv6: ipv6.works(),
            ipv4: ipv4.works(),
            ipv6_can_send: ipv6.can_send,
            ipv4_can_send: ipv4.can_send,
            os_has_ipv6: report.os_has_ipv6,
            icmpv4: false,
            mapping_varies_by_dest_ip: report.mapping_varies(),
            upnp: ports.said(ports.upnp),
            pmp: ports.said(ports.pmp),
            pcp: ports.said(ports.pcp),
            preferred_derp: report.preferred.unwrap_or_default(),
            region_latency: latencies(|region| region.latency),
            region_v4_latency: latencies(|region| region.stun.ipv4),
            region_v6_latency: latencies(|region| region.stun.ipv6),
            global_v4_counters: ipv4.seen.iter().copied().collect(),
            global_v6_counters: ipv6.seen.iter().copied().collect(),
            global_v4: global(ipv4),
            global_v6: global(ipv6),
            captive_portal: report.portal.is_captive(),
            ferry: Ferry::of(report),
        }
    }
}

/// What Tailscale's report has not.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ferry<'a> {
    full: bool,
    took_ns: u128,
    findings: Vec<Finding>,
    #[serde(rename = "IPv4")]
    ipv4: Family,
    #[serde(rename = "IPv6")]
    ipv6: Family,
    regions: BTreeMap<RegionId, Region<'a>>,
    portal: PortalJson<'a>,
    port_mapping: Option<Router<'a>>,
    #[serde(rename = "NAT64Prefix")]
    nat64_prefix: Option<String>,
    #[serde(rename = "TranslatedIPv4")]
    translated_ipv4: bool,
    unresolved: &'a [String],
    ignored: IgnoredJson,
}

impl<'a> Ferry<'a> {
    fn of(report: &'a Report) -> Self {
        let Ignored { malformed, unknown_transaction, from_elsewhere, refused } = report.ignored;
        Self {
            full: report.full,
            took_ns: report.took.as_nanos(),
            findings: report.findings(),
            ipv4: Family::of(&report.families.ipv4),
            ipv6: Family::of(&report.families.ipv6),
            regions: report.regions.iter().map(|(id, region)| (*id, Region::of(region))).collect(),
            portal: PortalJson::of(&report.portal),
            port_mapping: Router::of(&report.port_mapping),
            nat64_prefix: report.nat64.map(|prefix| prefix.to_string()),
            translated_ipv4: report.translated_ipv4,
            unresolved: &report.unresolved,
            ignored: IgnoredJson { malformed, unknown_transaction, from_elsewhere, refused },
        }
    }
}

/// One family. What is not known is null, with the reason in `…Why`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Family {
    local: Option<SocketAddr>,
    asked: usize,
    answered: usize,
    #[serde(rename = "HTTPS")]
    https: bool,
    #[serde(rename = "NAT")]
    nat: Option<bool>,
    mapping: Option<&'static str>,
    mapping_why: Option<String>,
    filtering: Option<&'static str>,
    filtering_why: Option<String>,
    hairpin: Option<bool>,
    hairpin_why: Option<String>,
    port_allocation: Option<&'static str>,
    port_step: Option<u16>,
    port_allocation_why: Option<String>,
    pooling: Option<&'static str>,
    rewrites_payloads: Option<bool>,
    shared_address_space: Option<bool>,
    classic_name: Option<&'static str>,
    direct_with: Option<&'static str>,
    judged_by: Option<SocketAddr>,
}

impl Family {
    fn of(family: &FamilyReport) -> Self {
        let found = family.behaviour.known();
        let not_discovered = match &family.behaviour {
            super::Behaviour::Unknown(why) => Some(why.to_string()),
            super::Behaviour::Discovered(_) => None,
        };
        let why = |reason: Option<String>| reason.or_else(|| not_discovered.clone());
        let mapping = found.map(|found| found.mapping);
        let filtering = found.map(|found| found.filtering);
        let hairpin = found.map(|found| found.hairpin);
        let ports = found.map(|found| found.port_allocation);
        Self {
            local: family.local,
            asked: family.asked,
            answered: family.answered,
            https: family.https,
            nat: family.nat(),
            mapping: known(mapping).map(Mapping::name),
            mapping_why: why(unknown(mapping)),
            filtering: known(filtering).map(Filtering::name),
            filtering_why: why(unknown(filtering)),
            hairpin: known(hairpin).map(|hairpin| hairpin != Hairpin::No),
            hairpin_why: why(unknown(hairpin)),
            port_allocation: known(ports).map(PortAllocation::name),
            port_step: known(ports).and_then(PortAllocation::step),
            port_allocation_why: why(unknown(ports)),
            pooling: found.and_then(|found| found.pooling).map(Pooling::name),
            rewrites_payloads: found.and_then(|found| found.rewrites_payloads),
            shared_address_space: found.map(|found| found.shared_address_space),
            classic_name: found.and_then(|found| found.classic_name()),
            direct_with: found.map(|found| found.direct_with()),
            judged_by: found.map(|found| found.server),
        }
    }
}

fn known<T>(verdict: Option<Verdict<T>>) -> Option<T> {
    verdict.and_then(Verdict::known)
}

fn unknown<T>(verdict: Option<Verdict<T>>) -> Option<String> {
    Some(verdict?.reason()?.to_string())
}

/// One region.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Region<'a> {
    code: &'a str,
    name: &'a str,
    not_measured: Option<String>,
    not_home: Option<String>,
    #[serde(rename = "HTTPS")]
    https: Option<Https<'a>>,
    nodes: Vec<Node<'a>>,
}

impl<'a> Region<'a> {
    fn of(region: &'a RegionReport) -> Self {
        let role = &region.role;
        Self {
            code: &role.code,
            name: &role.name,
            not_measured: role.not_measured.map(|why| why.to_string()),
            not_home: role.not_home.map(|why| why.to_string()),
            https: region.https.as_ref().map(Https::of),
            nodes: region.nodes.iter().map(Node::of).collect(),
        }
    }
}

/// A region's relays over HTTPS.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Https<'a> {
    answered: bool,
    node: Option<&'a str>,
    remote: Option<SocketAddr>,
    proxied: bool,
    connect_ns: Option<u128>,
    #[serde(rename = "TLSNs")]
    tls_ns: Option<u128>,
    request_ns: Option<u128>,
    failed: BTreeMap<&'a str, String>,
}

impl<'a> Https<'a> {
    fn of(https: &'a HttpsOutcome) -> Self {
        let answered = https.answered.as_ref();
        Self {
            answered: answered.is_some(),
            node: answered.map(|(name, _)| name.as_str()),
            remote: answered.map(|(_, times)| times.remote),
            proxied: answered.is_some_and(|(_, times)| times.proxied),
            connect_ns: answered.map(|(_, times)| times.connect.as_nanos()),
            tls_ns: answered.map(|(_, times)| times.tls.as_nanos()),
            request_ns: answered.map(|(_, times)| times.request.as_nanos()),
            failed: https.failed.iter().map(|(name, why)| (name.as_str(), why.to_string())).collect(),
        }
    }
}

/// One node.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node<'a> {
    name: &'a str,
    #[serde(rename = "IPv4")]
    ipv4: Option<Exchange>,
    #[serde(rename = "IPv6")]
    ipv6: Option<Exchange>,
}

/// What a node was asked and answered.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Exchange {
    to: SocketAddr,
    sent: u32,
    answered: u32,
    latency_ns: Option<u128>,
    mapped: Option<SocketAddr>,
}

impl<'a> Node<'a> {
    fn of(node: &'a NodeReport) -> Self {
        let exchange = |exchange: super::Exchange| {
            let super::Exchange { to, sent, answered, round_trip, mapped } = exchange;
            Exchange { to, sent, answered, latency_ns: round_trip.map(|took| took.as_nanos()), mapped }
        };
        Self { name: &node.name, ipv4: node.stun.ipv4.map(exchange), ipv6: node.stun.ipv6.map(exchange) }
    }
}

/// The captive portal.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "Verdict", rename_all_fields = "PascalCase")]
enum PortalJson<'a> {
    NotChecked,
    NoAnswer { asked: usize },
    Clear { by: SocketAddr },
    Captive { instead_of: SocketAddr, status: u16, location: Option<&'a str> },
}

impl<'a> PortalJson<'a> {
    fn of(portal: &'a Portal) -> Self {
        match portal {
            Portal::NotChecked => Self::NotChecked,
            Portal::NoAnswer { asked } => Self::NoAnswer { asked: *asked },
            Portal::Clear { by } => Self::Clear { by: *by },
            Portal::Captive { instead_of, status, location } => {
                Self::Captive { instead_of: *instead_of, status: *status, location: location.as_deref() }
            }
        }
    }
}

/// The router that was asked to open ports.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Router<'a> {
    gateway: Ipv4Addr,
    external: Option<Ipv4Addr>,
    location: Option<&'a str>,
}

impl<'a> Router<'a> {
    fn of(ports: &'a PortMapping) -> Option<Self> {
        let gateway = ports.gateway?;
        Some(Self { gateway, external: ports.external, location: ports.location.as_deref() })
    }
}

/// Datagrams that were no answers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IgnoredJson {
    malformed: u32,
    unknown_transaction: u32,
    from_elsewhere: u32,
    refused: u32,
}

/// A time as Go writes it, in UTC; a time before 1970 counts as its start.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The date so many days after 1970-01-01. Years are counted from March, so that the leap day is the last.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let at = |seconds, micros: u32| rfc3339(UNIX_EPOCH + Duration::new(seconds, micros * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(at(1_709_251_199, 999_999), "2024-02-29T23:59:59.999999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }
}
