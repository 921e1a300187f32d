//! Which relay is examined: one named by its address, or one of a map, with the others of its region.

use anyhow::{Context as _, bail};
use ferry_client::RelayUrl;
use ferry_client::derp_map::{AddressSource, Identity, NodeRole, RegionRole, Severity, lint, roles};
use ferry_protocol::derp_map::{DerpMap, Node};

use super::finding::{Code, Finding};
use crate::cli;
use crate::source::Source;

/// What is examined.
#[derive(Debug)]
pub(super) struct Patient {
    /// The relay.
    pub(super) relay: Target,
    /// The other relays of its region.
    pub(super) others: Vec<Target>,
    /// What is wrong with the map it was found in.
    pub(super) map: Option<Finding>,
}

/// A relay, as a map describes it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The node's name in the map, or the host's.
    pub(super) name: String,
    /// Where it speaks DERP; its host is what DNS, SNI and `Host` say.
    pub(super) url: RelayUrl,
    /// Where its IPv4 address comes from.
    pub(super) ipv4: AddressSource,
    /// Where its IPv6 address comes from.
    pub(super) ipv6: AddressSource,
    /// What its certificate is checked for.
    pub(super) identity: Identity,
    /// Where it answers STUN; None if it is not asked.
    pub(super) stun_port: Option<u16>,
    /// The map says that it answers on port 80.
    pub(super) port80: bool,
}

impl Patient {
    /// Whom the command line means.
    pub(super) fn of(flags: &cli::Doctor) -> anyhow::Result<Self> {
        match &flags.derp_map {
            None => Self::at(flags),
            Some(map) => Self::in_map(&flags.relay, map),
        }
    }

    fn at(flags: &cli::Doctor) -> anyhow::Result<Self> {
        let target = |text: &str, stun_port| {
            let url = parse_url(text)?;
            let node = Node {
                name: url.authority(),
                host_name: url.host.clone(),
                cert_name: flags.cert_name.clone().unwrap_or_default(),
                derp_port: url.port.into(),
                stun_port,
                ..Node::default()
            };
            Target::of(&NodeRole::of(&node), url.secure).context("this relay is nowhere")
        };
        // As in a map: -1 is none.
        let stun_port = if flags.no_stun { -1 } else { flags.stun_port.into() };
        let others = flags.mesh.iter().map(|text| target(text, -1)).collect::<Result<_, _>>()?;
        Ok(Self { relay: target(&flags.relay, stun_port)?, others, map: None })
    }

    fn in_map(wanted: &str, source: &Source) -> anyhow::Result<Self> {
        let map = source.read_map()?;
        let regions = roles(&map);
        let Some((region, index)) = find(&regions, wanted) else {
            let names: Vec<_> = regions.iter().map(|region| region.code.as_str()).collect();
            bail!(
                "no node, region code or region number of the map is {wanted:?}; its regions are {}",
                names.join(", ")
            );
        };
        let node = region.nodes.get(index).context("the region has no relay")?;
        let relay = Target::of(node, true)
            .with_context(|| format!("node {} speaks no DERP, says the map", node.name))?;
        let others = region.nodes.iter().enumerate().filter(|(at, _)| *at != index);
        let others = others.filter_map(|(_, node)| Target::of(node, true)).collect();
        Ok(Self { relay, others, map: errors_of(&map) })
    }
}

/// The node of that name; or the first relay of the region with that code or number.
fn find<'a>(regions: &'a [RegionRole], wanted: &str) -> Option<(&'a RegionRole, usize)> {
    for region in regions {
        if let Some(index) = region.nodes.iter().position(|node| node.name == wanted) {
            return Some((region, index));
        }
    }
    let region =
        regions.iter().find(|region| region.code == wanted || region.region.to_string() == wanted)?;
    Some((region, region.nodes.iter().position(|node| node.derp_port.is_some())?))
}

fn errors_of(map: &DerpMap) -> Option<Finding> {
    let errors: Vec<_> = lint(map, Default::default())
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    let first = errors.first()?;
    Some(
        Finding::new(
            Code::MapErrors,
            format!("the map has {} of its own", plural(errors.len(), "error")),
            "read what ferry map lint says of it",
        )
        .seen(format!("{}: {}: {}", first.place, first.code, first.why)),
    )
}

impl Target {
    /// None for a node that speaks no DERP.
    fn of(node: &NodeRole, secure: bool) -> Option<Self> {
        let url = RelayUrl { secure, websocket: false, host: node.host_name.clone(), port: node.derp_port? };
        Some(Self {
            name: node.name.clone(),
            url,
            ipv4: node.ipv4,
            ipv6: node.ipv6,
            identity: node.identity.clone(),
            stun_port: node.stun_port,
            port80: node.port80,
        })
    }
}

/// A relay's address as people type it: without a scheme it is HTTPS.
fn parse_url(text: &str) -> anyhow::Result<RelayUrl> {
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url: RelayUrl = text.parse()?;
    // What is asked for is the upgrade; WebSocket is tried where that fails.
    url.websocket = false;
    Ok(url)
}

/// `1 error`, `2 errors`.
pub(super) fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_typed_as_people_do() {
        let url = |text| parse_url(text).unwrap().to_string();
        assert_eq!(url("relay.example.net"), "https://relay.example.net");
        assert_eq!(url("relay.example.net:8443"), "https://relay.example.net:8443");
        assert_eq!(url("http://[::1]:3340"), "http://[::1]:3340");
        assert_eq!(url("wss://relay.example.net"), "https://relay.example.net");
        assert!(parse_url("ftp://relay.example.net").is_err());
    }

    #[test]
    fn a_map_is_searched_by_node_code_and_number() {
        let map = DerpMap::from_json(include_bytes!("../../../../tests/data/clean_map.json")).unwrap();
        let regions = roles(&map);
        let first = &regions[0];
        let found =
            |wanted: &str| find(&regions, wanted).map(|(region, index)| region.nodes[index].name.clone());
        assert_eq!(found(&first.nodes[1].name), Some(first.nodes[1].name.clone()));
        assert_eq!(found(&first.code), Some(first.nodes[0].name.clone()));
        assert_eq!(found(&first.region.to_string()), Some(first.nodes[0].name.clone()));
        assert_eq!(found("nowhere"), None);
        assert!(errors_of(&map).is_none());
    }
}
