//! What speaks against a run, and what does not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::figures::tests::{class, outcome};
use crate::outcome::{Connects, Measured};
use crate::plan::{Arrival, Plan};
use crate::shape::tests::{plan, stun_plan};

fn kinds(doubts: &[Doubt]) -> Vec<std::mem::Discriminant<Doubt>> {
    doubts.iter().map(std::mem::discriminant).collect()
}

fn shape() -> Shape {
    Shape::from(&plan())
}

/// As [`shape`], of a load of which nothing is planned but that it is an open loop.
fn unplanned() -> Shape {
    Shape { planned: None, ..shape() }
}

#[test]
fn nothing_speaks_against_a_run_as_planned() {
    assert_eq!(doubts(&plan(), &outcome()), []);
    assert_eq!(doubts(&stun_plan(Some(1_000.0)), &outcome()), []);
}

#[test]
fn a_run_that_was_stopped_is_not_compared() {
    let outcome = Outcome { interrupted: true, ..outcome() };
    let doubts = doubts(&plan(), &outcome);
    assert_eq!(doubts, [Doubt::Interrupted]);
    assert!(doubts[0].is_fatal() && !doubts[0].means_generator_was_the_limit());
}

#[test]
fn one_thread_that_is_nearly_always_busy_is_the_limit() {
    let mut outcome = outcome();
    outcome.generator.threads = vec![Duration::from_secs(1), Duration::from_millis(8_600)];
    let doubts = doubts(&plan(), &outcome);
    assert_eq!(doubts, [Doubt::GeneratorBusy { share: 0.86, paced: true }]);
    assert!(!doubts[0].is_note() && !doubts[0].is_fatal() && doubts[0].means_generator_was_the_limit());

    outcome.generator.threads = vec![Duration::from_millis(8_400); 2];
    assert_eq!(self::doubts(&plan(), &outcome), []);
}

#[test]
fn a_generator_that_is_late_for_one_packet_in_fifty_is_doubted() {
    let mut outcome = outcome();
    outcome.generator.late = 200;
    let doubts = doubts(&plan(), &outcome);
    let [Doubt::GeneratorLate { share: 0.02, by }] = doubts[..] else { panic!("{doubts:?}") };
    assert!(by > 0.0 && by < 1_000_000.0, "{by} µs for the latest of a thousand");
    assert!(!doubts[0].is_note() && !doubts[0].is_fatal() && doubts[0].means_generator_was_the_limit());

    outcome.generator.late = 100;
    assert_eq!(self::doubts(&plan(), &outcome), []);
}

#[test]
fn what_was_due_and_not_sent_is_the_generators_fault() {
    let mut outcome = outcome();
    outcome.measured = Measured { sent: 9_700, delivered: 9_700, ..outcome.measured };
    let doubts = doubts(&plan(), &outcome);
    assert_eq!(doubts, [Doubt::RateMissed { due: 1_000.0, sent: 970.0 }]);
    assert!(doubts[0].is_fatal() && doubts[0].means_generator_was_the_limit());
}

#[test]
fn what_the_server_did_not_read_is_no_doubt_about_the_tool() {
    let mut outcome = outcome();
    outcome.measured = Measured { sent: 5_000, delivered: 5_000, ..outcome.measured };
    outcome.generator.blocked = 3_000;
    outcome.generator.unsent = 2_000;
    assert_eq!(doubts(&plan(), &outcome), []);
}

#[test]
fn packets_that_the_generator_never_came_to_are_missed_by_the_plan() {
    let mut outcome = outcome();
    outcome.measured = Measured { due: 9_000, sent: 9_000, delivered: 9_000, ..outcome.measured };
    outcome.classes = vec![class("packets", 9_000, 9_000, Duration::from_micros(50))];
    assert_eq!(doubts(&plan(), &outcome), [Doubt::RateMissed { due: 1_000.0, sent: 900.0 }]);
    assert_eq!(doubts(unplanned(), &outcome), []);
}

#[test]
fn a_rate_drawn_at_random_may_be_off_by_chance() {
    let mut outcome = outcome();
    outcome.measured = Measured { due: 10_400, sent: 10_400, ..outcome.measured };
    outcome.classes = vec![class("packets", 10_400, 10_400, Duration::from_micros(50))];
    assert_eq!(doubts(&plan(), &outcome), []);
}

#[test]
fn a_closed_loop_misses_no_rate() {
    let mut outcome = outcome();
    outcome.measured = Measured { sent: 5_000, delivered: 5_000, ..outcome.measured };
    assert_eq!(doubts(Shape { open_loop: false, ..unplanned() }, &outcome), []);
}

#[test]
fn few_samples_are_noted_and_very_few_are_not_compared() {
    let of = |due| {
        let mut outcome = outcome();
        outcome.measured = Measured { due, sent: due, delivered: due, ..outcome.measured };
        outcome.classes = vec![class("packets", due, due, Duration::from_micros(50))];
        doubts(unplanned(), &outcome)
    };
    assert_eq!(of(1_000), []);
    assert_eq!(of(999), [Doubt::FewSamples { count: 999 }]);
    assert!(!of(100)[0].is_fatal());
    assert!(of(99)[0].is_fatal());
    assert!(of(0)[0].is_fatal());
}

#[test]
fn a_server_that_loses_everything_still_counts() {
    let mut outcome = outcome();
    outcome.measured.delivered = 0;
    outcome.classes = vec![class("packets", 10_000, 0, Duration::ZERO)];
    assert_eq!(doubts(&plan(), &outcome), []);
}

#[test]
fn an_idle_herd_needs_no_samples() {
    let mut outcome = outcome();
    outcome.measured = Measured::default();
    outcome.classes = Vec::new();
    assert_eq!(doubts(Shape { senders: 0, ..unplanned() }, &outcome), []);
}

#[test]
fn a_storms_samples_are_its_connects() {
    let mut outcome = outcome();
    outcome.connects = Connects { attempted: 50, ..Connects::default() };
    let storm = Plan { arrival: Arrival::Scheduled, ..plan() };
    assert_eq!(doubts(&storm, &outcome), [Doubt::FewSamples { count: 50 }]);
}

#[test]
fn connections_that_the_server_ended_are_noted_and_the_round_counts() {
    let mut outcome = outcome();
    outcome.connects.lost = BTreeMap::from([("reset".to_owned(), 3)]);
    outcome.connects.absent = 2;
    let doubts = doubts(&plan(), &outcome);
    assert_eq!(doubts, [Doubt::Connections { count: 3 }]);
    assert!(doubts[0].is_note());
}

#[test]
fn coming_and_going_is_no_doubt_but_never_coming_back_is() {
    let mut outcome = outcome();
    outcome.connects.lost = BTreeMap::from([("restart".to_owned(), 1_000)]);
    let moving = Shape { coming_and_going: true, ..unplanned() };
    assert_eq!(doubts(moving, &outcome), []);
    outcome.connects.absent = 2;
    assert_eq!(doubts(moving, &outcome), [Doubt::Connections { count: 2 }]);
}

#[test]
fn books_that_do_not_add_up_are_found_in_the_sum_in_a_flow_and_in_the_window() {
    let broken: [fn(&mut Outcome); 5] = [
        |outcome| outcome.total.lost = 1,
        |outcome| outcome.flows[0].tally.delivered = 12_001,
        |outcome| outcome.flows[0].tally.sent_bytes -= 1,
        |outcome| outcome.measured.delivered_bytes = 1_200_001,
        |outcome| outcome.classes[0].delivered = 10_001,
    ];
    for (at, break_it) in broken.iter().enumerate() {
        let mut outcome = outcome();
        break_it(&mut outcome);
        let doubts = doubts(&plan(), &outcome);
        let books = Doubt::Books { what: String::new() };
        assert_eq!(kinds(&doubts), kinds(&[books]), "{at}");
        assert!(doubts[0].is_fatal() && !doubts[0].means_generator_was_the_limit());
    }
}

#[test]
fn books_without_flows_add_up_by_themselves() {
    let mut outcome = outcome();
    outcome.flows = Vec::new();
    assert_eq!(doubts(&stun_plan(Some(1_000.0)), &outcome), []);
    outcome.total.lost = 7;
    assert_eq!(doubts(&stun_plan(Some(1_000.0)), &outcome).len(), 1);
}

fn counters(received: u64, sent: u64, dropped: u64) -> Counters {
    Counters { received, sent, dropped }
}

/// What is said of a server whose counters grew by these.
fn said(shape: Shape, grown: Counters, outcome: &Outcome) -> Option<String> {
    let before = counters(500, 400, 100);
    let after = counters(500 + grown.received, 400 + grown.sent, 100 + grown.dropped);
    check_counters(shape, before, after, outcome).map(|doubt| doubt.to_string())
}

/// 12,000 sent, 11,000 delivered, 1,000 lost.
fn lossy() -> Outcome {
    let mut outcome = outcome();
    outcome.total.delivered = 11_000;
    outcome.total.lost = 1_000;
    outcome
}

#[test]
fn counters_that_agree_to_the_packet_say_nothing() {
    assert_eq!(said(shape(), counters(12_000, 12_000, 0), &outcome()), None);
    assert_eq!(said(shape(), counters(12_000, 11_000, 1_000), &lossy()), None);
}

#[test]
fn counters_that_are_off_by_one_are_told() {
    let told = |received, sent, dropped| said(shape(), counters(received, sent, dropped), &lossy()).unwrap();
    assert!(told(11_999, 11_000, 1_000).ends_with("it received 11999 packets, we sent 12000"));
    assert!(told(12_001, 11_000, 1_000).ends_with("it received 12001 packets, we sent 12000"));
    assert!(told(12_000, 11_001, 999).ends_with("it sent 11001 packets, 11000 arrived"));
    assert!(told(12_000, 10_999, 1_001).ends_with("it sent 10999 packets, 11000 arrived"));
    assert!(told(12_000, 11_000, 999).ends_with("it received 12000 packets, and sent 11000 and dropped 999"));
}

#[test]
fn a_full_socket_may_hold_back_what_was_sent() {
    let mut outcome = lossy();
    outcome.generator.blocked = 1;
    assert_eq!(said(shape(), counters(11_500, 11_000, 500), &outcome), None);
    assert!(said(shape(), counters(12_001, 11_000, 1_001), &outcome).is_some());
    assert!(said(shape(), counters(11_500, 11_100, 400), &outcome).is_some());
}

#[test]
fn a_slow_reader_may_leave_behind_what_the_server_sent() {
    let slow = Shape { slow_readers: true, ..shape() };
    assert_eq!(said(slow, counters(12_000, 11_600, 300), &lossy()), None);
    assert!(said(slow, counters(12_000, 10_999, 1_001), &lossy()).is_some());
    assert!(said(slow, counters(11_999, 11_000, 999), &lossy()).is_some());
}

#[test]
fn a_cut_connection_may_lose_packets_on_either_side() {
    let mut outcome = lossy();
    outcome.connects.lost = BTreeMap::from([("reset".to_owned(), 1)]);
    assert_eq!(said(shape(), counters(11_900, 11_300, 500), &outcome), None);
    assert!(said(shape(), counters(11_900, 11_300, 601), &outcome).is_some());
}

#[test]
fn whatever_arrives_was_sent_by_the_server() {
    let mut outcome = outcome();
    outcome.total.delivered = 11_990;
    outcome.total.corrupt = 4;
    outcome.total.misrouted = 3;
    outcome.total.lost = 3;
    outcome.total.duplicates = 2;
    assert_eq!(said(shape(), counters(12_000, 11_999, 1), &outcome), None);
}

#[test]
fn counters_that_fall_are_told() {
    let doubt = check_counters(shape(), counters(5, 5, 0), counters(4, 5, 0), &outcome());
    assert!(doubt.unwrap().to_string().contains("went down"));
}

#[test]
fn a_run_that_drained_nothing_is_not_held_against_counters() {
    let outcome = Outcome { interrupted: true, ..outcome() };
    assert_eq!(said(shape(), counters(1, 1, 0), &outcome), None);
}

#[test]
fn doubts_say_what_happened_with_numbers() {
    let text = Doubt::GeneratorLate { share: 0.034, by: 2_000.0 }.to_string();
    assert!(
        text.starts_with("the load generator came to 3.4 % of the packets more than 1 ms late"),
        "{text}"
    );
    let text = Doubt::RateMissed { due: 1_000.0, sent: 940.0 }.to_string();
    assert!(text.starts_with("the load generator sent 940 packets/s where 1000 were due"), "{text}");
}
