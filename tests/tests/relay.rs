//! The relay's rules as a client meets them, over plain HTTP and over TLS.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ferry_protocol::frame::{PeerGoneReason, encode_note_preferred};
use ferry_protocol::{ClientInfo, NodePublicKey};
use ferry_tests::{Client, Event, Join, Stream, TestRelay, disco_packet, new_key, pattern};

#[test]
fn packets_of_every_size_arrive_whole_and_in_order() {
    for relay in [TestRelay::plain(), TestRelay::tls()] {
        let (mut alice, mut bob) = (Client::join(&relay), Client::join(&relay));
        let packets: Vec<_> =
            [0, 1, 61, 62, 1400, 65_535, 65_536].into_iter().map(|len| pattern(len as u64, len)).collect();
        for packet in &packets {
            alice.send(&bob.key(), packet);
        }
        for packet in &packets {
            bob.expect_packet(&alice.key(), packet);
        }
        for packet in packets.iter().rev() {
            bob.send(&alice.key(), packet);
            alice.expect_packet(&bob.key(), packet);
        }
    }
}

#[test]
fn a_packet_to_oneself_comes_back() {
    for relay in [TestRelay::plain(), TestRelay::tls()] {
        let mut alice = Client::join(&relay);
        for packet in [vec![], disco_packet(62), pattern(1, 65_536)] {
            alice.send(&alice.key(), &packet);
            alice.expect_packet(&alice.key(), &packet);
        }
    }
}

#[test]
fn a_burst_to_many_receivers_reaches_each_in_order() {
    const ROUNDS: u64 = 30;
    let relay = TestRelay::tls();
    let mut sender = Client::join(&relay);
    let mut receivers: Vec<_> = (0..8).map(|_| Client::join(&relay)).collect();
    for round in 0..ROUNDS {
        for receiver in &receivers {
            sender.send(&receiver.key(), &pattern(round, 1200));
        }
    }
    for receiver in &mut receivers {
        for round in 0..ROUNDS {
            receiver.expect_packet(&sender.key(), &pattern(round, 1200));
        }
    }
}

#[test]
fn a_packet_to_nobody_vanishes_silently() {
    let relay = TestRelay::plain();
    let mut alice = Client::join(&relay);
    let nobody = new_key().public();
    for packet in [vec![], pattern(1, 1400), disco_packet(61)] {
        alice.send(&nobody, &packet);
    }
    alice.expect_quiet();
}

#[test]
fn disco_to_nobody_is_answered_three_times_and_then_once_a_second() {
    let relay = TestRelay::plain();
    let mut alice = Client::join(&relay);
    let nobody = new_key().public();
    let began = Instant::now();
    for _ in 0..10 {
        alice.send(&nobody, &disco_packet(62));
    }
    for _ in 0..3 {
        alice.expect_peer_gone(&nobody, PeerGoneReason::NotHere);
    }
    alice.expect_quiet();
    assert!(began.elapsed() < Duration::from_secs(1), "too busy a machine to tell");
    // A new token comes with time alone: asked at intervals, one answer comes and not before a second has passed.
    let answered = loop {
        alice.send(&nobody, &disco_packet(100));
        if let Some(event) = alice.next_within(Duration::from_millis(50)) {
            break event;
        }
    };
    assert_eq!(answered, Event::PeerGone { key: nobody, reason: PeerGoneReason::NotHere });
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(900), "answered again after {waited:?}");
    assert!(waited < Duration::from_secs(5), "answered again only after {waited:?}");
}

#[test]
fn whoever_was_sent_something_hears_when_the_sender_leaves() {
    let relay = TestRelay::tls();
    let (mut alice, mut bob, mut carol) = (Client::join(&relay), Client::join(&relay), Client::join(&relay));
    let left = alice.key();
    alice.send(&bob.key(), b"hello");
    bob.expect_packet(&left, b"hello");
    alice.leave();
    bob.expect_peer_gone(&left, PeerGoneReason::Disconnected);
    // Carol has had nothing from Alice, and the relay has told everybody who is to be told.
    carol.expect_quiet();
}

#[test]
fn a_departure_is_told_after_the_packet_that_made_the_peer_known() {
    // Told before, it would be forgotten: the packet makes the client believe that its sender is here.
    let relay = TestRelay::plain();
    let mut bob = Client::join(&relay);
    for round in 0..200 {
        let mut alice = Client::join(&relay);
        let left = alice.key();
        alice.send(&bob.key(), b"hello and goodbye");
        alice.leave();
        let events = [bob.next_event(), bob.next_event()];
        let packet = Event::Packet { src: left, packet: b"hello and goodbye".to_vec() };
        let gone = Event::PeerGone { key: left, reason: PeerGoneReason::Disconnected };
        assert_eq!(events, [packet, gone], "round {round}");
    }
}

#[test]
fn a_departure_is_told_again_after_a_return() {
    let relay = TestRelay::plain();
    let mut bob = Client::join(&relay);
    let key = new_key();
    for _ in 0..2 {
        let mut alice = Client::join_as(&relay, &key);
        alice.send(&bob.key(), b"here again");
        bob.expect_packet(&key.public(), b"here again");
        alice.leave();
        bob.expect_peer_gone(&key.public(), PeerGoneReason::Disconnected);
    }
}

#[test]
fn of_two_connections_of_a_key_the_one_that_spoke_last_receives() {
    let relay = TestRelay::plain();
    let key = new_key();
    let mut bob = Client::join(&relay);
    let mut first = Client::join_as(&relay, &key);
    let mut second = Client::join_as(&relay, &key);
    bob.send(&key.public(), b"to the newcomer");
    second.expect_packet(&bob.key(), b"to the newcomer");

    first.expect_quiet();
    bob.send(&key.public(), b"to the one who spoke");
    first.expect_packet(&bob.key(), b"to the one who spoke");

    // From either of them, it is the same peer that leaves, and only with the last connection.
    first.send(&bob.key(), b"from the first");
    bob.expect_packet(&key.public(), b"from the first");
    first.leave();
    bob.send(&key.public(), b"to the one who stayed");
    second.expect_packet(&bob.key(), b"to the one who stayed");
    second.send(&bob.key(), b"from the second");
    bob.expect_packet(&key.public(), b"from the second");
    second.leave();
    bob.expect_peer_gone(&key.public(), PeerGoneReason::Disconnected);
}

#[test]
fn a_ping_is_answered_with_its_first_eight_bytes() {
    for relay in [TestRelay::plain(), TestRelay::tls()] {
        let mut alice = Client::join(&relay);
        alice.ping(*b"12345678");
        assert_eq!(alice.next_event(), Event::Pong(*b"12345678"));
        let long = [&[0x12, 0, 0, 0x03, 0xe8][..], b"abcdefgh", &[0xff; 992]].concat();
        alice.send_raw(&long);
        assert_eq!(alice.next_event(), Event::Pong(*b"abcdefgh"));
    }
}

#[test]
fn of_a_hundred_pipelined_pings_some_are_answered_in_order_and_none_wrongly() {
    let relay = TestRelay::plain();
    let mut alice = Client::join(&relay);
    let pings: Vec<u8> =
        (0..100_u64).flat_map(|number| [&[0x12, 0, 0, 0, 8][..], &number.to_be_bytes()].concat()).collect();
    alice.send_raw(&pings);
    alice.send(&alice.key(), b"the end");
    let mut answered = Vec::new();
    let src = loop {
        let event = alice.next_event();
        if let Event::Packet { src, .. } = event {
            break src;
        }
        let Event::Pong(data) = event else { panic!("{event:?}") };
        answered.push(u64::from_be_bytes(data));
    };
    assert_eq!(src, alice.key());
    // One pong may wait at a time, as at derper: the others are ignored.
    assert_eq!(answered.first(), Some(&0), "{answered:?}");
    assert!(
        answered.is_sorted_by(|a, b| a < b) && answered.iter().all(|number| *number < 100),
        "{answered:?}"
    );
    alice.expect_quiet();
}

#[test]
fn the_relay_says_version_2_and_no_limit() {
    let relay = TestRelay::plain();
    let info = *Client::join(&relay).server_info();
    assert_eq!((info.version, info.token_bucket_bytes_per_second, info.token_bucket_bytes_burst), (2, 0, 0));
}

#[test]
fn what_a_client_says_of_itself_changes_nothing_for_it() {
    let relay = TestRelay::plain();
    let infos = [
        ClientInfo::default(),
        ClientInfo { is_prober: true, app_name: "probe".into(), ..ClientInfo::current() },
        // A wrong mesh key makes an ordinary client: it is not a login.
        ClientInfo { mesh_key: Some("5a".repeat(32).parse().unwrap()), ..ClientInfo::current() },
    ];
    for info in infos {
        let mut client = Client::join_with(&relay, Join { info, ..Join::default() });
        client.send(&client.key(), b"me");
        client.expect_packet(&client.key(), b"me");
    }
}

#[test]
fn home_or_not_home_is_taken_silently() {
    let relay = TestRelay::plain();
    let mut alice = Client::join(&relay);
    for home in [true, false, true] {
        let mut frame = Vec::new();
        encode_note_preferred(&mut frame, home);
        alice.send_raw(&frame);
        alice.expect_quiet();
    }
}

#[test]
fn both_tls_versions_are_served_and_show_the_relays_key() {
    let relay = TestRelay::tls();
    let mut bob = Client::join(&relay);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (stream, peer) = Stream::tls(&relay, version);
        assert_eq!(peer.version, version.version);
        assert_eq!(peer.meta_key, Some(*relay.key()));
        let mut alice = Client::start(&relay, stream, &new_key(), &ClientInfo::current());
        for packet in [pattern(1, 1400), pattern(2, 65_536)] {
            alice.send(&bob.key(), &packet);
            bob.expect_packet(&alice.key(), &packet);
            bob.send(&alice.key(), &packet);
            alice.expect_packet(&bob.key(), &packet);
        }
        let left = alice.key();
        alice.leave();
        bob.expect_peer_gone(&left, PeerGoneReason::Disconnected);
    }
}

#[test]
fn a_fast_start_is_answered_with_frames_and_no_http() {
    let relay = TestRelay::tls();
    let mut bob = Client::join(&relay);
    let (stream, peer) = Stream::tls(&relay, &rustls::version::TLS13);
    let server = peer.meta_key.expect("the chain ends in a meta certificate");
    // A packet in the first flight, before the relay has said a word.
    let first = [&ferry_protocol::send_packet_header(&bob.key(), 5)[..], b"early"].concat();
    let mut alice = Client::start_fast(&relay, stream, &server, &new_key(), &first);
    bob.expect_packet(&alice.key(), b"early");
    bob.send(&alice.key(), b"welcome");
    alice.expect_packet(&bob.key(), b"welcome");
}

#[test]
fn a_fast_start_needs_no_tls() {
    let relay = TestRelay::plain();
    let mut alice = Client::start_fast(&relay, Stream::connect(&relay), relay.key(), &new_key(), &[]);
    alice.expect_quiet();
}

#[test]
fn a_thousand_clients_may_come_and_go() {
    let relay = TestRelay::plain();
    let mut anchor = Client::join(&relay);
    for _ in 0..10 {
        let mut clients: Vec<_> = (0..100).map(|_| Client::join(&relay)).collect();
        for client in &mut clients {
            client.send(&anchor.key(), b"here");
            anchor.expect_packet(&client.key(), b"here");
        }
        let keys: HashSet<_> = clients.iter().map(Client::key).collect();
        clients.into_iter().for_each(Client::leave);
        let gone: HashSet<_> = keys.iter().map(|_| next_gone(&mut anchor)).collect();
        assert_eq!(gone, keys);
    }
    anchor.expect_quiet();
}

/// Who leaves next.
fn next_gone(client: &mut Client) -> NodePublicKey {
    let event = client.next_event();
    let Event::PeerGone { key, reason: PeerGoneReason::Disconnected } = event else { panic!("{event:?}") };
    key
}
