//! A byte splice: less than any relay can do, and still of use to its clients.
//!
//! It greets each client as a relay does; from then on it moves bytes from one socket to another. DERP makes it look at the head of
//! each frame, for what a sender calls SendPacket, with the receiver's key, its receiver has to find as RecvPacket, with the
//! sender's; both are as long, so that they are patched where they were read ([`frames`]). Whole runs of frames for one
//! receiver go on as they came: nothing is looked up but a receiver that is another than before, nothing is queued but what a
//! socket did not take, and nothing is decided. Without TLS a frame is never copied on its way from the one system call to the
//! other; with TLS it is copied once, between opening and sealing.
//!
//! It never drops for want of room, as long as each sender keeps to one receiver: whoever writes to a socket that is full is not read
//! from. There are no keep-alives, and nothing but DERP's own upgrade is served.

mod end;
mod frames;

use std::collections::VecDeque;
use std::io;
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferry_protocol::{NodePrivateKey, NodePublicKey};
use hashbrown::HashMap;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;

use super::Identity;
use super::connection::Hangup;
use super::router::Slot;
use end::{Buffers, End, Read};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Readiness events taken at once.
const EVENTS_PER_TURN: usize = 1_024;
/// Reads of one client before others get their turn.
const READS_PER_TURN: usize = 4;

/// The splice's state.
pub(super) struct Splice {
    poll: Poll,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    key: NodePrivateKey,
    /// Taken out of its place while it is read, so that what it sends can be handed to its neighbours.
    ends: Vec<Option<Box<End>>>,
    free: Vec<Slot>,
    clients: HashMap<NodePublicKey, Slot>,
    /// Clients with bytes left to read that no event will announce again.
    unread: VecDeque<Slot>,
    buffers: Buffers,
}

impl Splice {
    pub(super) fn new(tcp: net::TcpListener, Identity { key, tls }: Identity) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(tcp);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            tls,
            key,
            ends: Vec::new(),
            free: Vec::new(),
            clients: HashMap::new(),
            unread: VecDeque::new(),
            buffers: Buffers::default(),
        })
    }

    /// Has [`run`](Self::run) look whether it should stop.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    /// Serves until `stop` is set and the waker wakes.
    pub(super) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !stop.load(Ordering::Relaxed) {
            let timeout = (!self.unread.is_empty()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for _ in 0..self.unread.len() {
                let Some(slot) = self.unread.pop_front() else { break };
                self.read(slot);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    Token(slot) => self.ready(slot, event),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                // One that cannot be served is closed by being dropped.
                Ok((socket, _)) => self.adopt(socket),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Nobody else, or out of files: the next connection's event tries again.
                Err(_) => return,
            }
        }
    }

    fn adopt(&mut self, mut socket: TcpStream) {
        let slot = self.free.pop().unwrap_or(self.ends.len());
        if slot == self.ends.len() {
            self.ends.push(None);
        }
        let interests = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        let ready =
            socket.set_nodelay(true).and_then(|()| registry.register(&mut socket, Token(slot), interests));
        let end = ready.map_err(|_| Hangup).and_then(|()| End::new(socket, self.tls.as_ref()));
        match end {
            Ok(end) => self.ends[slot] = Some(Box::new(end)),
            Err(Hangup) => self.free.push(slot),
        }
    }

    fn ready(&mut self, slot: Slot, event: &Event) {
        if event.is_writable() {
            self.write(slot);
        }
        let ends = event.is_read_closed() || event.is_error();
        if ends && let Some(Some(end)) = self.ends.get_mut(slot) {
            end.announce_end();
        }
        if event.is_readable() || ends {
            self.read(slot);
        }
    }

    /// Writes what a socket did not take before; those who waited for that may be read again.
    fn write(&mut self, slot: Slot) {
        let Some(Some(end)) = self.ends.get_mut(slot) else { return };
        match end.write() {
            Ok(()) if end.is_full() => {}
            Ok(()) => self.unread.extend(end.take_waiting()),
            Err(Hangup) => self.close(slot),
        }
    }

    fn read(&mut self, slot: Slot) {
        let Some(mut end) = self.ends.get_mut(slot).and_then(Option::take) else { return };
        let mut result = Ok(Read::Unread);
        for _ in 0..READS_PER_TURN {
            if let Some(full) = self.full_receiver_of(&end) {
                full.wait(slot);
                result = Ok(Read::Drained);
                break;
            }
            result = self.read_once(slot, &mut end);
            if !matches!(result, Ok(Read::Unread)) {
                break;
            }
        }
        self.ends[slot] = Some(end);
        match result {
            Ok(Read::Drained) => {}
            Ok(Read::Unread) => self.unread.push_back(slot),
            Err(Hangup) => self.close(slot),
        }
    }

    /// The receiver that `end` wrote to last, if its socket takes no more.
    fn full_receiver_of(&mut self, end: &End) -> Option<&mut End> {
        let receiver = self.ends.get_mut(end.receiver()?)?.as_mut()?;
        receiver.is_full().then_some(receiver)
    }

    /// Reads once, and hands on what came.
    fn read_once(&mut self, slot: Slot, end: &mut End) -> Result<Read, Hangup> {
        let Self { ends, clients, buffers, key, unread, .. } = self;
        let Buffers { input, sealed } = buffers;
        let progress = end.read(input, sealed, key)?;
        if let Some(new) = end.take_greeted() {
            clients.insert(new, slot);
        }
        end.move_on(input, |known, to, frames| {
            let found = known.filter(|slot| is_of(ends, *slot, to)).or_else(|| clients.get(to).copied())?;
            // Itself, or one that has gone: nobody receives it.
            let receiver = ends.get_mut(found)?.as_mut()?;
            if receiver.send(frames, sealed).is_err() {
                // Its own event will say so again.
                unread.push_back(found);
            }
            Some(found)
        })?;
        Ok(progress)
    }

    fn close(&mut self, slot: Slot) {
        let Some(mut end) = self.ends[slot].take() else { return };
        if let Some(key) = end.key()
            && self.clients.get(key) == Some(&slot)
        {
            self.clients.remove(key);
        }
        self.unread.extend(end.take_waiting());
        // The socket is closed in any case.
        let _ = self.poll.registry().deregister(end.socket());
        self.free.push(slot);
    }
}

/// Whether the client in a slot is the one with this key: another may have come since.
fn is_of(ends: &[Option<Box<End>>], slot: Slot, key: &NodePublicKey) -> bool {
    ends.get(slot).and_then(Option::as_ref).is_some_and(|end| end.key() == Some(key))
}
