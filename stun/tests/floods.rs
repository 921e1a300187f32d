//! What one source may take from a server, over real sockets, and what is left for others.

#![cfg(all(target_os = "linux", feature = "server"))]

mod common;
mod sockets;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::{TAILSCALE_REQUEST, hex, request};
use ferry_stun::{Limits, RefusalReason, UdpConfig, UdpServer};
use sockets::{ask, client, client_at, config, send_burst, start, until};

#[test]
fn a_spent_surplus_leaves_small_answers_and_other_sources_alone() {
    // Ten answers of 32 bytes to 20 a second.
    let limits = Limits { surplus_bytes_per_second: Some(100), ..Limits::default() };
    let server = start(&UdpConfig { limits, ..config("127.0.0.1:0") });
    ask_often(&request(&[]), &server);
    assert!(server.counters().refused(RefusalReason::Surplus) > ASKED / 2, "{:?}", server.counters());

    ask(&client_at(GREEDY), &hex(TAILSCALE_REQUEST), server.local_address());
    ask(&client(), &request(&[]), server.local_address());
}

#[test]
fn a_source_that_asks_too_often_leaves_others_alone() {
    let limits = Limits { requests_per_second: Some(10), ..Limits::default() };
    let server = start(&UdpConfig { limits, ..config("127.0.0.1:0") });
    ask_often(&hex(TAILSCALE_REQUEST), &server);
    assert!(server.counters().refused(RefusalReason::SourceRate) > ASKED / 2, "{:?}", server.counters());
    ask(&client(), &hex(TAILSCALE_REQUEST), server.local_address());
}

/// Budgets save the answers, but only a filter before the queue keeps the flood from filling it.
#[test]
fn a_flood_from_one_source_leaves_a_hundred_others_served() {
    let server = start(&UdpConfig { limits: Limits::default(), ..config("127.0.0.1:0") });
    let counters = server.counters();
    let over = AtomicBool::new(false);
    let answered: usize = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(server.local_address(), &over));
        }
        until("the filter", || counters.filter_installs() > 0);
        // What was queued before is read by then.
        until("an answer to somebody else", || round(&[client_at("127.0.8.1")], server.local_address()) == 1);
        let clients: Vec<_> = (1..=HOSTS).map(|host| client_at(&format!("127.0.8.{host}"))).collect();
        let answered = (0..ROUNDS).map(|_| round(&clients, server.local_address())).sum();
        over.store(true, Relaxed);
        answered
    });
    assert!(answered * 100 >= ROUNDS * HOSTS * 99, "{answered} of {} answered", ROUNDS * HOSTS);
    // Nobody else was over a budget.
    assert_eq!(counters.sources_filtered(), 1);
}

/// Honest sources.
const HOSTS: usize = 100;

/// How often each asks, once.
const ROUNDS: usize = 20;

/// All ask at the same time, and so many have an answer soon.
fn round(clients: &[UdpSocket], server: SocketAddr) -> usize {
    for client in clients {
        client.send_to(&hex(TAILSCALE_REQUEST), server).expect("loopback sends");
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    let served = clients.iter().filter(|client| {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        client.set_read_timeout(Some(left)).expect("a timeout");
        client.recv(&mut [0; 100]).is_ok()
    });
    served.count()
}

/// Who asks too often.
const GREEDY: &str = "127.0.7.1";

/// How often.
const ASKED: u64 = 600;

fn ask_often(request: &[u8], server: &UdpServer) {
    let client = client_at(GREEDY);
    for burst in 1..=ASKED / 60 {
        send_burst(&client, request.len(), &request.repeat(60), server.local_address());
        until("the burst's end", || server.counters().received() == burst * 60);
    }
}

/// Sends from one address as fast as threads can.
fn flood(server: SocketAddr, over: &AtomicBool) {
    let (client, requests) = (client_at(GREEDY), hex(TAILSCALE_REQUEST).repeat(60));
    while !over.load(Relaxed) {
        send_burst(&client, 40, &requests, server);
    }
}
