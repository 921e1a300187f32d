//! Addresses on the wire, plain and XORed (RFC 8489 sections 14.1 and 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

/// Family byte of an IPv4 address.
const FAMILY_IPV4: u8 = 0x01;
/// Family byte of an IPv6 address.
const FAMILY_IPV6: u8 = 0x02;

/// What an address is XORed with: nothing, or the cookie and the transaction ID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    port: u16,
    /// The first 32 bits mask an IPv4 address, all of them an IPv6 address.
    address: u128,
}

impl Mask {
    /// For MAPPED-ADDRESS and its like.
    pub(super) const NONE: Self = Self { port: 0, address: 0 };

    /// For XOR-MAPPED-ADDRESS.
    pub(super) fn xor(transaction_id: TransactionId) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *transaction_id.as_bytes();
        let transaction_id = u128::from_be_bytes([0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l]);
        Self { port: (MAGIC_COOKIE >> 16) as u16, address: u128::from(MAGIC_COOKIE) << 96 | transaction_id }
    }

    fn ipv4(self) -> u32 {
        (self.address >> 96) as u32
    }
}

/// The value of an address attribute.
#[derive(Clone, Copy, Debug)]
pub(super) enum AddressValue {
    /// Reserved byte, family, port, 4 bytes.
    Ipv4([u8; 8]),
    /// Reserved byte, family, port, 16 bytes.
    Ipv6([u8; 20]),
}

impl AddressValue {
    /// An IPv4 address that a dual-stack socket reported as `::ffff:a.b.c.d` is written as IPv4: the
    /// client's family, not the socket's, is the answer.
    pub(super) fn encode(address: SocketAddr, mask: Mask) -> Self {
        let [p0, p1] = (address.port() ^ mask.port).to_be_bytes();
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = (ip.to_bits() ^ mask.ipv4()).to_be_bytes();
                Self::Ipv4([0, FAMILY_IPV4, p0, p1, a, b, c, d])
            }
            IpAddr::V6(ip) => {
                let mut value = [0; 20];
                let octets = (ip.to_bits() ^ mask.address).to_be_bytes();
                let bytes = [0, FAMILY_IPV6, p0, p1].into_iter().chain(octets);
                value.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
                Self::Ipv6(value)
            }
        }
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ipv4(value) => value,
            Self::Ipv6(value) => value,
        }
    }
}

/// Reads the value of an address attribute. Bytes after the address are ignored, as Tailscale's client
/// does, and an IPv4-mapped IPv6 address (derper's answer on a dual-stack socket) comes out as IPv4.
pub(super) fn decode(value: &[u8], mask: Mask) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([p0, p1]) ^ mask.port;
    let ip = match family {
        FAMILY_IPV4 => {
            let bits = u32::from_be_bytes(*address.first_chunk()?) ^ mask.ipv4();
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        }
        FAMILY_IPV6 => {
            let bits = u128::from_be_bytes(*address.first_chunk()?) ^ mask.address;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}
