//! The server's socket and its options.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Bursts are answered from here: a waiting request costs the kernel about 1 KiB, and the usual 208 KiB
/// was seen to lose requests under load.
const RECV_BUFFER_BYTES: usize = 4 << 20;

/// Binds as derper does: `[::]` serves IPv4 too, or IPv4 only on a host that has no IPv6.
///
/// # Errors
///
/// The system's error, with the address that it is about and, if the port is taken, what to do.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let bound = match bind_one(address) {
        Err(error) if is_without_ipv6(&error) && address.ip().is_unspecified() => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    };
    bound.map_err(|error| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "advice where there is some")]
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; stop what uses the port, or choose another STUN port",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot serve STUN on UDP {address}: {error}{advice}"))
    })
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Said outright, because the default is the host's (net.ipv6.bindv6only).
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Best effort: the host may allow less (net.core.rmem_max), and a small buffer serves too.
    let _ = socket.set_recv_buffer_size(RECV_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}
