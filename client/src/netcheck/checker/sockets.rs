//! The UDP sockets of one check.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use ferry_stun::client::ANSWER_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::{Family, SocketId};
use super::Event;

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When it was read.
    pub(super) at: Instant,
    pub(super) socket: SocketId,
    pub(super) from: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// Those that are open.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: HashMap<SocketId, UdpSocket>,
}

impl Sockets {
    /// Opens one, reads it in a task of its own, and says its address here.
    pub(super) fn open(
        &mut self,
        socket: SocketId,
        toward: SocketAddr,
        events: &mpsc::Sender<Event>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<SocketAddr> {
        let unspecified = unspecified(socket.family());
        let opened = UdpSocket::bind((unspecified, 0))?;
        opened.set_nonblocking(true)?;
        let port = opened.local_addr()?.port();
        let reader = tokio::net::UdpSocket::from_std(opened.try_clone()?)?;
        tasks.spawn(read(socket, reader, events.clone()));
        self.open.insert(socket, opened);
        // Without a route each send says so.
        Ok(SocketAddr::new(own_address(unspecified, toward).unwrap_or(unspecified), port))
    }

    /// Sends a datagram; false if the system has no way for it.
    pub(super) fn send(&self, socket: SocketId, to: SocketAddr, payload: &[u8]) -> bool {
        let Some(socket) = self.open.get(&socket) else { return false };
        match socket.send_to(payload, to) {
            Ok(_) => true,
            // A firewall of this host that drops, and a full queue, lose it as any router does.
            Err(error) => matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::WouldBlock),
        }
    }
}

/// Reads for as long as somebody listens.
async fn read(socket: SocketId, reader: tokio::net::UdpSocket, events: mpsc::Sender<Event>) {
    // One more than an answer has, so that a longer one is seen to be.
    let mut buffer = [0; ANSWER_BYTES_MAX + 1];
    loop {
        // An error is an ICMP message, a fact about one datagram; the next read gets the next.
        let Ok((bytes, from)) = reader.recv_from(&mut buffer).await else { continue };
        let datagram = buffer.get(..bytes).unwrap_or_default().to_vec();
        let arrival = Arrival { at: Instant::now(), socket, from, datagram };
        if events.send(Event::Datagram(arrival)).await.is_err() {
            return;
        }
    }
}

/// The host's own address on the way to another: connecting sends nothing, it has the system choose the route.
fn own_address(unspecified: IpAddr, toward: SocketAddr) -> io::Result<IpAddr> {
    let routed = UdpSocket::bind((unspecified, 0))?;
    routed.connect(toward)?;
    Ok(routed.local_addr()?.ip())
}

const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
