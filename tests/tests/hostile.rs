//! What a relay must survive: bytes that make no sense, heads that do not end, and clients that go silent.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ferry_protocol::frame::{CLIENT_INFO_LEN_MAX, HEADER_LEN, MAGIC};
use ferry_protocol::upgrade::upgrade_request;
use ferry_protocol::{ClientHandshake, ClientInfo, NodePublicKey};
use ferry_tests::{Client, Stream, TestRelay, new_key, pattern, random};

/// How long an honest client may take to join in spite of others: many times what it needs.
const JOIN_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_client_that_breaks_a_frames_rule_is_cut_and_nobody_else() {
    let relay = TestRelay::tls();
    let (mut alice, mut bob) = (Client::join(&relay), Client::join(&relay));
    for (what, bytes) in [
        ("SendPacket without a key", frame(0x04, 31)),
        ("SendPacket over the limit", frame(0x04, 32 + 65_536 + 1)),
        ("SendPacket of 4 GiB", header(0x04, u32::MAX)),
        ("NotePreferred without a byte", frame(0x07, 0)),
        ("NotePreferred of two", frame(0x07, 2)),
        ("Ping of seven", frame(0x12, 7)),
        ("Ping of 1001", frame(0x12, 1001)),
        ("ForwardPacket by a stranger", frame(0x0a, 64)),
        ("WatchConns by a stranger", frame(0x10, 0)),
        ("ClosePeer by a stranger", frame(0x11, 32)),
    ] {
        let mut mallory = Client::join(&relay);
        assert!(mallory.try_send_raw(&bytes), "{what}");
        let event = mallory.next_event();
        assert_eq!(event, ferry_tests::Event::Closed, "{what}");
        alice.send(&bob.key(), what.as_bytes());
        bob.expect_packet(&alice.key(), what.as_bytes());
    }
}

#[test]
fn unknown_frames_of_any_length_are_skipped() {
    let relay = TestRelay::tls();
    let mut alice = Client::join(&relay);
    // Types of the other direction, of the handshake, and of nobody.
    for kind in [0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x08, 0x09, 0x0b, 0x13, 0x14, 0x15, 0x7f, 0xff] {
        for len in [0, 1, 31, 70_000] {
            alice.send_raw(&frame(kind, len));
        }
        alice.expect_quiet();
    }
    alice.send_raw(&frame(0xee, 3 << 20));
    alice.expect_quiet();
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let relay = TestRelay::tls();
    let (mut alice, mut bob) = (Client::join(&relay), Client::join(&relay));
    let packet = pattern(7, 40);
    let bytes = [&ferry_protocol::send_packet_header(&bob.key(), 40)[..], &packet].concat();
    for byte in bytes {
        alice.send_raw(&[byte]);
    }
    bob.expect_packet(&alice.key(), &packet);
}

#[test]
fn a_client_that_ends_in_the_middle_of_a_frame_leaves_like_any_other() {
    let relay = TestRelay::plain();
    let mut bob = Client::join(&relay);
    let mut mallory = Client::join(&relay);
    let key = mallory.key();
    mallory.send(&bob.key(), b"whole");
    bob.expect_packet(&key, b"whole");
    mallory.send_raw(&ferry_protocol::send_packet_header(&bob.key(), 1400));
    mallory.send_raw(&[0; 100]);
    mallory.leave();
    bob.expect_peer_gone(&key, ferry_protocol::frame::PeerGoneReason::Disconnected);
}

#[test]
fn a_handshake_that_is_none_is_closed_without_a_word() {
    let relay = TestRelay::plain();
    let key = new_key();
    let client_info = |server: &NodePublicKey| {
        ClientHandshake::start(&key, server, &ClientInfo::current(), random()).unwrap().1
    };
    let good = client_info(relay.key());
    let mut broken_box = good.clone();
    *broken_box.last_mut().unwrap() ^= 1;
    let mut zero_key = good;
    zero_key[HEADER_LEN..HEADER_LEN + 32].fill(0);
    for (what, bytes) in [
        ("another frame first", frame(0x04, 40)),
        ("a greeting instead of an introduction", [&header(0x01, 40)[..], &MAGIC, &[7; 32]].concat()),
        ("the greeting's magic without a frame", [&MAGIC[..], &[7; 32]].concat()),
        ("ClientInfo too short for a nonce", frame(0x02, 55)),
        ("ClientInfo too short for a box", frame(0x02, 56)),
        ("ClientInfo over the limit", header(0x02, CLIENT_INFO_LEN_MAX as u32 + 1)),
        ("a box for another relay", client_info(&new_key().public())),
        ("an altered box", broken_box),
        ("the key that nobody has", zero_key),
    ] {
        let mut stream = Stream::connect(&relay);
        stream.write_all(upgrade_request(&relay.host(), true, None).as_bytes()).unwrap();
        let mut greeting = [0; HEADER_LEN + 40];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&bytes).unwrap();
        assert!(stream.read_to_close().is_empty(), "{what}");
    }
    Client::join_as(&relay, &key).expect_quiet();
}

#[test]
fn a_truncated_introduction_gets_nothing() {
    let relay = TestRelay::plain();
    let (_, info) =
        ClientHandshake::start(&new_key(), relay.key(), &ClientInfo::current(), random()).unwrap();
    for cut in [1, 4, 5, 40, info.len() - 1] {
        let mut stream = Stream::connect(&relay);
        stream.write_all(upgrade_request(&relay.host(), true, None).as_bytes()).unwrap();
        stream.write_all(&info[..cut]).unwrap();
        stream.finish();
        assert_eq!(stream.read_to_close().len(), HEADER_LEN + 40, "a greeting and no more, cut at {cut}");
    }
    Client::join(&relay).expect_quiet();
}

#[test]
fn garbage_where_tls_should_be_is_refused() {
    let relay = TestRelay::tls();
    let hello_of_nobody = [&[0x16, 3, 1, 0x40, 0][..], &pattern(3, 0x4000)].concat();
    for garbage in [pattern(1, 4_096), b"GET /derp HTTP/1.1\r\n\r\n".to_vec(), vec![0; 300], hello_of_nobody]
    {
        let mut stream = Stream::tcp(&relay);
        stream.write_all(&garbage).unwrap();
        stream.finish();
        let answer = stream.read_to_close();
        assert!(answer.len() < 200, "{} bytes for garbage", answer.len());
    }
    Client::join(&relay).expect_quiet();
}

#[test]
fn garbage_inside_tls_ends_that_client_alone() {
    let relay = TestRelay::tls();
    let mut alice = Client::join(&relay);
    let (mut stream, _) = Stream::tls(&relay, &rustls::version::TLS13);
    stream.write_all(&pattern(5, 4_096)).unwrap();
    stream.finish();
    stream.read_to_close();
    // A record that no key seals, behind a good session: what a middlebox makes of a connection.
    let mut mallory = TcpRecordBreaker::join(&relay);
    mallory.send_broken_record();
    alice.expect_quiet();
}

#[test]
fn a_request_that_is_none_is_answered_400() {
    let relay = TestRelay::plain();
    for request in ["GET\r\n\r\n", "GET /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n", "HELO relay\r\n\r\n"] {
        let mut stream = Stream::connect(&relay);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(stream.read_to_close()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
    Client::join(&relay).expect_quiet();
}

#[test]
fn a_head_of_more_than_a_mebibyte_is_answered_431() {
    let relay = TestRelay::plain();
    let mut stream = Stream::connect(&relay);
    let mut head = b"GET / HTTP/1.1\r\nHost: relay\r\nCookie: ".to_vec();
    head.resize((1 << 20) + 1, b'a');
    stream.write_all(&head).unwrap();
    let answer = String::from_utf8(stream.read_to_close()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    Client::join(&relay).expect_quiet();
}

#[test]
fn many_heads_without_an_end_do_not_keep_others_out() {
    let relay = TestRelay::plain();
    let mut half_heads: Vec<_> = (0..100).map(|_| Stream::connect(&relay)).collect();
    for stream in &mut half_heads {
        // Over the size of which only a few may be under way; those beyond are refused.
        let _ = stream.write_all(&[&b"GET / HTTP/1.1\r\nCookie: "[..], &[b'a'; 40_000]].concat());
    }
    let began = Instant::now();
    Client::join(&relay).expect_quiet();
    assert!(began.elapsed() < JOIN_MAX, "joined after {:?}", began.elapsed());
}

#[test]
fn two_hundred_silent_connections_keep_nobody_out() {
    for relay in [TestRelay::plain(), TestRelay::tls()] {
        let silent: Vec<_> = (0..200).map(|number| silent_connection(&relay, number)).collect();
        for _ in 0..10 {
            let began = Instant::now();
            Client::join(&relay).expect_quiet();
            assert!(began.elapsed() < JOIN_MAX, "joined after {:?}", began.elapsed());
        }
        drop(silent);
    }
}

/// A connection that says nothing, the beginning of something, or all but the introduction.
fn silent_connection(relay: &TestRelay, number: usize) -> Stream {
    let mut stream = Stream::tcp(relay);
    let begun: &[u8] = match (number % 3, relay.is_tls()) {
        (0, _) => b"",
        (1, true) => &[0x16, 3, 1, 2, 0, 1, 0],
        (1, false) => b"GET /derp HTTP/1.1\r\nHost: re",
        (_, true) => return Stream::connect(relay),
        (_, false) => b"GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\n\r\n",
    };
    stream.write_all(begun).expect("the relay accepts");
    stream
}

/// A client whose record layer can be gone around.
struct TcpRecordBreaker {
    socket: TcpStream,
    client: Client,
}

impl TcpRecordBreaker {
    fn join(relay: &TestRelay) -> Self {
        let (stream, _) = Stream::tls(relay, &rustls::version::TLS13);
        let Stream::Tls(tls) = &stream else { unreachable!("asked for TLS") };
        let socket = tls.sock.try_clone().expect("a second handle");
        Self { socket, client: Client::start(relay, stream, &new_key(), &ClientInfo::current()) }
    }

    fn send_broken_record(&mut self) {
        let record = [&[0x17, 3, 3, 0, 64][..], &pattern(9, 64)].concat();
        self.socket.write_all(&record).expect("the relay reads on");
        self.client.expect_closed();
    }
}

fn header(kind: u8, len: u32) -> Vec<u8> {
    [&[kind][..], &len.to_be_bytes()].concat()
}

/// A whole frame of zeros.
fn frame(kind: u8, len: usize) -> Vec<u8> {
    [header(kind, len as u32), vec![0; len]].concat()
}
