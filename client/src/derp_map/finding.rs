//! One thing that is wrong with a map: where, why it matters, and what to do about it.

use std::fmt;

use ferry_protocol::derp_map::RegionId;
use serde::{Serialize, Serializer};

/// Something wrong with a map, or worth a thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is; never renamed.
    pub code: Code,
    /// How bad; follows from the code.
    pub severity: Severity,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is there and why it matters, in a sentence.
    pub why: String,
    /// What to do about it, in a sentence.
    pub fix: String,
}

impl Finding {
    pub(super) fn new(code: Code, place: Place, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), place, why: why.into(), fix: fix.into() }
    }
}

/// How bad a finding is; the worst is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work, for some clients at least.
    Error,
    /// It works otherwise than its author seems to think, or will not for long.
    Warning,
    /// It works, and could do better.
    Hint,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

/// Where in a map.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    /// The region, by its key in the map; None for the map as a whole.
    pub region: Option<RegionId>,
    /// The node's name, or `#N` for the region's Nth node where it has none.
    pub node: Option<String>,
}

impl Place {
    /// The map as a whole.
    pub(super) const MAP: Self = Self { region: None, node: None };

    pub(super) const fn region(id: RegionId) -> Self {
        Self { region: Some(id), node: None }
    }

    /// The region's node; `index` counts from 0.
    pub(super) fn node(region: Option<RegionId>, name: &str, index: usize) -> Self {
        let node = if name.is_empty() { format!("#{}", index + 1) } else { name.to_owned() };
        Self { region, node: Some(node) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.region, &self.node) {
            (None, None) => f.write_str("map"),
            (None, Some(node)) => write!(f, "node {node}"),
            (Some(region), None) => write!(f, "region {region}"),
            (Some(region), Some(node)) => write!(f, "region {region}, node {node}"),
        }
    }
}

/// The codes, each with its name, severity and meaning: one row is all that a code is.
macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $doc:literal)*) => {
        /// What kind of finding: its name is stable, for scripts and search engines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// Every code, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, in kebab case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    // The text.
    NotAMap "not-a-map" Error "The text is no JSON, or JSON that no client reads as a map."
    KeyUnknown "key-unknown" Warning "A name that no client knows: its value is ignored without a word."
    KeyDuplicate "key-duplicate" Error "A name twice in one object: the first value is lost."
    NodeNull "node-null" Error "`null` among the nodes."

    // The map as a whole.
    MapEmpty "map-empty" Error "No regions."
    NoHome "no-home" Error "No region may be home."
    NoStun "no-stun" Warning "No node of any measured region answers STUN."
    NoPort80 "no-port80" Hint "The check for captive portals has no relay to ask."
    SingleRegion "single-region" Hint "A single region may be home: no other takes over."
    SingleNode "single-node" Hint "Regions with a single relay."

    // Scores.
    ScoreNotFinite "score-not-finite" Error "A score that is no number, or infinite."
    ScoreNotPositive "score-not-positive" Warning "A score that every client ignores."
    ScoreUnknownRegion "score-unknown-region" Warning "A score for a region that is not in the map."
    ScoreUnused "score-unused" Hint "A score for a region that is never home."

    // A region.
    RegionIdInvalid "region-id-invalid" Error "A region's number that is not positive or above 2^53 - 1."
    RegionIdMismatch "region-id-mismatch" Error "A region's number that is not its key in the map."
    RegionIdNotOwn "region-id-not-own" Warning "A region of one's own outside 900 to 999."
    RegionUnnamed "region-unnamed" Hint "A region without code or name."
    RegionCodeDuplicate "region-code-duplicate" Warning "A region's code that another has too."
    RegionWithoutNodes "region-without-nodes" Error "A region without nodes."
    RegionWithoutDerp "region-without-derp" Error "A region without a relay that can be reached."
    RegionWithoutStun "region-without-stun" Warning "A measured region that cannot be measured by STUN."
    RegionAvoid "region-avoid" Warning "`Avoid`, which is deprecated and half ignored."
    PositionOutOfRange "position-out-of-range" Warning "A latitude or longitude that is not on Earth."

    // A node.
    NodeNameEmpty "node-name-empty" Error "A node without a name."
    NodeNameDuplicate "node-name-duplicate" Error "A node's name that another has too, in the whole map."
    NodeRegionMismatch "node-region-mismatch" Error "A node that says it stands in another region."
    EndpointDuplicate "endpoint-duplicate" Warning "Two nodes that are one: same host, addresses and port."
    HostNameEmpty "host-name-empty" Error "A node without a host name."
    HostNameInvalid "host-name-invalid" Error "A host name that is neither a DNS name nor an address."
    HostNameTrailingDot "host-name-trailing-dot" Warning "A host name that ends in a dot."
    HostNameUnpinned "host-name-unpinned" Warning "An address for a host name, and no pinned certificate."
    AddressInvalid "address-invalid" Error "An address field that is no address: its family is switched off."
    AddressWrongFamily "address-wrong-family" Error "An IPv6 address in `IPv4`, or the other way round."
    AddressNotPublic "address-not-public" Warning "An address that the internet does not route."
    NoAddress "no-address" Error "A node with both families switched off."
    DerpPortInvalid "derp-port-invalid" Error "A DERP port that is none."
    StunPortInvalid "stun-port-invalid" Error "A STUN port that is none, nor -1."
    StunOnlyWithoutStun "stun-only-without-stun" Error "A node for STUN only, with STUN switched off."
    CertNameInvalid "cert-name-invalid" Error "A certificate's name that no certificate can have."
    CertPinMalformed "cert-pin-malformed" Error "A pin that is not 64 hex digits."
    CertPinUpperCase "cert-pin-upper-case" Error "A pin in upper case, which never matches."
    CertNameInsecure "cert-name-insecure" Warning "A certificate's name beside `InsecureForTests`."
    InsecureForTests "insecure-for-tests" Error "A certificate that is not checked."
    StunTestIp "stun-test-ip" Error "`STUNTestIP` outside tests."
    Port80WithoutIpv4 "port80-without-ipv4" Hint "`CanPort80` without the IPv4 address it needs."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_differ() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for name in &names {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(name.bytes().all(plain), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn json_is_flat() {
        let place = Place::node(Some(RegionId(900)), "", 1);
        let finding = Finding::new(Code::NodeNameEmpty, place, "a", "b");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r##"{"code":"node-name-empty","severity":"error","region":900,"node":"#2","why":"a","fix":"b"}"##
        );
    }
}
