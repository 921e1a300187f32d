//! One relay connection, from the first TLS byte to the last frame.

mod derp;
mod error;
mod outgoing;
mod tls;
mod upgrade;
mod websocket;

use std::mem;
use std::sync::Arc;

use ferry_protocol::{ClientInfo, NodePrivateKey, NodePublicKey, ServerFrame, ServerInfo};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use crate::{FastStart, RelayUrl};
use derp::Derp;
use outgoing::Outgoing;
use tls::{Inner, Tls};
use upgrade::Upgrade;
use websocket::{Incoming, WebSocketCodec};

pub use error::ConnectionError;

/// While more bytes than this wait for the socket, Pings go unanswered: a relay that does not read gets no answer anyway.
const ANSWER_BACKLOG_BYTES_MAX: usize = 64 * 1024;

/// What many connections to one relay have in common.
#[derive(Debug)]
pub struct Settings {
    /// Where the relay is; decides TLS and WebSocket.
    pub url: RelayUrl,
    /// TLS, where the URL asks for it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What the client says of itself in its handshake.
    pub info: ClientInfo,
    /// Tells the relay which node is the client's home, if not this one (`Ideal-Node` header); None says nothing. Not for
    /// WebSocket, which has no such header.
    pub ideal_node: Option<String>,
    /// Start fast where the relay [offers](FastStart) it: ClientInfo goes out with the request, and neither the answer to that nor the
    /// greeting is waited for, which saves a round trip. Not for WebSocket. The default of Tailscale's client.
    pub fast_start: bool,
}

/// One relay connection as a state machine: bytes from the socket in, events and bytes for the socket out.
///
/// An established idle connection keeps no buffer, but over WebSocket those for its longest message. Nothing that the relay
/// sends makes it hold much more than a frame of 1 MiB, once in a message and once by itself.
#[derive(Debug)]
pub struct Connection {
    outgoing: Outgoing,
    tls: Option<Box<Tls>>,
    session: Session,
    /// A goodbye was said or heard, or an error returned.
    is_over: bool,
}

/// What is inside TLS.
#[derive(Debug)]
struct Session {
    /// Until its answer is there, or after a fast start the first byte of DERP.
    upgrade: Option<Box<Upgrade>>,
    websocket: Option<Box<WebSocketCodec>>,
    derp: Derp,
    /// Written, but not yet sealed.
    wire: Vec<u8>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// TLS handshake.
    Tls,
    /// HTTP upgrade; after a fast start, until the relay says its first word.
    Upgrade,
    /// DERP handshake.
    Handshake,
    /// ServerInfo is there: packets may flow.
    Established,
    /// Over: the peer said goodbye, or an error was returned.
    Closed,
}

/// What a connection has to say.
#[derive(Debug)]
pub enum Event<'a> {
    /// The handshake is done.
    Established {
        /// The relay's key.
        server: NodePublicKey,
        /// What it says of itself.
        info: ServerInfo,
    },
    /// A frame; its packet is a slice of the buffer that was received. Pings have been answered already.
    Frame(ServerFrame<'a>),
    /// The relay closed TLS or the WebSocket in order. The end of the TCP stream is for the caller to see.
    Closed,
}

impl Connection {
    /// A connection whose first bytes are ready in [`outgoing`](Self::outgoing). `random` seeds the handshake's nonce
    /// and the WebSocket key.
    pub fn new(
        settings: &Arc<Settings>,
        key: &Arc<NodePrivateKey>,
        random: [u8; 40],
    ) -> Result<Self, ConnectionError> {
        let mut outgoing = Outgoing::default();
        let tls = match (settings.url.secure, &settings.tls) {
            (false, _) => None,
            (true, Some(config)) => Some(Box::new(Tls::start(config, &settings.url.host, &mut outgoing)?)),
            (true, None) => return Err(ConnectionError::TlsMissing { url: settings.url.to_string() }),
        };
        let mut session = Session::new(settings, key, random);
        if tls.is_none() {
            session.begin(None)?;
        }
        let mut connection = Self { outgoing, tls, session, is_over: false };
        connection.seal_wire()?;
        Ok(connection)
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        if self.is_over {
            return Stage::Closed;
        }
        if self.tls.as_ref().is_some_and(|tls| !tls.is_established()) {
            return Stage::Tls;
        }
        self.session.stage()
    }

    /// Bytes that the socket should take, in order; also after an error, for they may say why.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.waiting()
    }

    /// The socket took the first `bytes` of [`outgoing`](Self::outgoing).
    pub fn written(&mut self, bytes: usize) {
        self.outgoing.written(bytes);
    }

    /// Takes what the socket gave. `input` is opened in place, and what is left of a record or frame is kept
    /// inside until the rest comes; the caller's buffer is its own again afterwards.
    ///
    /// An error is the connection's last word. What comes after that or after a goodbye is ignored.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ConnectionError> {
        if self.is_over {
            return Ok(());
        }
        let received = self.open(input, events);
        let sealed = received.and_then(|closed| self.seal_wire().map(|()| closed));
        self.is_over = !matches!(sealed, Ok(false));
        if sealed? {
            events(Event::Closed);
        }
        Ok(())
    }

    /// Appends one whole frame (header and body, as ferry-protocol encodes it) to what is outgoing: one TLS record of its own
    /// (more above 16 KiB), or one WebSocket message (more above 32 KiB), as Tailscale's client sends it. Only once
    /// established.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<(), ConnectionError> {
        let stage = self.stage();
        if stage != Stage::Established {
            return Err(ConnectionError::NotEstablished { stage });
        }
        match &mut self.session.websocket {
            Some(websocket) => {
                websocket.send(frame)?;
                self.session.wire = websocket.take_outgoing();
                self.seal_wire()
            }
            None => send(&mut self.tls, frame, &mut self.outgoing),
        }
    }

    /// Says goodbye in TLS or WebSocket; the bytes are in [`outgoing`](Self::outgoing). What the relay still sends is ignored.
    pub fn close(&mut self) {
        // A connection that cannot say goodbye is none the less over.
        let _ = self.say_goodbye();
        self.is_over = true;
    }

    fn say_goodbye(&mut self) -> Result<(), ConnectionError> {
        if let (Some(websocket), None) = (&mut self.session.websocket, &self.session.upgrade) {
            websocket.close()?;
            self.session.wire.append(&mut websocket.take_outgoing());
            self.seal_wire()?;
        }
        match &mut self.tls {
            Some(tls) => tls.close(&mut self.outgoing),
            None => Ok(()),
        }
    }

    /// Opens what the socket gave; answers whether that was the end.
    fn open(
        &mut self,
        input: &mut [u8],
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<bool, ConnectionError> {
        let Self { outgoing, tls, session, .. } = self;
        let pongs = outgoing.len() <= ANSWER_BACKLOG_BYTES_MAX;
        let mut closed = false;
        let mut inner = |inner: Inner<'_>| {
            match inner {
                Inner::Established { version, certificates } => {
                    session.begin(session.known_relay(version, certificates).as_ref())?;
                }
                Inner::Data(plain) if !closed => closed = session.receive(plain, pongs, events)?,
                Inner::Data(_) => {}
            }
            Ok(())
        };
        match tls {
            Some(tls) => tls.receive(input, outgoing, &mut inner)?,
            None => inner(Inner::Data(input))?,
        }
        Ok(closed || tls.as_ref().is_some_and(|tls| tls.is_closed()))
    }

    /// Seals what the session has written, as soon as TLS takes it.
    fn seal_wire(&mut self) -> Result<(), ConnectionError> {
        let ready = self.tls.as_ref().is_none_or(|tls| tls.is_established());
        if !ready || self.session.wire.is_empty() {
            return Ok(());
        }
        let wire = mem::take(&mut self.session.wire);
        send(&mut self.tls, &wire, &mut self.outgoing)
    }
}

fn send(tls: &mut Option<Box<Tls>>, bytes: &[u8], outgoing: &mut Outgoing) -> Result<(), ConnectionError> {
    match tls {
        Some(tls) => tls.send(bytes, outgoing),
        None => {
            outgoing.extend(bytes);
            Ok(())
        }
    }
}

impl Session {
    /// A session that has said nothing yet.
    fn new(settings: &Arc<Settings>, key: &Arc<NodePrivateKey>, random: [u8; 40]) -> Self {
        let mut nonce = [0; 24];
        let mut websocket_key = [0; 16];
        let (first, second) = random.split_at(nonce.len());
        nonce.copy_from_slice(first);
        websocket_key.copy_from_slice(second);
        let upgrade = Some(Box::new(Upgrade::new(settings, websocket_key)));
        let websocket = settings.url.websocket.then(|| Box::new(WebSocketCodec::new()));
        let derp = Derp::new(settings, key, nonce);
        Self { upgrade, websocket, derp, wire: Vec::new() }
    }

    /// The relay's key, if it is known from its certificates and may be used.
    fn known_relay(
        &self,
        version: Option<ProtocolVersion>,
        certificates: &[CertificateDer<'_>],
    ) -> Option<NodePublicKey> {
        if !self.upgrade.as_ref().is_some_and(|upgrade| upgrade.may_be_fast()) {
            return None;
        }
        match FastStart::of(version, certificates) {
            FastStart::Offered(relay) => Some(relay),
            FastStart::OldTls | FastStart::NoMark | FastStart::Malformed | FastStart::OtherVersion(_) => None,
        }
    }

    /// Asks for the upgrade. If the relay's key is known, it does not wait for the answer: what follows is part of the same
    /// write.
    fn begin(&mut self, relay: Option<&NodePublicKey>) -> Result<(), ConnectionError> {
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        let Some(relay) = relay else {
            self.wire = upgrade.ask().into_bytes();
            return Ok(());
        };
        self.wire = upgrade.ask_fast().into_bytes();
        self.derp.introduce(relay, &mut self.wire)
    }

    fn stage(&self) -> Stage {
        match (&self.upgrade, self.derp.is_established()) {
            (Some(_), _) => Stage::Upgrade,
            (None, false) => Stage::Handshake,
            (None, true) => Stage::Established,
        }
    }

    /// Reads on in what TLS opened; answers whether the WebSocket was closed.
    fn receive(
        &mut self,
        mut plain: &[u8],
        pongs: bool,
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<bool, ConnectionError> {
        if let Some(upgrade) = &mut self.upgrade {
            let Some(head) = upgrade.receive(plain)? else { return Ok(false) };
            plain = plain.get(head..).unwrap_or_default();
            self.upgrade = None;
        }
        let Some(websocket) = &mut self.websocket else {
            self.derp.receive(plain, &mut self.wire, pongs, events)?;
            return Ok(false);
        };
        websocket.receive(plain, pongs);
        let mut replies = Vec::new();
        let closed = loop {
            match websocket.next()? {
                Incoming::Stream(piece) => self.derp.receive(&piece, &mut replies, pongs, events)?,
                Incoming::Blocked => break false,
                Incoming::Closed => break true,
            }
        };
        if !closed {
            websocket.send(&replies)?;
        }
        self.wire.append(&mut websocket.take_outgoing());
        Ok(closed)
    }
}
