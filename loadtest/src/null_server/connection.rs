//! One client, from its first byte to its last.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ferry_protocol::{
    ClientFrame, ClientFrameDecoder, NodePrivateKey, NodePublicKey, RequestHead, ServerHandshake, ServerInfo,
    Step, UpgradeKind, switching_protocols,
};
use mio::net::TcpStream;
use rustls::ServerConfig;

use super::router::{Router, Slot};
use super::tls::Tls;
use super::waiting::{Spares, Waiting};
use super::websocket::Framing;

/// What one read takes in. The buffer belongs to the thread, not to a client.
const READ_BYTES: usize = 128 * 1024;
/// Reads of one client before others get their turn.
const READS_PER_TURN: usize = 4;
/// Plaintext that is sealed before the socket is asked to take it.
const SEAL_BYTES: usize = 256 * 1024;

/// A connection cannot go on. A null server tells nobody why: what went wrong is the client's to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hangup;

/// How much of a socket has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it.
    Drained,
    /// There may be more.
    Unread,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Desk {
    key: NodePrivateKey,
    input: Vec<u8>,
    /// What is sealed in one go; cleared, never freed.
    wire: Vec<u8>,
    /// Memory for what is sealed and not sent.
    spares: Spares,
}

/// A client.
pub(super) struct Connection {
    socket: TcpStream,
    tls: Option<Tls>,
    session: Session,
    /// Received and not understood yet: less than a record, or without TLS less than a head or a frame.
    rest: Vec<u8>,
    /// Sealed, and the socket was full; at most [`SEAL_BYTES`] and what sealing adds.
    unsent: Waiting,
    is_blocked: bool,
    /// The end of what is to be read has been announced.
    ends: bool,
}

/// What is above TLS.
#[derive(Debug)]
struct Session {
    slot: Slot,
    stage: Stage,
    framing: Option<Framing>,
    /// Opened and not understood yet: less than a head or a frame.
    partial: Vec<u8>,
}

/// What is expected next.
#[derive(Debug)]
enum Stage {
    /// An HTTP request that asks for DERP.
    Head,
    /// ClientInfo.
    Handshake(ServerHandshake),
    /// Frames.
    Relaying { key: NodePublicKey, decoder: ClientFrameDecoder },
}

impl Desk {
    pub(super) fn new(key: NodePrivateKey) -> Self {
        Self { key, input: vec![0; READ_BYTES], wire: Vec::new(), spares: Spares::default() }
    }
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        slot: Slot,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Result<Self, Hangup> {
        Ok(Self {
            socket,
            tls: tls.map(Tls::new).transpose()?,
            session: Session { slot, stage: Stage::Head, framing: None, partial: Vec::new() },
            rest: Vec::new(),
            unsent: Waiting::default(),
            is_blocked: false,
            ends: false,
        })
    }

    pub(super) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Who it is, once it has said so.
    pub(super) const fn key(&self) -> Option<&NodePublicKey> {
        match &self.session.stage {
            Stage::Relaying { key, .. } => Some(key),
            Stage::Head | Stage::Handshake(_) => None,
        }
    }

    /// Reads what is there and routes it. `ends`: the end has been announced, and must be read to be seen.
    pub(super) fn read(
        &mut self,
        ends: bool,
        desk: &mut Desk,
        router: &mut Router,
    ) -> Result<Progress, Hangup> {
        self.ends |= ends;
        for _ in 0..READS_PER_TURN {
            let start = self.rest.len();
            if desk.input.len() < start + READ_BYTES {
                desk.input.resize(start + READ_BYTES, 0);
            }
            desk.input[..start].copy_from_slice(&self.rest);
            let read = match self.socket.read(&mut desk.input[start..start + READ_BYTES]) {
                Ok(0) => return Err(Hangup),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Drained),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Hangup),
            };
            let end = start + read;
            let done = self.receive(end, desk, router)?;
            // Its memory goes when nothing is left over: ten thousand idle clients hold none.
            if done == end {
                self.rest = Vec::new();
            } else {
                self.rest.clear();
                self.rest.extend_from_slice(&desk.input[done..end]);
            }
            // Less than was asked for: the socket is empty, and more will be announced.
            if read < READ_BYTES && !self.ends {
                return Ok(Progress::Drained);
            }
        }
        Ok(Progress::Unread)
    }

    /// Understands the first `end` bytes of the desk's input as far as they go; answers how far that is.
    fn receive(&mut self, end: usize, desk: &mut Desk, router: &mut Router) -> Result<usize, Hangup> {
        let Desk { key, input, wire, .. } = desk;
        let Some(tls) = &mut self.tls else {
            if self.session.framing.is_some() || !self.session.partial.is_empty() {
                self.session.opened(&input[..end], key, router)?;
                return Ok(end);
            }
            return self.session.stream(&input[..end], key, router);
        };
        wire.clear();
        let session = &mut self.session;
        let done = tls.open(&mut input[..end], wire, |plain| session.opened(plain, key, router))?;
        if !wire.is_empty() {
            self.unsent.end().extend_from_slice(wire);
            router.plain(session.slot);
        }
        Ok(done)
    }

    /// The socket takes more; whether something has waited for that.
    pub(super) const fn writable(&mut self) -> bool {
        std::mem::replace(&mut self.is_blocked, false)
    }

    /// Seals and writes what waits, and leaves in `plain` what the socket did not take.
    pub(super) fn write(&mut self, plain: &mut Waiting, desk: &mut Desk) -> Result<(), Hangup> {
        let Desk { wire, spares, .. } = desk;
        while !self.is_blocked && (!plain.is_empty() || self.has_output()) {
            wire.clear();
            wire.extend_from_slice(self.unsent.as_slice());
            spares.take_back(&mut self.unsent);
            let piece = &plain.as_slice()[..plain.len().min(SEAL_BYTES)];
            self.seal(piece, wire)?;
            plain.take(piece.len());
            let written = self.send(wire)?;
            if written < wire.len() {
                spares.lend(&mut self.unsent);
                self.unsent.end().extend_from_slice(&wire[written..]);
            }
        }
        Ok(())
    }

    fn has_output(&self) -> bool {
        !self.unsent.is_empty() || self.session.framing.as_ref().is_some_and(Framing::has_output)
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Hangup> {
        match (&mut self.session.framing, &mut self.tls) {
            (None, None) => wire.extend_from_slice(plain),
            (None, Some(tls)) if !plain.is_empty() => tls.seal(plain, wire)?,
            (None, Some(_)) => {}
            (Some(framing), None) => framing.send(plain, wire)?,
            (Some(framing), Some(tls)) => {
                let mut framed = Vec::new();
                framing.send(plain, &mut framed)?;
                tls.seal(&framed, wire)?;
            }
        }
        Ok(())
    }

    /// Writes until the socket is full; answers how many bytes it took.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Hangup> {
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Hangup),
            }
        }
        Ok(written)
    }
}

impl Session {
    /// Takes plaintext: the DERP stream, or WebSocket around it.
    fn opened(&mut self, plain: &[u8], key: &NodePrivateKey, router: &mut Router) -> Result<(), Hangup> {
        if self.framing.is_none() && self.partial.is_empty() {
            let done = self.stream(plain, key, router)?;
            self.partial.extend_from_slice(&plain[done..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        match &mut self.framing {
            Some(framing) => {
                framing.receive(plain, &mut partial)?;
                if framing.has_output() {
                    router.plain(self.slot);
                }
            }
            None => partial.extend_from_slice(plain),
        }
        let done = self.stream(&partial, key, router)?;
        if done < partial.len() {
            partial.drain(..done);
            self.partial = partial;
        }
        Ok(())
    }

    /// Understands bytes of the stream as far as they go; answers how far that is.
    fn stream(
        &mut self,
        bytes: &[u8],
        own_key: &NodePrivateKey,
        router: &mut Router,
    ) -> Result<usize, Hangup> {
        let mut at = 0;
        loop {
            match &mut self.stage {
                Stage::Head => {
                    let Some(head) = RequestHead::parse(&bytes[at..]).map_err(|_| Hangup)? else {
                        return Ok(at);
                    };
                    at += head.len;
                    let handshake = self.upgrade(&head, own_key, router)?;
                    self.stage = Stage::Handshake(handshake);
                    // What followed the request in the same bytes would be WebSocket's, and no client sends it so soon.
                    if self.framing.is_some() {
                        return Ok(bytes.len());
                    }
                }
                Stage::Handshake(handshake) => {
                    let Some((len, client)) = handshake.read(&bytes[at..]).map_err(|_| Hangup)? else {
                        return Ok(at);
                    };
                    at += len;
                    let mut nonce = [0; 24];
                    getrandom::fill(&mut nonce).map_err(|_| Hangup)?;
                    let info = client.server_info(nonce, &ServerInfo::default());
                    router.plain(self.slot).extend_from_slice(&info);
                    router.admit(self.slot, client.key);
                    self.stage = Stage::Relaying { key: client.key, decoder: ClientFrameDecoder::new() };
                }
                Stage::Relaying { key, decoder } => match decoder.next(&bytes[at..]).map_err(|_| Hangup)? {
                    Step::Frame { frame, consumed } => {
                        at += consumed;
                        match frame {
                            ClientFrame::SendPacket { dst, packet } => router.relay(key, &dst, packet),
                            ClientFrame::Ping(data) => router.pong(self.slot, data),
                            ClientFrame::ForwardPacket { .. }
                            | ClientFrame::NotePreferred(_)
                            | ClientFrame::WatchConns
                            | ClientFrame::ClosePeer(_)
                            | ClientFrame::Unknown { .. } => {}
                        }
                    }
                    Step::Incomplete { consumed, .. } => return Ok(at + consumed),
                },
            }
        }
    }

    /// Answers a request for DERP, and greets.
    fn upgrade(
        &mut self,
        head: &RequestHead,
        own_key: &NodePrivateKey,
        router: &mut Router,
    ) -> Result<ServerHandshake, Hangup> {
        let handshake = ServerHandshake::new(own_key);
        let plain = router.plain(self.slot);
        match head.upgrade().ok_or(Hangup)? {
            UpgradeKind::WebSocket => self.framing = Some(Framing::accept(head)?),
            UpgradeKind::Derp { fast_start: true } => {}
            UpgradeKind::Derp { fast_start: false } => {
                plain.extend_from_slice(switching_protocols(&own_key.public()).as_bytes());
            }
        }
        plain.extend_from_slice(&handshake.output());
        Ok(handshake)
    }
}
