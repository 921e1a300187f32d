//! What one request costs before the kernel is counted: parse and answer, ours against the codec of
//! `stun-types` driven through the same decisions; and what the budgets add.
//!
//! `cargo bench -p ferry-stun --bench responder`

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use ferry_stun::{Alternates, Arrival, Budgets, Limits, Options, Responder, TransactionId, client};
use stun_types::attribute::{Fingerprint, Software, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteMutSlice,
};

fn main() {
    divan::main();
}

/// What is asked.
const REQUESTS: [&str; 4] = ["tailscale", "bare", "wrong_fingerprint", "junk"];

#[divan::bench(args = REQUESTS)]
fn ours(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    answer(bencher, &request, &Arrival::from(source), Limits::NONE);
}

/// As `ours`, with each request and surplus byte taken from a budget that allows it.
#[divan::bench(args = REQUESTS)]
fn ours_with_budgets(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    answer(bencher, &request, &Arrival::from(source), PLENTY);
}

/// A server with RFC 5780: four addresses in the answer of an open client's request.
#[divan::bench(args = ["tailscale", "bare"])]
fn ours_with_rfc5780(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    let alternates = Alternates {
        asked: SocketAddr::from(([192, 0, 2, 1], 3478)),
        other_port: 3479,
        other_ip: Some(IpAddr::from([192, 0, 2, 2])),
    };
    answer(bencher, &request, &Arrival { source, alternates: Some(alternates) }, Limits::NONE);
}

fn answer(bencher: Bencher<'_, '_>, request: &[u8], arrival: &Arrival, limits: Limits) {
    let responder = Responder::new(Options::default());
    let mut budgets = Budgets::new(limits, 1, Instant::now());
    let mut out = Vec::with_capacity(128);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| responder.answer(black_box(request), black_box(arrival), &mut budgets, &mut out));
}

/// Limits that no benchmark reaches.
const PLENTY: Limits = Limits {
    requests_per_second: Some(u32::MAX),
    surplus_bytes_per_second: Some(u32::MAX),
    redirects_per_second: Some(u32::MAX),
};

/// One take, by so many sources in turn: with one the cells stay in the first-level cache.
#[divan::bench(args = [1, 100_000])]
fn take_request(bencher: Bencher<'_, '_>, sources: u32) {
    let mut budgets = Budgets::new(PLENTY, 1, Instant::now());
    let mut turn = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        turn = (turn + 1) % sources;
        budgets.take_request(black_box(IpAddr::V4(Ipv4Addr::from_bits(turn))))
    });
}

/// A source that has spent its budget: what a flood from it costs before its datagrams are parsed.
#[divan::bench]
fn refused_by_rate(bencher: Bencher<'_, '_>) {
    let (request, source) = arrange("tailscale");
    let limits = Limits { requests_per_second: Some(0), ..Limits::NONE };
    answer(bencher, &request, &Arrival::from(source), limits);
}

/// Telling the time, once per batch.
#[divan::bench]
fn advance(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let mut budgets = Budgets::new(Limits::default(), 1, start);
    let mut now = start;
    bencher.bench_local(|| {
        now += Duration::from_micros(100);
        budgets.advance(black_box(now));
    });
}

#[divan::bench(args = REQUESTS)]
fn stun_types(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    let mut out = [0; 64];
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| answer_with_stun_types(black_box(&request), black_box(source), &mut out));
}

fn answer_with_stun_types(datagram: &[u8], source: SocketAddr, out: &mut [u8]) -> Option<usize> {
    let message = Message::from_bytes(datagram).ok()?;
    // It ignores bytes after the message, which we must not.
    if !message.has_class(MessageClass::Request) || !message.has_method(BINDING) {
        return None;
    }
    let tailnode = message.attribute::<Software>().is_ok_and(|software| software.software() == "tailnode");
    let fingerprint = message.attribute::<Fingerprint>().is_ok();
    let mut answer = Message::builder_success(&message, MessageWriteMutSlice::new(out));
    answer.add_attribute(&XorMappedAddress::new(source, message.transaction_id())).ok()?;
    if fingerprint && !tailnode {
        answer.add_fingerprint().ok()?;
    }
    Some(answer.finish())
}

fn arrange(name: &str) -> (Vec<u8>, SocketAddr) {
    let transaction_id = TransactionId::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut request = Vec::new();
    match name {
        "bare" => {
            client::write_bare_request(transaction_id, &mut request);
        }
        "junk" => request.extend_from_slice(&[0xFF; 40]),
        _ => {
            client::write_tailscale_request(transaction_id, &mut request);
        }
    }
    if name == "wrong_fingerprint" {
        request.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
    }
    (request, SocketAddr::from(([203, 0, 113, 7], 41641)))
}
