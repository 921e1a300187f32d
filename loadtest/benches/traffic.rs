//! What the tool itself does per packet, besides TLS and system calls: composing, reading, booking.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use ferry_loadtest::clock::Moment;
use ferry_loadtest::histogram::Durations;
use ferry_loadtest::ledger::Ledger;
use ferry_loadtest::payload::{self, Header, Purpose};
use ferry_loadtest::schedule::{DueTimes, Schedule};

/// Bytes of a packet: the header alone, a full one of Tailscale's, the longest.
const SIZES: [usize; 4] = [48, 128, 1400, 65_536];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn write(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut packet = vec![0; bytes];
    let mut sequence = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        sequence += 1;
        payload::write(black_box(&mut packet), &header(1, 2, sequence));
    });
}

#[divan::bench(args = SIZES)]
fn read(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut packet = vec![0; bytes];
    payload::write(&mut packet, &header(1, 2, 3));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| payload::read(black_box(&packet)));
}

/// A copy of the same length: the least that composing can cost.
#[divan::bench(args = SIZES)]
fn copy(bencher: Bencher<'_, '_>, bytes: usize) {
    let (from, mut to) = (vec![1_u8; bytes], vec![0_u8; bytes]);
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
}

/// A packet's whole life in the books, over so many flows in turns: sent, composed, received.
#[divan::bench(args = [1, 100, 65_280, 999_000])]
fn book(bencher: Bencher<'_, '_>, flows: u32) {
    let mut books = Ledger::new(1);
    let mut packet = [0; 128];
    let mut turn = 0;
    let mut once = || {
        turn = (turn + 1) % flows;
        let (from, to) = (turn / 1000, 1000 + turn % 1000);
        let sequence = books.send(from, to, packet.len());
        payload::write(&mut packet, &header(from, to, sequence));
        books.receive(to, Some(from), &packet)
    };
    (0..flows).for_each(|_| {
        once();
    });
    bencher.bench_local(once);
}

#[divan::bench]
fn due_constant(bencher: Bencher<'_, '_>) {
    let mut times = DueTimes::new(Schedule::Constant { per_second: 1e4 }, 1);
    bencher.bench_local(|| times.next_due());
}

#[divan::bench]
fn due_poisson(bencher: Bencher<'_, '_>) {
    let mut times = DueTimes::new(Schedule::Poisson { per_second: 1e4 }, 1);
    bencher.bench_local(|| times.next_due());
}

#[divan::bench]
fn count_latency(bencher: Bencher<'_, '_>) {
    let mut all = Durations::new();
    let mut length = 1_u64;
    bencher.bench_local(|| {
        length = (length * 25_214_903_917 + 11) % 50_000_000;
        all.record(std::time::Duration::from_nanos(length));
    });
}

fn header(from: u32, to: u32, sequence: u32) -> Header {
    let (due, sent) = (Moment(1), Moment(2));
    Header { run: 1, from, to, sequence, class: 0, purpose: Purpose::OneWay, due, sent }
}
