//! NAT behaviour discovery: what it comes to, for people and for TCP clients.

use std::net::SocketAddr;
use std::sync::Arc;

use ferry_stun::{Alternates, AlternatesAt, PartnerChannel};
use tracing::info;

use crate::config::{Behaviour, Config, UdpListener};

/// Says which kind of RFC 5780 there is for each listener.
pub(super) fn explain(config: &Config, partner: Option<&Arc<PartnerChannel>>) {
    for listener in &config.udp {
        let listen = listener.listen;
        match (listener.behaviour, partner) {
            (Behaviour::Off, _) => {}
            (Behaviour::TwoAddresses(_), _) => {
                info!(%listen, "behaviour discovery (RFC 5780): two addresses, all tests");
            }
            (Behaviour::SecondPort(_), Some(_)) => {
                info!(
                    %listen,
                    "behaviour discovery (RFC 5780): with the partner's address, all tests while the partner is up"
                );
            }
            (Behaviour::SecondPort(_), None) => {
                info!(
                    %listen,
                    "behaviour discovery (RFC 5780): second port only; tests that need a second address are refused with 420"
                );
            }
        }
    }
    if config.udp.iter().all(|listener| listener.behaviour == Behaviour::Off) {
        info!("behaviour discovery (RFC 5780): off; --alternate turns it on");
    }
}

/// What a client of TCP on one of the listener's addresses is told about the others. `bound` are those
/// addresses, the first one first and the one with the other address and port last.
pub(super) fn alternates(
    listener: &UdpListener,
    bound: &[SocketAddr],
    partner: Option<&Arc<PartnerChannel>>,
) -> Option<AlternatesAt> {
    if listener.behaviour == Behaviour::Off {
        return None;
    }
    let (&first, &last) = (bound.first()?, bound.last()?);
    let advertise = listener.advertise;
    let partner = partner.cloned();
    Some(Arc::new(move |local: SocketAddr| {
        let (own, other) = advertise.unwrap_or_else(|| (first.ip(), last.ip()));
        let other_port = if local.port() == first.port() { last.port() } else { first.port() };
        let (asked, other_ip) = match (first.ip() == last.ip(), advertise) {
            // One address here: the partner has the other one, or nobody.
            (true, Some(_)) if own.is_ipv4() == local.is_ipv4() => (own, None),
            (true, _) => (local.ip(), None),
            (false, _) if local.ip() == first.ip() => (own, Some(other)),
            (false, _) => (other, Some(own)),
        };
        let other_ip = other_ip.or_else(|| partner.as_ref()?.address(local.is_ipv4()));
        Some(Alternates { asked: SocketAddr::new(asked, local.port()), other_port, other_ip })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        listen: &str,
        bound: &[&str],
        behaviour: Behaviour,
        advertise: Option<(&str, &str)>,
        local: &str,
    ) -> String {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let advertise = advertise.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
        let listener = UdpListener { listen: address(listen), behaviour, advertise };
        let bound: Vec<_> = bound.iter().map(|text| address(text)).collect();
        let at = alternates(&listener, &bound, None).expect("behaviour discovery is on");
        let Alternates { asked, other_port, other_ip } = at(address(local)).expect("it is on");
        format!("{asked} {other_port} {}", other_ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string()))
    }

    #[test]
    fn each_of_four_addresses_names_its_opposite() {
        let bound = ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.2:2"];
        let two = Behaviour::TwoAddresses("10.0.0.2:2".parse().unwrap());
        for (local, plain, outside) in [
            ("10.0.0.1:1", "10.0.0.1:1 2 10.0.0.2", "192.0.2.1:1 2 192.0.2.2"),
            ("10.0.0.1:2", "10.0.0.1:2 1 10.0.0.2", "192.0.2.1:2 1 192.0.2.2"),
            ("10.0.0.2:1", "10.0.0.2:1 2 10.0.0.1", "192.0.2.2:1 2 192.0.2.1"),
            ("10.0.0.2:2", "10.0.0.2:2 1 10.0.0.1", "192.0.2.2:2 1 192.0.2.1"),
        ] {
            assert_eq!(told("10.0.0.1:1", &bound, two, None, local), plain);
            assert_eq!(told("10.0.0.1:1", &bound, two, Some(("192.0.2.1", "192.0.2.2")), local), outside);
        }
    }

    #[test]
    fn a_second_port_has_no_other_address() {
        let port = Behaviour::SecondPort(2);
        assert_eq!(told("[::]:1", &["[::]:1", "[::]:2"], port, None, "10.0.0.1:2"), "10.0.0.1:2 1 -");
        let bound = ["10.0.0.1:1", "10.0.0.1:2"];
        let outside = Some(("192.0.2.1", "192.0.2.1"));
        assert_eq!(told("10.0.0.1:1", &bound, port, outside, "10.0.0.1:1"), "192.0.2.1:1 2 -");
    }
}
