//! What is wrong has a name, at each stage, and ends the connection.

use ferry_client::{Connection, ConnectionError, Stage};
use ferry_protocol::frame::{HEADER_LEN, SERVER_FRAME_LEN_MAX};
use ferry_protocol::{HandshakeError, HeadError, ServerHandshake, encode_server_key};
use rustls::version::{TLS12, TLS13};
use tungstenite::handshake::derive_accept_key;

use crate::support::{Wire, feed, relay_key, take};

/// What the key of `[9; 40]` wants to hear.
const KEY: &[u8] = b"CQkJCQkJCQkJCQkJCQkJCQ==";

#[test]
fn an_answer_that_is_no_tls() {
    for version in [&TLS12, &TLS13] {
        let mut client = Wire::tls(version).client();
        take(&mut client);
        let error = refused(&mut client, b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request");
        assert!(matches!(error, ConnectionError::Tls(rustls::Error::InvalidMessage(_))), "{error}");
        assert_eq!(client.outgoing()[0], 21, "an alert says why");
    }
}

#[test]
fn a_tls_message_that_never_ends() {
    let mut client = Wire::tls(&TLS13).client();
    // A ServerHello that claims 16 MiB, in as many records as it takes.
    let mut record = vec![22, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[2, 0xff, 0xff, 0xff]);
    let refused = (0..100).find_map(|_| feed(&mut client, &record).err()).unwrap();
    assert!(matches!(refused, ConnectionError::Tls(_) | ConnectionError::TlsLeftover { .. }), "{refused}");
}

#[test]
fn an_answer_that_is_no_http() {
    for wire in [Wire::plain(), Wire::websocket()] {
        let error = refused(&mut wire.client(), &[0x15, 3, 3, 0, 2, 2, 40]);
        assert!(matches!(error, ConnectionError::Head(HeadError::Malformed(_))), "{error}");
        let error = refused(&mut wire.client(), b"220 mail.example.net ESMTP\r\n\r\n");
        assert!(matches!(error, ConnectionError::Head(HeadError::Malformed(_))), "{error}");
    }
}

#[test]
fn a_head_that_never_ends() {
    let mut client = Wire::plain().client();
    assert_eq!(feed(&mut client, b"HTTP/1.1 101 Switching Protocols\r\nX: ").unwrap(), []);
    let error = (0..1000).find_map(|_| feed(&mut client, &[b'x'; 999]).err()).unwrap();
    assert!(matches!(error, ConnectionError::HeadTooLong { bytes: 65_536 }), "{error}");
}

#[test]
fn a_status_that_is_not_101() {
    for wire in [Wire::plain(), Wire::websocket()] {
        let error = refused(&mut wire.client(), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(error.to_string(), "the relay answered 404 to the upgrade, want 101");
    }
}

#[test]
fn a_websocket_that_answers_another_key_or_with_another_protocol() {
    let error = refused(&mut Wire::websocket().client(), &switched("x", "derp"));
    let want = derive_accept_key(KEY);
    assert!(
        matches!(&error, ConnectionError::Accept { got, want: w } if got == "x" && *w == want),
        "{error}"
    );
    let error = refused(&mut Wire::websocket().client(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert!(matches!(&error, ConnectionError::Accept { got, .. } if got.is_empty()), "{error}");
    let error = refused(&mut Wire::websocket().client(), &switched(&want, "chat"));
    assert!(matches!(&error, ConnectionError::Subprotocol { got } if got == "chat"), "{error}");
}

#[test]
fn a_websocket_that_speaks_text_or_nonsense_or_too_much() {
    let error = refused(&mut upgraded(&Wire::websocket()), &[0x81, 5, b'h', b'e', b'l', b'l', b'o']);
    assert!(matches!(error, ConnectionError::Text { bytes: 5 }), "{error}");
    let error = refused(&mut upgraded(&Wire::websocket()), &[0xff, 0]);
    assert!(matches!(error, ConnectionError::WebSocket(_)), "{error}");
    // Two megabytes in one message.
    let mut header = vec![0x82, 127];
    header.extend_from_slice(&(2_u64 << 20).to_be_bytes());
    let error = refused(&mut upgraded(&Wire::websocket()), &header);
    assert!(matches!(error, ConnectionError::MessageTooLong { bytes: 0x20_0000 }), "{error}");
}

#[test]
fn a_greeting_that_is_not_derps() {
    let error = refused(&mut upgraded(&Wire::plain()), &[0x04, 0, 0, 0, 40]);
    assert!(
        matches!(error, ConnectionError::Handshake(HandshakeError::UnexpectedFrame { got: 4, .. })),
        "{error}"
    );
    let mut greeting = [0; 45];
    greeting[..5].copy_from_slice(&[1, 0, 0, 0, 40]);
    let error = refused(&mut upgraded(&Wire::plain()), &greeting);
    assert!(matches!(error, ConnectionError::Handshake(HandshakeError::Magic)), "{error}");
}

#[test]
fn a_relay_without_a_key() {
    let mut greeting = Vec::new();
    encode_server_key(&mut greeting, &ferry_protocol::NodePublicKey::from_bytes([0; 32]));
    let error = refused(&mut upgraded(&Wire::plain()), &greeting);
    assert!(matches!(error, ConnectionError::ServerKey(_)), "{error}");
}

#[test]
fn a_server_info_that_does_not_open() {
    let mut client = upgraded(&Wire::plain());
    feed(&mut client, &ServerHandshake::new(&relay_key()).output()).unwrap();
    assert_eq!(client.stage(), Stage::Handshake);
    let mut info = vec![3, 0, 0, 0, 60];
    info.resize(5 + 60, 7);
    let error = refused(&mut client, &info);
    assert!(matches!(error, ConnectionError::Handshake(HandshakeError::Open(_))), "{error}");
}

#[test]
fn a_packet_before_the_server_info() {
    let mut client = upgraded(&Wire::plain());
    feed(&mut client, &ServerHandshake::new(&relay_key()).output()).unwrap();
    let error = refused(&mut client, &crate::recv_packet(b"too early"));
    assert!(
        matches!(error, ConnectionError::Handshake(HandshakeError::UnexpectedFrame { got: 5, .. })),
        "{error}"
    );
}

#[test]
fn a_frame_longer_than_any() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = wire.established();
        let mut longest = vec![0x05, 0, 0x10, 0, 0];
        longest.resize(HEADER_LEN + SERVER_FRAME_LEN_MAX, 0xbb);
        peer.send(&longest);
        assert_eq!(feed(&mut client, &peer.take()).unwrap().len(), 1, "{name}: 1 MiB is a frame");
        peer.send(&[0x05, 0, 0x10, 0, 1]);
        let error = refused(&mut client, &peer.take());
        assert!(matches!(error, ConnectionError::Decode(_)), "{name}: {error}");
        // What carried the frame is in order, and can still be closed so.
        client.close();
        peer.receive(&take(&mut client));
        assert_eq!(peer.closed, name != "plain", "{name}");
    }
}

#[test]
fn a_connection_that_failed_is_silent() {
    let mut client = upgraded(&Wire::plain());
    refused(&mut client, &[0xff; 100]);
    assert_eq!(feed(&mut client, &ServerHandshake::new(&relay_key()).output()).unwrap(), []);
    let sent = client.send_frame(&crate::send_packet(b"no"));
    assert!(matches!(sent, Err(ConnectionError::NotEstablished { stage: Stage::Closed })));
    assert_eq!(client.outgoing(), b"");
}

/// The error that these bytes are, after which the connection is over.
fn refused(client: &mut Connection, bytes: &[u8]) -> ConnectionError {
    let error = feed(client, bytes).unwrap_err();
    assert_eq!(client.stage(), Stage::Closed);
    error
}

/// A client that waits for the greeting.
fn upgraded(wire: &Wire) -> Connection {
    let mut client = wire.client();
    take(&mut client);
    assert_eq!(client.stage(), Stage::Upgrade);
    feed(&mut client, &switched(&derive_accept_key(KEY), "derp")).unwrap();
    assert_eq!(client.stage(), Stage::Handshake);
    client
}

fn switched(accept: &str, protocol: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
    .into_bytes()
}
