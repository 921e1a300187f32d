//! This relay as clients find it: its node in a DERP map, and a map of it alone.

use data_encoding::HEXLOWER;
use ferry_protocol::derp_map::{DERP_PORT_DEFAULT, DerpMap, Node, Region, RegionId, STUN_PORT_DEFAULT};

use crate::config::Hostname;

/// The first of the numbers that are for relays of one's own.
const REGION: RegionId = RegionId(900);
/// Where clients look for captive portals; there is no field for another port.
const HTTP_PORT: u16 = 80;

/// What a map says of this relay.
#[derive(Debug)]
pub(crate) struct OwnNode<'a> {
    /// What clients reach it by.
    pub(crate) hostname: &'a Hostname,
    /// The SHA-256 of its certificate; None without TLS of its own.
    pub(crate) certificate: Option<[u8; 32]>,
    /// Where it speaks DERP; without TLS of its own that is the proxy's to say, and 443.
    pub(crate) derp_port: u16,
    /// Where it answers STUN; None if it does not.
    pub(crate) stun_port: Option<u16>,
    /// Where it serves plain HTTP; None if it does not.
    pub(crate) http_port: Option<u16>,
}

impl OwnNode<'_> {
    /// Its node. By an address its certificate is trusted by its hash, by a name through its authority. The usual ports are
    /// left out, and addresses: which of its own are reached from outside, a relay does not know.
    pub(crate) fn node(&self) -> Node {
        let pin = self.certificate.filter(|_| self.hostname.ip().is_some());
        let derp_port = if self.certificate.is_some() { self.derp_port } else { DERP_PORT_DEFAULT };
        Node {
            name: "custom".to_owned(),
            region_id: REGION,
            host_name: self.hostname.to_string(),
            cert_name: pin
                .map(|sha256| format!("sha256-raw:{}", HEXLOWER.encode(&sha256)))
                .unwrap_or_default(),
            stun_port: match self.stun_port {
                // No STUN.
                None => -1,
                Some(STUN_PORT_DEFAULT) => 0,
                Some(port) => port.into(),
            },
            derp_port: if derp_port == DERP_PORT_DEFAULT { 0 } else { derp_port.into() },
            can_port80: self.http_port == Some(HTTP_PORT),
            ..Node::default()
        }
    }
}

/// A whole map, ready for a control plane or `derpprobe`, in which a relay has a region to itself.
pub(crate) fn alone(node: Node) -> DerpMap {
    let id = node.region_id;
    let region = Region {
        region_id: id,
        region_code: "ferry".to_owned(),
        region_name: "Ferry".to_owned(),
        nodes: vec![node],
        ..Region::default()
    };
    DerpMap { regions: [(id, region)].into(), ..DerpMap::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(hostname: &str, change: impl Fn(&mut OwnNode<'_>)) -> String {
        let hostname = Hostname::parse(hostname).unwrap();
        let mut own = OwnNode {
            hostname: &hostname,
            certificate: Some([7; 32]),
            derp_port: 443,
            stun_port: Some(3478),
            http_port: None,
        };
        change(&mut own);
        serde_json::to_string(&own.node()).unwrap()
    }

    #[test]
    fn by_an_address_the_certificate_is_pinned() {
        let pin = "07".repeat(32);
        assert_eq!(
            json("2001:db8::1", |_| {}),
            format!(
                r#"{{"Name":"custom","RegionID":900,"HostName":"2001:db8::1","CertName":"sha256-raw:{pin}"}}"#
            )
        );
    }

    #[test]
    fn by_a_name_it_is_trusted_through_its_authority() {
        assert_eq!(
            json("relay.example.net", |own| own.http_port = Some(80)),
            r#"{"Name":"custom","RegionID":900,"HostName":"relay.example.net","CanPort80":true}"#
        );
    }

    #[test]
    fn unusual_ports_are_told_and_those_of_a_proxy_are_not_ours_to_tell() {
        let unusual = |own: &mut OwnNode<'_>| {
            (own.derp_port, own.stun_port, own.http_port) = (8443, None, Some(8080));
        };
        let text = json("relay.example.net", unusual);
        assert!(text.ends_with(r#","STUNPort":-1,"DERPPort":8443}"#), "{text}");
        let behind = json("relay.example.net", |own| (own.derp_port, own.certificate) = (3340, None));
        assert!(!behind.contains("DERPPort"), "{behind}");
    }

    #[test]
    fn a_map_of_it_alone_is_one_that_clients_read() {
        let hostname = Hostname::parse("relay.example.net").unwrap();
        let own = OwnNode {
            hostname: &hostname,
            certificate: None,
            derp_port: 1,
            stun_port: Some(7),
            http_port: None,
        };
        let map = alone(own.node());
        assert_eq!(DerpMap::from_json(map.to_json().as_bytes()).unwrap(), map);
        assert_eq!(map.regions[&REGION].nodes[0].stun_port, 7);
    }
}
