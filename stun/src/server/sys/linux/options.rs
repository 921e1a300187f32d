//! What is asked of a socket beyond what std and socket2 can: local addresses, and programs.

use std::io;
use std::net::UdpSocket;

use super::{program, set_option, set_program};
use crate::source::Source;

/// Asks a wildcard socket for the local address of each datagram. IPv6's option covers IPv4 on a dual-stack
/// socket too.
pub(in crate::server) fn tell_local_address(socket: &UdpSocket, ipv6: bool) -> io::Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    set_option(socket, level, option, &1_i32)
}

/// Has the source address of a datagram choose its reader in the group of SO_REUSEPORT sockets that `socket` is
/// in, which has this many.
pub(in crate::server) fn steer_by_source(socket: &UdpSocket, sockets: usize, seed: u64) -> io::Result<()> {
    let sockets = u32::try_from(sockets).map_err(io::Error::other)?;
    set_program(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program::reader_by_source(sockets, seed))
}

/// Has the kernel drop what these sources send, before it is queued; of no source if there are none.
pub(in crate::server) fn drop_sources(socket: &UdpSocket, sources: &[Source]) -> io::Result<()> {
    if sources.is_empty() {
        return set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32);
    }
    set_program(socket, libc::SO_ATTACH_FILTER, &program::without(sources))
}
