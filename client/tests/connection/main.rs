//! The connection against a relay in memory, over every wire.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod fast_start;
mod refusals;
mod splits;
mod support;
mod tls;

use std::sync::Arc;

use ferry_client::{Connection, ConnectionError, Settings, Stage};
use ferry_protocol::frame::PACKET_LEN_MAX;
use ferry_protocol::{NodePublicKey, encode_ping, recv_packet_header, send_packet_header};
use tungstenite::Message;

use support::{Seen, Wire, client_key, feed, run, take};

const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);

#[test]
fn packets_of_every_size_go_both_ways_over_every_wire() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = wire.established();
        assert_eq!(client.stage(), Stage::Established, "{name}");
        assert_eq!(peer.info.as_ref(), Some(&wire.settings.info), "{name}");
        for len in [0, 1, 1400, 16_384, PACKET_LEN_MAX] {
            let packet = vec![len as u8; len];
            peer.send(&recv_packet(&packet));
            client.send_frame(&send_packet(&packet)).unwrap();
            let seen = run(&mut client, &mut peer).unwrap();
            assert_eq!(seen, [Seen::Packet(BOB, packet)], "{name}");
            assert_eq!(peer.received.pop(), Some(format!("packet of {len} bytes")), "{name}");
        }
    }
}

#[test]
fn the_stages_come_in_order() {
    let (mut client, mut peer) =
        (Wire::tls(&rustls::version::TLS13).client(), Wire::tls(&rustls::version::TLS13).peer());
    assert_eq!(client.stage(), Stage::Tls);
    assert!(matches!(client.send_frame(&[]), Err(ConnectionError::NotEstablished { stage: Stage::Tls })));
    drop((client, peer));

    let wire = Wire::tls(&rustls::version::TLS13);
    (client, peer) = (wire.client(), wire.peer());
    let mut stages = vec![client.stage()];
    while client.stage() != Stage::Established {
        peer.receive(&take(&mut client));
        for byte in peer.take() {
            feed(&mut client, &[byte]).unwrap();
            if stages.last() != Some(&client.stage()) {
                stages.push(client.stage());
            }
        }
    }
    assert_eq!(stages, [Stage::Tls, Stage::Upgrade, Stage::Handshake, Stage::Established]);
    client.close();
    assert_eq!(client.stage(), Stage::Closed);
}

#[test]
fn the_request_names_host_port_and_ideal_node() {
    let mut settings = Arc::into_inner(Wire::plain().settings).unwrap();
    settings.ideal_node = Some("1a".into());
    let mut client = Connection::new(&Arc::new(settings), &Arc::new(client_key()), [0; 40]).unwrap();
    let request = String::from_utf8(take(&mut client)).unwrap();
    assert!(request.starts_with("GET /derp HTTP/1.1\r\nHost: relay.example.net:8443\r\n"), "{request}");
    assert!(request.contains("\r\nIdeal-Node: 1a\r\n"), "{request}");
}

#[test]
fn a_websocket_key_is_made_of_the_callers_random_bytes() {
    let (mut client, mut peer) = (Wire::websocket().client(), Wire::websocket().peer());
    peer.receive(&take(&mut client));
    let request = peer.request.unwrap();
    assert_eq!(request.header("Sec-WebSocket-Key"), Some(&b"CQkJCQkJCQkJCQkJCQkJCQ=="[..]));
    assert_eq!(request.header("Sec-WebSocket-Protocol"), Some(&b"derp"[..]));
    assert_eq!(request.header("Sec-WebSocket-Version"), Some(&b"13"[..]));
}

#[test]
fn packets_right_behind_server_info_are_not_lost() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = (wire.client(), wire.peer());
        peer.right_behind = [recv_packet(b"first"), recv_packet(b"second")].concat();
        let seen = run(&mut client, &mut peer).unwrap();
        let packets = [b"first".to_vec(), b"second".to_vec()].map(|packet| Seen::Packet(BOB, packet));
        assert_eq!(seen[0], Seen::established(), "{name}");
        assert_eq!(seen[1..], packets, "{name}");
    }
}

#[test]
fn pings_are_answered_and_told() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = wire.established();
        peer.send(&ping(5));
        let seen = run(&mut client, &mut peer).unwrap();
        assert_eq!(seen, [Seen::Other("Ping([5, 5, 5, 5, 5, 5, 5, 5])".into())], "{name}");
        // To a relay, a Pong is a frame without a meaning.
        assert_eq!(peer.received, ["Unknown { kind: 19, len: 8 }"], "{name}");
    }
}

#[test]
fn a_relay_that_pings_and_does_not_read_fills_no_memory() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = wire.established();
        for _ in 0..1000 {
            peer.send(&ping(1).repeat(100));
            feed(&mut client, &peer.take()).unwrap();
        }
        let waiting = client.outgoing().len();
        assert!((60_000..80_000).contains(&waiting), "{name}: {waiting} bytes");
        // Once it reads, it is answered again.
        peer.receive(&take(&mut client));
        peer.received.clear();
        peer.send(&ping(1));
        run(&mut client, &mut peer).unwrap();
        assert_eq!(peer.received.len(), 1, "{name}");
    }
}

#[test]
fn a_websocket_ping_is_answered_in_bounds_too() {
    let (mut client, mut peer) = Wire::websocket().established();
    peer.send_message(Message::Ping("hello".into()));
    assert_eq!(run(&mut client, &mut peer).unwrap(), []);
    assert_eq!(peer.received, [r#"WebSocket pong b"hello""#]);
    for _ in 0..2000 {
        peer.send_message(Message::Ping(vec![0; 100].into()));
        feed(&mut client, &peer.take()).unwrap();
    }
    let waiting = client.outgoing().len();
    assert!((60_000..80_000).contains(&waiting), "{waiting} bytes");
    // Data still gets through, and is answered with whole frames only.
    peer.received.clear();
    peer.send(&recv_packet(b"still here"));
    let seen = run(&mut client, &mut peer).unwrap();
    assert_eq!(seen, [Seen::Packet(BOB, b"still here".to_vec())]);
    assert!(peer.received.len() > 500, "{} pongs", peer.received.len());
}

#[test]
fn goodbye_is_said_in_tls_and_in_websocket() {
    for (name, wire) in Wire::all() {
        let (mut client, mut peer) = wire.established();
        client.close();
        peer.receive(&take(&mut client));
        assert_eq!(peer.closed, name != "plain", "{name}");
        assert_eq!(feed(&mut client, &recv_packet(b"too late")).unwrap(), [], "{name}");
        let refused = client.send_frame(&send_packet(b"too late"));
        assert!(matches!(refused, Err(ConnectionError::NotEstablished { stage: Stage::Closed })), "{name}");
        assert_eq!(client.outgoing(), b"", "{name}");
    }
}

#[test]
fn a_close_before_the_handshake_is_done_says_nothing() {
    for (name, wire) in Wire::all() {
        let mut client = wire.client();
        take(&mut client);
        client.close();
        assert_eq!((client.stage(), client.outgoing()), (Stage::Closed, &b""[..]), "{name}");
    }
}

#[test]
fn the_relays_goodbye_is_told_once_after_what_came_before_it() {
    for (name, wire) in Wire::all().into_iter().filter(|(name, _)| *name != "plain") {
        let (mut client, mut peer) = wire.established();
        peer.send(&recv_packet(b"last words"));
        peer.close();
        let mut bytes = peer.take();
        if name != "WebSocket over TLS 1.3" {
            // There, what follows is for TLS to judge.
            bytes.extend_from_slice(b"what follows a goodbye is nobody's");
        }
        let seen = feed(&mut client, &bytes).unwrap();
        assert_eq!(seen, [Seen::Packet(BOB, b"last words".to_vec()), Seen::Closed], "{name}");
        assert_eq!(client.stage(), Stage::Closed, "{name}");
        assert_eq!(feed(&mut client, &bytes).unwrap(), [], "{name}");
        // Ours is still due, and taken.
        client.close();
        peer.receive(&take(&mut client));
        assert!(peer.closed, "{name}");
    }
}

#[test]
fn a_url_that_asks_for_tls_needs_a_configuration_for_it() {
    let Settings { info, ideal_node, fast_start, .. } = Arc::into_inner(Wire::plain().settings).unwrap();
    let url = "wss://relay.example.net".parse().unwrap();
    let settings = Arc::new(Settings { url, tls: None, info, ideal_node, fast_start });
    let refused = Connection::new(&settings, &Arc::new(client_key()), [0; 40]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "wss://relay.example.net needs a TLS configuration and the settings have none; set `tls`"
    );
}

fn ping(data: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_ping(&mut frame, [data; 8]);
    frame
}

fn recv_packet(packet: &[u8]) -> Vec<u8> {
    [&recv_packet_header(&BOB, packet.len())[..], packet].concat()
}

fn send_packet(packet: &[u8]) -> Vec<u8> {
    [&send_packet_header(&BOB, packet.len())[..], packet].concat()
}
