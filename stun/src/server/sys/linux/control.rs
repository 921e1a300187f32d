//! The control message that tells a datagram's local address, and has an answer leave from it
//! (`IP_PKTINFO`, `IPV6_PKTINFO`).

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{cmsghdr, in_pktinfo, in6_pktinfo};

/// Where a message's content begins: its head is a whole number of words.
const HEAD: usize = size_of::<cmsghdr>().next_multiple_of(size_of::<usize>());

/// One control message with its head, as long as IPv6's.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Control([u8; Self::BYTES]);

impl Control {
    /// Head and content, padded to whole words.
    pub(super) const BYTES: usize = HEAD + size_of::<in6_pktinfo>().next_multiple_of(size_of::<usize>());
    pub(super) const EMPTY: Self = Self([0; Self::BYTES]);

    /// The local address, IPv4 also on a dual-stack socket.
    pub(in crate::server) fn local_ip(&self) -> Option<IpAddr> {
        match self.kind()? {
            Kind::Ipv4 => {
                self.read(HEAD + offset_of!(in_pktinfo, ipi_spec_dst)).map(Ipv4Addr::from).map(IpAddr::V4)
            }
            Kind::Ipv6 => self
                .read(HEAD + offset_of!(in6_pktinfo, ipi6_addr))
                .map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical()),
        }
    }

    /// Becomes the message that has an answer leave from the address that this datagram came to, and tells its
    /// bytes; 0 if it came with none.
    pub(super) fn reply_to(&mut self, received: &Self) -> usize {
        let Some(kind) = received.kind() else { return 0 };
        *self = *received;
        let (interface, content) = match kind {
            Kind::Ipv4 => (offset_of!(in_pktinfo, ipi_ifindex), size_of::<in_pktinfo>()),
            // A link-local address means nothing without its link.
            Kind::Ipv6 if self.is_link_local() => return Self::BYTES,
            Kind::Ipv6 => (offset_of!(in6_pktinfo, ipi6_ifindex), size_of::<in6_pktinfo>()),
        };
        // The way back is the routing table's to choose: it need not be the way it came.
        for byte in self.0.iter_mut().skip(HEAD + interface).take(4) {
            *byte = 0;
        }
        HEAD + content.next_multiple_of(size_of::<usize>())
    }

    fn is_link_local(&self) -> bool {
        matches!(self.local_ip(), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local())
    }

    fn kind(&self) -> Option<Kind> {
        let level = i32::from_ne_bytes(self.read(offset_of!(cmsghdr, cmsg_level))?);
        let kind = i32::from_ne_bytes(self.read(offset_of!(cmsghdr, cmsg_type))?);
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => Some(Kind::Ipv4),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => Some(Kind::Ipv6),
            _ => None,
        }
    }

    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }
}

/// Which of the two messages it is.
#[derive(Clone, Copy)]
enum Kind {
    Ipv4,
    Ipv6,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel writes it: the head, then the content in pieces of four bytes.
    fn message(level: i32, kind: i32, content: &[[u8; 4]]) -> Control {
        let mut control = Control::EMPTY;
        let mut write = |at: usize, bytes: &[u8]| control.0[at..at + bytes.len()].copy_from_slice(bytes);
        write(0, &(HEAD + content.len() * 4).to_ne_bytes());
        write(offset_of!(cmsghdr, cmsg_level), &level.to_ne_bytes());
        write(offset_of!(cmsghdr, cmsg_type), &kind.to_ne_bytes());
        content.iter().enumerate().for_each(|(place, word)| write(HEAD + place * 4, word));
        control
    }

    fn ipv6(ip: &str, interface: u32) -> Control {
        let octets = ip.parse::<Ipv6Addr>().expect("test address").octets();
        let mut words: Vec<[u8; 4]> = octets.chunks(4).map(|word| word.try_into().expect("four")).collect();
        words.push(interface.to_ne_bytes());
        message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &words)
    }

    fn ipv4(interface: i32) -> Control {
        let words = [interface.to_ne_bytes(), [192, 0, 2, 1], [192, 0, 2, 255]];
        message(libc::IPPROTO_IP, libc::IP_PKTINFO, &words)
    }

    #[test]
    fn the_local_address_is_read_from_either_message() {
        assert_eq!(ipv4(7).local_ip(), "192.0.2.1".parse().ok());
        assert_eq!(ipv6("2001:db8::1", 7).local_ip(), "2001:db8::1".parse().ok());
        assert_eq!(ipv6("::ffff:192.0.2.1", 7).local_ip(), "192.0.2.1".parse().ok());
        assert_eq!(Control::EMPTY.local_ip(), None);
    }

    #[test]
    fn only_a_link_local_answer_is_bound_to_the_interface() {
        for (received, sent) in [
            (ipv4(7), ipv4(0)),
            (ipv6("2001:db8::1", 7), ipv6("2001:db8::1", 0)),
            (ipv6("::ffff:192.0.2.1", 7), ipv6("::ffff:192.0.2.1", 0)),
            (ipv6("fe80::1", 7), ipv6("fe80::1", 7)),
        ] {
            let mut reply = Control::EMPTY;
            assert!(reply.reply_to(&received) > HEAD);
            assert_eq!(reply.0, sent.0);
        }
        let mut none = Control::EMPTY;
        assert_eq!(none.reply_to(&Control::EMPTY), 0);
    }
}
