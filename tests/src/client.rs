//! A blocking DERP client that looks at every frame it gets.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_protocol::frame::{FrameType, PeerGoneReason, PeerPresentFlags};
use ferry_protocol::handshake::read_server_key;
use ferry_protocol::upgrade::{ResponseHead, upgrade_request};
use ferry_protocol::{
    ClientHandshake, ClientInfo, NodePrivateKey, NodePublicKey, ServerFrame, ServerFrameDecoder, ServerInfo,
    Step, encode_ping, send_packet_header,
};

use crate::stream::is_timeout;
use crate::{PATIENCE, Stream, TestRelay, new_key, random};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// A client of a relay, its handshake done.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    key: NodePublicKey,
    server_info: ServerInfo,
    decoder: ServerFrameDecoder,
    /// Received and not yet understood, from `at` on.
    input: Vec<u8>,
    at: usize,
}

/// A frame from the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet.
    Packet {
        /// Who sent it.
        src: NodePublicKey,
        /// What.
        packet: Vec<u8>,
    },
    /// A key is not to be reached.
    PeerGone {
        /// Whose.
        key: NodePublicKey,
        /// Why.
        reason: PeerGoneReason,
    },
    /// A key is connected; for mesh peers.
    PeerPresent {
        /// Whose.
        key: NodePublicKey,
        /// From where.
        addr: Option<SocketAddr>,
        /// What kind of client.
        flags: PeerPresentFlags,
    },
    /// The answer to a ping.
    Pong([u8; 8]),
    /// The end: closed by the relay, cleanly or not.
    Closed,
}

/// How a client joins: who it is, what it says, how it starts.
#[derive(Debug)]
pub struct Join {
    /// Who it is.
    pub key: NodePrivateKey,
    /// What it says about itself.
    pub info: ClientInfo,
    /// Bytes of the kernel's receive buffer, where that matters.
    pub receive_buffer: Option<usize>,
}

impl Default for Join {
    fn default() -> Self {
        Self { key: new_key(), info: ClientInfo::current(), receive_buffer: None }
    }
}

impl Client {
    /// A new client, connected as the relay wants it: ordinary start.
    pub fn join(relay: &TestRelay) -> Self {
        Self::join_with(relay, Join::default())
    }

    /// A client with this key.
    pub fn join_as(relay: &TestRelay, key: &NodePrivateKey) -> Self {
        Self::join_with(relay, Join { key: key.clone(), ..Join::default() })
    }

    /// A client that reads little at a time from a kernel that keeps little for it.
    pub fn join_narrow(relay: &TestRelay) -> Self {
        Self::join_with(relay, Join { receive_buffer: Some(16 * 1024), ..Join::default() })
    }

    /// A client with all choices made.
    pub fn join_with(relay: &TestRelay, join: Join) -> Self {
        let stream = match join.receive_buffer {
            Some(bytes) => Stream::connect_narrow(relay, bytes),
            None => Stream::connect(relay),
        };
        Self::start(relay, stream, &join.key, &join.info)
    }

    /// An ordinary start over a stream: upgrade, then DERP's handshake.
    pub fn start(relay: &TestRelay, mut stream: Stream, key: &NodePrivateKey, info: &ClientInfo) -> Self {
        let head = upgrade_request(&relay.host(), false, None);
        stream.write_all(head.as_bytes()).expect("the relay takes a request");
        let mut input = Vec::new();
        let head = read_until(&mut stream, &mut input, |input| {
            ResponseHead::parse(input).expect("an HTTP answer").map(|head| (head.len, head))
        });
        assert_eq!(head.status, 101, "the relay does not upgrade");
        let server =
            read_until(&mut stream, &mut input, |input| read_server_key(input).expect("a ServerKey"));
        assert_eq!(server, *relay.key(), "another relay answers");
        Self::introduce(stream, input, &server, key, info)
    }

    /// A fast start over a stream: the head, ClientInfo and `first` in one write, before anything is read.
    pub fn start_fast(
        relay: &TestRelay,
        mut stream: Stream,
        server: &NodePublicKey,
        key: &NodePrivateKey,
        first: &[u8],
    ) -> Self {
        let (handshake, frame) = ClientHandshake::start(key, server, &ClientInfo::current(), random())
            .expect("a relay has a key that is not zero");
        let head = upgrade_request(&relay.host(), true, None);
        let flight = [head.as_bytes(), &frame, first].concat();
        stream.write_all(&flight).expect("the relay takes a flight");
        let mut input = Vec::new();
        // The very first byte is a frame's: an HTTP answer would not be a ServerKey.
        let told =
            read_until(&mut stream, &mut input, |input| read_server_key(input).expect("a ServerKey, first"));
        assert_eq!(told, *server, "the certificate named another key");
        Self::greeted(stream, input, handshake, key)
    }

    fn introduce(
        mut stream: Stream,
        input: Vec<u8>,
        server: &NodePublicKey,
        key: &NodePrivateKey,
        info: &ClientInfo,
    ) -> Self {
        let (handshake, frame) =
            ClientHandshake::start(key, server, info, random()).expect("a relay has a key that is not zero");
        stream.write_all(&frame).expect("the relay takes a ClientInfo");
        Self::greeted(stream, input, handshake, key)
    }

    fn greeted(
        mut stream: Stream,
        mut input: Vec<u8>,
        mut handshake: ClientHandshake,
        key: &NodePrivateKey,
    ) -> Self {
        let server_info = read_until(&mut stream, &mut input, |input| {
            match handshake.read(input).expect("a ServerInfo, first of all") {
                Step::Frame { frame, consumed } => Some((consumed, frame)),
                Step::Incomplete { consumed, .. } => {
                    assert_eq!(consumed, 0, "something else came before the ServerInfo");
                    None
                }
            }
        });
        Self { stream, key: key.public(), server_info, decoder: ServerFrameDecoder::new(), input, at: 0 }
    }

    /// Who we are.
    pub const fn key(&self) -> NodePublicKey {
        self.key
    }

    /// What the relay said about itself.
    pub const fn server_info(&self) -> &ServerInfo {
        &self.server_info
    }

    /// Sends a packet.
    pub fn send(&mut self, dst: &NodePublicKey, packet: &[u8]) {
        self.send_raw(&send_packet(dst, packet));
    }

    /// Sends any bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the relay reads what we send");
    }

    /// Sends any bytes; false if the relay no longer takes them.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A second handle of the same client that sends, for another thread; plain relays only.
    pub fn sender(&self) -> Sender {
        Sender { stream: self.stream.try_clone() }
    }

    /// Sends a ping.
    pub fn ping(&mut self, data: [u8; 8]) {
        let mut frame = Vec::new();
        encode_ping(&mut frame, data);
        self.send_raw(&frame);
    }

    /// Sends a ping and wants its pong as the next frame: all we sent before has been acted on, and nothing else came.
    pub fn expect_quiet(&mut self) {
        let data = random();
        self.ping(data);
        assert_eq!(self.next_event(), Event::Pong(data));
    }

    /// The next frame.
    pub fn next_event(&mut self) -> Event {
        self.next_within(PATIENCE).unwrap_or_else(|| panic!("nothing came within {PATIENCE:?}"))
    }

    /// The next frame, if it comes in time.
    pub fn next_within(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        loop {
            if let Some(event) = self.decode() {
                return Some(event);
            }
            self.input.drain(..self.at);
            self.at = 0;
            self.stream.set_read_timeout(until.saturating_duration_since(Instant::now()));
            match read_some(&mut self.stream, &mut self.input) {
                Ok(0) => return Some(Event::Closed),
                Ok(_) => {}
                Err(error) if is_timeout(&error) && Instant::now() < until => {}
                Err(error) if is_timeout(&error) => return None,
                // Reset: the relay had not read all that we sent when it closed.
                Err(_) => return Some(Event::Closed),
            }
        }
    }

    /// Takes up to `bytes` from the socket without looking at them yet; answers how many, 0 at the end.
    pub fn read_little(&mut self, bytes: usize) -> usize {
        let start = self.input.len();
        self.input.resize(start + bytes, 0);
        let read = self.stream.read(&mut self.input[start..]);
        self.input.truncate(start + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(read) => read,
            Err(error) if is_timeout(&error) => panic!("nothing to read"),
            Err(_) => 0,
        }
    }

    /// The next frame of those that have been read already.
    pub fn next_read(&mut self) -> Option<Event> {
        self.decode()
    }

    /// Wants this packet next.
    pub fn expect_packet(&mut self, src: &NodePublicKey, packet: &[u8]) {
        let event = self.next_event();
        let Event::Packet { src: from, packet: got } = event else {
            panic!("want a packet of {} bytes, got {event:?}", packet.len());
        };
        assert_eq!(from, *src, "a packet of {} bytes from somebody else", got.len());
        assert!(got == packet, "{} bytes, want other {}", got.len(), packet.len());
    }

    /// Wants this PeerGone next.
    pub fn expect_peer_gone(&mut self, key: &NodePublicKey, reason: PeerGoneReason) {
        assert_eq!(self.next_event(), Event::PeerGone { key: *key, reason });
    }

    /// Wants this PeerPresent next, from loopback.
    pub fn expect_peer_present(&mut self, key: &NodePublicKey, flags: PeerPresentFlags) {
        let event = self.next_event();
        let Event::PeerPresent { key: got, addr: Some(addr), flags: got_flags } = event else {
            panic!("want PeerPresent of {key:?}, got {event:?}");
        };
        assert!(addr.ip().is_loopback(), "{addr}");
        assert_eq!((got, got_flags), (*key, flags));
    }

    /// Wants the connection closed, with no frame before.
    pub fn expect_closed(&mut self) {
        assert_eq!(self.next_event(), Event::Closed);
    }

    /// Leaves, and waits until the relay has hung up too.
    pub fn leave(mut self) {
        self.stream.finish();
        self.stream.read_to_close();
    }

    fn decode(&mut self) -> Option<Event> {
        loop {
            let input = &self.input[self.at..];
            match self.decoder.next(input).expect("a stream of frames that clients take") {
                Step::Incomplete { consumed, .. } => {
                    self.at += consumed;
                    return None;
                }
                Step::Frame { frame, consumed } => {
                    let event = event(&frame);
                    self.at += consumed;
                    if event.is_some() {
                        return event;
                    }
                }
            }
        }
    }
}

/// The sending half of a client.
#[derive(Debug)]
pub struct Sender {
    stream: Stream,
}

impl Sender {
    /// Sends a packet; false once the relay no longer takes any.
    pub fn send(&mut self, dst: &NodePublicKey, packet: &[u8]) -> bool {
        self.stream.write_all(&send_packet(dst, packet)).is_ok()
    }
}

/// A whole SendPacket frame.
fn send_packet(dst: &NodePublicKey, packet: &[u8]) -> Vec<u8> {
    [&send_packet_header(dst, packet.len())[..], packet].concat()
}

/// What a test wants to know of a frame; None for a keep-alive, which may come at any time.
fn event(frame: &ServerFrame<'_>) -> Option<Event> {
    Some(match *frame {
        ServerFrame::KeepAlive => return None,
        ServerFrame::RecvPacket { src, packet } => Event::Packet { src, packet: packet.to_vec() },
        ServerFrame::PeerGone { key, reason } => Event::PeerGone { key, reason },
        ServerFrame::PeerPresent { key, addr, flags } => Event::PeerPresent { key, addr, flags },
        ServerFrame::Pong(data) => Event::Pong(data),
        // derper never sends these after the handshake, and the official Rust client does not survive them.
        ServerFrame::ServerKey(_) | ServerFrame::ServerInfo(_) => {
            panic!("a second {:?}", FrameType::ServerKey)
        }
        ServerFrame::Ping(_)
        | ServerFrame::Health(_)
        | ServerFrame::Restarting { .. }
        | ServerFrame::Ignored { .. }
        | ServerFrame::Unknown { .. } => panic!("a relay does not send {frame:?}"),
    })
}

/// Reads until `parse` finds what it looks for, and drops what that took.
fn read_until<T>(
    stream: &mut Stream,
    input: &mut Vec<u8>,
    mut parse: impl FnMut(&[u8]) -> Option<(usize, T)>,
) -> T {
    loop {
        if let Some((consumed, found)) = parse(input) {
            input.drain(..consumed);
            return found;
        }
        let read = read_some(stream, input).expect("the relay goes on with the handshake");
        assert_ne!(read, 0, "the relay hung up during the handshake, after {} bytes", input.len());
    }
}

fn read_some(stream: &mut Stream, input: &mut Vec<u8>) -> io::Result<usize> {
    let start = input.len();
    input.resize(start + READ_BYTES, 0);
    let read = stream.read(&mut input[start..]);
    input.truncate(start + read.as_ref().copied().unwrap_or(0));
    read
}
