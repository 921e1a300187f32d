//! The DERP map: which relays there are, in JSON that Tailscale's own programs read and write.
//!
//! Written with Go's names, order, omissions and numbers, byte for byte except that `<`, `>` and
//! `&` stand as they are. Read with Go's tolerance, whatever the names' case, so that the
//! all-lower-case names of headscale's YAML fit too.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::go_json::{self, GoStruct, set, skip};

/// The port of STUN where a node names none.
pub const STUN_PORT_DEFAULT: u16 = 3478;
/// The port of DERP over TLS where a node names none.
pub const DERP_PORT_DEFAULT: u16 = 443;

/// All relays, by region.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DerpMap {
    /// A change of how the home region is chosen; None for no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_params: Option<HomeParams>,
    /// The regions by their number.
    #[serde(serialize_with = "by_text")]
    pub regions: BTreeMap<RegionId, Region>,
    /// Use only these regions and none of Tailscale's own.
    #[serde(rename = "omitDefaultRegions", skip_serializing_if = "is_false")]
    pub omit_default_regions: bool,
}

impl DerpMap {
    /// The map in a JSON text.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::from_slice(json)
    }

    /// What each region's latency is multiplied by, where the map says so; None if it leaves that as it was.
    pub fn region_scores(&self) -> Option<&BTreeMap<RegionId, f64>> {
        self.home_params.as_ref()?.region_score.as_ref()
    }

    /// Compact JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialize")
    }
}

/// A region's number: positive, at most 2^53 - 1, and 900 to 999 for one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub i64);

impl RegionId {
    /// Whether the number is one that a map may have; reading accepts any, like Go.
    pub const fn is_valid(self) -> bool {
        self.0 > 0 && self.0 < 1 << 53
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the home region is chosen.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HomeParams {
    /// A factor for a region's latency: below 1 makes it more likely home, missing is 1, zero and
    /// less are ignored. None leaves all as they were, an empty map sets all to 1.
    #[serde(skip_serializing_if = "no_scores", serialize_with = "scores_by_text")]
    pub region_score: Option<BTreeMap<RegionId, f64>>,
}

/// Relays near each other, which pass packets on among themselves.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Region {
    /// The region's number, as in the map.
    #[serde(rename = "RegionID")]
    pub region_id: RegionId,
    /// A short name: `nyc`.
    pub region_code: String,
    /// A long name: `New York City`.
    pub region_name: String,
    /// Degrees north, 0 if unknown.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "float")]
    pub latitude: f64,
    /// Degrees east, 0 if unknown.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "float")]
    pub longitude: f64,
    /// Deprecated in favour of the next; understood in different ways by different versions.
    #[serde(skip_serializing_if = "is_false")]
    pub avoid: bool,
    /// Never measure this region and never make it home; still use it to reach its peers.
    #[serde(skip_serializing_if = "is_false")]
    pub no_measure_no_home: bool,
    /// The nodes, in the order in which this client shall prefer them.
    pub nodes: Vec<Node>,
}

/// One relay, or STUN server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Unique in the whole map (`900a`), and no host name.
    pub name: String,
    /// The region it stands in.
    #[serde(rename = "RegionID")]
    pub region_id: RegionId,
    /// Its DNS name or address; need not be unique.
    pub host_name: String,
    /// The name its certificate is checked for, if not the host name; or `sha256-raw:` and 64 hex
    /// digits, the hash of the certificate itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_name: String,
    /// Empty: ask DNS. No IPv4 address (by custom `none`): do not use IPv4.
    #[serde(rename = "IPv4", skip_serializing_if = "String::is_empty")]
    pub ipv4: String,
    /// Empty: ask DNS. No IPv6 address (by custom `none`): do not use IPv6.
    #[serde(rename = "IPv6", skip_serializing_if = "String::is_empty")]
    pub ipv6: String,
    /// 0 for 3478, -1 for no STUN.
    #[serde(rename = "STUNPort", skip_serializing_if = "is_zero")]
    pub stun_port: i64,
    /// It does not speak DERP.
    #[serde(rename = "STUNOnly", skip_serializing_if = "is_false")]
    pub stun_only: bool,
    /// 0 for 443.
    #[serde(rename = "DERPPort", skip_serializing_if = "is_zero")]
    pub derp_port: i64,
    /// Do not check its certificate; for tests.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_for_tests: bool,
    /// Where its STUN is if elsewhere; for tests.
    #[serde(rename = "STUNTestIP", skip_serializing_if = "String::is_empty")]
    pub stun_test_ip: String,
    /// It answers HTTP on port 80, for the captive portal check.
    #[serde(skip_serializing_if = "is_false")]
    pub can_port80: bool,
}

impl Node {
    /// The port of its STUN; None where it has none, or a number that is no port.
    pub fn stun_port(&self) -> Option<u16> {
        port(self.stun_port, STUN_PORT_DEFAULT)
    }

    /// The port of its DERP; None where the number is no port.
    pub fn derp_port(&self) -> Option<u16> {
        port(self.derp_port, DERP_PORT_DEFAULT)
    }
}

impl GoStruct for DerpMap {
    const NAME: &'static str = "DERPMap";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "homeparams" => self.home_params = map.next_value()?,
            "regions" => {
                let regions: Option<BTreeMap<RegionKey, Option<Region>>> = map.next_value()?;
                let known = regions.into_iter().flatten();
                self.regions = known.filter_map(|(key, region)| Some((key.0, region?))).collect();
            }
            "omitdefaultregions" => set(&mut self.omit_default_regions, map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl GoStruct for HomeParams {
    const NAME: &'static str = "DERPHomeParams";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "regionscore" => {
                let scores: Option<BTreeMap<RegionKey, Option<f64>>> = map.next_value()?;
                // Go reads a null score as 0, which is then ignored like any 0.
                let or_zero = |(key, score): (RegionKey, Option<f64>)| (key.0, score.unwrap_or_default());
                self.region_score = scores.map(|scores| scores.into_iter().map(or_zero).collect());
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl GoStruct for Region {
    const NAME: &'static str = "DERPRegion";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "regionid" => set(&mut self.region_id, map),
            "regioncode" => set(&mut self.region_code, map),
            "regionname" => set(&mut self.region_name, map),
            "latitude" => set(&mut self.latitude, map),
            "longitude" => set(&mut self.longitude, map),
            "avoid" => set(&mut self.avoid, map),
            "nomeasurenohome" => set(&mut self.no_measure_no_home, map),
            "nodes" => {
                let nodes: Option<Vec<Option<Node>>> = map.next_value()?;
                self.nodes = nodes.into_iter().flatten().flatten().collect();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

impl GoStruct for Node {
    const NAME: &'static str = "DERPNode";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => set(&mut self.name, map),
            "regionid" => set(&mut self.region_id, map),
            "hostname" => set(&mut self.host_name, map),
            "certname" => set(&mut self.cert_name, map),
            "ipv4" => set(&mut self.ipv4, map),
            "ipv6" => set(&mut self.ipv6, map),
            "stunport" => set(&mut self.stun_port, map),
            "stunonly" => set(&mut self.stun_only, map),
            "derpport" => set(&mut self.derp_port, map),
            "insecurefortests" => set(&mut self.insecure_for_tests, map),
            "stuntestip" => set(&mut self.stun_test_ip, map),
            "canport80" => set(&mut self.can_port80, map),
            _ => skip(map),
        }
    }
}

impl<'de> Deserialize<'de> for DerpMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for HomeParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

/// A region's number as a name in an object: a decimal text in JSON, a number in YAML.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RegionKey(RegionId);

impl<'de> Deserialize<'de> for RegionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RegionKeyVisitor)
    }
}

struct RegionKeyVisitor;

impl Visitor<'_> for RegionKeyVisitor {
    type Value = RegionKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a region number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RegionKey, E> {
        // Like Go's, this takes `01` and `+1`.
        let number = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(RegionKey(RegionId(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RegionKey, E> {
        Ok(RegionKey(RegionId(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RegionKey, E> {
        i64::try_from(number).map(|number| RegionKey(RegionId(number))).map_err(E::custom)
    }
}

/// Go sorts the numbers of a map as texts: 10 stands before 2.
fn by_text<S: Serializer, V: Serialize>(
    map: &BTreeMap<RegionId, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let by_text: BTreeMap<String, &V> = map.iter().map(|(id, value)| (id.to_string(), value)).collect();
    by_text.serialize(serializer)
}

fn scores_by_text<S: Serializer>(
    scores: &Option<BTreeMap<RegionId, f64>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let scores = scores.iter().flatten().map(|(id, score)| (*id, Float(*score)));
    by_text(&scores.collect(), serializer)
}

fn no_scores(scores: &Option<BTreeMap<RegionId, f64>>) -> bool {
    scores.as_ref().is_none_or(BTreeMap::is_empty)
}

/// A number as Go writes it: whole ones without a point.
struct Float(f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        float(&self.0, serializer)
    }
}

fn float<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Up to here every whole number is exact in both types.
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return serializer.serialize_i64(*number as i64);
    }
    serializer.serialize_f64(*number)
}

fn port(number: i64, default: u16) -> Option<u16> {
    if number == 0 {
        return Some(default);
    }
    u16::try_from(number).ok()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_zero_float(number: &f64) -> bool {
    *number == 0.0
}
