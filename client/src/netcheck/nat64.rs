//! NAT64: how a network without IPv4 reaches it (RFC 7050), and whether the host translates for its programs (464XLAT).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name that has IPv4 addresses alone; who gets IPv6 addresses for it has them from a DNS64 (RFC 7050 section 2).
pub const IPV4_ONLY_HOST: &str = "ipv4only.arpa";

/// Its two addresses (RFC 7050 section 2.2).
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// The lengths that a prefix can have (RFC 6052 section 2.2), the longest first: a short one also fits where a longer one has the
/// IPv4 address by chance in its suffix, which must be zero.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// A prefix under which a NAT64 has all of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix {
    /// The address, zero beyond the prefix.
    pub prefix: Ipv6Addr,
    /// Its length in bits: 32, 40, 48, 56, 64 or 96.
    pub length: u8,
}

impl Nat64Prefix {
    /// The prefix with which a DNS64 made an address of [`IPV4_ONLY_HOST`]; None if it is none.
    pub fn of(synthesized: Ipv6Addr) -> Option<Self> {
        let length = LENGTHS.into_iter().find(|length| {
            let embedded = extract(synthesized, *length);
            WELL_KNOWN.contains(&embedded)
                && Self::masked(synthesized, *length).embed(embedded) == synthesized
        })?;
        Some(Self::masked(synthesized, length))
    }

    /// The address under which the NAT64 has an IPv4 address (RFC 6052 section 2.2).
    pub fn embed(self, ip: Ipv4Addr) -> Ipv6Addr {
        let mut bits = self.prefix.to_bits();
        for (octet, place) in ip.octets().into_iter().zip(places(self.length)) {
            bits |= u128::from(octet) << (120 - 8 * place);
        }
        Ipv6Addr::from_bits(bits)
    }

    fn masked(address: Ipv6Addr, length: u8) -> Self {
        let mask = u128::MAX << (128 - u32::from(length));
        Self { prefix: Ipv6Addr::from_bits(address.to_bits() & mask), length }
    }

    /// The prefix in what was resolved for [`IPV4_ONLY_HOST`].
    pub(super) fn among(addresses: &[IpAddr]) -> Option<Self> {
        addresses.iter().find_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Self::of(*ip),
        })
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix, self.length)
    }
}

/// Which bytes of the IPv6 address have the IPv4 address. Byte 8 stays zero.
fn places(length: u8) -> impl Iterator<Item = u32> {
    (u32::from(length) / 8..16).filter(|place| *place != 8).take(4)
}

fn extract(address: Ipv6Addr, length: u8) -> Ipv4Addr {
    let bits = address.to_bits();
    let octets = places(length).map(|place| (bits >> (120 - 8 * place)) as u8);
    Ipv4Addr::from_bits(octets.fold(0, |ip, octet| ip << 8 | u32::from(octet)))
}

/// Whether a host's own IPv4 address is that of a translator on it (464XLAT): 192.0.0.0/29 (RFC 7335).
pub(super) fn is_translated(local: IpAddr) -> bool {
    match local.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits() >> 3 == Ipv4Addr::new(192, 0, 0, 0).to_bits() >> 3,
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_rfcs_table_of_addresses_is_made() {
        // RFC 6052 section 2.4, for 192.0.2.33.
        for (prefix, length, made) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            let prefix = Nat64Prefix { prefix: ip(prefix), length };
            assert_eq!(prefix.embed(Ipv4Addr::new(192, 0, 2, 33)), ip(made), "{prefix}");
            for well_known in WELL_KNOWN {
                assert_eq!(Nat64Prefix::of(prefix.embed(well_known)), Some(prefix));
            }
        }
    }

    #[test]
    fn an_address_that_no_dns64_made_has_no_prefix() {
        for address in ["2001:db8::1", "::", "::ffff:192.0.2.1", "64:ff9b::192.0.0.172"] {
            assert_eq!(Nat64Prefix::of(ip(address)), None, "{address}");
        }
        let among = ["192.0.0.170", "64:ff9b::c000:aa"].map(|text| text.parse().unwrap());
        assert_eq!(Nat64Prefix::among(&among).unwrap().to_string(), "64:ff9b::/96");
    }

    #[test]
    fn a_translators_address_is_told() {
        for (address, translated) in
            [("192.0.0.4", true), ("192.0.0.7", true), ("192.0.0.8", false), ("::1", false)]
        {
            assert_eq!(is_translated(address.parse().unwrap()), translated, "{address}");
        }
    }
}
