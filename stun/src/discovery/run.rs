//! The state machines of this module on real sockets: blocking, on the caller's thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Config, Discovery, Lifetime, LifetimeReport, Machine, Output, Report, SocketId};
use crate::client::ANSWER_BYTES_MAX;
use crate::message::TransactionId;

/// Datagrams read from one socket before the others have their turn: a flood on one port cannot hold up
/// the clock.
const READS_MAX: usize = 64;

/// Discovers from `bind` (`None`: from wherever the system sends to the server from), which takes under
/// two seconds.
///
/// # Errors
///
/// When no server is named, the host has no route to the first, or the system draws no random bytes.
pub fn run(config: &Config, bind: Option<IpAddr>) -> io::Result<Report> {
    let Some(&server) = config.servers.first() else { return Err(no_server()) };
    let sockets = Sockets::towards(server, bind)?;
    let ids = random_ids()?;
    let discovery = Discovery::new(config, Instant::now(), ids).ok_or_else(no_server)?;
    sockets.drive(discovery)
}

/// Measures how long a binding outlives its last datagram, which takes minutes.
///
/// # Errors
///
/// As [`run`].
pub fn run_lifetime(server: SocketAddr, bind: Option<IpAddr>) -> io::Result<LifetimeReport> {
    let sockets = Sockets::towards(server, bind)?;
    let ids = random_ids()?;
    sockets.drive(Lifetime::new(server, Instant::now(), ids))
}

fn no_server() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no server to ask; name one")
}

/// The open sockets of one run.
struct Sockets {
    bind: SocketAddr,
    /// What the host's own address on the path is, for sockets bound to none.
    source: IpAddr,
    open: Vec<(SocketId, UdpSocket)>,
}

impl Sockets {
    fn towards(server: SocketAddr, bind: Option<IpAddr>) -> io::Result<Self> {
        let unspecified = if server.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let bind = SocketAddr::new(bind.unwrap_or(unspecified), 0);
        // Connecting sends nothing; it has the system choose the route and with it the address.
        let routed = UdpSocket::bind(bind)?;
        routed.connect(server).map_err(|error| {
            io::Error::new(error.kind(), format!("no route to {server} from {}: {error}", bind.ip()))
        })?;
        Ok(Self { bind, source: routed.local_addr()?.ip(), open: Vec::new() })
    }

    fn drive<M: Machine>(mut self, mut machine: M) -> io::Result<M::Found> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX + 1];
        loop {
            match machine.poll(Instant::now()) {
                Output::Open(id) => match self.open(id) {
                    Ok(local) => machine.opened(id, local),
                    Err(_) => machine.failed(id),
                },
                Output::Send { socket, to, payload } => {
                    let socket = self.open.iter().find(|(id, _)| *id == socket);
                    // What cannot be sent is as good as lost, and is sent again.
                    let _ = socket.map(|(_, socket)| socket.send_to(&payload, to));
                }
                Output::Wait(until) => {
                    self.wait(until.saturating_duration_since(Instant::now()))?;
                    self.read(&mut machine, &mut buffer);
                }
                Output::Done(found) => return Ok(found),
            }
        }
    }

    fn open(&mut self, id: SocketId) -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind(self.bind)?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        self.open.push((id, socket));
        Ok(SocketAddr::new(self.source, port))
    }

    fn wait(&self, limit: Duration) -> io::Result<()> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut watched: Vec<_> =
            self.open.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)).collect();
        match poll(&mut watched, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read<M: Machine>(&self, machine: &mut M, buffer: &mut [u8]) {
        for (id, socket) in &self.open {
            // An error is an ICMP message, a fact about one datagram; the next read gets the next.
            for _ in 0..READS_MAX {
                match socket.recv_from(buffer) {
                    Ok((bytes, from)) => {
                        let datagram = buffer.get(..bytes).unwrap_or_default();
                        machine.handle(Instant::now(), *id, from, datagram);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
        }
    }
}

/// Transaction IDs from the operating system's generator, which can only fail before it first gave any.
fn random_ids() -> io::Result<impl FnMut() -> TransactionId> {
    TransactionId::random()?;
    Ok(|| TransactionId::random().expect("the generator has given before"))
}
