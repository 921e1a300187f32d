//! The nodes of a map that are asked, and where they are.

use ferry_protocol::derp_map::{DerpMap, Node, RegionId};

use super::names::{Names, Source};
use super::{Family, NODES_MAX, PerFamily, REGIONS_MAX};
use crate::derp_map::{AddressSource, Excluded, Identity, NodeRole, RegionRole, roles};

/// A region that is asked.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) role: RegionRole,
    /// Its first nodes, at most [`NODES_MAX`], by their places among the targets; none if it is not to be measured.
    pub(super) targets: Vec<usize>,
}

/// A node that is asked.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) region: RegionId,
    pub(super) name: String,
    pub(super) host_name: String,
    pub(super) stun_port: Option<u16>,
    pub(super) derp_port: Option<u16>,
    /// Where its STUN is.
    pub(super) stun: PerFamily<Source>,
    /// Where its DERP is.
    pub(super) derp: PerFamily<Source>,
    pub(super) identity: Identity,
    /// It answers HTTP on port 80.
    pub(super) port80: bool,
}

impl Target {
    fn new(region: RegionId, node: &Node, role: &NodeRole, names: &mut Names) -> Self {
        let mut source = |source: AddressSource| match source {
            AddressSource::Off => Source::Off,
            AddressSource::Dns => Source::Name(names.add(&role.host_name)),
            AddressSource::Literal(ip) => Source::Literal(ip),
        };
        let derp = PerFamily { ipv4: source(role.ipv4), ipv6: source(role.ipv6) };
        let stun = match node.stun_test_ip.parse() {
            // STUN in tests has an address of its own, and then no other.
            Ok(ip) => PerFamily::from_fn(|family| match Family::of(ip) == family {
                true => Source::Literal(ip),
                false => Source::Off,
            }),
            Err(_) => derp,
        };
        Self {
            region,
            name: role.name.clone(),
            host_name: role.host_name.clone(),
            stun_port: role.stun_port,
            derp_port: role.derp_port,
            stun,
            derp,
            identity: role.identity.clone(),
            port80: node.can_port80,
        }
    }
}

/// All that a report may ask: the regions of the lowest numbers, and the first nodes of each.
pub(super) fn targets(map: &DerpMap, names: &mut Names) -> (Vec<Area>, Vec<Target>) {
    let mut targets = Vec::new();
    let areas = roles(map).into_iter().take(REGIONS_MAX).map(|role| {
        let nodes = map.regions.get(&role.region).map(|region| region.nodes.as_slice()).unwrap_or_default();
        let first = targets.len();
        // Nobody looks up, or asks, what the map wants left alone.
        let asked = if role.not_measured == Some(Excluded::NoMeasureNoHome) { 0 } else { NODES_MAX };
        for (node, node_role) in nodes.iter().zip(&role.nodes).take(asked) {
            targets.push(Target::new(role.region, node, node_role, names));
        }
        Area { targets: (first..targets.len()).collect(), role }
    });
    let areas = areas.collect();
    (areas, targets)
}
