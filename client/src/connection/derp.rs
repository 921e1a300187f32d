//! DERP's stream of frames, from the greeting on.

use std::sync::Arc;

use ferry_protocol::frame::HEADER_LEN;
use ferry_protocol::handshake::read_server_key;
use ferry_protocol::{
    ClientHandshake, NodePrivateKey, NodePublicKey, ServerFrame, ServerFrameDecoder, Step, encode_pong,
};

use super::{ConnectionError, Event, Settings};

/// The client's end of DERP.
#[derive(Debug)]
pub(super) struct Derp {
    phase: Phase,
    /// The front of a frame whose rest has not come; without allocation while there is none. At most a frame of 1 MiB.
    leftover: Vec<u8>,
    /// How many bytes the leftover must have before it is worth a look.
    needed: usize,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for ServerKey.
    ServerKey(Box<Introduction>),
    /// Waiting for ServerInfo; after a fast start, for ServerKey before it.
    ServerInfo(Box<ClientHandshake>),
    /// Packets flow.
    Frames(ServerFrameDecoder),
}

/// What the client will say of itself once it knows the relay's key.
#[derive(Debug)]
struct Introduction {
    settings: Arc<Settings>,
    key: Arc<NodePrivateKey>,
    nonce: [u8; 24],
}

/// What a look at some bytes gave.
struct Look {
    /// Bytes that are done with.
    consumed: usize,
    /// None after a frame: look again. Else so many bytes must be there, counted behind `consumed`.
    needed: Option<usize>,
}

impl Derp {
    pub(super) fn new(settings: &Arc<Settings>, key: &Arc<NodePrivateKey>, nonce: [u8; 24]) -> Self {
        let introduction = Introduction { settings: Arc::clone(settings), key: Arc::clone(key), nonce };
        Self { phase: Phase::ServerKey(Box::new(introduction)), leftover: Vec::new(), needed: HEADER_LEN }
    }

    pub(super) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Frames(_))
    }

    /// Reads on in the stream. What has to be answered is appended to `replies`; Pings are if `pongs` says so.
    pub(super) fn receive(
        &mut self,
        mut input: &[u8],
        replies: &mut Vec<u8>,
        pongs: bool,
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ConnectionError> {
        while !self.leftover.is_empty() && !input.is_empty() {
            // The rest of its frame and no more, so that the frames behind are read where they are.
            let missing = self.needed.saturating_sub(self.leftover.len());
            let (rest_of_frame, after) = input.split_at(missing.min(input.len()));
            if self.leftover.capacity() < self.needed {
                self.leftover.reserve_exact(missing);
            }
            self.leftover.extend_from_slice(rest_of_frame);
            input = after;
            if self.leftover.len() < self.needed {
                return Ok(());
            }
            let mut leftover = std::mem::take(&mut self.leftover);
            let read = self.read(&leftover, replies, pongs, events)?;
            leftover.drain(..read);
            if !leftover.is_empty() {
                self.leftover = leftover;
            }
        }
        let read = self.read(input, replies, pongs, events)?;
        self.leftover.extend_from_slice(input.get(read..).unwrap_or_default());
        Ok(())
    }

    /// Reads all whole frames in `input`; answers how many bytes are done with.
    fn read(
        &mut self,
        input: &[u8],
        replies: &mut Vec<u8>,
        pongs: bool,
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, ConnectionError> {
        let mut done = 0;
        loop {
            let rest = input.get(done..).unwrap_or_default();
            let Look { consumed, needed } = match &mut self.phase {
                Phase::Frames(decoder) => next_frame(decoder, rest, replies, pongs, events)?,
                Phase::ServerInfo(_) => self.server_info(rest, events)?,
                Phase::ServerKey(_) => self.server_key(rest, replies)?,
            };
            done += consumed;
            if let Some(needed) = needed {
                self.needed = needed;
                return Ok(done);
            }
        }
    }

    fn server_key(&mut self, input: &[u8], replies: &mut Vec<u8>) -> Result<Look, ConnectionError> {
        let Some((consumed, server)) = read_server_key(input)? else {
            // Short, and its length is in its header: a look at each byte is no burden.
            return Ok(Look { consumed: 0, needed: Some(input.len() + 1) });
        };
        self.introduce(&server, replies)?;
        Ok(Look { consumed, needed: None })
    }

    /// Appends ClientInfo to `out`, for a relay whose key is known; nothing, if that was done already.
    pub(super) fn introduce(
        &mut self,
        server: &NodePublicKey,
        out: &mut Vec<u8>,
    ) -> Result<(), ConnectionError> {
        let Phase::ServerKey(introduction) = &self.phase else { return Ok(()) };
        let Introduction { settings, key, nonce } = &**introduction;
        let (handshake, client_info) = ClientHandshake::start(key, server, &settings.info, *nonce)
            .map_err(ConnectionError::ServerKey)?;
        out.extend_from_slice(&client_info);
        self.phase = Phase::ServerInfo(Box::new(handshake));
        Ok(())
    }

    fn server_info(
        &mut self,
        input: &[u8],
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<Look, ConnectionError> {
        let Phase::ServerInfo(handshake) = &mut self.phase else { return Ok(Look::AGAIN) };
        let (info, consumed) = match handshake.read(input)? {
            Step::Frame { frame, consumed } => (frame, consumed),
            Step::Incomplete { consumed, needed } => return Ok(Look { consumed, needed: Some(needed) }),
        };
        let server = *handshake.server();
        self.phase = Phase::Frames(ServerFrameDecoder::new());
        events(Event::Established { server, info });
        Ok(Look { consumed, needed: None })
    }
}

impl Look {
    /// Nothing was done here: ask the phase that it is.
    const AGAIN: Self = Self { consumed: 0, needed: None };
}

fn next_frame(
    decoder: &mut ServerFrameDecoder,
    input: &[u8],
    replies: &mut Vec<u8>,
    pongs: bool,
    events: &mut impl FnMut(Event<'_>),
) -> Result<Look, ConnectionError> {
    match decoder.next(input)? {
        Step::Frame { frame, consumed } => {
            if let ServerFrame::Ping(data) = frame
                && pongs
            {
                encode_pong(replies, data);
            }
            events(Event::Frame(frame));
            Ok(Look { consumed, needed: None })
        }
        Step::Incomplete { consumed, needed } => Ok(Look { consumed, needed: Some(needed) }),
    }
}
