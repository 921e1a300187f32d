//! What a connection keeps while nothing happens.
//!
//! `cargo test -p ferry-client --test memory -- --nocapture` prints the figures.
#![forbid(unsafe_code)]

use std::alloc::System;

use ferry_client::{Connection, Stage};
use ferry_protocol::{NodePublicKey, recv_packet_header, send_packet_header};
use rustls::version::{TLS12, TLS13};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{Peer, Wire};

#[path = "connection/support.rs"]
#[expect(dead_code, reason = "other tests ask more of it")]
mod support;

const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);
/// Enough for what all of them share to be little for each.
const CONNECTIONS: usize = 50;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The only test here, for the counters are the process' own.
#[test]
fn an_idle_connection_keeps_no_buffer() {
    for (name, wire, bytes_max, after_traffic_max) in [
        ("plain", Wire::plain(), 250, 250),
        // Two expanded keys of 544 bytes, and what rustls keeps for tickets and KeyUpdates, the relay's certificate among it.
        ("TLS 1.3", Wire::tls(&TLS13), 3000, 3000),
        // The two keys.
        ("TLS 1.2", Wire::tls(&TLS12), 1600, 1600),
        // tungstenite keeps what its longest message needed.
        ("WebSocket", Wire::websocket(), 3000, 2 * 65_536),
    ] {
        let (fresh, idle_again) = idle_bytes(&wire);
        println!("{name}: {fresh} bytes per idle connection, {idle_again} after traffic");
        assert!(fresh <= bytes_max, "{name}: {fresh} bytes, want at most {bytes_max}");
        assert!(
            idle_again <= after_traffic_max,
            "{name}: {idle_again} bytes after traffic, want at most {after_traffic_max}"
        );
    }
}

/// The mean of what connections hold: fresh, and after traffic.
fn idle_bytes(wire: &Wire) -> (isize, isize) {
    let mut counted: Vec<_> = (0..CONNECTIONS).map(|_| Counted::established(wire)).collect();
    let fresh = Counted::mean(&counted);
    counted.iter_mut().for_each(Counted::exchange);
    (fresh, Counted::mean(&counted))
}

/// A connection and the bytes that it holds.
struct Counted {
    client: Connection,
    peer: Peer,
    heap_bytes: isize,
}

impl Counted {
    fn established(wire: &Wire) -> Self {
        let before = held();
        let client = wire.client();
        let heap_bytes = held() - before;
        let mut counted = Self { client, peer: wire.peer(), heap_bytes };
        counted.run();
        assert_eq!(counted.client.stage(), Stage::Established);
        counted
    }

    fn mean(counted: &[Self]) -> isize {
        let heap_bytes: isize = counted.iter().map(|counted| counted.heap_bytes).sum();
        heap_bytes / counted.len() as isize + size_of::<Connection>() as isize
    }

    /// Packets both ways, in pieces that leave something over each time.
    fn exchange(&mut self) {
        for len in [1400, 65_536] {
            let packet = vec![1; len];
            self.peer.send(&[&recv_packet_header(&BOB, len)[..], &packet].concat());
            let frame = [&send_packet_header(&BOB, len)[..], &packet].concat();
            self.count(|client| client.send_frame(&frame).expect("an established one"));
            self.run();
        }
    }

    fn run(&mut self) {
        loop {
            let sent = self.client.outgoing().to_vec();
            self.count(|client| client.written(sent.len()));
            self.peer.receive(&sent);
            let mut received = self.peer.take();
            if sent.is_empty() && received.is_empty() {
                return;
            }
            for piece in received.chunks_mut(1000) {
                self.count(|client| client.receive(piece, &mut |_| {}).expect("what a relay says"));
            }
        }
    }

    fn count(&mut self, act: impl FnOnce(&mut Connection)) {
        let before = held();
        act(&mut self.client);
        self.heap_bytes += held() - before;
    }
}

/// Bytes that were allocated and not freed.
fn held() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}
