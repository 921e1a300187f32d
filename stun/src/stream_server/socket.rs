//! Listening sockets for TCP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

/// Binds: `[::]` serves IPv4 too, or IPv4 only on a host that has no IPv6.
///
/// # Errors
///
/// The system's error, with the address that it is about and what to do.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = match bind_one(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_without_ipv6(&error) => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    };
    bound.map_err(|error| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "advice where there is some")]
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; stop what uses the port, or choose another",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot serve STUN on TCP {address}: {error}{advice}"))
    })
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Said outright, because the default is the host's (net.ipv6.bindv6only).
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart need not wait for the old connections' last minute.
    socket.set_reuse_address(true)?;
    // Answers are whole when they are written; waiting for more helps nobody.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}
