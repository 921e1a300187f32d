//! The STUN server's sockets, from which answers are sent for the partner.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::node::Here;
use super::service::{Service, Services};
use super::wire::Forward;

/// The two sockets of one IP version.
#[derive(Debug)]
pub(super) struct Pair {
    service: Service,
    /// The address that they are bound to, if to one.
    bound: Option<IpAddr>,
    /// Each with its port, and whether it wants IPv4 addresses as mapped ones.
    sockets: [(u16, bool, UdpSocket); 2],
}

impl Pair {
    pub(super) fn new(advertised: Option<IpAddr>, sockets: [UdpSocket; 2]) -> Result<Self, RegisterError> {
        let [first, second] = &sockets;
        let [first, second] = [first.local_addr()?, second.local_addr()?];
        if first.ip() != second.ip() || first.port() == second.port() {
            return Err(RegisterError::NotTwoPorts { first, second });
        }
        let bound = Some(first.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        let ip = advertised.map(|ip| ip.to_canonical()).or(bound);
        let ip = ip.filter(|ip| !ip.is_unspecified()).ok_or(RegisterError::NoAddress { bound: first })?;
        if bound.is_some_and(|bound| bound.is_ipv4() != ip.is_ipv4()) || (first.is_ipv4() && ip.is_ipv6()) {
            return Err(RegisterError::Family { bound: first, advertised: ip });
        }
        let service = Service::new(ip, [first.port(), second.port()]);
        let mapped = first.is_ipv6() && ip.is_ipv4();
        let [one, two] = sockets;
        Ok(Self { service, bound, sockets: [(first.port(), mapped, one), (second.port(), mapped, two)] })
    }

    pub(super) const fn is_ipv4(&self) -> bool {
        self.service.ip.is_ipv4()
    }
}

/// The sockets of both IP versions.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    ipv4: Option<Pair>,
    ipv6: Option<Pair>,
}

impl Sockets {
    pub(super) fn add(&mut self, pair: Pair) -> Result<(), RegisterError> {
        let slot = self.slot(pair.is_ipv4());
        if let Some(there) = slot {
            return Err(RegisterError::Taken { ip: there.service.ip });
        }
        *slot = Some(pair);
        Ok(())
    }

    /// Closes those of an IP version.
    pub(super) fn remove(&mut self, ipv4: bool) {
        *self.slot(ipv4) = None;
    }

    const fn slot(&mut self, ipv4: bool) -> &mut Option<Pair> {
        if ipv4 { &mut self.ipv4 } else { &mut self.ipv6 }
    }

    pub(super) fn here(&self) -> Here {
        let service = |pair: &Option<Pair>| pair.as_ref().map(|pair| pair.service);
        let bound = |pair: &Option<Pair>| pair.as_ref().and_then(|pair| pair.bound);
        Here {
            services: Services { ipv4: service(&self.ipv4), ipv6: service(&self.ipv6) },
            bound: [bound(&self.ipv4), bound(&self.ipv6)],
        }
    }

    /// Sends from the port that is asked for.
    pub(super) fn send(&self, forward: &Forward<'_>) -> io::Result<()> {
        let to = forward.to;
        let pair = if to.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        let mut sockets = pair.iter().flat_map(|pair| &pair.sockets);
        let (_, mapped, socket) = sockets
            .find(|(port, ..)| *port == forward.from_port)
            // Taken back since the forward was checked.
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let to = match to {
            SocketAddr::V4(v4) if *mapped => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            SocketAddr::V4(_) | SocketAddr::V6(_) => to,
        };
        socket.send_to(forward.answer, to).map(drop)
    }
}

/// Why sockets cannot serve the partner.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Not one address with two ports.
    #[error("a partner needs one address with two ports here, not {first} and {second}")]
    NotTwoPorts {
        /// The first socket's address.
        first: SocketAddr,
        /// The second socket's.
        second: SocketAddr,
    },
    /// The partner could not tell clients any address.
    #[error(
        "STUN listens on all addresses ({bound}), and a partner needs one; listen on it, or say what to advertise"
    )]
    NoAddress {
        /// The first socket's address.
        bound: SocketAddr,
    },
    /// The sockets cannot send to the clients of that address.
    #[error("STUN listens on {bound} and advertises {advertised}, which is of the other IP version")]
    Family {
        /// The first socket's address.
        bound: SocketAddr,
        /// What clients were to see.
        advertised: IpAddr,
    },
    /// Another server was first.
    #[error("the partner sends from {ip} already; a channel serves one server of each IP version")]
    Taken {
        /// The first server's address.
        ip: IpAddr,
    },
    /// The sockets are broken.
    #[error("a STUN socket does not tell its address: {0}")]
    Socket(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str) -> UdpSocket {
        UdpSocket::bind(address).expect("loopback binds")
    }

    fn pair(address: &str, advertised: Option<&str>) -> Result<Pair, RegisterError> {
        Pair::new(advertised.map(|ip| ip.parse().expect("test address")), [socket(address), socket(address)])
    }

    #[test]
    fn what_clients_see_is_the_bound_or_the_advertised_address() {
        for (address, advertised, seen) in [
            ("127.0.0.1:0", None, "127.0.0.1"),
            ("127.0.0.1:0", Some("192.0.2.1"), "192.0.2.1"),
            ("0.0.0.0:0", Some("192.0.2.1"), "192.0.2.1"),
            ("[::]:0", Some("192.0.2.1"), "192.0.2.1"),
            ("[::]:0", Some("2001:db8::1"), "2001:db8::1"),
            ("[::1]:0", None, "::1"),
        ] {
            let pair = pair(address, advertised).expect(address);
            assert_eq!(pair.service.ip, seen.parse::<IpAddr>().unwrap(), "{address} {advertised:?}");
            assert_eq!(pair.bound.is_some(), !address.contains("0.0.0.0") && !address.contains("[::]"));
        }
    }

    #[test]
    fn sockets_that_cannot_serve_are_refused_by_name() {
        assert!(matches!(pair("0.0.0.0:0", None), Err(RegisterError::NoAddress { .. })));
        assert!(matches!(pair("127.0.0.1:0", Some("::1")), Err(RegisterError::Family { .. })));
        assert!(matches!(pair("[::1]:0", Some("192.0.2.1")), Err(RegisterError::Family { .. })));
        let one = socket("127.0.0.1:0");
        let twice = Pair::new(None, [one.try_clone().expect("clones"), one]);
        assert!(matches!(twice, Err(RegisterError::NotTwoPorts { .. })));
        let apart = Pair::new(None, [socket("127.0.0.1:0"), socket("127.0.0.2:0")]);
        assert!(matches!(apart, Err(RegisterError::NotTwoPorts { .. })));
    }

    #[test]
    fn one_server_of_each_ip_version_until_it_leaves() {
        let mut sockets = Sockets::default();
        let any = |ip| pair("[::]:0", Some(ip)).expect("a pair");
        sockets.add(any("192.0.2.1")).expect("the first");
        sockets.add(any("2001:db8::1")).expect("the other version");
        assert!(matches!(sockets.add(any("192.0.2.2")), Err(RegisterError::Taken { .. })));
        sockets.remove(true);
        sockets.add(any("192.0.2.2")).expect("free again");
    }

    #[test]
    fn a_dual_stack_socket_reaches_an_ipv4_client() {
        let mut sockets = Sockets::default();
        sockets.add(pair("[::]:0", Some("192.0.2.1")).expect("a pair")).expect("the first");
        let client = socket("127.0.0.1:0");
        let from_port = sockets.here().services.ipv4.expect("served").ports[1];
        let forward = Forward { to: client.local_addr().expect("bound"), from_port, answer: b"hello" };
        sockets.send(&forward).expect("loopback sends");
        let mut buffer = [0; 9];
        let (bytes, from) = client.recv_from(&mut buffer).expect("sent");
        assert_eq!((&buffer[..bytes], from.port()), (&b"hello"[..], from_port));
        assert!(sockets.send(&Forward { from_port: 1, ..forward }).is_err());
    }
}
