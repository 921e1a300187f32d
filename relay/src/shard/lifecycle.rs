//! Clients coming, going, and growing old.

use std::cmp::Reverse;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferry_protocol::frame::PeerGoneReason;
use ferry_protocol::frame::{encode_keep_alive, encode_peer_gone, encode_peer_present};
use mio::net::TcpStream;
use mio::{Interest, Token};
use rand::Rng;
use tracing::debug;

use super::connection::{Connection, NewSession};
use super::{BLOCKED_CHECK_EVERY, Message, Notice, Shard, Slot};
use crate::metrics::{End, TcpRtt, add, sub};
use crate::switch::ConnectionId;
use crate::sys;

/// derper's keep-alive: every 60 s, plus up to 5 s drawn once per connection so that clients do not pulse together.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(60);
const KEEP_ALIVE_JITTER_MILLIS: u64 = 5_000;
/// Each client's round-trip time is sampled once in this many seconds, a share of the clients each second; derper's rate.
const SAMPLE_EVERY_SECS: usize = 10;
/// derper gives mesh peers more time than clients.
const MESH_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client has to take a goodbye and hang up.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often those clients are looked at.
pub(super) const LINGER_CHECK_EVERY: Duration = Duration::from_millis(20);
/// Clients of a thread that may linger; more are closed at once.
const LINGERING_MAX: usize = 1_024;

/// The socket of a client that was sent a goodbye. Closing it with bytes unread would reset the connection, and the
/// reset overtakes the goodbye; so what it still sends is read and thrown away until it hangs up.
#[derive(Debug)]
pub(super) struct Lingering {
    socket: TcpStream,
    until: Instant,
}

impl Shard {
    /// A client becomes ours: registered and announced, then greeted, then heard.
    pub(super) fn adopt(&mut self, mut session: NewSession) {
        if self.drain_until.is_some() || (self.free.is_empty() && self.slots.len() >= ConnectionId::SLOTS_MAX)
        {
            self.shared.shards[self.index].load.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let id = ConnectionId::new(self.index, slot, self.slots[slot].generation);
        let key = session.key;
        let presence = session.presence;
        let stream = std::mem::take(&mut session.stream);
        let registered = self.shared.registry.register(key, id, presence);
        let jitter = Duration::from_millis(self.rng.random_range(0..KEEP_ALIVE_JITTER_MILLIS));
        let keep_alive_every = KEEP_ALIVE_EVERY + jitter;
        let mut connection =
            Box::new(Connection::new(id, registered.entry, session, keep_alive_every, self.desk.now));

        let counters = &self.desk.counters;
        add(&counters.accepts, 1);
        add(&counters.current_connections, 1);
        add(&counters.current_notideal_connections, u64::from(connection.not_ideal));
        add(&counters.total_dup_client_conns, u64::from(registered.duplicate));

        let readable = Interest::READABLE;
        let listening = self.readiness.register(&mut connection.socket, Token(slot), readable);
        self.keep_alives.push(Reverse((self.desk.now + keep_alive_every, id)));
        self.sample_at.get_or_insert(self.desk.now + Duration::from_secs(1));
        self.desk.mark(&mut connection);
        // Before it can become a watcher itself, which is told of everybody then.
        let watchers = self.shared.registry.watchers();
        self.announce(watchers, Notice::PeerPresent(key, presence));
        // What came with the handshake; anything later has an event coming.
        let sealed = std::mem::take(&mut connection.sealed_rest);
        let mut begun = match listening {
            Ok(()) => self.stream(&mut connection, &stream),
            Err(_) => Err(End::Network),
        };
        if begun.is_ok() && !sealed.is_empty() {
            begun = self.received(&mut connection, &mut sealed.into_boxed_slice());
        }
        self.slots[slot].connection = Some(connection);
        if let Err(end) = begun {
            self.part(slot, end);
        }
    }

    /// Ends a connection, with a goodbye to a client that may still listen.
    pub(super) fn part(&mut self, slot: usize, end: End) {
        if let Some(connection) = &mut self.slots[slot].connection
            && matches!(end, End::Protocol | End::Evicted)
        {
            connection.say_goodbye(end);
            return self.flush(slot);
        }
        self.close(slot, end);
    }

    pub(super) fn close(&mut self, slot: usize, end: End) {
        let Some(mut connection) = self.slots[slot].connection.take() else { return };
        debug!(id = ?connection.id, ?end, "client gone");
        self.slots[slot].generation = self.slots[slot].generation.wrapping_add(1);
        self.free.push(slot);
        connection.discard_outbox(&mut self.desk);
        let said_goodbye = connection.closing.is_some() && !matches!(end, End::WriteTimeout | End::Network);

        let counters = &self.desk.counters;
        sub(&counters.current_connections, 1);
        sub(&counters.current_home_connections, u64::from(connection.home));
        sub(&counters.current_notideal_connections, u64::from(connection.not_ideal));
        add(&counters.ended[end as usize], 1);
        add(&counters.sclient_write_timeouts, u64::from(end == End::WriteTimeout));
        if let Some(version) = connection.tls_version {
            self.shared.front.request_ended(version);
        }
        self.shared.shards[self.index].load.fetch_sub(1, Ordering::Relaxed);

        if connection.mesh {
            self.shared.registry.unwatch(connection.id);
        }
        if let Some(told) = self.shared.registry.unregister(&connection.entry, connection.id) {
            let notice = Notice::PeerGone(*connection.entry.key());
            self.departures.push((told, notice));
            self.departures.push((self.shared.registry.watchers(), notice));
        }
        if said_goodbye
            && self.lingering.len() < LINGERING_MAX
            && connection.socket.shutdown(Shutdown::Write).is_ok()
        {
            // Looked at now and then. All others' registrations end with their descriptors.
            let _ = self.readiness.deregister(&mut connection.socket);
            self.lingering
                .push(Lingering { socket: connection.socket, until: self.desk.now + LINGER_TIMEOUT });
        }
    }

    /// Throws away what lingering clients send, and lets go of those that have hung up or had their time.
    fn let_linger(&mut self) {
        let (now, buffer) = (self.desk.now, &mut self.read_buffer);
        self.lingering.retain_mut(|client| {
            // One read a look bounds what a client that keeps sending costs.
            let open = match client.socket.read(buffer) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            open && now < client.until
        });
    }

    /// Tells one of our clients something.
    pub(super) fn notify(&mut self, to: ConnectionId, notice: Notice) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.generation == to.generation())
        else {
            return;
        };
        let Some(connection) = &mut slot.connection else { return };
        let posted = connection.post(|out| match notice {
            Notice::PeerGone(key) => encode_peer_gone(out, &key, PeerGoneReason::Disconnected),
            Notice::PeerPresent(key, presence) => {
                encode_peer_present(out, &key, Some(presence.addr), presence.flags);
            }
        });
        match posted {
            Ok(()) => {
                if let Notice::PeerGone(_) = notice {
                    add(&self.desk.counters.peer_gone_disconnected_frames, 1);
                }
                self.desk.mark(connection);
            }
            Err(end) => self.close(to.slot(), end),
        }
    }

    /// Tells clients of any thread.
    pub(super) fn announce(&mut self, to: impl IntoIterator<Item = ConnectionId>, notice: Notice) {
        for id in to {
            if id.shard() == self.index {
                self.notify(id, notice);
            } else {
                self.shared.shards[id.shard()].send(Message::Notify(id, notice));
            }
        }
    }

    pub(super) fn timers(&mut self) {
        let now = self.desk.now;
        while let Some(Reverse((at, id))) = self.keep_alives.peek().copied()
            && at <= now
        {
            self.keep_alives.pop();
            let Some(connection) = self.connection(id) else { continue };
            let next = now + connection.keep_alive_every;
            let posted = connection.post(encode_keep_alive);
            self.keep_alives.push(Reverse((next, id)));
            match posted {
                Ok(()) => self.flush(id.slot()),
                Err(end) => self.close(id.slot(), end),
            }
        }
        if !self.lingering.is_empty() {
            self.let_linger();
        }
        if self.blocked_check_at.is_some_and(|at| at <= now) {
            self.check_blocked();
        }
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample_round_trips();
        }
        if self.trim_at.is_some_and(|at| at <= now) {
            self.desk.pool.trim();
            self.desk.out = Vec::new();
            self.desk.stream = Vec::new();
            self.stream_buffer = Vec::new();
            self.desk.spare_outboxes = Vec::new();
            self.trim_at = None;
        }
    }

    /// Looks at the round-trip times of the next tenth of the clients.
    fn sample_round_trips(&mut self) {
        for _ in 0..self.slots.len().div_ceil(SAMPLE_EVERY_SECS) {
            self.sample_next = (self.sample_next + 1) % self.slots.len();
            let Some(connection) = &self.slots[self.sample_next].connection else { continue };
            let reading = match &connection.websocket {
                Some(_) => TcpRtt::NonTcp,
                None => sys::round_trip_time(&connection.socket).map_or(TcpRtt::Error, TcpRtt::of),
            };
            self.desk.counters.tcp_rtt_read(reading);
        }
        let clients = self.free.len() < self.slots.len();
        self.sample_at = clients.then(|| self.desk.now + Duration::from_secs(1));
    }

    /// Closes clients that have not taken what they were sent.
    pub(super) fn check_blocked(&mut self) {
        let now = self.desk.now;
        self.blocked_check_at = None;
        let mut blocked = std::mem::take(&mut self.blocked);
        blocked.sort_unstable();
        blocked.dedup();
        for slot in blocked {
            // Tried, not only asked: epoll keeps quiet until half of TCP_NOTSENT_LOWAT is free.
            self.flush(slot);
            let Some(connection) = &self.slots[slot].connection else { continue };
            if !connection.is_blocked() {
                continue;
            }
            let limit = if connection.mesh { Some(MESH_WRITE_TIMEOUT) } else { self.shared.write_timeout };
            if limit.is_some_and(|limit| connection.write_timed_out(now, limit)) {
                self.close(slot, End::WriteTimeout);
                continue;
            }
            self.blocked.push(slot);
        }
        if !self.blocked.is_empty() {
            self.blocked_check_at = Some(now + BLOCKED_CHECK_EVERY);
        }
    }

    pub(super) fn drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
        for slot in 0..self.slots.len() {
            self.flush(slot);
        }
    }

    /// Whether a drain has come to its end.
    pub(super) fn drained(&mut self) -> bool {
        let Some(until) = self.drain_until else { return false };
        let all_gone = self.free.len() == self.slots.len() && self.lingering.is_empty();
        if self.desk.now < until && !all_gone {
            return false;
        }
        for slot in 0..self.slots.len() {
            self.close(slot, End::Shutdown);
        }
        true
    }
}
