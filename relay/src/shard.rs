//! A data thread: some of the clients, one epoll, no task and no lock per client.
//!
//! One turn: wait until something is ready, read what is ready, route every whole frame, hand what belongs to other
//! threads over in one batch each, then seal and write each receiver that got something. A batch is what was ready:
//! nobody waits for it to fill, so a single packet leaves at once and under load the cost per packet falls.
//!
//! The clients are the thread's while it is awake. While it sleeps, whoever made a client of a connection lets it in itself
//! ([`ShardHandle::adopt`]): waking a thread for it would cost more than all the rest of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferry_protocol::NodePublicKey;
use ferry_record::RECORD_BYTES_MAX;
use mio::{Events, Interest, Poll, Registry as Readiness, Token, Waker};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tracing::debug;

use crate::metrics::{DropReason, End, FrontCounters, ShardCounters};
use crate::switch::ConnectionId;
use crate::switch::packet::{Packet, PacketPool};
use crate::switch::registry::{Presence, Registry};
use crate::traffic::ClientTraffic;

mod connection;
mod desk;
mod lifecycle;
mod reading;
mod routes;
mod routing;
mod sealer;

pub(crate) use connection::NewSession;
use connection::{Connection, Flushed};
use desk::Desk;
use lifecycle::{LINGER_CHECK_EVERY, Lingering};

/// Ciphertext taken with one read; the buffer belongs to the thread, not to a client.
const READ_BYTES: usize = 64 * 1024;
/// Bytes read before what they brought is written, so that a busy turn does not overflow outboxes that could drain.
const BYTES_PER_FLUSH: usize = 128 * 1024;
/// Readiness events taken at once.
const EVENTS_PER_TURN: usize = 1_024;
/// How often write timeouts are looked at while somebody is blocked.
const BLOCKED_CHECK_EVERY: Duration = Duration::from_millis(250);
/// How often unneeded memory is given back while it is being used.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How long a data thread has slept before others touch its clients: one that is busy is awake soon, and must never wait for a
/// thread that gives way to it.
const RESTED: Duration = Duration::from_micros(250);
/// Packets another thread may have waiting for us; over this it is told no, as by a full outbox.
const INBOX_PACKETS_MAX: usize = 65_536;

const WAKER: Token = Token(usize::MAX);

/// What every thread of a relay sees.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) front: Arc<FrontCounters>,
    /// The relay's own key, which mesh peers of the same relay present.
    pub(crate) public_key: NodePublicKey,
    pub(crate) shards: Vec<ShardHandle>,
    /// How long a client may refuse what it is sent; `None` is for ever.
    pub(crate) write_timeout: Option<Duration>,
    /// Packets of one sender that are safe in an outbox.
    pub(crate) queue_depth: usize,
}

/// A data thread as seen from the others.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    inbox: Mutex<Inbox>,
    waker: Waker,
    /// The thread's own, which it holds while it is awake. Absent before it runs and when it has ended.
    state: Mutex<Option<Box<Shard>>>,
    pub(crate) counters: Arc<ShardCounters>,
    /// Clients here and on their way here.
    pub(crate) load: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inbox {
    packets: Vec<(ConnectionId, Packet)>,
    messages: Vec<Message>,
}

/// What threads tell each other beside packets.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client for this thread.
    Adopt(Box<NewSession>),
    /// Something for a client of this thread to hear.
    Notify(ConnectionId, Notice),
    /// A mesh peer wants this client closed.
    Evict(ConnectionId),
    /// An operator asks what the clients here have sent and been sent.
    Census(Sender<Vec<ClientTraffic>>),
    /// Write what waits, say goodbye, and end when everyone has gone or `until` has passed.
    Drain {
        /// The end in any case.
        until: Instant,
    },
}

/// Control frames that one client's doings cause for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// A key it was sent packets from (or watches) has left.
    PeerGone(NodePublicKey),
    /// A key has arrived; for watchers.
    PeerPresent(NodePublicKey, Presence),
}

impl ShardHandle {
    /// Leaves a message and wakes the thread.
    pub(crate) fn send(&self, message: Message) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).messages.push(message);
        self.wake();
    }

    /// Makes a client the thread's: at once while it sleeps, and otherwise by a message.
    pub(crate) fn adopt(&self, session: Box<NewSession>) {
        let now = Instant::now();
        if let Ok(mut state) = self.state.try_lock()
            && let Some(shard) = state.as_mut()
            && shard.has_rested(now)
            && self.is_up_to_date()
        {
            return shard.adopt_asleep(*session, now);
        }
        self.send(Message::Adopt(session));
    }

    /// Whether the thread has been told all that others have told it.
    fn is_up_to_date(&self) -> bool {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).messages.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, Option<Box<Shard>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            debug!(%error, "data thread not woken");
        }
    }
}

/// One data thread's state.
pub(crate) struct Shard {
    index: usize,
    shared: Arc<Shared>,
    /// Where sockets are registered.
    readiness: Readiness,
    slots: Vec<Slot>,
    free: Vec<usize>,
    desk: Desk,
    /// Clients with bytes left to read that no readiness event will announce again.
    unread: Vec<usize>,
    /// Clients whose socket is full.
    blocked: Vec<usize>,
    /// Sockets of clients that were sent a goodbye.
    lingering: Vec<Lingering>,
    /// Packets for other threads, by thread.
    outbound: Vec<Vec<(ConnectionId, Packet)>>,
    keep_alives: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    blocked_check_at: Option<Instant>,
    trim_at: Option<Instant>,
    /// When round-trip times are looked at next, and whose turn it is.
    sample_at: Option<Instant>,
    sample_next: usize,
    drain_until: Option<Instant>,
    /// When the thread was awake last, and when it wakes by itself.
    awake_at: Instant,
    asleep_until: Option<Instant>,
    /// Who has to hear of keys that left; told after what those sent has been handed on.
    departures: Vec<(Vec<ConnectionId>, Notice)>,
    read_buffer: Vec<u8>,
    stream_buffer: Vec<u8>,
    rng: SmallRng,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("index", &self.index).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    /// Absent while free, and while the client is being read.
    connection: Option<Box<Connection>>,
}

/// A data thread before it runs: its half that others hold, and what it starts with.
pub(crate) fn prepare() -> io::Result<(Poll, ShardHandle)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let handle = ShardHandle {
        inbox: Mutex::default(),
        waker,
        state: Mutex::default(),
        counters: Arc::new(ShardCounters::new()),
        load: AtomicUsize::new(0),
    };
    Ok((poll, handle))
}

impl Shard {
    pub(crate) fn new(index: usize, readiness: Readiness, shared: Arc<Shared>) -> Self {
        let counters = Arc::clone(&shared.shards[index].counters);
        Self {
            index,
            readiness,
            slots: Vec::new(),
            free: Vec::new(),
            desk: Desk {
                now: Instant::now(),
                counters,
                pool: PacketPool::default(),
                spare_outboxes: Vec::new(),
                queue_depth: shared.queue_depth,
                queued_bytes: 0,
                dirty: Vec::new(),
                out: Vec::new(),
                stream: Vec::new(),
            },
            unread: Vec::new(),
            blocked: Vec::new(),
            lingering: Vec::new(),
            outbound: shared.shards.iter().map(|_| Vec::new()).collect(),
            keep_alives: BinaryHeap::new(),
            blocked_check_at: None,
            trim_at: None,
            sample_at: None,
            sample_next: 0,
            drain_until: None,
            awake_at: Instant::now(),
            asleep_until: None,
            departures: Vec::new(),
            read_buffer: vec![0; RECORD_BYTES_MAX + READ_BYTES],
            stream_buffer: Vec::new(),
            rng: SmallRng::from_os_rng(),
            shared,
        }
    }

    /// Serves until drained.
    pub(crate) fn run(self, mut poll: Poll) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let handle = &shared.shards[self.index];
        *handle.state() = Some(Box::new(self));
        let ended = sleep_and_serve(&mut poll, handle);
        // It holds what it is held by.
        drop(handle.state().take());
        ended
    }

    /// What is ready, and what is due.
    fn turn(&mut self, events: &Events) {
        self.desk.now = Instant::now();
        let mut read = 0;
        for event in events {
            if event.token() == WAKER {
                self.take_inbox();
                continue;
            }
            let slot = event.token().0;
            if event.is_writable() {
                self.writable(slot);
            }
            if event.is_readable() || event.is_read_closed() {
                read += self.readable(slot, event.is_read_closed() || event.is_error());
            }
            if read >= BYTES_PER_FLUSH {
                self.pass_on();
                read = 0;
            }
        }
        for slot in std::mem::take(&mut self.unread) {
            if let Some(connection) = self.slots[slot].connection.as_mut().filter(|it| it.unread) {
                connection.unread = false;
                self.readable(slot, false);
                self.pass_on();
            }
        }
        self.timers();
        self.pass_on();
    }

    /// Whether it is time for others' work: what wakes the thread has not come for a while.
    fn has_rested(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.awake_at) >= RESTED
    }

    /// A client from another thread, while ours sleeps.
    fn adopt_asleep(&mut self, session: NewSession, now: Instant) {
        self.desk.now = now;
        self.adopt(session);
        self.pass_on();
        let next = self.next_turn_at();
        if next.is_some_and(|next| self.asleep_until.is_none_or(|until| next < until)) {
            self.asleep_until = next;
            self.shared.shards[self.index].wake();
        }
    }

    /// How long to sleep if nothing happens.
    fn fall_asleep(&mut self) -> Option<Duration> {
        self.awake_at = Instant::now();
        self.asleep_until = self.next_turn_at();
        // A millisecond early is a turn for nothing; epoll rounds up by itself.
        self.asleep_until.map(|until| until.saturating_duration_since(self.awake_at))
    }

    /// When something is due, whatever happens before.
    fn next_turn_at(&self) -> Option<Instant> {
        if !self.unread.is_empty() {
            return Some(self.desk.now);
        }
        let next_keep_alive = self.keep_alives.peek().map(|Reverse((at, _))| *at);
        let next_linger = (!self.lingering.is_empty()).then(|| self.desk.now + LINGER_CHECK_EVERY);
        let next = [next_keep_alive, next_linger, self.blocked_check_at, self.trim_at, self.sample_at];
        next.into_iter().chain([self.drain_until]).flatten().min()
    }

    /// Hands packets to other threads and writes what waits for our own clients.
    fn pass_on(&mut self) {
        for (index, batch) in self.outbound.iter_mut().enumerate() {
            if batch.is_empty() {
                continue;
            }
            let handle = &self.shared.shards[index];
            let mut inbox = handle.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = inbox.packets.is_empty();
            let room = INBOX_PACKETS_MAX.saturating_sub(inbox.packets.len()).min(batch.len());
            inbox.packets.extend(batch.drain(..room));
            drop(inbox);
            for (_, packet) in batch.drain(..) {
                self.desk.drop_packet(packet, DropReason::QueueTail);
            }
            if was_empty {
                handle.wake();
            }
        }
        loop {
            while let Some(slot) = self.desk.dirty.pop() {
                self.flush(slot);
            }
            let Some((told, notice)) = self.departures.pop() else { break };
            self.announce(told, notice);
        }
        if self.trim_at.is_none() {
            self.trim_at = Some(self.desk.now + TRIM_EVERY);
        }
    }

    fn flush(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot].connection else { return };
        connection.dirty = false;
        match connection.flush(&mut self.desk) {
            Ok(Flushed::Clean) if self.drain_until.is_some() && connection.closing.is_none() => {
                connection.say_goodbye(End::Shutdown);
                self.flush(slot);
            }
            Ok(Flushed::Clean) => {}
            Ok(Flushed::Blocked) => {
                self.blocked.push(slot);
                self.blocked_check_at.get_or_insert(self.desk.now + BLOCKED_CHECK_EVERY);
                self.watch_for_room(slot);
            }
            Err(end) => self.close(slot, end),
        }
    }

    /// Has the socket of a blocked client announce room. Most clients never block: asked for from the start, that would be a turn
    /// for nothing as each of them comes.
    fn watch_for_room(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot].connection else { return };
        if connection.watched_for_room {
            return;
        }
        connection.watched_for_room = true;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.readiness.reregister(&mut connection.socket, Token(slot), interest).is_err() {
            self.close(slot, End::Network);
        }
    }

    fn writable(&mut self, slot: usize) {
        if let Some(connection) = self.slots.get_mut(slot).and_then(|it| it.connection.as_mut())
            && connection.has_output()
            && !connection.dirty
        {
            connection.dirty = true;
            self.desk.dirty.push(slot);
        }
    }

    /// Work from other threads.
    fn take_inbox(&mut self) {
        let inbox = {
            let handle = &self.shared.shards[self.index];
            std::mem::take(&mut *handle.inbox.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for (to, packet) in inbox.packets {
            self.deliver(to, packet);
        }
        // Written before what the messages cause: a departure is told after the packets that came before it.
        if inbox.messages.iter().any(|message| matches!(message, Message::Notify(..) | Message::Drain { .. }))
        {
            self.pass_on();
        }
        for message in inbox.messages {
            match message {
                Message::Adopt(session) => self.adopt(*session),
                Message::Notify(to, notice) => self.notify(to, notice),
                Message::Evict(id) => {
                    if self.connection(id).is_some() {
                        self.part(id.slot(), End::Evicted);
                    }
                }
                Message::Census(answer) => {
                    // Whoever asked may have given up.
                    let _ = answer.send(self.census());
                }
                Message::Drain { until } => self.drain(until),
            }
        }
    }

    /// What each client has sent and been sent; the senders are the registry's to count.
    fn census(&self) -> Vec<ClientTraffic> {
        let clients = self.slots.iter().filter_map(|slot| slot.connection.as_ref());
        let traffic = clients.map(|client| ClientTraffic {
            id: client.id,
            sent: client.sent_bytes,
            recv: client.received_bytes,
            key: *client.entry.key(),
            unique_senders: 0,
        });
        traffic.collect()
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Box<Connection>> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.generation == id.generation() { slot.connection.as_mut() } else { None }
    }
}

/// A data thread's life: its state is others' to touch while it sleeps.
fn sleep_and_serve(poll: &mut Poll, handle: &ShardHandle) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    let mut timeout = None;
    loop {
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let mut state = handle.state();
        let Some(shard) = state.as_mut() else { return Ok(()) };
        shard.turn(&events);
        if shard.drained() {
            return Ok(());
        }
        timeout = shard.fall_asleep();
    }
}

#[cfg(test)]
mod tests;
