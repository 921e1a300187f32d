//! What a client uses each region and each node for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::HEXLOWER;
use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use serde::{Serialize, Serializer};

/// How many nodes of a region netcheck asks: its three tries go to the first three in turn (`makeProbePlanInitial`).
pub const MEASURED_NODES_MAX: usize = 3;

/// What stands before a pinned certificate's hash in `CertName`.
const PIN_PREFIX: &str = "sha256-raw:";

/// What a region is for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionRole {
    /// Its key in the map.
    pub region: RegionId,
    /// Its short name.
    pub code: String,
    /// Its long name.
    pub name: String,
    /// What its latency is multiplied by before regions are compared.
    pub score: f64,
    /// Why its latency is not measured by STUN; None if it is.
    pub not_measured: Option<Excluded>,
    /// Why it is not made home; None if it may be. While UDP is blocked altogether, latency is measured over HTTPS, and
    /// [`Excluded::NoStun`] is no obstacle.
    pub not_home: Option<Excluded>,
    /// Marked `Avoid`: measured over STUN in full reports all the same, and then it may be home.
    pub avoid: bool,
    /// Its nodes, in the order in which they are tried.
    pub nodes: Vec<NodeRole>,
}

impl RegionRole {
    fn of(map: &DerpMap, id: RegionId, region: &Region) -> Self {
        let nodes: Vec<_> = region.nodes.iter().map(NodeRole::of).collect();
        let not_measured = if region.no_measure_no_home {
            Some(Excluded::NoMeasureNoHome)
        } else if nodes.is_empty() {
            Some(Excluded::NoNodes)
        } else if !nodes.iter().take(MEASURED_NODES_MAX).any(|node| node.stun_port.is_some()) {
            Some(Excluded::NoStun)
        } else {
            None
        };
        let has_derp = nodes.iter().any(|node| node.derp_port.is_some());
        let not_home = match not_measured {
            // Without a relay it is not home even while UDP is blocked.
            None | Some(Excluded::NoStun) if !has_derp => Some(Excluded::NoDerp),
            other => other,
        };
        Self {
            region: id,
            code: region.region_code.clone(),
            name: region.region_name.clone(),
            score: region_score(map, id),
            not_measured,
            not_home,
            avoid: region.avoid,
            nodes,
        }
    }

    /// Whether some client may call it home: with UDP, or without.
    pub fn is_home_for_some(&self) -> bool {
        matches!(self.not_home, None | Some(Excluded::NoStun))
    }
}

/// Why a region is not measured, or not made home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excluded {
    /// The map says so.
    NoMeasureNoHome,
    /// It has no nodes.
    NoNodes,
    /// None of the nodes that are asked has STUN.
    NoStun,
    /// It has no relay. Tailscale's client does not look, goes there all the same, and cannot connect.
    NoDerp,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMeasureNoHome => f.write_str("it is marked NoMeasureNoHome"),
            Self::NoNodes => f.write_str("it has no nodes"),
            Self::NoStun => write!(f, "none of its first {MEASURED_NODES_MAX} nodes answers STUN"),
            Self::NoDerp => f.write_str("none of its nodes is a relay that can be reached"),
        }
    }
}

/// What a node is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeRole {
    /// Its name.
    pub name: String,
    /// Its host name.
    pub host_name: String,
    /// Where it speaks DERP over TLS; None if it does not, or cannot be reached.
    pub derp_port: Option<u16>,
    /// Where it answers STUN over UDP; None if it does not, or cannot be reached.
    pub stun_port: Option<u16>,
    /// Where its IPv4 address comes from.
    pub ipv4: AddressSource,
    /// Where its IPv6 address comes from.
    pub ipv6: AddressSource,
    /// What its certificate is checked for.
    pub identity: Identity,
    /// It is asked, over HTTP, whether there is a captive portal.
    pub port80: bool,
}

impl NodeRole {
    /// What this node is for.
    pub fn of(node: &Node) -> Self {
        let (ipv4, ipv6) = AddressSource::of(node);
        let is_reachable = ipv4 != AddressSource::Off || ipv6 != AddressSource::Off;
        // STUN in tests has an address of its own.
        let has_stun_address = is_reachable || !node.stun_test_ip.is_empty();
        Self {
            name: node.name.clone(),
            host_name: node.host_name.clone(),
            derp_port: node.derp_port().filter(|_| is_reachable && !node.stun_only),
            stun_port: node.stun_port().filter(|_| has_stun_address),
            port80: node.can_port80 && matches!(ipv4, AddressSource::Literal(_)) && !node.ipv4.is_empty(),
            ipv4,
            ipv6,
            identity: Identity::of(node),
        }
    }
}

/// Where a node's address of one family comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressSource {
    /// The family is not used.
    Off,
    /// DNS is asked for the host name.
    Dns,
    /// The map has it.
    Literal(IpAddr),
}

impl AddressSource {
    /// Those of both families. A field that is neither empty nor an address switches its family off, and a host name
    /// that is an address has no other (`dialNode`).
    fn of(node: &Node) -> (Self, Self) {
        let (ipv4, ipv6) = match node.host_name.parse() {
            Ok(ip @ IpAddr::V4(_)) => (Self::Literal(ip), Self::Off),
            Ok(ip @ IpAddr::V6(_)) => (Self::Off, Self::Literal(ip)),
            Err(_) if node.host_name.is_empty() => (Self::Off, Self::Off),
            Err(_) => (Self::Dns, Self::Dns),
        };
        let literal = |ip: Option<IpAddr>| ip.map_or(Self::Off, Self::Literal);
        (
            if node.ipv4.is_empty() { ipv4 } else { literal(parse_ipv4(&node.ipv4).map(IpAddr::V4)) },
            if node.ipv6.is_empty() { ipv6 } else { literal(parse_ipv6(&node.ipv6).map(IpAddr::V6)) },
        )
    }
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Dns => f.write_str("dns"),
            Self::Literal(ip) => ip.fmt(f),
        }
    }
}

impl Serialize for AddressSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

/// The address without its zone, which Go takes too.
pub(super) fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    let address =
        text.split_once('%').filter(|(_, zone)| !zone.is_empty()).map_or(text, |(address, _)| address);
    address.parse().ok()
}

/// What a node's certificate is checked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// Its host name, and a chain to a root.
    HostName,
    /// This name, and a chain to a root; the host name is sent as SNI.
    CertName(String),
    /// Being the one with this SHA-256, for the host name unless that is an address, and valid today.
    Pinned(#[serde(serialize_with = "hex")] [u8; 32]),
    /// A pin that nothing matches: no connection is ever made.
    Malformed,
    /// Nothing, for tests.
    Unchecked,
}

impl Identity {
    /// A `CertName` is checked even where `InsecureForTests` is set (`tlsClient`).
    fn of(node: &Node) -> Self {
        match pinned_sha256(&node.cert_name) {
            Some(Ok(sha256)) => Self::Pinned(sha256),
            Some(Err(_)) => Self::Malformed,
            None if !node.cert_name.is_empty() => Self::CertName(node.cert_name.clone()),
            None if node.insecure_for_tests => Self::Unchecked,
            None => Self::HostName,
        }
    }
}

fn hex<S: Serializer>(sha256: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&HEXLOWER.encode(sha256))
}

/// Why a pin is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Too long or too short.
    #[error("it has {got} characters after {PIN_PREFIX}, want 64")]
    Length {
        /// How many it has.
        got: usize,
    },
    /// Something that is no hex digit.
    #[error("it has characters that are no hex digits")]
    Digit,
    /// Hex digits in upper case: Go compares texts, and its own is in lower case.
    #[error(
        "it has hex digits in upper case, and Tailscale's client compares the text with one in lower case"
    )]
    UpperCase,
}

/// The SHA-256 of the one certificate that a `CertName` pins; None if it is a name.
pub fn pinned_sha256(cert_name: &str) -> Option<Result<[u8; 32], PinError>> {
    cert_name.strip_prefix(PIN_PREFIX).map(parse_pin)
}

fn parse_pin(digits: &str) -> Result<[u8; 32], PinError> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(PinError::Digit);
    }
    if digits.len() != 64 {
        return Err(PinError::Length { got: digits.len() });
    }
    let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| PinError::UpperCase)?;
    bytes.try_into().map_err(|_| PinError::Length { got: digits.len() })
}

/// What a region's latency is multiplied by: below 1 it is preferred. Without a score it is 1, and a score that is not
/// above 0 is ignored (`addReportHistoryAndSetPreferredDERP`).
pub fn region_score(map: &DerpMap, region: RegionId) -> f64 {
    let score = map.region_scores().and_then(|scores| scores.get(&region)).copied();
    score.filter(|score| *score > 0.0).unwrap_or(1.0)
}

/// What each region is for, by number.
pub fn roles(map: &DerpMap) -> Vec<RegionRole> {
    map.regions.iter().map(|(id, region)| RegionRole::of(map, *id, region)).collect()
}

#[cfg(test)]
mod tests {
    use ferry_protocol::derp_map::HomeParams;

    use super::*;

    #[test]
    fn a_missing_score_is_1_and_one_that_is_not_above_0_is_ignored() {
        let scores = [(1, 0.5), (2, 0.0), (3, -1.0), (4, f64::NAN), (5, 3.0)];
        let region_score_of = scores.into_iter().map(|(id, score)| (RegionId(id), score)).collect();
        let params = HomeParams { region_score: Some(region_score_of) };
        let map = DerpMap { home_params: Some(params), ..DerpMap::default() };
        let scores: Vec<_> = (1..=6).map(|id| region_score(&map, RegionId(id))).collect();
        assert_eq!(scores, [0.5, 1.0, 1.0, 1.0, 3.0, 1.0]);
        assert_eq!(region_score(&DerpMap::default(), RegionId(1)), 1.0);
    }

    #[test]
    fn a_region_is_measured_by_its_first_three_nodes() {
        let node = |stun_port| Node { stun_port, ..relay() };
        let silent = || node(-1);
        assert_eq!(excluded(vec![silent(), silent(), node(0)]), (None, None));
        let fourth = vec![silent(), silent(), silent(), node(0)];
        assert_eq!(excluded(fourth), (Some(Excluded::NoStun), Some(Excluded::NoStun)));
        assert_eq!(excluded(vec![]), (Some(Excluded::NoNodes), Some(Excluded::NoNodes)));
    }

    #[test]
    fn a_region_is_home_only_with_a_relay_that_can_be_reached() {
        for node in [
            Node { stun_only: true, ..relay() },
            Node { derp_port: 65_536, ..relay() },
            Node { stun_only: true, stun_port: -1, ..relay() },
        ] {
            assert_eq!(excluded(vec![node.clone()]).1, Some(Excluded::NoDerp), "{node:?}");
            assert_eq!(excluded(vec![node, relay()]), (None, None));
        }
        let unreachable = Node { ipv4: "none".to_owned(), ipv6: "none".to_owned(), ..relay() };
        assert_eq!(excluded(vec![unreachable]), (Some(Excluded::NoStun), Some(Excluded::NoDerp)));
    }

    #[test]
    fn without_stun_a_region_is_home_only_while_udp_is_blocked() {
        let nodes = vec![Node { stun_port: -1, ..relay() }];
        let map = map_of(Region { nodes, ..Region::default() });
        let role = &roles(&map)[0];
        assert_eq!(role.not_home, Some(Excluded::NoStun));
        assert!(role.is_home_for_some());
        let marked = Region { no_measure_no_home: true, nodes: vec![relay()], ..Region::default() };
        assert!(!roles(&map_of(marked))[0].is_home_for_some());
    }

    #[test]
    fn a_field_that_is_no_address_switches_its_family_off() {
        let sources = |host: &str, ipv4: &str, ipv6: &str| {
            let (host_name, ipv4, ipv6) = (host.to_owned(), ipv4.to_owned(), ipv6.to_owned());
            let role = NodeRole::of(&Node { host_name, ipv4, ipv6, ..Node::default() });
            (role.ipv4.to_string(), role.ipv6.to_string())
        };
        let pair = |ipv4: &str, ipv6: &str| (ipv4.to_owned(), ipv6.to_owned());
        assert_eq!(sources("a.example.net", "", ""), pair("dns", "dns"));
        assert_eq!(sources("a.example.net", "192.0.2.1", "none"), pair("192.0.2.1", "off"));
        assert_eq!(sources("a.example.net", "2001:db8::1", "192.0.2.1"), pair("off", "off"));
        assert_eq!(sources("a.example.net", "", "fe80::1%eth0"), pair("dns", "fe80::1"));
        assert_eq!(sources("192.0.2.1", "", ""), pair("192.0.2.1", "off"));
        assert_eq!(sources("2001:db8::1", "", ""), pair("off", "2001:db8::1"));
        assert_eq!(sources("", "", ""), pair("off", "off"));
    }

    #[test]
    fn a_pin_is_64_hex_digits_in_lower_case() {
        let pin = |digits: &str| pinned_sha256(&format!("sha256-raw:{digits}"));
        assert_eq!(pin(&"0a".repeat(32)), Some(Ok([10; 32])));
        assert_eq!(pin(&"0A".repeat(32)), Some(Err(PinError::UpperCase)));
        assert_eq!(pin("0a"), Some(Err(PinError::Length { got: 2 })));
        assert_eq!(pin(&"0g".repeat(32)), Some(Err(PinError::Digit)));
        assert_eq!(pinned_sha256("front.example.net"), None);
    }

    #[test]
    fn a_name_is_checked_even_where_tests_ask_for_nothing() {
        let identity = |cert_name: &str, insecure_for_tests| {
            Identity::of(&Node { cert_name: cert_name.to_owned(), insecure_for_tests, ..Node::default() })
        };
        assert_eq!(identity("", false), Identity::HostName);
        assert_eq!(identity("", true), Identity::Unchecked);
        assert_eq!(identity("front.example.net", true), Identity::CertName("front.example.net".to_owned()));
        assert_eq!(identity("sha256-raw:0", false), Identity::Malformed);
    }

    /// A node that serves DERP and STUN.
    fn relay() -> Node {
        Node { host_name: "relay.example.net".to_owned(), ..Node::default() }
    }

    fn map_of(region: Region) -> DerpMap {
        DerpMap { regions: [(RegionId(900), region)].into(), ..DerpMap::default() }
    }

    /// Why a region of these nodes is not measured, and why not home.
    fn excluded(nodes: Vec<Node>) -> (Option<Excluded>, Option<Excluded>) {
        let role = roles(&map_of(Region { nodes, ..Region::default() })).remove(0);
        (role.not_measured, role.not_home)
    }
}
