//! One relay to be dialled.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::derp_map::{AddressSource, Identity, NodeRole, RegionRole};
use crate::{RelayUrl, TlsError, node_config};

/// One relay: where it is, how it is spoken to, and how it proves that it is the one.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The node's name in the map, or the relay's URL.
    pub node: String,
    /// How it is spoken to.
    pub url: RelayUrl,
    /// Where its IPv4 address comes from.
    pub ipv4: AddressSource,
    /// Where its IPv6 address comes from.
    pub ipv6: AddressSource,
    /// The node that the client would rather be on, if not this one (`Ideal-Node`).
    pub ideal_node: Option<String>,
    /// What its certificate is checked for.
    pub identity: Identity,
    /// Made once, so that tickets of an earlier connection are used.
    pub(super) tls: Result<Option<Arc<ClientConfig>>, TlsError>,
}

impl Endpoint {
    /// The relays of a region in the order in which they are tried; without those that are none, or cannot be reached.
    pub fn of_region(region: &RegionRole, roots: &Arc<RootCertStore>) -> Vec<Self> {
        let ideal = region.nodes.first().map(|node| node.name.clone());
        let nodes = region.nodes.iter().filter_map(|node| Self::of_node(node, ideal.as_deref(), roots));
        nodes.collect()
    }

    fn of_node(node: &NodeRole, ideal: Option<&str>, roots: &Arc<RootCertStore>) -> Option<Self> {
        let url =
            RelayUrl { secure: true, websocket: false, host: node.host_name.clone(), port: node.derp_port? };
        let tls = node_config(&node.identity, roots, true).map(Some);
        Some(Self {
            node: node.name.clone(),
            url,
            ipv4: node.ipv4,
            ipv6: node.ipv6,
            ideal_node: ideal.filter(|ideal| *ideal != node.name).map(str::to_owned),
            identity: node.identity.clone(),
            tls,
        })
    }

    /// The relay of a URL.
    pub fn of_url(url: &RelayUrl, identity: Identity, roots: &Arc<RootCertStore>) -> Self {
        let (ipv4, ipv6) = match url.host.parse() {
            Ok(ip @ IpAddr::V4(_)) => (AddressSource::Literal(ip), AddressSource::Off),
            Ok(ip @ IpAddr::V6(_)) => (AddressSource::Off, AddressSource::Literal(ip)),
            Err(_) => (AddressSource::Dns, AddressSource::Dns),
        };
        let tls = if url.secure { node_config(&identity, roots, true).map(Some) } else { Ok(None) };
        Self { node: url.to_string(), url: url.clone(), ipv4, ipv6, ideal_node: None, identity, tls }
    }

    /// Whether a connection to one is a connection to the other.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.node, &self.url, self.ipv4, self.ipv6, &self.identity)
            == (&other.node, &other.url, other.ipv4, other.ipv6, &other.identity)
    }

    /// Whether DNS has to be asked.
    pub(super) fn needs_dns(&self) -> bool {
        self.ipv4 == AddressSource::Dns || self.ipv6 == AddressSource::Dns
    }

    /// Where it is, given what DNS knows.
    pub(super) fn addresses(&self, resolved: &[IpAddr]) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for (source, is_ipv6) in [(self.ipv6, true), (self.ipv4, false)] {
            match source {
                AddressSource::Off => {}
                AddressSource::Literal(ip) => addresses.push(ip),
                AddressSource::Dns => {
                    addresses.extend(resolved.iter().filter(|ip| super::is_ipv6(ip) == is_ipv6));
                }
            }
        }
        addresses
    }
}
