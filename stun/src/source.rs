//! Who counts as one, wherever sources are counted.

use std::net::IpAddr;

/// An IPv4 address or an IPv6 /64, which is what one subscriber has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Ipv4(u32),
    Ipv6(u64),
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ipv4(ip.to_bits()),
            IpAddr::V6(ip) => Self::Ipv6((ip.to_bits() >> 64) as u64),
        }
    }
}
