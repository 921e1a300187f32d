//! Which figures a run has, and that each is right.

use std::collections::BTreeMap;

use super::*;
use crate::clock::Moment;
use crate::ledger::{FlowTally, Tally};
use crate::outcome::{ClassOutcome, Generator, Measured};
use crate::plan::{Arrival, Plan};
use crate::shape::tests::{plan, stun_plan};

/// Ten seconds of 1,000 packets a second of 100 bytes, all delivered after 50 µs.
pub(crate) fn outcome() -> Outcome {
    let tally = Tally {
        sent: 12_000,
        delivered: 12_000,
        sent_bytes: 1_200_000,
        delivered_bytes: 1_200_000,
        ..Tally::default()
    };
    Outcome {
        start: Moment(1),
        window: Duration::from_secs(10),
        interrupted: false,
        total: tally.clone(),
        measured: Measured { due: 10_000, sent: 10_000, delivered: 10_000, delivered_bytes: 1_000_000 },
        classes: vec![class("packets", 10_000, 10_000, Duration::from_micros(50))],
        flows: vec![FlowTally { from: 0, to: 1, tally }],
        connects: Connects { attempted: 2, established: 2, ..Connects::default() },
        control_frames: BTreeMap::new(),
        series: Vec::new(),
        generator: Generator {
            cpu: Duration::from_secs(1),
            threads: vec![Duration::from_millis(400), Duration::from_millis(600)],
            lateness: durations(10_000, Duration::from_micros(5)),
            ..Generator::default()
        },
    }
}

pub(crate) fn class(name: &str, due: u64, delivered: u64, latency: Duration) -> ClassOutcome {
    ClassOutcome {
        name: name.to_owned(),
        due,
        delivered,
        latency: durations(delivered, latency),
        uncorrected: durations(delivered, latency / 2),
    }
}

fn durations(count: u64, length: Duration) -> Durations {
    let mut durations = Durations::new();
    (0..count).for_each(|_| durations.record(length));
    durations
}

fn reading(cpu_ms: u64, resident: u64) -> Reading {
    Reading {
        cpu: Duration::from_millis(cpu_ms),
        resident,
        proportional: Some(resident / 2),
        ..Reading::default()
    }
}

fn watched() -> ServerReadings {
    ServerReadings {
        before: Some(reading(10, 1_024_000)),
        opened: Some(reading(1_000, 2_048_000)),
        closed: Some(reading(3_000, 3_072_000)),
    }
}

fn storm() -> Plan {
    Plan { arrival: Arrival::Scheduled, ..plan() }
}

fn value(figures: &[Figure], metric: Metric) -> Option<f64> {
    figures.iter().find(|figure| figure.metric == metric).map(|figure| figure.value)
}

fn assert_near(figures: &[Figure], metric: Metric, expected: f64) {
    let value = value(figures, metric);
    assert!(value.is_some_and(|value| (value / expected - 1.0).abs() < 0.002), "{metric}: {value:?}");
}

#[test]
fn rates_are_counts_over_the_window() {
    let figures = of_run(&plan(), &outcome(), &ServerReadings::default(), 2);
    assert_near(&figures, Metric::Offered, 1_000.0);
    assert_near(&figures, Metric::Sent, 1_000.0);
    assert_near(&figures, Metric::Delivered, 1_000.0);
    assert_near(&figures, Metric::DeliveredMegabits, 0.8);
    assert_near(&figures, Metric::LatencyP99, 50.0);
    assert_near(&figures, Metric::UncorrectedP99, 25.0);
    assert_near(&figures, Metric::GeneratorCpuPerPacket, 100.0);
    assert_near(&figures, Metric::GeneratorBusiest, 0.06);
    assert_eq!(value(&figures, Metric::LossShare), Some(0.0));
    assert!(figures.is_sorted_by_key(|figure| figure.metric));
}

#[test]
fn nothing_is_offered_in_a_closed_loop() {
    let mut shape = Shape::from(&plan());
    shape.open_loop = false;
    let figures = of_run(shape, &outcome(), &ServerReadings::default(), 2);
    assert_eq!(value(&figures, Metric::Offered), None);
    assert_eq!(value(&figures, Metric::UncorrectedP99), None);
    assert_near(&figures, Metric::Delivered, 1_000.0);
}

#[test]
fn a_server_that_delivers_nothing_has_all_loss_and_no_latency() {
    let mut outcome = outcome();
    outcome.measured.delivered = 0;
    outcome.measured.delivered_bytes = 0;
    outcome.classes = vec![class("packets", 10_000, 0, Duration::ZERO)];
    let figures = of_run(&plan(), &outcome, &watched(), 2);
    assert_eq!(value(&figures, Metric::LossShare), Some(1.0));
    assert_eq!(value(&figures, Metric::Delivered), Some(0.0));
    assert_eq!(value(&figures, Metric::LatencyP50), None);
    assert_eq!(value(&figures, Metric::LatencyMost), None);
    assert_eq!(value(&figures, Metric::ServerCpuPerPacket), None);
}

#[test]
fn a_percentile_needs_a_packet_beyond_it() {
    let mut outcome = outcome();
    outcome.classes = vec![class("packets", 500, 500, Duration::from_micros(50))];
    let figures = of_run(&plan(), &outcome, &ServerReadings::default(), 2);
    assert!(value(&figures, Metric::LatencyP99).is_some());
    assert_eq!(value(&figures, Metric::LatencyP999), None);
}

#[test]
fn an_idle_herd_has_no_packets_but_memory_and_processor() {
    let mut outcome = outcome();
    outcome.measured = Measured::default();
    outcome.classes = vec![class("packets", 0, 0, Duration::ZERO)];
    let figures = of_run(&plan(), &outcome, &watched(), 1_000);
    let metrics: Vec<Metric> = figures.iter().map(|figure| figure.metric).collect();
    assert_eq!(
        metrics,
        [
            Metric::ServerCores,
            Metric::ServerResidentPerClient,
            Metric::ServerProportionalPerClient,
            Metric::GeneratorBusiest
        ]
    );
    assert_near(&figures, Metric::ServerCores, 0.2);
    assert_near(&figures, Metric::ServerResidentPerClient, 2.0);
    assert_near(&figures, Metric::ServerProportionalPerClient, 1.0);
}

#[test]
fn the_servers_processor_time_is_that_of_the_window_per_packet_delivered() {
    assert_near(&of_run(&plan(), &outcome(), &watched(), 2), Metric::ServerCpuPerPacket, 200.0);
}

#[test]
fn without_a_reading_or_with_another_process_there_is_no_server_figure() {
    let restarted = ServerReadings { closed: Some(reading(5, 1_024_000)), ..watched() };
    for server in [ServerReadings::default(), ServerReadings { opened: None, ..watched() }, restarted] {
        let figures = of_run(&plan(), &outcome(), &server, 2);
        assert_eq!(value(&figures, Metric::ServerCores), None);
        assert_eq!(value(&figures, Metric::ServerCpuPerPacket), None);
    }
}

#[test]
fn memory_per_client_needs_a_hundred_clients() {
    let memory = |connected| {
        let figures = of_run(&plan(), &outcome(), &watched(), connected);
        value(&figures, Metric::ServerResidentPerClient)
    };
    assert_eq!(memory(99), None);
    assert_eq!(memory(100), Some(20.0));
}

#[test]
fn a_storm_is_about_connects_alone() {
    let mut outcome = outcome();
    outcome.connects = Connects {
        attempted: 1_000,
        established: 900,
        established_in_window: 800,
        failed: BTreeMap::from([("refused".to_owned(), 60), ("timed out".to_owned(), 40)]),
        latency: durations(900, Duration::from_millis(3)),
        ..Connects::default()
    };
    let figures = of_run(&storm(), &outcome, &watched(), 1_000);
    assert_near(&figures, Metric::ConnectsPerSecond, 80.0);
    assert_near(&figures, Metric::ConnectFailures, 0.1);
    assert_near(&figures, Metric::ConnectP99, 3.0);
    assert_near(&figures, Metric::ServerCpuPerConnect, 2_500.0);
    assert_eq!(value(&figures, Metric::Delivered), None);
    assert_eq!(value(&figures, Metric::ServerCpuPerPacket), None);
    assert_eq!(value(&figures, Metric::ServerResidentPerClient), None);

    let figures = of_run(&plan(), &outcome, &watched(), 2);
    assert_eq!(value(&figures, Metric::ConnectsPerSecond), None);
}

#[test]
fn beside_a_storm_both_traffic_and_connecting_are_told_but_not_whose_the_cost_was() {
    let mut outcome = outcome();
    outcome.connects =
        Connects { attempted: 1_002, established: 1_002, established_in_window: 800, ..Connects::default() };
    outcome.connects.latency = durations(800, Duration::from_millis(3));
    let shape = Shape { beside_storm: true, ..Shape::from(&plan()) };
    let figures = of_run(shape, &outcome, &watched(), 1_000);
    assert_near(&figures, Metric::LatencyP99, 50.0);
    assert_near(&figures, Metric::ConnectsPerSecond, 80.0);
    assert_near(&figures, Metric::ConnectP99, 3.0);
    assert!(value(&figures, Metric::ServerCores).is_some());
    for metric in [Metric::ServerCpuPerPacket, Metric::ServerCpuPerConnect, Metric::ServerResidentPerClient] {
        assert_eq!(value(&figures, metric), None, "{metric}");
    }
}

#[test]
fn around_a_burst_memory_is_told_before_it_and_after() {
    let shape = Shape { burst: true, ..Shape::from(&plan()) };
    let server = ServerReadings {
        before: Some(reading(0, 1_024_000)),
        opened: Some(reading(0, 2_048_000)),
        closed: Some(reading(1, 2_252_800)),
    };
    let figures = of_run(shape, &outcome(), &server, 100);
    assert_near(&figures, Metric::ServerResidentPerClient, 10.0);
    assert_near(&figures, Metric::ServerResidentAfterBurst, 12.0);
    assert_near(&figures, Metric::ServerResidentKept, 1.2);
    assert_eq!(value(&of_run(shape, &outcome(), &server, 99), Metric::ServerResidentKept), None);
}

#[test]
fn clients_that_never_came_back_count_as_the_longest_outage() {
    let mut outcome = outcome();
    outcome.connects.outages = durations(60, Duration::from_millis(100));
    outcome.connects.outages.merge(&durations(35, Duration::from_millis(900)));
    let back = of_run(&plan(), &outcome, &ServerReadings::default(), 100);
    assert_near(&back, Metric::OutageP50, 100.0);
    assert_near(&back, Metric::OutageMost, 900.0);

    outcome.connects.absent = 5;
    let figures = of_run(&plan(), &outcome, &ServerReadings::default(), 95);
    assert_near(&figures, Metric::OutageP95, 900.0);
    assert_eq!(value(&figures, Metric::OutageP99), None);
    assert_eq!(value(&figures, Metric::OutageMost), None);

    outcome.connects.absent = 40;
    let figures = of_run(&plan(), &outcome, &ServerReadings::default(), 60);
    assert_near(&figures, Metric::OutageP50, 900.0);
    assert_eq!(value(&figures, Metric::OutageP95), None);
}

#[test]
fn without_an_outage_there_is_no_figure_of_one() {
    let figures = of_run(&plan(), &outcome(), &watched(), 2);
    assert_eq!(value(&figures, Metric::OutageP50), None);
}

#[test]
fn latency_and_loss_are_those_of_the_first_class() {
    let mut outcome = outcome();
    outcome.classes = vec![
        class("prompt", 1_000, 990, Duration::from_micros(80)),
        class("slow", 9_000, 10, Duration::from_secs(2)),
    ];
    let figures = of_run(&plan(), &outcome, &ServerReadings::default(), 2);
    assert_near(&figures, Metric::LossShare, 0.01);
    assert_near(&figures, Metric::LatencyMost, 80.0);
}

#[test]
fn junk_is_not_expected_to_be_answered() {
    let mut outcome = outcome();
    outcome.classes = vec![
        class("tailscale", 600, 600, Duration::from_micros(40)),
        class("bare", 400, 390, Duration::from_micros(40)),
        class("junk", 9_000, 0, Duration::ZERO),
    ];
    let figures = of_run(&stun_plan(Some(1_000.0)), &outcome, &watched(), 1_000);
    assert_near(&figures, Metric::LossShare, 0.01);
    assert_near(&figures, Metric::ServerCpuPerPacket, 200.0);
    assert_eq!(value(&figures, Metric::DeliveredMegabits), None);
    assert_eq!(value(&figures, Metric::ServerResidentPerClient), None);
}

#[test]
fn fairness_is_that_of_several_even_flows() {
    let mut outcome = outcome();
    let half = |delivered| Tally { sent: 6_000, delivered, ..Tally::default() };
    outcome.flows =
        vec![FlowTally { from: 0, to: 1, tally: half(6_000) }, FlowTally { from: 1, to: 0, tally: half(0) }];
    assert_near(&of_run(&plan(), &outcome, &watched(), 2), Metric::Fairness, 0.5);

    let uneven = Shape { even_flows: false, ..Shape::from(&plan()) };
    assert_eq!(value(&of_run(uneven, &outcome, &watched(), 2), Metric::Fairness), None);
}

#[test]
fn a_window_of_no_length_has_no_rates() {
    let outcome = Outcome { window: Duration::ZERO, ..outcome() };
    let figures = of_run(&plan(), &outcome, &watched(), 2);
    assert!(figures.iter().all(|figure| figure.value.is_finite()));
    assert_eq!(value(&figures, Metric::Delivered), None);
}

#[test]
fn a_point_of_a_search_has_the_figures_of_its_run() {
    let figures = of_run(&plan(), &outcome(), &watched(), 2);
    let point = point(1_000.0, &figures, &[Doubt::FewSamples { count: 500 }]);
    assert_eq!((point.offered, point.delivered, point.loss), (1_000.0, 1_000.0, 0.0));
    assert_eq!(point.server_cpu, Some(200.0));
    assert!(!point.generator_limited);
}

#[test]
fn a_point_without_a_delivery_has_lost_everything() {
    let point = point(1_000.0, &[], &[Doubt::GeneratorBusy { share: 0.99, paced: true }]);
    assert_eq!((point.delivered, point.loss, point.p99), (0.0, 1.0, NEVER_US));
    assert!(point.generator_limited);
}

#[test]
fn only_a_knee_that_was_confirmed_is_a_figure() {
    let figure = |rate, at_least, confirmed| {
        of_knee(&Knee { rate, at_least, confirmed, curve: Vec::new() }).map(|figure| figure.value)
    };
    assert_eq!(figure(5_000.0, false, true), Some(5_000.0));
    assert_eq!(figure(5_000.0, true, true), Some(5_000.0));
    assert_eq!(figure(5_000.0, false, false), None);
    assert_eq!(figure(0.0, true, false), None);
    assert_eq!(figure(0.0, false, false), Some(0.0));
}
