//! The names in a map's JSON, which reading it forgets: those nobody knows, those that come twice, and `null`s.

use std::collections::BTreeSet;
use std::fmt;

use ferry_protocol::derp_map::RegionId;
use serde::Deserializer;
use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::finding::{Code, Finding, Place};

/// A longer name is no misspelling of ours.
const NAME_BYTES_MAX: usize = 32;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Unknown and repeated names, and nodes that are `null`.
    pub(super) findings: Vec<Finding>,
    /// Regions that are `null`.
    pub(super) null_regions: BTreeSet<RegionId>,
    /// Whether `Regions` is there and not `null`.
    pub(super) has_regions: bool,
}

impl Keys {
    /// Of several `Regions` the last counts.
    fn start_regions(&mut self, has_regions: bool) {
        self.has_regions = has_regions;
        self.null_regions.clear();
    }
}

/// Looks at every name in a text that reads as a map.
pub(super) fn walk(json: &[u8]) -> Result<Keys, serde_json::Error> {
    let text = String::from_utf8_lossy(json);
    let mut keys = Keys::default();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let walk = Walk { shape: Shape::Map, place: Place::MAP, keys: &mut keys };
    walk.deserialize(&mut deserializer)?;
    Ok(keys)
}

/// What a value is in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Map,
    HomeParams,
    Scores,
    Regions,
    Region,
    Nodes,
    Node,
    /// A plain value, or one that nobody reads: not looked into, however deep it is.
    Value,
}

impl Shape {
    /// The objects whose names are fixed.
    const WITH_FIELDS: [Self; 4] = [Self::Map, Self::HomeParams, Self::Region, Self::Node];

    const fn noun(self) -> &'static str {
        match self {
            Self::Map => "the map",
            Self::HomeParams => "HomeParams",
            Self::Scores => "RegionScore",
            Self::Regions => "Regions",
            Self::Region => "a region",
            Self::Nodes => "Nodes",
            Self::Node => "a node",
            Self::Value => "a value",
        }
    }

    /// Its names, those first that a part of a name more likely means.
    const fn fields(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::Map => &[
                ("HomeParams", Self::HomeParams),
                ("Regions", Self::Regions),
                ("omitDefaultRegions", Self::Value),
            ],
            Self::HomeParams => &[("RegionScore", Self::Scores)],
            Self::Region => &[
                ("RegionID", Self::Value),
                ("RegionCode", Self::Value),
                ("RegionName", Self::Value),
                ("Latitude", Self::Value),
                ("Longitude", Self::Value),
                ("Avoid", Self::Value),
                ("NoMeasureNoHome", Self::Value),
                ("Nodes", Self::Nodes),
            ],
            Self::Node => &[
                ("Name", Self::Value),
                ("RegionID", Self::Value),
                ("HostName", Self::Value),
                ("CertName", Self::Value),
                ("IPv4", Self::Value),
                ("IPv6", Self::Value),
                ("DERPPort", Self::Value),
                ("STUNPort", Self::Value),
                ("STUNOnly", Self::Value),
                ("InsecureForTests", Self::Value),
                ("STUNTestIP", Self::Value),
                ("CanPort80", Self::Value),
            ],
            Self::Scores | Self::Regions | Self::Nodes | Self::Value => &[],
        }
    }

    /// What the value of this name is; None if nobody knows the name.
    fn value_of(self, name: &str) -> Option<Self> {
        match self {
            Self::Regions => Some(Self::Region),
            Self::Scores | Self::Nodes | Self::Value => Some(Self::Value),
            Self::Map | Self::HomeParams | Self::Region | Self::Node => {
                let mut fields = self.fields().iter();
                fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, shape)| *shape)
            }
        }
    }

    /// The name that was probably meant.
    fn nearest(self, name: &str) -> Option<&'static str> {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|letter| letter.to_ascii_lowercase())
                .collect()
        };
        let name = plain(name);
        if name.len() < 2 || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let fields = || self.fields().iter().map(|(field, _)| *field);
        let distance = |field: &str| strsim::osa_distance(&name, &plain(field));
        let misspelt = fields().map(|field| (distance(field), field)).min_by_key(|(distance, _)| *distance);
        match misspelt {
            // Two slips in a long name, one in a short one.
            Some((distance, field)) if distance <= 2 && distance * 4 <= field.len() => Some(field),
            _ => fields().find(|field| name.len() > 2 && plain(field).contains(&name)),
        }
    }
}

/// A value that is about to be read.
struct Walk<'a> {
    shape: Shape,
    place: Place,
    keys: &'a mut Keys,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.shape {
            Shape::Value => IgnoredAny::deserialize(deserializer).map(drop),
            Shape::Map
            | Shape::HomeParams
            | Shape::Scores
            | Shape::Regions
            | Shape::Region
            | Shape::Nodes
            | Shape::Node => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape.noun())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        if self.shape == Shape::Regions {
            self.keys.start_regions(false);
        }
        if self.shape == Shape::Region {
            self.keys.null_regions.extend(self.place.region);
        }
        if self.shape == Shape::Node {
            self.keys.findings.push(Finding::new(
                Code::NodeNull,
                self.place,
                "null stands among the nodes, and Tailscale's client does not survive the look at it",
                "remove it, and the comma beside it",
            ));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let shape = if self.shape == Shape::Nodes { Shape::Node } else { Shape::Value };
        for index in 0.. {
            let place = Place::node(self.place.region, "", index);
            if seq.next_element_seed(Walk { shape, place, keys: &mut *self.keys })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let first = self.keys.findings.len();
        if self.shape == Shape::Regions {
            self.keys.start_regions(true);
        }
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            // A repeated region counts as the last of them.
            let region = (self.shape == Shape::Regions).then(|| name.parse().ok().map(RegionId)).flatten();
            self.keys.null_regions.retain(|id| Some(*id) != region);
            if !seen.insert(region.map_or_else(|| name.to_ascii_lowercase(), |id| id.to_string())) {
                self.repeated(&name);
            }
            if self.shape == Shape::Node && name.eq_ignore_ascii_case("name") {
                let name = map.next_value::<Option<String>>()?;
                if let Some(name) = name.filter(|name| !name.is_empty()) {
                    self.place.node = Some(name);
                }
                continue;
            }
            let Some(shape) = self.shape.value_of(&name) else {
                self.unknown(&name);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let place = region.map_or_else(|| self.place.clone(), Place::region);
            map.next_value_seed(Walk { shape, place, keys: &mut *self.keys })?;
        }
        // A node's name may come after what is wrong with it.
        if self.shape == Shape::Node {
            self.keys.findings.iter_mut().skip(first).for_each(|finding| finding.place = self.place.clone());
        }
        Ok(())
    }

    // What reading the map has refused already, or reads as it is.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

impl Walk<'_> {
    fn repeated(&mut self, name: &str) {
        self.keys.findings.push(Finding::new(
            Code::KeyDuplicate,
            self.place.clone(),
            format!("{name:?} stands in {} more than once, and only the last counts", self.shape.noun()),
            "remove all but one, or give each its own name or number",
        ));
    }

    fn unknown(&mut self, name: &str) {
        let owner = Shape::WITH_FIELDS.into_iter().find(|shape| shape.value_of(name).is_some());
        let fix = match (self.shape.nearest(name), owner) {
            _ if self.shape == Shape::Map && name.eq_ignore_ascii_case("derpmap") => {
                "this is a policy file around a map: lint the value of derpMap alone, as in `jq .derpMap FILE | ferry map lint -`"
                    .to_owned()
            }
            (Some(field), _) => format!("did you mean {field}?"),
            (None, Some(owner)) => format!("move it into {}, where it belongs", owner.noun()),
            (None, None) => format!("remove it, or write one of {}", self.names()),
        };
        self.keys.findings.push(Finding::new(
            Code::KeyUnknown,
            self.place.clone(),
            format!(
                "nothing in {} is called {name:?}, and clients ignore it without a word",
                self.shape.noun()
            ),
            fix,
        ));
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.shape.fields().iter().map(|(field, _)| *field).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_one_is_taken_for_it() {
        for (shape, name, meant) in [
            (Shape::Node, "STUNPrt", Some("STUNPort")),
            (Shape::Node, "host_name", Some("HostName")),
            (Shape::Node, "Host", Some("HostName")),
            (Shape::Node, "Port", Some("DERPPort")),
            (Shape::Node, "insecureForTest", Some("InsecureForTests")),
            (Shape::Region, "region-id", Some("RegionID")),
            (Shape::Region, "Code", Some("RegionCode")),
            (Shape::Region, "Node", Some("Nodes")),
            (Shape::Map, "omit_default_region", Some("omitDefaultRegions")),
            (Shape::Node, "Weight", None),
            (Shape::Node, "x", None),
            (Shape::Node, "", None),
        ] {
            assert_eq!(shape.nearest(name), meant, "{name}");
        }
    }

    #[test]
    fn names_have_no_case() {
        let json = br#"{"regions":{"1":{"regionid":1,"NODES":[{"hostname":"a","CANPORT80":true}]}},"OmitDefaultRegions":false}"#;
        assert_eq!(walk(json).unwrap().findings, []);
    }

    #[test]
    fn a_node_is_called_by_its_name_even_if_that_comes_last() {
        let keys = walk(br#"{"Regions":{"1":{"Nodes":[{"x":1,"Name":"1a"},{"x":2}]}}}"#).unwrap();
        let places: Vec<_> = keys.findings.iter().map(|finding| finding.place.to_string()).collect();
        assert_eq!(places, ["region 1, node 1a", "region 1, node #2"]);
    }

    #[test]
    fn a_name_of_another_object_is_sent_there() {
        let keys = walk(br#"{"RegionScore":{},"Regions":{"1":{"CanPort80":true}}}"#).unwrap();
        let fixes: Vec<_> = keys.findings.iter().map(|finding| finding.fix.as_str()).collect();
        assert_eq!(
            fixes,
            ["move it into HomeParams, where it belongs", "move it into a node, where it belongs"]
        );
    }

    #[test]
    fn of_a_region_that_comes_twice_the_last_counts() {
        let keys = walk(br#"{"Regions":{"1":null,"01":{}}}"#).unwrap();
        assert!(keys.null_regions.is_empty());
        assert_eq!(keys.findings.len(), 1);
        let keys = walk(br#"{"Regions":{"1":{},"1":null}}"#).unwrap();
        assert_eq!(keys.null_regions, [RegionId(1)].into());
    }

    #[test]
    fn of_regions_that_come_twice_the_last_count() {
        let keys = walk(br#"{"Regions":{"1":null},"regions":{"2":null}}"#).unwrap();
        assert_eq!((keys.has_regions, keys.null_regions), (true, [RegionId(2)].into()));
        let keys = walk(br#"{"Regions":{"1":null},"Regions":null}"#).unwrap();
        assert!(!keys.has_regions && keys.null_regions.is_empty());
    }

    #[test]
    fn depth_is_of_no_interest_in_values_that_nobody_reads() {
        let json = format!("{{\"x\":{}{}}}", "[".repeat(9000), "]".repeat(9000));
        assert_eq!(walk(json.as_bytes()).unwrap().findings.len(), 1);
    }
}
