//! What a frame costs the client between its buffer and the socket's, in memory: packets of 1400 bytes.
//!
//! `cargo bench -p ferry-client --bench connection`
#![forbid(unsafe_code)]

use std::cell::RefCell;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ferry_client::Event;
use ferry_protocol::{NodePublicKey, ServerFrame, recv_packet_header, send_packet_header};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::version::{TLS12, TLS13};
use support::Wire;

#[path = "../tests/connection/support.rs"]
#[expect(dead_code, reason = "tests ask more of it")]
mod support;

const PACKET_BYTES: usize = 1400;
/// Frames that come with one read of the socket.
const BURST: usize = 32;
const PEER: NodePublicKey = NodePublicKey::from_bytes([7; 32]);

fn main() {
    divan::main();
}

fn wire(name: &str) -> Wire {
    match name {
        "TLS 1.3" => Wire::tls(&TLS13),
        "TLS 1.2" => Wire::tls(&TLS12),
        "WebSocket" => Wire::websocket(),
        _ => Wire::plain(),
    }
}

/// The cipher alone on one frame, in place, with the suite that our TLS 1.3 agrees on: what no TLS can go below.
#[divan::bench]
fn cipher_alone(bencher: Bencher<'_, '_>) {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of 16 bytes"));
    let mut frame = vec![1; 5 + 32 + PACKET_BYTES];
    bencher.bench_local(|| {
        let nonce = Nonce::assume_unique_for_key([3; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::from([0; 5]), black_box(&mut frame))
    });
}

/// A frame into the outgoing bytes, and the socket taking it at once.
#[divan::bench(args = ["plain", "TLS 1.3", "TLS 1.2", "WebSocket"])]
fn send(bencher: Bencher<'_, '_>, name: &str) {
    let (mut client, _peer) = wire(name).established();
    let frame = [&send_packet_header(&PEER, PACKET_BYTES)[..], &[1; PACKET_BYTES]].concat();
    bencher.bench_local(|| {
        client.send_frame(black_box(&frame)).expect("an established connection");
        client.written(client.outgoing().len());
    });
}

/// Frames that came with one read, one record each, to their packets.
#[divan::bench(args = ["plain", "TLS 1.3", "TLS 1.2", "WebSocket"])]
fn receive(bencher: Bencher<'_, '_>, name: &str) {
    let (mut client, peer) = wire(name).established();
    let peer = RefCell::new(peer);
    let frame = [&recv_packet_header(&PEER, PACKET_BYTES)[..], &[1; PACKET_BYTES]].concat();
    let read = || {
        let mut peer = peer.borrow_mut();
        for _ in 0..BURST {
            peer.send(&frame);
        }
        peer.take()
    };
    bencher.counter(ItemsCount::new(BURST)).with_inputs(read).bench_local_refs(|read| {
        let mut packets = 0;
        let received = client.receive(read, &mut |event| {
            packets += usize::from(matches!(event, Event::Frame(ServerFrame::RecvPacket { .. })));
        });
        received.expect("records in order");
        assert_eq!(packets, BURST);
    });
}
