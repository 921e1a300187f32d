//! The addresses and ports of a server (RFC 5780 section 6.1): one, two or four, and what clients are told of them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::UdpConfig;
use crate::responder::Origin;

/// Which of the server's transport addresses: the first or the second address, the first or the second port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) second_ip: bool,
    pub(super) second_port: bool,
}

impl Place {
    /// How many there can be.
    pub(super) const COUNT: usize = 4;

    /// The place that an answer leaves from, if this one was asked.
    pub(super) const fn seen_from(self, origin: Origin) -> Self {
        Self {
            second_ip: self.second_ip != origin.other_ip,
            second_port: self.second_port != origin.other_port,
        }
    }

    /// Its number.
    pub(super) const fn index(self) -> usize {
        self.second_ip as usize * 2 + self.second_port as usize
    }
}

/// What to bind, checked to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) first: SocketAddr,
    pub(super) second_port: Option<u16>,
    /// Only with a second port.
    pub(super) second_ip: Option<IpAddr>,
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error)]
enum Contradiction {
    #[error(
        "the alternate address {alternate} is of another family than {listen}; give one of the same family, and each \
         family a server of its own"
    )]
    Families { listen: SocketAddr, alternate: SocketAddr },
    #[error("the alternate port is {0}, the listening port itself; give another port (RFC 5780 needs two)")]
    SamePort(u16),
    #[error(
        "{listen} stands for every address, so {alternate} is none beside it; listen on one address, or give an \
         alternate port alone"
    )]
    Wildcard { listen: SocketAddr, alternate: SocketAddr },
    #[error(
        "the partner has the other address, so {0} cannot be the alternate address here; give an alternate port alone"
    )]
    AddressAndPartner(SocketAddr),
    #[error("a partner needs a second port here too (RFC 5780); give an alternate port")]
    PartnerWithoutPort,
    #[error(
        "an advertised address is told only by RFC 5780's answers; give an alternate address or port too"
    )]
    AdvertisedWithoutAlternate,
    #[error(
        "the advertised address {advertised} is of another family than {listen}; give one of the same family"
    )]
    AdvertisedFamily { listen: SocketAddr, advertised: IpAddr },
}

impl Addresses {
    /// # Errors
    ///
    /// When the settings contradict each other: which ones, and what to give instead.
    pub(super) fn new(config: &UdpConfig) -> io::Result<Self> {
        Self::check(config).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn check(config: &UdpConfig) -> Result<Self, Contradiction> {
        let listen = config.listen;
        let Some(alternate) = config.alternate else {
            return match (&config.partner, config.advertise) {
                (Some(_), _) => Err(Contradiction::PartnerWithoutPort),
                (None, Some(_)) => Err(Contradiction::AdvertisedWithoutAlternate),
                (None, None) => Ok(Self { first: listen, second_port: None, second_ip: None }),
            };
        };
        if alternate.port() == listen.port() && listen.port() != 0 {
            return Err(Contradiction::SamePort(listen.port()));
        }
        let port_alone = alternate.ip().is_unspecified() || alternate.ip() == listen.ip();
        if !port_alone {
            if config.partner.is_some() {
                return Err(Contradiction::AddressAndPartner(alternate));
            }
            if listen.is_ipv4() != alternate.is_ipv4() {
                return Err(Contradiction::Families { listen, alternate });
            }
            if listen.ip().is_unspecified() {
                return Err(Contradiction::Wildcard { listen, alternate });
            }
        }
        let dual_stack = listen.is_ipv6() && listen.ip().is_unspecified();
        if let Some((first, second)) = config.advertise
            && let Some(advertised) = [first, second].into_iter().find(|ip| ip.is_ipv4() != listen.is_ipv4())
            && !dual_stack
        {
            return Err(Contradiction::AdvertisedFamily { listen, advertised });
        }
        Ok(Self {
            first: listen,
            second_port: Some(alternate.port()),
            second_ip: (!port_alone).then(|| alternate.ip()),
        })
    }

    /// The places that there are.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let (ips, ports) = (self.second_ip.is_some(), self.second_port.is_some());
        [false, true]
            .into_iter()
            .flat_map(|second_ip| [false, true].map(|second_port| Place { second_ip, second_port }))
            .filter(move |place| (ips || !place.second_ip) && (ports || !place.second_port))
    }

    /// What to bind for a place. A port of 0 has been replaced by what the system chose for the places before.
    pub(super) fn at(&self, place: Place) -> SocketAddr {
        let mut address = self.first;
        if let Some(ip) = self.second_ip.filter(|_| place.second_ip) {
            address.set_ip(ip);
        }
        if let Some(port) = self.second_port.filter(|_| place.second_port) {
            address.set_port(port);
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, alternate: &str) -> UdpConfig {
        let address = |text: &str| text.parse().expect("test address");
        let alternate = Some(alternate).filter(|text| !text.is_empty()).map(address);
        UdpConfig { alternate, ..UdpConfig::new(address(listen)) }
    }

    fn bound(listen: &str, alternate: &str) -> Vec<String> {
        let addresses = Addresses::new(&config(listen, alternate)).expect("makes sense");
        addresses.places().map(|place| addresses.at(place).to_string()).collect()
    }

    fn refused(config: &UdpConfig) -> String {
        Addresses::new(config).expect_err("a contradiction").to_string()
    }

    #[test]
    fn without_an_alternate_there_is_one_place() {
        assert_eq!(bound("192.0.2.1:3478", ""), ["192.0.2.1:3478"]);
        assert_eq!(bound("[::]:3478", ""), ["[::]:3478"]);
    }

    #[test]
    fn another_port_makes_two_places() {
        for alternate in ["0.0.0.0:3479", "192.0.2.1:3479", "[::]:3479"] {
            assert_eq!(bound("192.0.2.1:3478", alternate), ["192.0.2.1:3478", "192.0.2.1:3479"]);
        }
        assert_eq!(bound("[::]:3478", "0.0.0.0:3479"), ["[::]:3478", "[::]:3479"]);
    }

    #[test]
    fn another_address_and_port_make_four_places() {
        let all = ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"];
        assert_eq!(bound("192.0.2.1:3478", "192.0.2.2:3479"), all);
        for (place, index) in
            Addresses::new(&config("192.0.2.1:1", "192.0.2.2:2")).expect("fine").places().zip(0..)
        {
            assert_eq!(place.index(), index);
        }
    }

    #[test]
    fn contradictions_are_refused_with_what_to_do() {
        for (listen, alternate, advice) in [
            ("192.0.2.1:3478", "[2001:db8::2]:3479", "each family a server of its own"),
            ("192.0.2.1:3478", "192.0.2.2:3478", "give another port"),
            ("192.0.2.1:3478", "192.0.2.1:3478", "give another port"),
            ("0.0.0.0:3478", "192.0.2.2:3479", "listen on one address"),
        ] {
            let text = refused(&config(listen, alternate));
            assert!(text.contains(advice), "{listen} {alternate}: {text}");
        }
    }

    #[test]
    fn an_advertised_address_wants_an_alternate_of_its_family() {
        let advertised = |listen, alternate, ip: &str| {
            let ip = ip.parse().expect("test address");
            UdpConfig { advertise: Some((ip, ip)), ..config(listen, alternate) }
        };
        let text = refused(&advertised("10.0.0.1:3478", "", "192.0.2.1"));
        assert!(text.contains("give an alternate address or port too"), "{text}");
        let text = refused(&advertised("10.0.0.1:3478", "0.0.0.0:3479", "2001:db8::1"));
        assert!(text.contains("of the same family"), "{text}");
        Addresses::new(&advertised("[::]:3478", "[::]:3479", "192.0.2.1")).expect("tells IPv4 clients");
    }
}
