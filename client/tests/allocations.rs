//! What a packet costs on an open line: nothing is allocated for it alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use ferry_client::derp_map::Identity;
use ferry_client::dial::{Endpoint, ProxyRules, Settings, Ticket};
use ferry_client::relays::{Backlog, Line, Output};
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{ClientInfo, NodePublicKey, recv_packet_header};
use rustls::version::TLS13;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Peer, Wire, client_key};

#[path = "connection/support.rs"]
#[expect(dead_code, reason = "other tests ask more of it")]
mod support;

const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);
/// So many that one allocation for each would stand out.
const PACKETS: usize = 40;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The only test here, for the counters are the process' own.
#[test]
fn packets_cost_no_allocation_each() {
    for (url, wire) in [("http://192.0.2.1", Wire::plain()), ("https://192.0.2.1", Wire::tls(&TLS13))] {
        let mut open = Open::new(url, &wire);
        let packet = [7; 1400];
        let frame = [&recv_packet_header(&BOB, packet.len())[..], &packet].concat();
        for _ in 0..PACKETS {
            open.peer.send(&frame);
        }
        let mut input = open.peer.take();
        let (now, mut received) = (Instant::now(), 0);
        let region = Region::new(ALLOCATOR);
        open.line.receive(now, open.ticket, &mut input, &mut |_, packet| received += packet.len());
        let allocations = region.change().allocations;
        assert_eq!(received, PACKETS * packet.len());
        assert_eq!(allocations, 0, "{url}: received");

        let region = Region::new(ALLOCATOR);
        for _ in 0..PACKETS {
            open.backlog.push(now, &BOB, &packet).unwrap();
        }
        open.line.fill(now, &mut open.backlog);
        let change = region.change();
        let allocations = change.allocations + change.reallocations;
        println!("{url}: {allocations} allocations for {PACKETS} packets sent");
        assert!(open.line.outgoing().len() > PACKETS * packet.len());
        // Two buffers that grow by doubling, from nothing.
        assert!(allocations <= 25, "{url}: {allocations} allocations");
    }
}

/// An open line, and the relay at its other end.
struct Open {
    line: Line,
    backlog: Backlog,
    peer: Peer,
    ticket: Ticket,
}

impl Open {
    fn new(url: &str, wire: &Wire) -> Self {
        let settings = Arc::new(Settings {
            key: Arc::new(client_key()),
            info: ClientInfo::current(),
            proxies: ProxyRules::none(),
            prefer_ipv6: false,
            fast_start: true,
        });
        let roots = Arc::new(rustls::RootCertStore::empty());
        let endpoint = Endpoint::of_url(&url.parse().unwrap(), Identity::Unchecked, &roots);
        let entropy = Box::new(|bytes: &mut [u8]| bytes.fill(7));
        let mut line = Line::new(RegionId(900), &settings, vec![endpoint], false, entropy);
        let now = Instant::now();
        line.want(now);
        let Output::Connect { ticket, .. } = line.poll(now) else { panic!("no connection is asked for") };
        line.connected(now, ticket, Ok(()));
        let mut peer = wire.peer();
        while !line.is_open() {
            let bytes = line.outgoing().to_vec();
            line.written(now, bytes.len());
            peer.receive(&bytes);
            line.receive(now, ticket, &mut peer.take(), &mut |_, _| {});
        }
        while !matches!(line.poll(now), Output::Wait(_)) {}
        Self { line, backlog: Backlog::default(), peer, ticket }
    }
}
