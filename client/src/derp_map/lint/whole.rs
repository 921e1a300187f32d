//! What only the whole map can tell: whether anything may be home, whether there is a spare, what comes twice.

use std::collections::BTreeMap;

use ferry_protocol::derp_map::{DerpMap, Node, RegionId};

use super::super::roles::{Excluded, RegionRole};
use super::{Code, Findings, Place};

pub(super) fn check(map: &DerpMap, roles: &[RegionRole], findings: &mut Findings) {
    if roles.is_empty() {
        findings.add(
            Code::MapEmpty,
            &Place::MAP,
            "the map has no regions, so its clients have no relay",
            "add a region; a tailnet's map is to be looked at together with the one it is laid over (--over)",
        );
        return;
    }
    homes(roles, findings);
    spares(roles, findings);
    stun(roles, findings);
    port80(map, roles, findings);
    scores(map, roles, findings);
    repeated_codes(roles, findings);
    repeated_nodes(map, findings);
}

fn homes(roles: &[RegionRole], findings: &mut Findings) {
    if roles.iter().any(RegionRole::is_home_for_some) {
        return;
    }
    let why: Vec<_> = roles
        .iter()
        .filter_map(|role| role.not_home.map(|excluded| format!("{}: {excluded}", role.region)))
        .collect();
    findings.add(
        Code::NoHome,
        &Place::MAP,
        format!("no region may be home, so nobody can be reached by relay ({})", some_of(&why)),
        "leave one region at least without NoMeasureNoHome, and with a relay in it",
    );
}

fn spares(roles: &[RegionRole], findings: &mut Findings) {
    let homes: Vec<_> = roles.iter().filter(|role| role.is_home_for_some()).collect();
    if let [only] = homes.as_slice() {
        findings.add(
            Code::SingleRegion,
            &Place::MAP,
            format!("only region {} may be home: while it is down, nobody is reached by relay", only.region),
            "add a second region on another machine, better with another provider",
        );
        return;
    }
    let relays = |role: &RegionRole| role.nodes.iter().filter(|node| node.derp_port.is_some()).count();
    let single: Vec<_> =
        homes.iter().filter(|role| relays(role) == 1).map(|role| role.region.to_string()).collect();
    let have = match single.as_slice() {
        [] => return,
        [only] => format!("region {only} has"),
        _ => format!("regions {} have", some_of(&single)),
    };
    findings.add(
        Code::SingleNode,
        &Place::MAP,
        format!("{have} a single relay: while it is down, clients at home there are not reached by relay until they have moved"),
        "nothing needs to be done; a second relay in a region helps only if the two are meshed",
    );
}

fn stun(roles: &[RegionRole], findings: &mut Findings) {
    let lacks = |role: &RegionRole| role.not_measured == Some(Excluded::NoStun);
    if roles.iter().any(|role| role.not_measured.is_none()) {
        for role in roles.iter().filter(|role| lacks(role)) {
            findings.add(
                Code::RegionWithoutStun,
                &Place::region(role.region),
                "none of the nodes that are measured (the first three) answers STUN: wherever UDP works, the region's \
                    latency stays unknown, so it is never home",
                "serve STUN on one of them and drop STUNPort -1, or mark the region NoMeasureNoHome if that is meant",
            );
        }
    } else if roles.iter().any(lacks) {
        findings.add(
            Code::NoStun,
            &Place::MAP,
            "no region answers STUN: clients do not learn their public addresses, so most pairs stay relayed, and they \
                wait for three seconds before they measure over HTTPS",
            "serve STUN (UDP port 3478) in one region at least",
        );
    }
}

/// Asked are nodes of regions that are measured and not avoided (`net/captivedetection`).
fn port80(map: &DerpMap, roles: &[RegionRole], findings: &mut Findings) {
    let asked = || {
        let roles = roles.iter().zip(map.regions.values());
        roles.filter(|(_, region)| !region.avoid && !region.no_measure_no_home).map(|(role, _)| role)
    };
    if asked().next().is_none() || asked().flat_map(|role| &role.nodes).any(|node| node.port80) {
        return;
    }
    findings.add(
        Code::NoPort80,
        &Place::MAP,
        "no node has CanPort80 and an IPv4 address: clients cannot ask a relay of yours whether they are behind a captive \
            portal, only Tailscale's own hosts",
        "serve HTTP on port 80 (/generate_204) and set CanPort80 and IPv4 on such a node",
    );
}

fn scores(map: &DerpMap, roles: &[RegionRole], findings: &mut Findings) {
    let scores = map.home_params.iter().flat_map(|params| &params.region_score).flatten();
    for (id, score) in scores {
        let place = Place::region(*id);
        if !score.is_finite() {
            findings.add(
                Code::ScoreNotFinite,
                &place,
                format!("the score {score} is no factor for a latency"),
                "write a number above 0: below 1 prefers the region, above 1 holds it back",
            );
        } else if *score <= 0.0 {
            findings.add(
                Code::ScoreNotPositive,
                &place,
                format!("the score {score} is ignored by every client, as if it were 1"),
                "write a number above 0; to keep a region from being home, mark it NoMeasureNoHome",
            );
        }
        match roles.iter().find(|role| role.region == *id) {
            None => findings.add(
                Code::ScoreUnknownRegion,
                &place,
                format!("there is a score for region {id}, which is not in the map"),
                "remove it, or correct the number",
            ),
            Some(role) if !role.is_home_for_some() => findings.add(
                Code::ScoreUnused,
                &place,
                format!("there is a score for region {id}, which is never home"),
                "remove it",
            ),
            Some(_) => {}
        }
    }
}

fn repeated_codes(roles: &[RegionRole], findings: &mut Findings) {
    let mut first: BTreeMap<&str, RegionId> = BTreeMap::new();
    for role in roles.iter().filter(|role| !role.code.is_empty()) {
        let first = *first.entry(&role.code).or_insert(role.region);
        if first != role.region {
            findings.add(
                Code::RegionCodeDuplicate,
                &Place::region(role.region),
                format!(
                    "the code {:?} is region {first}'s too: in reports nobody can tell them apart",
                    role.code
                ),
                "give it a code of its own",
            );
        }
    }
}

fn repeated_nodes(map: &DerpMap, findings: &mut Findings) {
    let mut names: BTreeMap<&str, Place> = BTreeMap::new();
    let mut endpoints: BTreeMap<_, Place> = BTreeMap::new();
    for (id, region) in &map.regions {
        for (index, node) in region.nodes.iter().enumerate() {
            let place = Place::node(Some(*id), &node.name, index);
            // A second one in the same region has the same place.
            if let Some(first) = names.get(node.name.as_str()).filter(|_| !node.name.is_empty()) {
                findings.add(
                    Code::NodeNameDuplicate,
                    &place,
                    format!("{first} has this name too, and clients send the probes of both to one of them"),
                    "give each node of the map its own name, like 900a and 900b",
                );
            }
            if let Some(first) = endpoints.get(&endpoint(node)).filter(|_| !node.host_name.is_empty()) {
                findings.add(
                    Code::EndpointDuplicate,
                    &place,
                    format!("{first} has the same host name, addresses and port: it is no spare, as it is the same relay"),
                    "remove one of the two, or correct its host name or port",
                );
            }
            names.entry(&node.name).or_insert_with(|| place.clone());
            endpoints.entry(endpoint(node)).or_insert(place);
        }
    }
}

/// What makes a node another one: several may share a host name.
fn endpoint(node: &Node) -> (String, &str, &str, bool, Option<u16>) {
    let port = if node.stun_only { node.stun_port() } else { node.derp_port() };
    (node.host_name.to_ascii_lowercase(), &node.ipv4, &node.ipv6, node.stun_only, port)
}

/// The first of them: a finding is a sentence.
fn some_of(words: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let shown: Vec<_> = words.iter().take(SHOWN_MAX).map(String::as_str).collect();
    match words.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
