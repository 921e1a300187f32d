//! What differs between two maps, and what it means for where clients are at home.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use serde::Serialize;

use super::roles::{RegionRole, roles};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind it is.
    pub change: ChangeKind,
    /// The region, by its key; None for the map as a whole.
    pub region: Option<RegionId>,
    /// The node's name.
    pub node: Option<String>,
    /// The field's name in JSON, where one changed.
    pub field: Option<&'static str>,
    /// What it was.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
    /// All of it in a sentence.
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A field of the map itself.
    MapChanged,
    /// A region that was not there.
    RegionAdded,
    /// A region that is no longer there.
    RegionRemoved,
    /// Another code or name of a region.
    RegionRenamed,
    /// Another field of a region.
    RegionChanged,
    /// A region's score.
    ScoreChanged,
    /// A node that was not there.
    NodeAdded,
    /// A node that is no longer there.
    NodeRemoved,
    /// A node of another region.
    NodeMoved,
    /// A field of a node.
    NodeChanged,
    /// The order in which a region's nodes are tried.
    NodesReordered,
    /// Clients at home in the region must go, or may.
    HomeMayLeave,
    /// Clients elsewhere may make the region their home.
    HomeMayCome,
}

/// What differs: the map's fields, then each region by number (itself, its score, its nodes), then what comes of it for
/// homes. Nothing if nothing that a client reads does.
///
/// Nodes are the same if their names are.
pub fn diff(old: &DerpMap, new: &DerpMap) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.omit_default_regions != new.omit_default_regions {
        let (from, to) = (old.omit_default_regions.to_string(), new.omit_default_regions.to_string());
        let text = match new.omit_default_regions {
            true => "the default regions are left out from now on",
            false => "the default regions are used again",
        };
        let change = changed(ChangeKind::MapChanged, None, None, "omitDefaultRegions", from, to);
        changes.push(Change { text: text.to_owned(), ..change });
    }
    let (old_nodes, new_nodes) = (nodes_by_name(old), nodes_by_name(new));
    let mut ids: Vec<RegionId> =
        old.regions.keys().chain(new.regions.keys()).chain(scored(old)).chain(scored(new)).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        regions(id, old.regions.get(&id), new.regions.get(&id), &mut changes);
        scores(id, old, new, &mut changes);
        nodes(id, &old_nodes, &new_nodes, &mut changes);
        order(id, old.regions.get(&id), new.regions.get(&id), &mut changes);
    }
    homes(&roles(old), &roles(new), &mut changes);
    changes
}

fn changed(
    change: ChangeKind,
    region: Option<RegionId>,
    node: Option<&str>,
    field: &'static str,
    from: String,
    to: String,
) -> Change {
    let text = format!("{field} {} -> {}", quoted(&from), quoted(&to));
    let node = node.map(str::to_owned);
    Change { change, region, node, field: Some(field), from: Some(from), to: Some(to), text }
}

fn plain(change: ChangeKind, region: RegionId, node: Option<&str>, text: String) -> Change {
    let node = node.map(str::to_owned);
    Change { change, region: Some(region), node, field: None, from: None, to: None, text }
}

fn quoted(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}

/// A region as people call it.
fn called(id: RegionId, region: &Region) -> String {
    match (region.region_code.as_str(), region.region_name.as_str()) {
        ("", "") => format!("region {id}"),
        ("", name) => format!("region {id} ({name})"),
        (code, "") => format!("region {id} ({code})"),
        (code, name) => format!("region {id} ({code}, {name})"),
    }
}

fn regions(id: RegionId, old: Option<&Region>, new: Option<&Region>, changes: &mut Vec<Change>) {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            let text = format!("{} is new, with {}", called(id, new), count(new.nodes.len()));
            changes.push(plain(ChangeKind::RegionAdded, id, None, text));
            return;
        }
        (Some(old), None) => {
            let text = format!("{} is gone, with {}", called(id, old), count(old.nodes.len()));
            changes.push(plain(ChangeKind::RegionRemoved, id, None, text));
            return;
        }
        (None, None) => return,
    };
    for ((field, from), (_, to)) in region_fields(old).into_iter().zip(region_fields(new)) {
        if from == to {
            continue;
        }
        let kind = match field {
            "RegionCode" | "RegionName" => ChangeKind::RegionRenamed,
            _ => ChangeKind::RegionChanged,
        };
        let change = changed(kind, Some(id), None, field, from, to);
        changes.push(Change { text: format!("{}: {}", called(id, new), change.text), ..change });
    }
}

fn count(nodes: usize) -> String {
    match nodes {
        0 => "no nodes".to_owned(),
        1 => "1 node".to_owned(),
        more => format!("{more} nodes"),
    }
}

/// What a region has besides its nodes.
fn region_fields(region: &Region) -> [(&'static str, String); 7] {
    [
        ("RegionCode", region.region_code.clone()),
        ("RegionName", region.region_name.clone()),
        ("RegionID", region.region_id.to_string()),
        ("Latitude", region.latitude.to_string()),
        ("Longitude", region.longitude.to_string()),
        ("Avoid", region.avoid.to_string()),
        ("NoMeasureNoHome", region.no_measure_no_home.to_string()),
    ]
}

/// The regions that have a score.
fn scored(map: &DerpMap) -> impl Iterator<Item = &RegionId> {
    map.region_scores().into_iter().flat_map(BTreeMap::keys)
}

fn scores(id: RegionId, old: &DerpMap, new: &DerpMap, changes: &mut Vec<Change>) {
    let (from, to) = (score_text(old, id), score_text(new, id));
    if from != to {
        let change = changed(ChangeKind::ScoreChanged, Some(id), None, "RegionScore", from, to);
        changes.push(Change { text: format!("region {id}: {}", change.text), ..change });
    }
}

/// The score as written; empty without one.
fn score_text(map: &DerpMap, id: RegionId) -> String {
    map.region_scores().and_then(|scores| scores.get(&id)).map(f64::to_string).unwrap_or_default()
}

/// A node and its region, by its name, and by how many have had that name before.
type Nodes<'a> = BTreeMap<(&'a str, usize), (RegionId, &'a Node)>;

fn nodes_by_name(map: &DerpMap) -> Nodes<'_> {
    let mut nodes = Nodes::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, region) in &map.regions {
        for node in &region.nodes {
            let before = seen.entry(&node.name).or_default();
            nodes.insert((&node.name, *before), (*id, node));
            *before += 1;
        }
    }
    nodes
}

/// The nodes that are in this region, or were and are nowhere.
fn nodes(id: RegionId, old: &Nodes<'_>, new: &Nodes<'_>, changes: &mut Vec<Change>) {
    for (name, (_, node)) in
        old.iter().filter(|(name, (region, _))| *region == id && !new.contains_key(*name))
    {
        let text = format!("region {id}: node {} ({}) is gone", quoted(name.0), quoted(&node.host_name));
        changes.push(plain(ChangeKind::NodeRemoved, id, Some(name.0), text));
    }
    for (name, (_, node)) in new.iter().filter(|(_, (region, _))| *region == id) {
        let Some((was_in, was)) = old.get(name) else {
            let text = format!("region {id}: node {} ({}) is new", quoted(name.0), quoted(&node.host_name));
            changes.push(plain(ChangeKind::NodeAdded, id, Some(name.0), text));
            continue;
        };
        if *was_in != id {
            let text = format!("node {} moved from region {was_in} to region {id}", quoted(name.0));
            let (from, to) = (Some(was_in.to_string()), Some(id.to_string()));
            changes.push(Change { from, to, ..plain(ChangeKind::NodeMoved, id, Some(name.0), text) });
        }
        for ((field, from), (_, to)) in node_fields(was).into_iter().zip(node_fields(node)) {
            // What a move says already.
            if from == to || (field == "RegionID" && *was_in != id) {
                continue;
            }
            let change = changed(ChangeKind::NodeChanged, Some(id), Some(name.0), field, from, to);
            changes.push(Change {
                text: format!("region {id}, node {}: {}", quoted(name.0), change.text),
                ..change
            });
        }
    }
}

fn node_fields(node: &Node) -> [(&'static str, String); 11] {
    [
        ("RegionID", node.region_id.to_string()),
        ("HostName", node.host_name.clone()),
        ("CertName", node.cert_name.clone()),
        ("IPv4", node.ipv4.clone()),
        ("IPv6", node.ipv6.clone()),
        ("DERPPort", node.derp_port.to_string()),
        ("STUNPort", node.stun_port.to_string()),
        ("STUNOnly", node.stun_only.to_string()),
        ("InsecureForTests", node.insecure_for_tests.to_string()),
        ("STUNTestIP", node.stun_test_ip.clone()),
        ("CanPort80", node.can_port80.to_string()),
    ]
}

/// Of the nodes that are in both.
fn order(id: RegionId, old: Option<&Region>, new: Option<&Region>, changes: &mut Vec<Change>) {
    let (Some(old), Some(new)) = (old, new) else { return };
    let names = |of: &Region, other: &Region| -> Vec<String> {
        let shared = of.nodes.iter().filter(|node| other.nodes.iter().any(|also| also.name == node.name));
        shared.map(|node| node.name.clone()).collect()
    };
    let (from, to) = (names(old, new).join(", "), names(new, old).join(", "));
    if from != to {
        let text = format!("region {id}: its nodes are tried in another order: {from} -> {to}");
        let change = plain(ChangeKind::NodesReordered, id, None, text);
        changes.push(Change { from: Some(from), to: Some(to), ..change });
    }
}

fn by_region(roles: &[RegionRole]) -> BTreeMap<RegionId, &RegionRole> {
    roles.iter().map(|role| (role.region, role)).collect()
}

/// What comes of it for where clients are at home.
fn homes(old: &[RegionRole], new: &[RegionRole], changes: &mut Vec<Change>) {
    let (old, new) = (by_region(old), by_region(new));
    let ids: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    for id in ids {
        let (was, is) = (old.get(&id), new.get(&id));
        let was_home = was.filter(|role| role.not_home.is_none());
        let is_home = is.filter(|role| role.not_home.is_none());
        let (kind, text) = match (was_home, is_home) {
            (Some(_), None) => {
                let because = is
                    .and_then(|role| role.not_home)
                    .map_or_else(|| "it is gone".to_owned(), |excluded| excluded.to_string());
                (
                    ChangeKind::HomeMayLeave,
                    format!("clients at home in region {id} must move, because {because}"),
                )
            }
            (None, Some(_)) => {
                let because = was
                    .and_then(|role| role.not_home)
                    .map_or_else(|| "it is new".to_owned(), |excluded| format!("until now {excluded}"));
                (
                    ChangeKind::HomeMayCome,
                    format!("clients near region {id} may move there, because {because}"),
                )
            }
            (Some(was), Some(is)) if was.score < is.score => (
                ChangeKind::HomeMayLeave,
                format!(
                    "clients at home in region {id} may move, because its score rose from {} to {}",
                    was.score, is.score
                ),
            ),
            (Some(was), Some(is)) if was.score > is.score => (
                ChangeKind::HomeMayCome,
                format!(
                    "clients elsewhere may move to region {id}, because its score fell from {} to {}",
                    was.score, is.score
                ),
            ),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        changes.push(plain(kind, id, None, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"HomeParams":{"RegionScore":{"900":1}},"Regions":{
        "900":{"RegionID":900,"RegionCode":"a","RegionName":"A","Nodes":[
            {"Name":"900a","RegionID":900,"HostName":"a.example.net"},
            {"Name":"900b","RegionID":900,"HostName":"b.example.net"}]},
        "901":{"RegionID":901,"RegionCode":"c","RegionName":"C","Nodes":[
            {"Name":"901a","RegionID":901,"HostName":"c.example.net"}]}}}"#;

    #[test]
    fn a_map_does_not_differ_from_itself() {
        assert_eq!(diff(&map(OLD), &map(OLD)), []);
    }

    #[test]
    fn what_no_client_reads_is_no_difference() {
        let other = OLD.replace("\"RegionName\":\"A\"", "\"x\":1,\"regionname\":\"A\"");
        assert_eq!(diff(&map(OLD), &map(&other)), []);
    }

    #[test]
    fn a_region_comes_and_goes_with_its_nodes_and_its_clients() {
        let with = map(OLD);
        let mut without = with.clone();
        without.regions.remove(&RegionId(901));
        assert_eq!(
            texts(&with, &without),
            [
                "region 901 (c, C) is gone, with 1 node",
                "region 901: node 901a (c.example.net) is gone",
                "clients at home in region 901 must move, because it is gone",
            ]
        );
        assert_eq!(
            texts(&without, &with),
            [
                "region 901 (c, C) is new, with 1 node",
                "region 901: node 901a (c.example.net) is new",
                "clients near region 901 may move there, because it is new",
            ]
        );
    }

    #[test]
    fn each_change_of_a_field_is_told_with_both_values() {
        for (before, after, texts_wanted) in [
            (r#""A""#, r#""AA""#, &["region 900 (a, AA): RegionName A -> AA"][..]),
            (
                "a.example.net",
                "z.example.net",
                &["region 900, node 900a: HostName a.example.net -> z.example.net"],
            ),
            (
                r#""HostName":"a.example.net""#,
                r#""HostName":"a.example.net","IPv4":"192.0.2.1""#,
                &["region 900, node 900a: IPv4 (none) -> 192.0.2.1"],
            ),
            (
                r#""RegionName":"C","#,
                r#""RegionName":"C","NoMeasureNoHome":true,"#,
                &[
                    "region 901 (c, C): NoMeasureNoHome false -> true",
                    "clients at home in region 901 must move, because it is marked NoMeasureNoHome",
                ],
            ),
            (
                r#"901a"#,
                r#"901z"#,
                &[
                    "region 901: node 901a (c.example.net) is gone",
                    "region 901: node 901z (c.example.net) is new",
                ],
            ),
            (
                r#"{"900":1}"#,
                r#"{"900":2,"7":1}"#,
                &[
                    "region 7: RegionScore (none) -> 1",
                    "region 900: RegionScore 1 -> 2",
                    "clients at home in region 900 may move, because its score rose from 1 to 2",
                ],
            ),
            (
                r#"{"900":1}"#,
                r#"{"900":0.5}"#,
                &[
                    "region 900: RegionScore 1 -> 0.5",
                    "clients elsewhere may move to region 900, because its score fell from 1 to 0.5",
                ],
            ),
        ] {
            assert_eq!(texts(&map(OLD), &map(&OLD.replace(before, after))), texts_wanted, "{after}");
        }
    }

    #[test]
    fn a_node_that_changes_its_region_moves() {
        let old = map(OLD);
        let mut new = old.clone();
        let mut node = new.regions.get_mut(&RegionId(900)).unwrap().nodes.remove(1);
        node.region_id = RegionId(901);
        new.regions.get_mut(&RegionId(901)).unwrap().nodes.push(node);
        assert_eq!(texts(&old, &new), ["node 900b moved from region 900 to region 901"]);
        let change = diff(&old, &new).remove(0);
        assert_eq!((change.from.as_deref(), change.to.as_deref()), (Some("900"), Some("901")));
    }

    #[test]
    fn another_order_of_nodes_is_told() {
        let old = map(OLD);
        let mut new = old.clone();
        new.regions.get_mut(&RegionId(900)).unwrap().nodes.reverse();
        assert_eq!(
            texts(&old, &new),
            ["region 900: its nodes are tried in another order: 900a, 900b -> 900b, 900a"]
        );
    }

    #[test]
    fn nodes_with_one_name_are_told_apart() {
        let twice = |host: &str| map(&OLD.replace("900b", "900a").replace("b.example.net", host));
        assert_eq!(
            texts(&twice("x.example.net"), &twice("y.example.net")),
            ["region 900, node 900a: HostName x.example.net -> y.example.net"]
        );
    }

    #[test]
    fn leaving_the_defaults_out_is_told() {
        let old = map(OLD);
        let new = DerpMap { omit_default_regions: true, ..old.clone() };
        assert_eq!(texts(&old, &new), ["the default regions are left out from now on"]);
        assert_eq!(texts(&new, &old), ["the default regions are used again"]);
    }

    #[test]
    fn json_has_every_part_by_itself() {
        let new = map(&OLD.replace("a.example.net", "z.example.net"));
        assert_eq!(
            serde_json::to_string(&diff(&map(OLD), &new)).unwrap(),
            "[{\"change\":\"node-changed\",\"region\":900,\"node\":\"900a\",\"field\":\"HostName\",\
             \"from\":\"a.example.net\",\"to\":\"z.example.net\",\
             \"text\":\"region 900, node 900a: HostName a.example.net -> z.example.net\"}]"
        );
    }

    fn map(json: &str) -> DerpMap {
        DerpMap::from_json(json.as_bytes()).unwrap()
    }

    fn texts(old: &DerpMap, new: &DerpMap) -> Vec<String> {
        diff(old, new).into_iter().map(|change| change.text).collect()
    }
}
