//! The thread: one poll, all connections.

use std::io;
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;

use super::Identity;
use super::connection::{Connection, Desk, Hangup, Progress};
use super::router::{Router, Slot};
use super::stun::Stun;

const LISTENER: Token = Token(usize::MAX);
const STUN: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

/// Readiness events taken at once.
const EVENTS_PER_TURN: usize = 1_024;
/// Sockets read before what they brought is written.
const READS_PER_WRITE: usize = 64;
/// derper's: clients give up on a relay that is silent for twice as long.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(60);

/// The null server's state.
pub(super) struct Relay {
    poll: Poll,
    listener: TcpListener,
    stun: Stun,
    tls: Option<Arc<ServerConfig>>,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<Slot>,
    router: Router,
    desk: Desk,
    /// Connections with bytes left to read that no event will announce again.
    unread: Vec<Slot>,
    is_stun_unread: bool,
}

impl Relay {
    pub(super) fn new(
        tcp: net::TcpListener,
        udp: net::UdpSocket,
        Identity { key, tls }: Identity,
    ) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(tcp);
        let mut stun = Stun::new(UdpSocket::from_std(udp));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(stun.socket(), STUN, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            stun,
            tls,
            connections: Vec::new(),
            free: Vec::new(),
            router: Router::default(),
            desk: Desk::new(key),
            unread: Vec::new(),
            is_stun_unread: false,
        })
    }

    /// Has [`run`](Self::run) look whether it should stop.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    /// Serves until `stop` is set and the waker wakes.
    pub(super) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut keep_alive_at = Instant::now() + KEEP_ALIVE_EVERY;
        while !stop.load(Ordering::Relaxed) {
            let is_waiting = self.unread.is_empty() && !self.is_stun_unread;
            let timeout = if is_waiting {
                keep_alive_at.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.turn(&events);
            if Instant::now() >= keep_alive_at {
                keep_alive_at = Instant::now() + KEEP_ALIVE_EVERY;
                self.router.keep_alive();
                self.write_all();
            }
        }
        Ok(())
    }

    fn turn(&mut self, events: &Events) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.sort_unstable();
        unread.dedup();
        for slot in unread {
            self.read(slot, false);
        }
        if std::mem::take(&mut self.is_stun_unread) {
            self.is_stun_unread = self.stun.answer();
        }
        let mut reads = 0;
        for event in events {
            match event.token() {
                LISTENER => self.accept(),
                STUN => self.is_stun_unread = self.stun.answer(),
                WAKER => {}
                Token(slot) => {
                    self.ready(slot, event);
                    reads += 1;
                    if reads % READS_PER_WRITE == 0 {
                        self.write_all();
                    }
                }
            }
        }
        self.write_all();
    }

    fn accept(&mut self) {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // Out of files: the next connection's event tries again.
                Err(_) => return,
            };
            // One that cannot be served is closed by being dropped.
            let _ = self.adopt(socket);
        }
    }

    fn adopt(&mut self, socket: TcpStream) -> Result<(), Hangup> {
        let slot = self.free.pop().unwrap_or(self.connections.len());
        if slot == self.connections.len() {
            self.connections.push(None);
        }
        let connection = socket
            .set_nodelay(true)
            .map_err(|_| Hangup)
            .and_then(|()| Connection::new(socket, slot, self.tls.as_ref()));
        let registered = connection.and_then(|mut connection| {
            let interests = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(connection.socket(), Token(slot), interests).map_err(|_| Hangup)?;
            Ok(connection)
        });
        match registered {
            Ok(connection) => {
                self.connections[slot] = Some(Box::new(connection));
                self.router.open(slot);
                Ok(())
            }
            Err(hangup) => {
                self.free.push(slot);
                Err(hangup)
            }
        }
    }

    fn ready(&mut self, slot: Slot, event: &Event) {
        if event.is_writable()
            && let Some(connection) = &mut self.connections[slot]
            && connection.writable()
        {
            self.router.plain(slot);
        }
        let ends = event.is_read_closed() || event.is_error();
        if event.is_readable() || ends {
            self.read(slot, ends);
        }
    }

    fn read(&mut self, slot: Slot, ends: bool) {
        let Some(connection) = &mut self.connections[slot] else { return };
        match connection.read(ends, &mut self.desk, &mut self.router) {
            Ok(Progress::Drained) => {}
            Ok(Progress::Unread) => self.unread.push(slot),
            Err(Hangup) => self.close(slot),
        }
    }

    /// Seals and writes whatever has come together.
    fn write_all(&mut self) {
        while let Some((slot, mut plain)) = self.router.next_dirty() {
            let Some(connection) = &mut self.connections[slot] else { continue };
            let written = connection.write(&mut plain, &mut self.desk);
            self.router.put_back(slot, plain);
            if written.is_err() {
                self.close(slot);
            }
        }
    }

    fn close(&mut self, slot: Slot) {
        let Some(mut connection) = self.connections[slot].take() else { return };
        self.router.close(slot, connection.key());
        // The socket is closed in any case.
        let _ = self.poll.registry().deregister(connection.socket());
        self.free.push(slot);
    }
}
