//! What a machine serves: its address and two ports, for each family.

use std::net::{IpAddr, SocketAddr};

/// One machine's STUN address of one family and its two ports, as clients see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The address; never an IPv4-mapped IPv6 address.
    pub ip: IpAddr,
    /// Both ports, the lower first.
    pub ports: [u16; 2],
}

impl Service {
    /// The service at an address, on two ports in any order.
    #[must_use]
    pub fn new(ip: IpAddr, mut ports: [u16; 2]) -> Self {
        ports.sort_unstable();
        Self { ip: ip.to_canonical(), ports }
    }
}

/// What a machine serves in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Services {
    /// Over IPv4.
    pub ipv4: Option<Service>,
    /// Over IPv6.
    pub ipv6: Option<Service>,
}

impl Services {
    /// That of one family.
    #[must_use]
    pub const fn of(&self, ipv4: bool) -> Option<Service> {
        if ipv4 { self.ipv4 } else { self.ipv6 }
    }

    /// That of the family of an address.
    #[must_use]
    pub fn for_client(&self, client: SocketAddr) -> Option<Service> {
        self.of(client.ip().to_canonical().is_ipv4())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ipv4.is_none() && self.ipv6.is_none()
    }

    /// Those whose family the other machine has too.
    #[must_use]
    pub fn common_with(&self, other: &Self) -> Self {
        Self {
            ipv4: self.ipv4.filter(|_| other.ipv4.is_some()),
            ipv6: self.ipv6.filter(|_| other.ipv6.is_some()),
        }
    }
}
