//! One datagram a call, with what std has. A wildcard socket does not learn where a datagram was sent to, so
//! that on a host with several addresses each wants a server of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{ANSWER_BYTES, READ_BYTES, Received};
use crate::source::Source;

/// Datagrams read, or sent, with one call.
pub(in crate::server) const BATCH: usize = 1;

/// A read ends after this time, so that a reader sees that it shall stop: here shutdown(2) wakes nobody.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// What would tell a datagram's local address. There is none.
#[derive(Debug)]
pub(in crate::server) enum Control {}

impl Control {
    pub(in crate::server) fn local_ip(&self) -> Option<IpAddr> {
        match *self {}
    }
}

/// The datagram that was read.
pub(in crate::server) struct Inbox {
    bytes: Box<[u8]>,
    received: Option<(usize, SocketAddr)>,
}

impl Inbox {
    pub(in crate::server) fn new(_local_addresses: bool) -> Self {
        Self { bytes: vec![0; READ_BYTES].into(), received: None }
    }

    /// Waits for a datagram, for a while.
    pub(in crate::server) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received = None;
        socket.set_read_timeout(Some(WAIT_MAX))?;
        self.received = Some(socket.recv_from(&mut self.bytes)?);
        Ok(1)
    }

    /// What the last call read.
    pub(in crate::server) fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        let received = self.received.iter();
        received.filter_map(|&(len, source)| {
            Some(Received { bytes: self.bytes.get(..len)?, source, control: None })
        })
    }
}

/// The answer to it.
pub(in crate::server) struct Outbox {
    bytes: Vec<u8>,
    to: Option<SocketAddr>,
    ipv6: bool,
}

impl Outbox {
    /// Room for an answer from sockets of one family.
    pub(in crate::server) fn new(ipv6: bool) -> Self {
        Self { bytes: Vec::with_capacity(ANSWER_BYTES), to: None, ipv6 }
    }

    /// The buffer of the next answer; none if one is waiting.
    pub(in crate::server) fn buffer(&mut self) -> Option<&mut Vec<u8>> {
        self.to.is_none().then_some(&mut self.bytes)
    }

    /// Has what is in the buffer wait to be sent to `to`.
    pub(in crate::server) fn push(&mut self, to: SocketAddr, _control: Option<&Control>) {
        self.to = Some(match to {
            SocketAddr::V4(v4) if self.ipv6 => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            SocketAddr::V4(_) | SocketAddr::V6(_) => to,
        });
    }

    /// Sends what waits, and reports place 0 if that fails.
    pub(in crate::server) fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(usize)) {
        if self.to.is_some() && !self.send_last(socket) {
            failed(0);
        }
    }

    /// Sends what waits, through another socket.
    pub(in crate::server) fn send_last(&mut self, socket: &UdpSocket) -> bool {
        self.to.take().is_some_and(|to| socket.send_to(&self.bytes, to).is_ok())
    }
}

/// Does nothing: see above.
pub(in crate::server) fn tell_local_address(_socket: &UdpSocket, _ipv6: bool) -> io::Result<()> {
    Ok(())
}

/// There is no such thing here: the system spreads datagrams, or gives all to one thread.
pub(in crate::server) fn steer_by_source(_: &UdpSocket, _sockets: usize, _seed: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no such thing here: budgets alone hold a flood back.
pub(in crate::server) fn drop_sources(_: &UdpSocket, _: &[Source]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
