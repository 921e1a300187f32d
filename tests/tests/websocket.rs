//! DERP over WebSocket, as browsers speak it: binary messages carry one byte stream.
#![forbid(unsafe_code)]

use ferry_protocol::handshake::read_server_key;
use ferry_protocol::{
    ClientHandshake, ClientInfo, NodePublicKey, ServerFrame, ServerFrameDecoder, Step, send_packet_header,
};
use ferry_tests::{Client, Stream, TestRelay, new_key, pattern, random};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// The longest message that derper takes, and so the longest that a relay sends.
const MESSAGE_MAX: usize = 32_768;

#[test]
fn a_websocket_client_talks_with_an_ordinary_one() {
    let relay = TestRelay::plain();
    let mut browser = Browser::join(&relay);
    let mut bob = Client::join(&relay);
    for packet in [vec![], pattern(1, 1400), pattern(2, 65_536)] {
        for piece in send_packet(&bob.key(), &packet).chunks(MESSAGE_MAX) {
            browser.send(piece);
        }
        bob.expect_packet(&browser.key, &packet);
        bob.send(&browser.key, &packet);
        browser.expect_packet(&bob.key(), &packet);
    }
}

#[test]
fn where_a_message_ends_means_nothing() {
    let relay = TestRelay::plain();
    let mut browser = Browser::join(&relay);
    let mut bob = Client::join(&relay);
    let packets: Vec<_> = (0..5).map(|seed| pattern(seed, 50)).collect();
    let stream: Vec<u8> = packets.iter().flat_map(|packet| send_packet(&bob.key(), packet)).collect();
    // All in one message, then a byte in each, then pieces that end anywhere, one of them empty.
    for len in [stream.len(), 1, 33] {
        browser.send(&[]);
        stream.chunks(len).for_each(|piece| browser.send(piece));
        for packet in &packets {
            bob.expect_packet(&browser.key, packet);
        }
    }
}

#[test]
fn no_message_from_the_relay_is_longer_than_its_own_limit() {
    let relay = TestRelay::plain();
    let mut browser = Browser::join(&relay);
    let mut bob = Client::join(&relay);
    let packet = pattern(3, 65_536);
    bob.send(&browser.key, &packet);
    browser.expect_packet(&bob.key(), &packet);
    assert!((1..=MESSAGE_MAX).contains(&browser.longest_message), "{} bytes", browser.longest_message);
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009() {
    // With TLS there are records left behind the one that ends it.
    for relay in [TestRelay::plain(), TestRelay::tls()] {
        for len in [MESSAGE_MAX + 2, 2 * MESSAGE_MAX] {
            let mut browser = Browser::join(&relay);
            browser.send(&vec![0xee; len]);
            assert_eq!(browser.next_close(), Some(CloseCode::Size), "{len} bytes");
        }
    }
}

#[test]
fn text_is_closed_with_1003() {
    let relay = TestRelay::plain();
    let mut browser = Browser::join(&relay);
    browser.socket.send(Message::text("hello")).unwrap();
    assert_eq!(browser.next_close(), Some(CloseCode::Unsupported));
}

#[test]
fn a_websocket_ping_is_answered() {
    let relay = TestRelay::plain();
    let mut browser = Browser::join(&relay);
    browser.socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(browser.socket.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
}

#[test]
fn a_websocket_without_the_subprotocol_is_no_derp_websocket() {
    let relay = TestRelay::plain();
    let request = format!("ws://{}/derp", relay.address()).into_client_request().unwrap();
    let socket = Stream::connect(&relay);
    // An ancient client says `websocket` and means plain DERP: the answer is DERP's own.
    assert!(tungstenite::client(request, socket).is_err());
    Client::join(&relay).expect_quiet();
}

/// A client behind a WebSocket.
struct Browser {
    socket: WebSocket<Stream>,
    key: NodePublicKey,
    decoder: ServerFrameDecoder,
    input: Vec<u8>,
    longest_message: usize,
}

impl Browser {
    fn join(relay: &TestRelay) -> Self {
        let mut request = format!("ws://{}/derp", relay.address()).into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Protocol", "derp".parse().expect("a header's value"));
        let (socket, answer) =
            tungstenite::client(request, Stream::connect(relay)).expect("the relay upgrades");
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "derp");
        let key = new_key();
        let mut browser = Self {
            socket,
            key: key.public(),
            decoder: ServerFrameDecoder::new(),
            input: Vec::new(),
            longest_message: 0,
        };
        let (consumed, server) = loop {
            if let Some(found) = read_server_key(&browser.input).expect("a ServerKey") {
                break found;
            }
            browser.receive();
        };
        browser.input.drain(..consumed);
        let (mut handshake, info) = ClientHandshake::start(&key, &server, &ClientInfo::current(), random())
            .expect("a relay has a key");
        browser.send(&info);
        loop {
            if let Step::Frame { consumed, .. } = handshake.read(&browser.input).expect("a ServerInfo") {
                browser.input.drain(..consumed);
                return browser;
            }
            browser.receive();
        }
    }

    fn send(&mut self, piece: &[u8]) {
        self.socket.send(Message::binary(piece.to_vec())).expect("the relay reads on");
    }

    fn receive(&mut self) {
        let message = self.socket.read().expect("the relay goes on");
        let Message::Binary(bytes) = message else { panic!("want a binary message, got {message:?}") };
        self.longest_message = self.longest_message.max(bytes.len());
        self.input.extend_from_slice(&bytes);
    }

    fn expect_packet(&mut self, from: &NodePublicKey, want: &[u8]) {
        loop {
            match self.decoder.next(&self.input).expect("frames") {
                Step::Incomplete { consumed, .. } => {
                    self.input.drain(..consumed);
                    self.receive();
                }
                Step::Frame { frame, consumed } => {
                    let ServerFrame::RecvPacket { src, packet } = frame else { panic!("{frame:?}") };
                    assert!(src == *from && packet == want, "{} bytes, want {}", packet.len(), want.len());
                    self.input.drain(..consumed);
                    return;
                }
            }
        }
    }

    /// The code that the relay closes with.
    fn next_close(&mut self) -> Option<CloseCode> {
        let message = self.socket.read().expect("a close frame before the end");
        let Message::Close(frame) = message else { panic!("want a close, got {message:?}") };
        frame.map(|frame| frame.code)
    }
}

fn send_packet(dst: &NodePublicKey, packet: &[u8]) -> Vec<u8> {
    [&send_packet_header(dst, packet.len())[..], packet].concat()
}
