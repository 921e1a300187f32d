//! The relay's end of a connection, in memory: TLS by rustls' buffered server, WebSocket by tungstenite's server role, DERP
//! by ferry-protocol's ServerHandshake.
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::io::{self, Read, Write};
use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use ferry_client::{Connection, ConnectionError, Event, RelayUrl, Settings, Trust, client_config};
use ferry_protocol::{
    ClientFrame, ClientFrameDecoder, ClientInfo, NodePrivateKey, NodePublicKey, RequestHead, ServerFrame,
    ServerHandshake, ServerInfo, Step, UpgradeKind, encode_pong, switching_protocols,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// The name that the certificate is for.
pub(crate) const HOST: &str = "relay.example.net";
/// What the relay in memory says of itself: unlike every default.
pub(crate) const SERVER_INFO: ServerInfo =
    ServerInfo { version: 2, token_bucket_bytes_per_second: 7, token_bucket_bytes_burst: 70_000 };
/// derper's limit for a message.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    /// What is shown behind it.
    others: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self::with(made.cert.der().clone(), &made.signing_key)
    }

    pub(crate) fn with(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        Self { certificate, others: Vec::new(), key: key.serialize_der() }
    }

    /// The same, with this certificate behind what it shows already.
    pub(crate) fn and(mut self, other: CertificateDer<'static>) -> Self {
        self.others.push(other);
        self
    }

    pub(crate) fn roots(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Trust::Roots(Arc::new(roots))
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        digest(&SHA256, &self.certificate).as_ref().try_into().unwrap()
    }

    pub(crate) fn pin(&self) -> Trust {
        Trust::Pinned(self.sha256())
    }

    pub(crate) fn server(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(self.key.clone().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert([std::slice::from_ref(&self.certificate), &*self.others].concat(), key)
            .unwrap();
        Arc::new(config)
    }
}

/// One way to speak with a relay, with all that both ends need for it.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) settings: Arc<Settings>,
    server: Option<Arc<ServerConfig>>,
}

impl Wire {
    pub(crate) fn plain() -> Self {
        Self::configured("http", None, None)
    }

    pub(crate) fn websocket() -> Self {
        Self::configured("ws", None, None)
    }

    pub(crate) fn tls(version: &'static SupportedProtocolVersion) -> Self {
        Self::secure("https", version)
    }

    pub(crate) fn secure(scheme: &str, version: &'static SupportedProtocolVersion) -> Self {
        let identity = Identity::new(HOST);
        Self::trusting(scheme, &identity, &identity.roots(), version)
    }

    pub(crate) fn trusting(
        scheme: &str,
        identity: &Identity,
        trust: &Trust,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::configured(scheme, Some(client_config(trust, true).unwrap()), Some(identity.server(version)))
    }

    /// Every way there is, by name.
    pub(crate) fn all() -> Vec<(&'static str, Self)> {
        use rustls::version::{TLS12, TLS13};
        vec![
            ("plain", Self::plain()),
            ("TLS 1.3", Self::tls(&TLS13)),
            ("TLS 1.2", Self::tls(&TLS12)),
            ("WebSocket", Self::websocket()),
            ("WebSocket over TLS 1.3", Self::secure("wss", &TLS13)),
        ]
    }

    /// The same, but the URL's host is this.
    pub(crate) fn with_host(self, host: &str) -> Self {
        self.changed(|settings| settings.url.host = host.to_owned())
    }

    /// The same, by a client that wants no fast start.
    pub(crate) fn ordinary(self) -> Self {
        self.changed(|settings| settings.fast_start = false)
    }

    fn changed(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let Settings { url, tls, info, fast_start, .. } = &*self.settings;
        let (url, tls, info) = (url.clone(), tls.clone(), info.clone());
        let mut settings = Settings { url, tls, info, ideal_node: None, fast_start: *fast_start };
        change(&mut settings);
        self.settings = Arc::new(settings);
        self
    }

    pub(crate) fn configured(
        scheme: &str,
        tls: Option<Arc<rustls::ClientConfig>>,
        server: Option<Arc<ServerConfig>>,
    ) -> Self {
        let url: RelayUrl = format!("{scheme}://{HOST}:8443").parse().unwrap();
        let info = ClientInfo { app_name: "test".into(), ..ClientInfo::current() };
        Self { settings: Arc::new(Settings { url, tls, info, ideal_node: None, fast_start: true }), server }
    }

    pub(crate) fn client(&self) -> Connection {
        Connection::new(&self.settings, &Arc::new(client_key()), [9; 40]).unwrap()
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer {
            tls: self.server.clone().map(|config| {
                let mut tls = ServerConnection::new(config).unwrap();
                tls.set_buffer_limit(None);
                tls
            }),
            sealed: Vec::new(),
            http: Some(Vec::new()),
            websocket: None,
            handshake: Some(ServerHandshake::new(&relay_key())),
            stream: Vec::new(),
            decoder: ClientFrameDecoder::new(),
            info: None,
            request: None,
            right_behind: Vec::new(),
            received: Vec::new(),
            answers_pings: false,
            answer: None,
            greets: true,
            refused: false,
            closed: false,
        }
    }

    /// Both ends, all handshakes done.
    pub(crate) fn established(&self) -> (Connection, Peer) {
        let (mut client, mut peer) = (self.client(), self.peer());
        let events = run(&mut client, &mut peer).unwrap();
        assert_eq!(events, [Seen::established()]);
        (client, peer)
    }
}

/// The certificate in which a relay with this name and version tells its key.
pub(crate) fn mark(name: &str, version: u8) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(vec![version]));
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

pub(crate) fn client_key() -> NodePrivateKey {
    NodePrivateKey::from_random([1; 32])
}

pub(crate) fn relay_key() -> NodePrivateKey {
    NodePrivateKey::from_random([2; 32])
}

/// An event that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Established(NodePublicKey, ServerInfo),
    Packet(NodePublicKey, Vec<u8>),
    Other(String),
    Closed,
}

impl Seen {
    pub(crate) fn established() -> Self {
        Self::Established(relay_key().public(), SERVER_INFO)
    }

    pub(crate) fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Established { server, info } => Self::Established(*server, *info),
            Event::Frame(ServerFrame::RecvPacket { src, packet }) => Self::Packet(*src, packet.to_vec()),
            Event::Frame(other) => Self::Other(format!("{other:?}")),
            Event::Closed => Self::Closed,
        }
    }
}

/// Gives the client some bytes; answers what it said to them.
pub(crate) fn feed(client: &mut Connection, bytes: &[u8]) -> Result<Vec<Seen>, ConnectionError> {
    let mut seen = Vec::new();
    client.receive(&mut bytes.to_vec(), &mut |event| seen.push(Seen::of(&event)))?;
    Ok(seen)
}

/// Takes all that the client has to send.
pub(crate) fn take(client: &mut Connection) -> Vec<u8> {
    let bytes = client.outgoing().to_vec();
    client.written(bytes.len());
    bytes
}

/// Carries bytes both ways until there are none.
pub(crate) fn run(client: &mut Connection, peer: &mut Peer) -> Result<Vec<Seen>, ConnectionError> {
    run_split(client, peer, &mut |len| len)
}

/// Carries bytes both ways until there are none, to the client in pieces: at most so many as `piece` says of so many.
pub(crate) fn run_split(
    client: &mut Connection,
    peer: &mut Peer,
    piece: &mut dyn FnMut(usize) -> usize,
) -> Result<Vec<Seen>, ConnectionError> {
    let mut seen = Vec::new();
    loop {
        peer.receive(&take(client));
        let to_client = peer.take();
        if to_client.is_empty() && client.outgoing().is_empty() {
            return Ok(seen);
        }
        let mut rest = &to_client[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece(rest.len()).clamp(1, rest.len()));
            seen.extend(feed(client, now)?);
            rest = later;
        }
    }
}

/// The relay's end.
pub(crate) struct Peer {
    pub(crate) tls: Option<ServerConnection>,
    /// For the client's socket.
    sealed: Vec<u8>,
    /// What came of the request, until it is answered.
    http: Option<Vec<u8>>,
    websocket: Option<WebSocket<Memory>>,
    handshake: Option<ServerHandshake>,
    /// DERP bytes that are not understood yet.
    stream: Vec<u8>,
    decoder: ClientFrameDecoder,
    /// What the client said of itself.
    pub(crate) info: Option<ClientInfo>,
    /// The request's head.
    pub(crate) request: Option<RequestHead>,
    /// Frames that go out in one piece with ServerInfo.
    pub(crate) right_behind: Vec<u8>,
    /// The frames that the client sent.
    pub(crate) received: Vec<String>,
    /// Pings are answered, as by a real relay.
    pub(crate) answers_pings: bool,
    /// What is answered to the request, even if no answer is wanted; if nothing is given, a good relay's.
    pub(crate) answer: Option<Vec<u8>>,
    /// ServerKey is sent, as by every real relay.
    pub(crate) greets: bool,
    /// The ClientInfo was for another relay, on which this one hung up.
    pub(crate) refused: bool,
    /// The client closed TLS or the WebSocket.
    pub(crate) closed: bool,
}

impl Peer {
    /// Takes bytes off the client's socket, and answers like a relay.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) {
        let Some(tls) = &mut self.tls else { return self.opened(bytes) };
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).unwrap();
            let state = tls.process_new_packets().unwrap();
            self.closed |= state.peer_has_closed();
            let mut chunk = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut chunk).unwrap();
            plain.extend(chunk);
        }
        self.opened(&plain);
    }

    /// Bytes for the client's socket.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.sealed).unwrap();
            }
        }
        std::mem::take(&mut self.sealed)
    }

    /// Sends DERP bytes, in a record and a message of their own.
    pub(crate) fn send(&mut self, derp: &[u8]) {
        match &mut self.websocket {
            Some(websocket) => {
                websocket.send(Message::binary(derp.to_vec())).unwrap();
                let wire = std::mem::take(&mut websocket.get_mut().outgoing);
                self.seal(&wire);
            }
            None => self.seal(derp),
        }
    }

    /// Sends a message of WebSocket itself.
    pub(crate) fn send_message(&mut self, message: Message) {
        let websocket = self.websocket.as_mut().unwrap();
        websocket.send(message).unwrap();
        let wire = std::mem::take(&mut websocket.get_mut().outgoing);
        self.seal(&wire);
    }

    /// Sends what is below WebSocket and inside TLS.
    pub(crate) fn seal(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).unwrap(),
            None => self.sealed.extend_from_slice(bytes),
        }
        self.sealed = self.take();
    }

    /// Closes TLS, or the WebSocket.
    pub(crate) fn close(&mut self) {
        if self.websocket.is_some() {
            return self.send_message(Message::Close(None));
        }
        self.tls.as_mut().unwrap().send_close_notify();
    }

    fn opened(&mut self, plain: &[u8]) {
        let mut plain = plain.to_vec();
        if let Some(http) = &mut self.http {
            http.append(&mut plain);
            let Some(head) = RequestHead::parse(http).unwrap() else { return };
            plain = http.split_off(head.len);
            self.http = None;
            self.answer(head);
        }
        let Some(websocket) = &mut self.websocket else { return self.derp(&plain) };
        websocket.get_mut().incoming.append(&mut plain);
        let mut stream = Vec::new();
        loop {
            match websocket.read() {
                Ok(Message::Binary(bytes)) => stream.extend_from_slice(&bytes),
                Ok(Message::Pong(data)) => self.received.push(format!("WebSocket pong {data:?}")),
                Ok(Message::Close(_)) => self.closed = true,
                Ok(other) => panic!("a client sends no {other:?}"),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let wire = std::mem::take(&mut websocket.get_mut().outgoing);
        self.seal(&wire);
        self.derp(&stream);
    }

    fn answer(&mut self, head: RequestHead) {
        match head.header("Sec-WebSocket-Key") {
            None => {
                let wants_none = head.upgrade() == Some(UpgradeKind::Derp { fast_start: true });
                let good =
                    || if wants_none { String::new() } else { switching_protocols(&relay_key().public()) };
                let answer = self.answer.take().unwrap_or_else(|| good().into_bytes());
                self.seal(&answer);
            }
            Some(key) => {
                let accept = derive_accept_key(key);
                self.seal(
                    format!(
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: derp\r\n\r\n"
                    )
                    .as_bytes(),
                );
                let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
                self.websocket =
                    Some(WebSocket::from_raw_socket(Memory::default(), Role::Server, Some(config)));
            }
        }
        self.request = Some(head);
        if self.greets {
            let greeting = self.handshake.as_ref().unwrap().output();
            self.send(&greeting);
        }
    }

    fn derp(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
        if let Some(handshake) = &mut self.handshake {
            let read = handshake.read(&self.stream);
            self.refused |= read.is_err();
            let Ok(Some((consumed, client))) = read else { return };
            assert_eq!(client.key, client_key().public());
            self.stream.drain(..consumed);
            self.handshake = None;
            let mut info = client.server_info([3; 24], &SERVER_INFO);
            info.append(&mut self.right_behind);
            self.info = Some(client.info);
            self.send(&info);
        }
        loop {
            let consumed = match self.decoder.next(&self.stream).unwrap() {
                Step::Frame { frame: ClientFrame::SendPacket { packet, .. }, consumed } => {
                    self.received.push(format!("packet of {} bytes", packet.len()));
                    consumed
                }
                Step::Frame { frame: ClientFrame::Ping(data), consumed } if self.answers_pings => {
                    let mut pong = Vec::new();
                    encode_pong(&mut pong, data);
                    self.send(&pong);
                    consumed
                }
                Step::Frame { frame, consumed } => {
                    self.received.push(format!("{frame:?}"));
                    consumed
                }
                Step::Incomplete { consumed, .. } => {
                    self.stream.drain(..consumed);
                    return;
                }
            };
            self.stream.drain(..consumed);
        }
    }
}

/// A socket for tungstenite.
#[derive(Default)]
struct Memory {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.incoming.as_slice().read(out)?;
        self.incoming.drain(..len);
        Ok(len)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
