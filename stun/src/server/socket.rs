//! The server's sockets and their options.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::addresses::{Addresses, Place};
use super::sys::{self, Control};

/// Bursts are answered from here: a waiting request costs the kernel about 1 KiB, and the usual 208 KiB
/// was seen to lose requests under load.
const RECV_BUFFER_BYTES: usize = 4 << 20;

/// All sockets of a server.
#[derive(Debug)]
pub(super) struct Sockets {
    /// By the place's index; for each thread one, or none if the server does not have the place.
    places: [Vec<UdpSocket>; Place::COUNT],
    /// What has been bound: ports that the system chose, and IPv4's wildcard where IPv6 is missing.
    pub(super) addresses: Addresses,
}

impl Sockets {
    /// Binds `threads` sockets for each place.
    ///
    /// # Errors
    ///
    /// The system's error, with the address that it is about and, if there is one, the remedy.
    pub(super) fn bind(mut addresses: Addresses, threads: usize) -> io::Result<Self> {
        let mut places = [const { Vec::new() }; Place::COUNT];
        for place in addresses.places() {
            let wanted = addresses.at(place);
            let group = bind_group(wanted, threads).map_err(|error| explain(wanted, &error))?;
            if let Some(first) = group.first() {
                let bound = first.local_addr()?;
                if !place.second_ip && !place.second_port {
                    addresses.first = bound;
                } else if !place.second_ip {
                    addresses.second_port = Some(bound.port());
                }
            }
            if let Some(sockets) = places.get_mut(place.index()) {
                *sockets = group;
            }
        }
        Ok(Self { places, addresses })
    }

    /// The socket of a thread at a place.
    pub(super) fn of_thread(&self, place: Place, thread: usize) -> Option<&UdpSocket> {
        self.places.get(place.index())?.get(thread)
    }

    /// Whether each datagram may have been sent to another address.
    pub(super) fn is_wildcard(&self) -> bool {
        self.addresses.first.ip().is_unspecified()
    }

    /// Whether an address is one of the sockets' own.
    pub(super) fn is_own(&self, source: SocketAddr, control: Option<&Control>) -> bool {
        let Addresses { first, second_port, second_ip } = self.addresses;
        if source.port() != first.port() && Some(source.port()) != second_port {
            return false;
        }
        match control {
            Some(control) => control.local_ip() == Some(source.ip().to_canonical()),
            None => source.ip() == first.ip() || Some(source.ip()) == second_ip,
        }
    }

    /// Has each client's address choose the thread, where the system can.
    pub(super) fn steer_by_source(&self, seed: u64) {
        for group in self.places.iter().filter(|group| group.len() > 1) {
            if let Some(socket) = group.first() {
                // Without it the address and the port choose: a source with many ports has more budgets.
                let _ = sys::steer_by_source(socket, group.len(), seed);
            }
        }
    }

    /// Wakes whoever waits for datagrams.
    pub(super) fn wake_all(&self) {
        for socket in self.places.iter().flatten() {
            // Linux says that the socket is not connected, and ends the wait all the same.
            let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Read);
        }
    }
}

/// The sockets of all threads on one address and port.
fn bind_group(address: SocketAddr, threads: usize) -> io::Result<Vec<UdpSocket>> {
    let first = match bind_first(address) {
        // `[::]` is meant as derper means it: all there is.
        Err(error) if is_without_ipv6(&error) && address.ip().is_unspecified() => {
            bind_first(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))?
        }
        first => first?,
    };
    let bound = first.local_addr()?;
    let mut group = vec![first];
    while group.len() < threads {
        let next = new_socket(bound)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        group.push(next.into());
    }
    if bound.ip().is_unspecified() {
        for socket in &group {
            sys::tell_local_address(socket, bound.is_ipv6())?;
        }
    }
    Ok(group)
}

/// The first must have the port for itself: SO_REUSEPORT before binding would let a second server take half of the
/// requests. Set afterwards it lets the other threads' sockets in, and a second server still fails here.
fn bind_first(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Said outright, because the default is the host's (net.ipv6.bindv6only).
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Best effort: the host may allow less (net.core.rmem_max), and a small buffer serves too.
    let _ = socket.set_recv_buffer_size(RECV_BUFFER_BYTES);
    Ok(socket)
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "advice where there is some")]
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; stop what uses the port, or choose another STUN port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot serve STUN on UDP {address}: {error}{advice}"))
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
