//! How the bytes arrive changes nothing; what they are may end the connection, but nothing more.

use ferry_protocol::{NodePublicKey, encode_health, encode_keep_alive, encode_ping, recv_packet_header};
use proptest::prelude::*;

use crate::support::{Peer, Seen, Wire, feed, run_split, take};

const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);

#[test]
fn byte_by_byte_says_the_same_over_every_wire() {
    for (name, wire) in Wire::all() {
        assert_eq!(converse(&wire, &mut |_| 1), expected(name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn wherever_the_bytes_are_split_the_events_are_the_same(
        wire in 0..5_usize,
        pieces in proptest::collection::vec(prop_oneof![1..8_usize, 1..2000_usize, 1..70_000_usize], 1..20),
    ) {
        let (name, wire) = Wire::all().swap_remove(wire);
        let mut pieces = pieces.iter().cycle().copied();
        let events = converse(&wire, &mut |len| pieces.next().unwrap_or(len));
        prop_assert_eq!(events, expected(name), "{}", name);
    }

    #[test]
    fn a_wrong_byte_is_an_error_or_another_word_and_never_more(
        wire in 0..5_usize,
        flight in 0..4_usize,
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let (name, wire) = Wire::all().swap_remove(wire);
        let (mut client, mut peer) = (wire.client(), wire.peer());
        peer.right_behind = frames().concat();
        let mut seen = Vec::new();
        for now in 0..=flight {
            peer.receive(&take(&mut client));
            let mut bytes = peer.take();
            if now < flight || bytes.is_empty() {
                seen.extend(feed(&mut client, &bytes).unwrap());
                continue;
            }
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let said = feed(&mut client, &bytes);
            let sealed = name.contains("TLS") && flight > 0;
            // A record that claims to be longer is waited for: what came before it is all that was said.
            if sealed && let Ok(said) = said {
                seen.extend(said);
                prop_assert!(expected(name).starts_with(&seen), "{}: {:?}", name, seen);
            }
        }
    }
}

fn frames() -> Vec<Vec<u8>> {
    let packet = |len: usize| [&recv_packet_header(&BOB, len)[..], &vec![len as u8; len]].concat();
    let mut keep_alive = Vec::new();
    encode_keep_alive(&mut keep_alive);
    let mut ping = Vec::new();
    encode_ping(&mut ping, [7; 8]);
    let mut health = Vec::new();
    encode_health(&mut health, "overloaded");
    // A type that nobody knows, longer than it may be looked at in one piece.
    let mut unknown = vec![0x77, 0, 0, 0x20, 0];
    unknown.resize(5 + 0x2000, 0xee);
    vec![packet(0), keep_alive, packet(1400), ping, unknown, packet(65_536), health, packet(3)]
}

/// A whole life of a connection; what the client said of it.
fn converse(wire: &Wire, piece: &mut dyn FnMut(usize) -> usize) -> Vec<Seen> {
    let (mut client, mut peer) = (wire.client(), wire.peer());
    peer.right_behind = frames().concat();
    let mut seen = run_split(&mut client, &mut peer, piece).unwrap();
    frames().iter().for_each(|frame| peer.send(frame));
    seen.extend(run_split(&mut client, &mut peer, piece).unwrap());
    assert_eq!(pongs(&peer), 2);
    if wire.settings.url.secure || wire.settings.url.websocket {
        peer.close();
        seen.extend(run_split(&mut client, &mut peer, piece).unwrap());
    }
    seen
}

fn expected(name: &str) -> Vec<Seen> {
    let packet = |len: usize| Seen::Packet(BOB, vec![len as u8; len]);
    let other = |text: &str| Seen::Other(text.to_owned());
    let frames = [
        packet(0),
        other("KeepAlive"),
        packet(1400),
        other("Ping([7, 7, 7, 7, 7, 7, 7, 7])"),
        other("Unknown { kind: 119, len: 8192 }"),
        packet(65_536),
        other(&format!("Health({:?})", b"overloaded")),
        packet(3),
    ];
    let mut seen = vec![Seen::established()];
    seen.extend(frames.clone());
    seen.extend(frames);
    if name != "plain" {
        seen.push(Seen::Closed);
    }
    seen
}

fn pongs(peer: &Peer) -> usize {
    peer.received.iter().filter(|frame| **frame == "Unknown { kind: 19, len: 8 }").count()
}
