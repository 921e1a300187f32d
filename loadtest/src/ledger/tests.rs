//! The books against known truth, and against a slow model that remembers everything.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::clock::Moment;
use crate::payload::Purpose;

const RUN: u64 = 77;
const BYTES: usize = 100;

#[test]
fn what_arrives_in_order_is_delivered() {
    let mut books = Ledger::new(RUN);
    for _ in 0..1000 {
        let packet = sent(&mut books, 1, 2);
        assert!(matches!(books.receive(2, Some(1), &packet), Receipt::Intact(_)));
    }
    let total = books.total();
    assert_eq!((total.sent, total.delivered, total.lost), (1000, 1000, 0));
    assert_eq!((total.sent_bytes, total.delivered_bytes), (100_000, 100_000));
    assert!(books.is_settled());
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn what_is_under_way_is_not_settled() {
    let mut books = Ledger::new(RUN);
    let packet = sent(&mut books, 1, 2);
    assert!(!books.is_settled());
    assert_eq!(books.total().lost, 1);
    books.receive(2, Some(1), &packet);
    assert!(books.is_settled());
}

#[test]
fn a_late_packet_is_delivered_and_its_distance_known() {
    let mut books = Ledger::new(RUN);
    let packets: Vec<_> = (0..10).map(|_| sent(&mut books, 1, 2)).collect();
    for number in [0, 1, 5, 2, 9, 3, 4, 6, 7, 8] {
        assert!(matches!(books.receive(2, Some(1), &packets[number]), Receipt::Intact(_)));
    }
    let total = books.total();
    assert_eq!((total.delivered, total.reordered, total.reordered_by_most, total.lost), (10, 6, 6, 0));
}

#[test]
fn every_duplicate_is_counted_whatever_came_between() {
    let mut books = Ledger::new(RUN);
    let packets: Vec<_> = (0..300).map(|_| sent(&mut books, 1, 2)).collect();
    for packet in &packets {
        books.receive(2, Some(1), packet);
    }
    for packet in &packets {
        assert!(matches!(books.receive(2, Some(1), packet), Receipt::Duplicate(_)));
    }
    let total = books.total();
    assert_eq!((total.delivered, total.duplicates, total.lost, total.reordered), (300, 300, 0, 0));
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn within_the_window_late_and_again_are_told_apart_beyond_it_is_ancient() {
    let mut books = Ledger::new(RUN);
    let packets: Vec<_> = (0..20_000).map(|_| sent(&mut books, 1, 2)).collect();
    // 0 and 11,000 stay behind.
    for (number, packet) in packets.iter().enumerate().filter(|(number, _)| ![0, 11_000].contains(number)) {
        assert!(matches!(books.receive(2, Some(1), packet), Receipt::Intact(_)), "{number}");
    }
    let latest = 19_999;
    let edge = latest - WINDOW as usize;
    assert!(matches!(books.receive(2, Some(1), &packets[edge]), Receipt::Duplicate(_)));
    assert!(matches!(books.receive(2, Some(1), &packets[latest]), Receipt::Duplicate(_)));
    assert!(matches!(books.receive(2, Some(1), &packets[0]), Receipt::Ancient(_)));
    let total = books.total();
    assert_eq!((total.delivered, total.ancient, total.lost), (19_998, 1, 1));
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn a_long_outage_leaves_the_window_sharp() {
    let mut books = Ledger::new(RUN);
    let packets: Vec<_> = (0..100_000).map(|_| sent(&mut books, 1, 2)).collect();
    let receive = |books: &mut Ledger, number: usize| books.receive(2, Some(1), &packets[number]);
    assert!(matches!(receive(&mut books, 3), Receipt::Intact(_)));
    assert!(matches!(receive(&mut books, 99_999), Receipt::Intact(_)));
    assert!(matches!(receive(&mut books, 99_999 - WINDOW as usize), Receipt::Intact(_)));
    assert!(matches!(receive(&mut books, 99_999), Receipt::Duplicate(_)));
    assert!(matches!(receive(&mut books, 3), Receipt::Ancient(_)));
    let total = books.total();
    assert_eq!((total.delivered, total.reordered_by_most, total.lost), (3, WINDOW, 99_996));
}

#[test]
fn sequence_numbers_go_on_after_32_bits() {
    assert_eq!(arrivals::expand(0, 0), 0);
    assert_eq!(arrivals::expand(5, 0xffff_fffe), 0x1_0000_0005);
    assert_eq!(arrivals::expand(0xffff_fff0, 0x1_0000_0005), 0xffff_fff0);
    assert_eq!(arrivals::expand(7, 0x5_0000_0003), 0x5_0000_0007);
    // Nothing is before the first.
    assert_eq!(arrivals::expand(0xffff_ffff, 3), 0xffff_ffff);
}

#[test]
fn changed_packets_are_no_longer_lost_but_corrupt() {
    let mut books = Ledger::new(RUN);
    let mut packet = sent(&mut books, 1, 2);
    packet[60] ^= 1;
    assert_eq!(books.receive(2, Some(1), &packet), Receipt::Corrupt);
    let cut = sent(&mut books, 1, 2);
    assert_eq!(books.receive(2, Some(1), &cut[..20]), Receipt::Corrupt);
    let total = books.total();
    assert_eq!((total.sent, total.corrupt, total.lost, total.missing()), (2, 2, 0, 2));
    assert_eq!(books.flows()[0].tally.corrupt, 2);
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn packets_for_others_and_under_wrong_names_are_misrouted() {
    let mut books = Ledger::new(RUN);
    let packets: Vec<_> = (0..3).map(|_| sent(&mut books, 1, 2)).collect();
    assert_eq!(books.receive(3, Some(1), &packets[0]), Receipt::Misrouted);
    assert_eq!(books.receive(2, Some(4), &packets[1]), Receipt::Misrouted);
    assert_eq!(books.receive(2, None, &packets[2]), Receipt::Misrouted);
    let flows = books.flows();
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].tally.misrouted, flows[0].tally.lost), (3, 0));
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn another_runs_packets_are_foreign_and_change_nothing_else() {
    let mut others = Ledger::new(RUN + 1);
    let sequence = others.send(1, 2, BYTES);
    let packet = packet(RUN + 1, 1, 2, sequence);
    let mut books = Ledger::new(RUN);
    assert_eq!(books.receive(2, Some(1), &packet), Receipt::Foreign);
    assert_eq!(books.total(), Tally { foreign: 1, ..Tally::default() });
    assert!(books.flows().is_empty());
}

#[test]
fn an_answer_is_a_flow_of_its_own() {
    let mut books = Ledger::new(RUN);
    let request = sent(&mut books, 1, 2);
    books.receive(2, Some(1), &request);
    let answer = sent(&mut books, 2, 1);
    books.receive(1, Some(2), &answer);
    let ends: Vec<_> = books.flows().iter().map(|flow| (flow.ends(), flow.tally.delivered)).collect();
    assert_eq!(ends, [((1, 2), 1), ((2, 1), 1)]);
}

#[test]
fn a_relay_that_copies_never_makes_losses_negative() {
    let mut books = Ledger::new(RUN);
    let original = sent(&mut books, 1, 2);
    books.receive(2, Some(1), &original);
    let mut copy = original.clone();
    copy[70] ^= 1;
    for _ in 0..5 {
        books.receive(2, Some(1), &copy);
        books.receive(3, Some(1), &original);
    }
    let total = books.total();
    assert_eq!((total.lost, total.corrupt, total.misrouted, total.delivered), (0, 5, 5, 1));
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn an_invented_delivery_is_an_imbalance() {
    let mut books = Ledger::new(RUN);
    books.receive(2, Some(1), &packet(RUN, 1, 2, 0));
    assert_eq!(books.check(), Err(Imbalance::FromNothing { from: 1, to: 2, sent: 0, delivered: 1 }));
}

#[test]
fn a_sum_without_its_parts_is_an_imbalance() {
    let mut books = Ledger::new(RUN);
    let _ = sent(&mut books, 1, 2);
    let (total, flows) = (books.total(), books.flows());
    assert_eq!(check(&total, &[]), Err(Imbalance::Sum { what: "sent", sum: 1, parts: 0 }));
    let forged = Tally { lost: 0, ..total };
    assert_eq!(check(&forged, &flows), Err(Imbalance::Conservation { sent: 1, lost: 0, want: 1 }));
}

#[test]
fn invented_flows_do_not_fill_memory() {
    let mut books = Ledger::new(RUN);
    let count = STRAY_FLOWS_MOST as u32 + 1000;
    for from in 0..count {
        books.receive(7, Some(1), &packet(RUN, from + 10, 8, 0));
    }
    assert_eq!(books.flows().len(), STRAY_FLOWS_MOST);
    assert_eq!(books.total().misrouted, u64::from(count));
    assert_eq!(books.check(), Ok(()));
}

#[test]
fn fairness_is_one_for_equals_and_one_over_n_for_one_alone() {
    let flow =
        |delivered| FlowTally { tally: Tally { delivered, ..Tally::default() }, ..FlowTally::default() };
    assert_eq!(fairness(&[flow(5), flow(5), flow(5)]), Some(1.0));
    assert_eq!(fairness(&[flow(5), flow(0), flow(0), flow(0)]), Some(0.25));
    assert_eq!(fairness(&[flow(1), flow(3)]), Some(0.8));
    assert_eq!(fairness(&[flow(0)]), None);
    assert_eq!(fairness(&[]), None);
}

/// What a relay may do to a packet.
#[derive(Debug, Clone, Copy)]
struct Faults {
    lose: f64,
    copy: f64,
    corrupt: f64,
    misroute: f64,
    /// Packets that one may be late by.
    shuffle: usize,
}

prop_compose! {
    fn any_faults()(
        lose in 0.0..0.6_f64, copy in 0.0..0.4_f64, corrupt in 0.0..0.2_f64, misroute in 0.0..0.2_f64, shuffle in 0..400_usize,
    ) -> Faults {
        Faults { lose, copy, corrupt, misroute, shuffle }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sending and receiving are in different workers' books; the relay loses, copies, changes, misroutes and reorders.
    #[test]
    fn the_books_say_what_a_model_says(faults in any_faults(), clients in 2..6_u32, count in 1..4000_usize, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut sending = Ledger::new(RUN);
        let mut receiving = [Ledger::new(RUN), Ledger::new(RUN)];
        let mut model = Model::default();
        let relayed = relay(&mut sending, &mut model, faults, clients, count, &mut random);
        for (at, from, packet) in relayed {
            let receipt = receiving[at as usize % 2].receive(at, Some(from), &packet);
            model.receive(at, from, &packet, receipt)?;
        }
        let mut books = sending;
        receiving.into_iter().for_each(|half| books.merge(half));

        prop_assert_eq!(books.check(), Ok(()));
        let total = books.total();
        prop_assert_eq!(&total, &model.total());
        for flow in books.flows() {
            let (sent, delivered) = model.flow(flow.ends());
            prop_assert_eq!((flow.tally.sent, flow.tally.delivered), (sent, delivered));
        }
    }

    /// However processes share the flows, their tallies come to the same.
    #[test]
    fn tallies_add_up_like_books(faults in any_faults(), count in 1..2000_usize, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut sending, mut receiving) = (Ledger::new(RUN), Ledger::new(RUN));
        for (at, from, packet) in relay(&mut sending, &mut Model::default(), faults, 5, count, &mut random) {
            receiving.receive(at, Some(from), &packet);
        }
        let flows = merge_flows(sending.flows(), receiving.flows());
        let mut total = sending.total();
        total.add(&receiving.total());
        prop_assert_eq!(check(&total, &flows), Ok(()));
        sending.merge(receiving);
        prop_assert_eq!(&sending.total(), &total);
        prop_assert_eq!(sending.flows(), flows);
    }

    /// The window against a set that forgets nothing.
    #[test]
    fn the_window_knows_every_number_it_says_it_knows(
        jumps in prop::collection::vec((0..40_u8, 0..20_000_u64), 1..600), start in 0..300_u64,
    ) {
        let mut window = arrivals::Window::all_below(start);
        let mut arrived: HashSet<u64> = (0..start).collect();
        let mut end = start;
        for (kind, distance) in jumps {
            let number = match kind {
                0 => end + distance,
                1..=5 => end + distance % 70,
                6..=15 => end.saturating_sub(distance),
                16..=30 => end.saturating_sub(distance % 100),
                _ => end,
            };
            let behind = end.saturating_sub(number + 1);
            match window.arrive(number) {
                Arrival::New => prop_assert!(number >= end && arrived.insert(number)),
                Arrival::Late { by } => {
                    prop_assert!(number < end && arrived.insert(number));
                    prop_assert_eq!(by, behind);
                }
                Arrival::Again => prop_assert!(arrived.contains(&number)),
                Arrival::Ancient => {
                    prop_assert!(behind > WINDOW, "{number} of {end}");
                    arrived.insert(number);
                }
            }
            end = end.max(number + 1);
            prop_assert_eq!(window.end(), end);
        }
    }
}

/// Remembers everything.
#[derive(Default)]
struct Model {
    sent: BTreeMap<(u32, u32), u64>,
    seen: BTreeMap<(u32, u32), HashSet<u32>>,
    latest: BTreeMap<(u32, u32), u32>,
    tally: Tally,
}

impl Model {
    fn receive(&mut self, at: u32, from: u32, packet: &[u8], receipt: Receipt) -> Result<(), TestCaseError> {
        let Ok(header) = payload::read(packet) else {
            self.tally.corrupt += 1;
            prop_assert_eq!(receipt, Receipt::Corrupt);
            return Ok(());
        };
        let ends = (header.from, header.to);
        if ends != (from, at) {
            self.tally.misrouted += 1;
            prop_assert_eq!(receipt, Receipt::Misrouted);
            return Ok(());
        }
        if !self.seen.entry(ends).or_default().insert(header.sequence) {
            self.tally.duplicates += 1;
            prop_assert_eq!(receipt, Receipt::Duplicate(header));
            return Ok(());
        }
        self.tally.delivered += 1;
        self.tally.delivered_bytes += packet.len() as u64;
        let latest = self.latest.entry(ends).or_insert(header.sequence);
        if header.sequence < *latest {
            self.tally.reordered += 1;
            self.tally.reordered_by_most =
                self.tally.reordered_by_most.max(u64::from(*latest - header.sequence));
        }
        *latest = header.sequence.max(*latest);
        prop_assert_eq!(receipt, Receipt::Intact(header));
        Ok(())
    }

    fn total(&self) -> Tally {
        let sent = self.sent.values().sum::<u64>();
        let found = self.tally.delivered + self.tally.corrupt + self.tally.misrouted;
        let lost = sent.saturating_sub(found);
        Tally { sent, lost, sent_bytes: sent * BYTES as u64, ..self.tally.clone() }
    }

    fn flow(&self, ends: (u32, u32)) -> (u64, u64) {
        let delivered = self.seen.get(&ends).map_or(0, HashSet::len) as u64;
        (self.sent.get(&ends).copied().unwrap_or(0), delivered)
    }
}

/// Sends `count` packets between random clients; what a faulty relay delivers: where, from whom, what.
fn relay(
    books: &mut Ledger,
    model: &mut Model,
    faults: Faults,
    clients: u32,
    count: usize,
    random: &mut SmallRng,
) -> Vec<(u32, u32, Vec<u8>)> {
    let mut arriving = Vec::new();
    for place in 0..count {
        let from = random.random_range(0..clients);
        let to = (from + random.random_range(1..clients)) % clients;
        let packet = sent(books, from, to);
        *model.sent.entry((from, to)).or_default() += 1;
        if random.random_bool(faults.lose) {
            continue;
        }
        let copies = if random.random_bool(faults.copy) { 2 } else { 1 };
        for _ in 0..copies {
            let (mut packet, mut at) = (packet.clone(), to);
            if random.random_bool(faults.corrupt) {
                packet[random.random_range(0..BYTES)] ^= 1_u8 << random.random_range(0..8);
            }
            if random.random_bool(faults.misroute) {
                at = random.random_range(0..clients);
            }
            arriving.push((place + random.random_range(0..=faults.shuffle), (at, from, packet)));
        }
    }
    arriving.sort_by_key(|(place, _)| *place);
    arriving.into_iter().map(|(_, arrival)| arrival).collect()
}

/// Books a packet as sent, and composes it.
fn sent(books: &mut Ledger, from: u32, to: u32) -> Vec<u8> {
    let sequence = books.send(from, to, BYTES);
    packet(RUN, from, to, sequence)
}

fn packet(run: u64, from: u32, to: u32, sequence: u32) -> Vec<u8> {
    let (due, sent) = (Moment(1), Moment(2));
    let mut packet = vec![0; BYTES];
    let header = Header { run, from, to, sequence, class: 0, purpose: Purpose::OneWay, due, sent };
    payload::write(&mut packet, &header);
    packet
}
