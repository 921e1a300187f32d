//! One relay client on a data thread: what is known of it, and how its bytes are packed for the wire.

use std::io::{self, Write};
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferry_protocol::NodePublicKey;
use ferry_protocol::frame::ClientFrameDecoder;
use ferry_protocol::frame::encode_pong;
use ferry_record::{RecordError, ServerSession};
use mio::net::TcpStream;
use tungstenite::protocol::frame::coding::CloseCode;

use super::desk::Desk;
use super::routes::Routes;
use super::sealer::Sealer;
use crate::metrics::{DropReason, End, TlsVersion, add};
use crate::switch::ConnectionId;
use crate::switch::outbox::Outbox;
use crate::switch::registry::{KeyEntry, Presence};
use crate::websocket::{Flow, WebSocketCodec};

/// Bytes sealed for one write: enough to make the system call cheap, little enough that what the socket refuses can
/// wait sealed without weight. A packet larger than this goes out whole.
const WRITE_BYTES: usize = 64 * 1024;
/// Control frames that may wait for an ordinary client: PeerGone is 38 bytes and only a hint.
const CONTROL_BYTES_MAX: usize = 256 * 1024;
/// The same for a mesh peer, whose floods are the state of the region: over this it is closed and starts afresh.
const MESH_CONTROL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a blocked receiver has to take within the write timeout to stay: derper sets its deadline anew for each write
/// of its buffer of this size.
const PROGRESS_BYTES: usize = 4 * 1024;

/// How long a socket that refused bytes is left alone when more come for it. epoll is silent until a third of the send
/// buffer is free and half of TCP_NOTSENT_LOWAT, while a write succeeds as soon as anything is. On a long wire that fills
/// the buffer, a third of it stayed empty without asking: each announced write adds no more than may be unsent.
const RETRY_EVERY: Duration = Duration::from_millis(1);

/// Tokens for PeerGone(NotHere): three at once, one more each second (derp.md 8.6).
const NOT_HERE_BURST: f32 = 3.0;

/// A client whose handshake is done, on its way to a data thread.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) socket: StdTcpStream,
    pub(crate) tls: Option<(ServerSession, TlsVersion)>,
    pub(crate) websocket: Option<Box<WebSocketCodec>>,
    pub(crate) key: NodePublicKey,
    pub(crate) presence: Presence,
    /// Presented the mesh key: may watch, forward and close.
    pub(crate) mesh: bool,
    /// Wanted another node of the region.
    pub(crate) not_ideal: bool,
    /// Sealed and not yet sent: what the client must get first, if it has not.
    pub(crate) unsent: Vec<u8>,
    /// The ServerInfo frame, which has to be the client's first after ServerKey.
    pub(crate) server_info: Vec<u8>,
    /// Received and not yet opened.
    pub(crate) sealed: Vec<u8>,
    /// The client's stream behind its ClientInfo.
    pub(crate) stream: Vec<u8>,
}

/// A connected client, owned by one data thread. Boxed, and small while idle: no buffer, no queue.
#[derive(Debug)]
pub(crate) struct Connection {
    // Fixed at adoption.
    pub(crate) id: ConnectionId,
    pub(crate) entry: Arc<KeyEntry>,
    pub(crate) socket: TcpStream,
    pub(crate) mesh: bool,
    pub(crate) not_ideal: bool,
    pub(crate) tls_version: Option<TlsVersion>,
    pub(crate) connected_at: Instant,
    pub(crate) keep_alive_every: Duration,

    // Both directions.
    /// Bytes read from the socket, and written to it.
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) tls: Option<ServerSession>,
    pub(crate) websocket: Option<Box<WebSocketCodec>>,

    // Reading.
    pub(crate) decoder: ClientFrameDecoder,
    /// The beginning of a frame whose end has not come, and how many bytes it needs to go on.
    pub(crate) partial: Vec<u8>,
    pub(crate) partial_needed: usize,
    /// The beginning of a TLS record whose end has not come.
    pub(crate) sealed_rest: Vec<u8>,
    /// Where this client's packets go.
    pub(crate) routes: Routes,
    not_here_tokens: f32,
    not_here_at: Instant,
    pub(crate) home: bool,

    // Writing.
    /// Packets that wait; absent while none do.
    pub(crate) outbox: Option<Box<Outbox>>,
    /// Whole control frames that wait, ahead of packets.
    control: Vec<u8>,
    /// WebSocket pongs and closes that wait, ahead of everything; not sealed yet.
    answers: Vec<u8>,
    /// The one pong that may wait (derp.md 8.8).
    pong: Option<[u8; 8]>,
    /// Sealed bytes that the socket would not take yet.
    pending: Vec<u8>,
    pending_written: usize,
    /// Room in the socket is announced, too: it has refused bytes before.
    pub(crate) watched_for_room: bool,
    /// When the socket last took [`PROGRESS_BYTES`], while it refuses more.
    blocked: Option<Blocked>,
    /// On the list of those with something to write.
    pub(crate) dirty: bool,
    /// On the list of those with something left to read.
    pub(crate) unread: bool,
    /// Ends once what is pending has gone out.
    pub(crate) closing: Option<End>,
}

#[derive(Debug)]
struct Blocked {
    since: Instant,
    /// Bytes taken since then.
    taken: usize,
    /// When it last refused.
    tried: Instant,
}

impl Blocked {
    /// From now on.
    const fn at(now: Instant) -> Self {
        Self { since: now, taken: 0, tried: now }
    }

    /// Whether to ask it again for a packet that has just come.
    fn may_take(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.tried) >= RETRY_EVERY
    }
}

/// How a flush went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing waits.
    Clean,
    /// The socket is full; its readiness goes on with it.
    Blocked,
}

impl Connection {
    /// A client that has just been registered.
    pub(crate) fn new(
        id: ConnectionId,
        entry: Arc<KeyEntry>,
        session: NewSession,
        keep_alive_every: Duration,
        now: Instant,
    ) -> Self {
        let (tls, tls_version) = session.tls.unzip();
        Self {
            id,
            entry,
            socket: TcpStream::from_std(session.socket),
            mesh: session.mesh,
            not_ideal: session.not_ideal,
            tls_version,
            connected_at: now,
            keep_alive_every,
            received_bytes: 0,
            sent_bytes: 0,
            tls,
            websocket: session.websocket,
            decoder: ClientFrameDecoder::new(),
            partial: Vec::new(),
            partial_needed: 0,
            sealed_rest: session.sealed,
            routes: Routes::default(),
            not_here_tokens: NOT_HERE_BURST,
            not_here_at: now,
            home: false,
            outbox: None,
            control: session.server_info,
            answers: Vec::new(),
            pong: None,
            pending: session.unsent,
            pending_written: 0,
            watched_for_room: false,
            blocked: None,
            dirty: false,
            unread: false,
            closing: None,
        }
    }

    /// Whether another PeerGone(NotHere) may be sent: 1/s, burst 3.
    pub(crate) fn may_tell_not_here(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.not_here_at).as_secs_f32();
        self.not_here_tokens = (self.not_here_tokens + gained).min(NOT_HERE_BURST);
        self.not_here_at = now;
        if self.not_here_tokens < 1.0 {
            return false;
        }
        self.not_here_tokens -= 1.0;
        true
    }

    /// Queues a control frame that `encode` appends.
    pub(crate) fn post(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), End> {
        let max = if self.mesh { MESH_CONTROL_BYTES_MAX } else { CONTROL_BYTES_MAX };
        if self.control.len() < max {
            encode(&mut self.control);
            return Ok(());
        }
        if self.mesh { Err(End::ControlOverflow) } else { Ok(()) }
    }

    /// Queues a pong; a further ping is ignored while one waits, as derper does.
    pub(crate) fn post_pong(&mut self, data: [u8; 8]) {
        self.pong.get_or_insert(data);
    }

    /// Whether the socket refused bytes and has not become writable since.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether its socket may take bytes: it has not refused any, or that was a moment ago.
    pub(crate) fn is_worth_a_write(&self, now: Instant) -> bool {
        self.blocked.as_ref().is_none_or(|blocked| blocked.may_take(now))
    }

    /// Whether the client has had its time to take what is pending.
    pub(crate) fn write_timed_out(&self, now: Instant, limit: Duration) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| now.saturating_duration_since(blocked.since) > limit)
    }

    /// Seals and writes what waits, as much as the socket takes.
    pub(crate) fn flush(&mut self, desk: &mut Desk) -> Result<Flushed, End> {
        loop {
            let goes_alone = self.is_blocked() || self.closing.is_some();
            if goes_alone && !self.pending.is_empty() && !self.write_pending(desk.now)? {
                return Ok(Flushed::Blocked);
            }
            if let Some(end) = self.closing
                && self.answers.is_empty()
            {
                return Err(end);
            }
            let mut out = std::mem::take(&mut desk.out);
            out.clear();
            let written = self.fill_and_write(desk, &mut out);
            desk.out = out;
            match written? {
                Flushed::Blocked => return Ok(Flushed::Blocked),
                Flushed::Clean if self.has_output() => {}
                Flushed::Clean => {
                    if let Some(outbox) = self.outbox.take() {
                        desk.recycle_outbox(outbox);
                    }
                    return Ok(Flushed::Clean);
                }
            }
        }
    }

    /// One write's worth, behind what is pending though the socket has not refused it: a greeting, or TLS's own words.
    fn fill_and_write(&mut self, desk: &mut Desk, out: &mut Vec<u8>) -> Result<Flushed, End> {
        // Freed, as all that an idle client does not need.
        out.extend_from_slice(&std::mem::take(&mut self.pending));
        let frames = self.fill(desk, out)?;
        if out.is_empty() {
            return Ok(Flushed::Clean);
        }
        desk.counters.buffered_write_frames.observe(frames);
        let written = self.write(out)?;
        self.sent_bytes += written as u64;
        if written == out.len() {
            return Ok(Flushed::Clean);
        }
        self.pending.extend_from_slice(&out[written..]);
        self.blocked = Some(Blocked::at(desk.now));
        Ok(Flushed::Blocked)
    }

    /// Writes bytes sealed earlier; answers whether all have gone.
    fn write_pending(&mut self, now: Instant) -> Result<bool, End> {
        let rest = &self.pending[self.pending_written..];
        let written = match self.socket.write(rest) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return Err(End::Network),
        };
        self.sent_bytes += written as u64;
        if written == rest.len() {
            self.pending = Vec::new();
            self.pending_written = 0;
            self.blocked = None;
            return Ok(true);
        }
        self.pending_written += written;
        let blocked = self.blocked.get_or_insert_with(|| Blocked::at(now));
        blocked.tried = now;
        blocked.taken += written;
        if blocked.taken >= PROGRESS_BYTES {
            *blocked = Blocked::at(now);
        }
        Ok(false)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, End> {
        match self.socket.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(_) => Err(End::Network),
        }
    }

    /// Packs frames into `out`, sealed, up to one write's worth; answers how many.
    fn fill(&mut self, desk: &mut Desk, out: &mut Vec<u8>) -> Result<u64, End> {
        let mut tls = self.tls.take();
        let mut sealer = Sealer::new(tls.as_mut());
        sealer.push(out, &std::mem::take(&mut self.answers));
        let frames = match self.websocket.take() {
            _ if self.closing.is_some() => 0,
            None => self.pack(desk, out, |out, frame| sealer.push(out, frame)),
            Some(mut codec) => {
                let mut stream = std::mem::take(&mut desk.stream);
                stream.clear();
                let frames = self.pack(desk, &mut stream, Vec::extend_from_slice);
                if !stream.is_empty() && codec.send(&stream) == Flow::Closing {
                    self.closing = Some(End::Transport);
                }
                sealer.push(out, &codec.take_outgoing());
                desk.stream = stream;
                self.websocket = Some(codec);
                frames
            }
        };
        let sealed = sealer.finish(out);
        self.tls = tls;
        sealed.map_err(|_| End::Transport)?;
        Ok(frames)
    }

    /// Hands one write's worth of frames to `put`: control first, then packets in the outbox's order.
    fn pack(&mut self, desk: &mut Desk, out: &mut Vec<u8>, mut put: impl FnMut(&mut Vec<u8>, &[u8])) -> u64 {
        let mut frames = 0;
        if !self.control.is_empty() {
            // Freed, so that an idle client does not keep what a burst took.
            put(out, &std::mem::take(&mut self.control));
            frames += 1;
        }
        if let Some(data) = self.pong.take() {
            let mut pong = Vec::with_capacity(13);
            encode_pong(&mut pong, data);
            put(out, &pong);
            add(&desk.counters.sent_pong, 1);
            frames += 1;
        }
        let Some(outbox) = &mut self.outbox else { return frames };
        let (mut packets, mut bytes) = (0, 0);
        let queued_before = outbox.bytes();
        let now = desk.now;
        while out.len() < WRITE_BYTES {
            let (counters, pool) = (&desk.counters, &mut desk.pool);
            let popped = outbox.pop(now, |packet, reason| {
                counters.dropped(reason, packet.kind, packet.payload_bytes());
                pool.recycle(packet);
            });
            let Some(packet) = popped else { break };
            put(out, &packet.frame);
            counters.queue_waited(now.saturating_duration_since(packet.queued_at));
            packets += 1;
            bytes += packet.payload_bytes() as u64;
            pool.recycle(packet);
        }
        desk.queued_bytes -= queued_before - outbox.bytes();
        desk.counters.sent(packets, bytes);
        frames + packets
    }

    /// Appends a close_notify or a WebSocket close to what goes out, then ends the connection.
    pub(crate) fn say_goodbye(&mut self, end: End) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(end);
        // derper's code; a client that has broken the protocol hears it too.
        if let Some(codec) = &mut self.websocket {
            codec.close(CloseCode::Normal, "");
            let wire = codec.take_outgoing();
            self.answer(&wire);
        }
        let mut sealer = Sealer::new(self.tls.as_mut());
        sealer.push(&mut self.pending, &std::mem::take(&mut self.answers));
        // A key that cannot seal leaves the client without a goodbye, as a lost connection would.
        let _ = sealer.finish(&mut self.pending);
        if let Some(tls) = &mut self.tls {
            let _ = tls.close_notify(&mut self.pending);
        }
    }

    /// Answers a peer's KeyUpdate with ours, in order with everything sealed so far.
    pub(crate) fn update_keys(&mut self) -> Result<(), RecordError> {
        match &mut self.tls {
            Some(tls) => tls.key_update(&mut self.pending),
            None => Ok(()),
        }
    }

    /// Counts what still waits as lost, and gives the buffers back.
    pub(crate) fn discard_outbox(&mut self, desk: &mut Desk) {
        let Some(mut outbox) = self.outbox.take() else { return };
        desk.queued_bytes -= outbox.bytes();
        outbox.drain(|packet| desk.drop_packet(packet, DropReason::GoneDisconnected));
        desk.recycle_outbox(outbox);
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.pending.is_empty()
            || !self.control.is_empty()
            || self.pong.is_some()
            || !self.answers.is_empty()
            || self.closing.is_some()
            || self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    /// Leaves bytes of the WebSocket layer (pongs, a close) for the next flush.
    pub(crate) fn answer(&mut self, wire: &[u8]) {
        self.answers.extend_from_slice(wire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_refused_is_asked_again_a_moment_later() {
        let start = Instant::now();
        let mut blocked = Blocked::at(start);
        assert!(!blocked.may_take(start + RETRY_EVERY / 2));
        assert!(blocked.may_take(start + RETRY_EVERY));
        // Each refusal is a moment's peace, whatever was taken before.
        blocked.tried = start + RETRY_EVERY;
        assert!(!blocked.may_take(start + RETRY_EVERY));
        assert!(blocked.may_take(start + 2 * RETRY_EVERY));
    }
}
