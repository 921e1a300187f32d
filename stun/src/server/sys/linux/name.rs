//! Socket addresses as the kernel writes them (`sockaddr_in`, `sockaddr_in6`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// Bytes of a `sockaddr_in`.
const IPV4_BYTES: usize = size_of::<libc::sockaddr_in>();

/// A socket address of either family. Fields of `sockaddr_in6` in order; a `sockaddr_in` ends in the address's
/// place with four bytes of address before.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Name([u8; Self::BYTES]);

impl Name {
    /// Bytes of the larger of the two.
    pub(super) const BYTES: usize = size_of::<libc::sockaddr_in6>();
    pub(super) const EMPTY: Self = Self([0; Self::BYTES]);

    /// The address, if the kernel wrote one of `len` bytes.
    pub(super) fn decode(&self, len: usize) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, a, b, c, d, v6 @ .., s0, s1, s2, s3] = self.0;
        let port = u16::from_be_bytes([p0, p1]);
        match u16::from_ne_bytes([f0, f1]) {
            AF_INET if len >= IPV4_BYTES => {
                Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)))
            }
            AF_INET6 if len >= Self::BYTES => {
                let (flow, scope) = (u32::from_be_bytes([a, b, c, d]), u32::from_ne_bytes([s0, s1, s2, s3]));
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(v6), port, flow, scope)))
            }
            _ => None,
        }
    }

    /// Writes an address as a socket of the family wants it, and tells the bytes it takes.
    pub(super) fn encode(&mut self, address: SocketAddr, ipv6: bool) -> usize {
        let [p0, p1] = address.port().to_be_bytes();
        let address = match address {
            SocketAddr::V4(v4) if !ipv6 => {
                let [f0, f1] = AF_INET.to_ne_bytes();
                let [a, b, c, d] = v4.ip().octets();
                let mut bytes = [0; Self::BYTES];
                for (byte, value) in bytes.iter_mut().zip([f0, f1, p0, p1, a, b, c, d]) {
                    *byte = value;
                }
                self.0 = bytes;
                return IPV4_BYTES;
            }
            SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
            SocketAddr::V6(v6) => v6,
        };
        let [f0, f1] = AF_INET6.to_ne_bytes();
        // The flow label is the asker's: an answer has none.
        let [s0, s1, s2, s3] = address.scope_id().to_ne_bytes();
        let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15] = address.ip().octets();
        self.0 = [
            f0, f1, p0, p1, 0, 0, 0, 0, v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15,
            s0, s1, s2, s3,
        ];
        Self::BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(address: &str, ipv6: bool) -> String {
        let mut name = Name::EMPTY;
        let len = name.encode(address.parse().expect("test address"), ipv6);
        name.decode(len).expect("just written").to_string()
    }

    #[test]
    fn an_address_reads_as_it_was_written() {
        assert_eq!(through("192.0.2.1:3478", false), "192.0.2.1:3478");
        assert_eq!(through("[2001:db8::1]:65535", true), "[2001:db8::1]:65535");
        assert_eq!(through("[fe80::1%3]:1", true), "[fe80::1%3]:1");
    }

    #[test]
    fn an_ipv6_socket_gets_ipv4_addresses_in_its_own_form() {
        assert_eq!(through("192.0.2.1:3478", true), "[::ffff:192.0.2.1]:3478");
    }

    #[test]
    fn no_address_is_read_where_the_kernel_wrote_none() {
        let mut name = Name::EMPTY;
        assert_eq!(name.decode(0), None);
        name.encode("192.0.2.1:1".parse().expect("test address"), false);
        assert_eq!(name.decode(0), None);
    }
}
