//! One end of a splice: a client's socket, what has been read of it, and what it has not taken.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use ferry_protocol::{
    NodePrivateKey, NodePublicKey, RequestHead, ServerHandshake, ServerInfo, UpgradeKind, switching_protocols,
};
use mio::net::TcpStream;
use rustls::ServerConfig;

use super::frames;
use crate::null_server::connection::Hangup;
use crate::null_server::router::Slot;
use crate::null_server::tls::Tls;
use crate::null_server::waiting::Waiting;

/// What one read takes in.
const READ_BYTES: usize = 128 * 1024;
/// Bytes that may wait for a socket, beside one read's worth of each sender; what comes on top, of a sender with several receivers,
/// is lost.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How much of a socket has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Drained,
    /// There may be more.
    Unread,
}

/// Memory of the thread, not of a client.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// What a read brought, and what was left over before it: frames, or a greeting, or records.
    pub(super) input: Vec<u8>,
    /// Records to be written.
    pub(super) sealed: Vec<u8>,
}

/// A client.
pub(super) struct End {
    socket: TcpStream,
    tls: Option<Tls>,
    stage: Stage,
    /// Received and less than a record. Only with TLS.
    records: Vec<u8>,
    /// In plain: less than a frame, or than what a greeting consists of.
    plain: Vec<u8>,
    /// Bytes of the thread's buffer that are not in `plain` but there, since the last read. Only without TLS.
    read: usize,
    /// What the socket did not take.
    unsent: Waiting,
    /// Those who are not read until it does.
    waiting: Vec<Slot>,
    /// The end of what is to be read has been announced.
    ends: bool,
}

/// What is expected next.
enum Stage {
    /// An HTTP request that asks for DERP.
    Head,
    /// ClientInfo.
    Handshake(ServerHandshake),
    /// Frames.
    Moving {
        /// Whose.
        key: NodePublicKey,
        /// It has said so just now.
        is_new: bool,
        /// Where the last ones went.
        receiver: Option<Slot>,
    },
}

impl End {
    pub(super) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self, Hangup> {
        Ok(Self {
            socket,
            tls: tls.map(Tls::new).transpose()?,
            stage: Stage::Head,
            records: Vec::new(),
            plain: Vec::new(),
            read: 0,
            unsent: Waiting::default(),
            waiting: Vec::new(),
            ends: false,
        })
    }

    pub(super) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Who it is, once it has said so.
    pub(super) const fn key(&self) -> Option<&NodePublicKey> {
        match &self.stage {
            Stage::Moving { key, .. } => Some(key),
            Stage::Head | Stage::Handshake(_) => None,
        }
    }

    /// Who it is, once.
    pub(super) fn take_greeted(&mut self) -> Option<NodePublicKey> {
        let Stage::Moving { key, is_new, .. } = &mut self.stage else { return None };
        std::mem::take(is_new).then_some(*key)
    }

    /// Where its last frames went.
    pub(super) const fn receiver(&self) -> Option<Slot> {
        if let Stage::Moving { receiver, .. } = &self.stage { *receiver } else { None }
    }

    /// The end of what is to be read has been announced, and has to be read to be seen.
    pub(super) const fn announce_end(&mut self) {
        self.ends = true;
    }

    /// The socket has not taken all.
    pub(super) const fn is_full(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// `sender` is not read until the socket has taken all.
    pub(super) fn wait(&mut self, sender: Slot) {
        if !self.waiting.contains(&sender) {
            self.waiting.push(sender);
        }
    }

    /// Those who waited.
    pub(super) fn take_waiting(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads once. What it brought is for [`move_on`](Self::move_on), but for what belongs to the greeting, which is answered.
    pub(super) fn read(
        &mut self,
        input: &mut Vec<u8>,
        sealed: &mut Vec<u8>,
        key: &NodePrivateKey,
    ) -> Result<Read, Hangup> {
        let rest = if self.tls.is_some() { &mut self.records } else { &mut self.plain };
        let start = rest.len();
        if input.len() < start + READ_BYTES {
            input.resize(start + READ_BYTES, 0);
        }
        input[..start].copy_from_slice(rest);
        let read = match self.socket.read(&mut input[start..start + READ_BYTES]) {
            Ok(0) => return Err(Hangup),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Drained),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Read::Unread),
            Err(_) => return Err(Hangup),
        };
        // Its memory goes with it: it is seldom that anything is left over.
        *rest = Vec::new();
        let end = start + read;
        self.open(&mut input[..end], sealed)?;
        self.greet(input, sealed, key)?;
        self.put(sealed)?;
        // Less than was asked for: the socket is empty, and more will be announced.
        Ok(if read < READ_BYTES && !self.ends { Read::Drained } else { Read::Unread })
    }

    /// Opens records into `plain`; without TLS the bytes stay where they are. What TLS itself says is left in `sealed`.
    fn open(&mut self, input: &mut [u8], sealed: &mut Vec<u8>) -> Result<(), Hangup> {
        sealed.clear();
        let Some(tls) = &mut self.tls else {
            self.read = input.len();
            return Ok(());
        };
        let plain = &mut self.plain;
        let done = tls.open(input, sealed, |opened| {
            plain.extend_from_slice(opened);
            Ok(())
        })?;
        self.records.extend_from_slice(&input[done..]);
        Ok(())
    }

    /// Answers what there is of a greeting, behind what is in `sealed`.
    fn greet(&mut self, input: &[u8], sealed: &mut Vec<u8>, key: &NodePrivateKey) -> Result<(), Hangup> {
        if self.key().is_some() {
            return Ok(());
        }
        self.plain.extend_from_slice(&input[..std::mem::take(&mut self.read)]);
        let mut answer = Vec::new();
        if matches!(self.stage, Stage::Head) {
            let Some(head) = RequestHead::parse(&self.plain).map_err(|_| Hangup)? else { return Ok(()) };
            let handshake = ServerHandshake::new(key);
            match head.upgrade() {
                Some(UpgradeKind::Derp { fast_start: true }) => {}
                Some(UpgradeKind::Derp { fast_start: false }) => {
                    answer.extend_from_slice(switching_protocols(&key.public()).as_bytes());
                }
                Some(UpgradeKind::WebSocket) | None => return Err(Hangup),
            }
            answer.extend_from_slice(&handshake.output());
            let len = head.len;
            self.plain.drain(..len);
            self.stage = Stage::Handshake(handshake);
        }
        if let Stage::Handshake(handshake) = &mut self.stage
            && let Some((len, client)) = handshake.read(&self.plain).map_err(|_| Hangup)?
        {
            let mut nonce = [0; 24];
            getrandom::fill(&mut nonce).map_err(|_| Hangup)?;
            answer.extend_from_slice(&client.server_info(nonce, &ServerInfo::default()));
            self.plain.drain(..len);
            self.stage = Stage::Moving { key: client.key, is_new: true, receiver: None };
        }
        match &mut self.tls {
            Some(tls) => tls.seal(&answer, sealed),
            None => {
                sealed.extend_from_slice(&answer);
                Ok(())
            }
        }
    }

    /// Hands on the whole frames that there are, patched, in runs to one receiver: to `deliver`, with where the last run went, which
    /// says where this one did.
    pub(super) fn move_on(
        &mut self,
        input: &mut [u8],
        deliver: impl FnMut(Option<Slot>, &NodePublicKey, &[u8]) -> Option<Slot>,
    ) -> Result<(), Hangup> {
        let Self { stage, plain, read, .. } = self;
        let Stage::Moving { key, receiver, .. } = stage else { return Ok(()) };
        match std::mem::take(read) {
            0 => {
                let done = move_frames(plain, key, receiver, deliver)?;
                plain.drain(..done);
            }
            end => {
                let done = move_frames(&mut input[..end], key, receiver, deliver)?;
                plain.extend_from_slice(&input[done..end]);
            }
        }
        Ok(())
    }

    /// Seals bytes, if that is asked for, and writes them.
    pub(super) fn send(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) -> Result<(), Hangup> {
        if bytes.is_empty() || self.unsent.len() > WAITING_BYTES_MAX {
            return Ok(());
        }
        let Some(tls) = &mut self.tls else { return self.put(bytes) };
        sealed.clear();
        tls.seal(bytes, sealed)?;
        self.put(sealed)
    }

    /// Writes bytes, behind those that wait.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Hangup> {
        let taken = if self.is_full() { 0 } else { write(&mut self.socket, bytes)? };
        if taken < bytes.len() {
            self.unsent.end().extend_from_slice(&bytes[taken..]);
        }
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn write(&mut self) -> Result<(), Hangup> {
        if self.is_full() {
            let taken = write(&mut self.socket, self.unsent.as_slice())?;
            self.unsent.take(taken);
        }
        if !self.is_full() {
            self.unsent = Waiting::default();
        }
        Ok(())
    }
}

/// Hands on the whole frames at the start of `bytes`; answers how many bytes they are.
fn move_frames(
    bytes: &mut [u8],
    sender: &NodePublicKey,
    receiver: &mut Option<Slot>,
    mut deliver: impl FnMut(Option<Slot>, &NodePublicKey, &[u8]) -> Option<Slot>,
) -> Result<usize, Hangup> {
    let mut at = 0;
    loop {
        let (run, reached) = frames::patch(bytes, at, sender)?;
        if let Some(run) = run {
            *receiver = deliver(*receiver, &run.to, &bytes[run.frames]);
        } else if reached == at {
            return Ok(at);
        }
        at = reached;
    }
}

/// Writes until the socket is full; answers how many bytes it took.
fn write(socket: &mut TcpStream, bytes: &[u8]) -> Result<usize, Hangup> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Hangup),
        }
    }
    Ok(written)
}
