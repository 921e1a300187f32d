//! Every kind of workload against the null server, plain and over TLS: the books add up (which [`run`] checks), everybody
//! connects, and nothing is lost but where that is the point.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod run;
}

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::run::{run, target};
use ferry_loadtest::null_server::{NullHandle, NullOptions, spawn_splice_thread, spawn_thread};
use ferry_loadtest::outcome::Outcome;
use ferry_loadtest::workload::{Frame, Phases, Workload};

const PHASES: Phases = Phases {
    warm_up: Duration::from_millis(100),
    window: Duration::from_millis(600),
    drain: Duration::from_millis(1_500),
};

#[test]
fn pairs_both_ways() {
    on_both("kind = 'pairs', pairs = 3, both-ways = true, rate = 1200, size = 'imix'", |outcome| {
        all_arrived(outcome, 6);
        let ends: Vec<_> = outcome.flows.iter().map(|flow| (flow.from, flow.to)).collect();
        assert_eq!(ends, [(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)]);
        // 0.7 seconds, and less than a packet's time of each sender at both ends.
        assert!(outcome.total.sent.abs_diff(840) <= 6, "{:?}", outcome.total);
    });
}

#[test]
fn pairs_in_a_closed_loop() {
    on_both("kind = 'pairs', pairs = 2, window = 4, size = 1400", |outcome| all_arrived(outcome, 4));
}

#[test]
fn pairs_without_limit() {
    // What does not fit into the null server's buffers is lost; what is lost is counted.
    on_both("kind = 'pairs', pairs = 2, unlimited = true, size = 1400", |outcome| {
        all_connected(outcome, 4);
        assert!(outcome.total.delivered > 1_000, "{:?}", outcome.total);
        arrived_as_sent(outcome);
    });
}

#[test]
fn fan_in() {
    on_both("kind = 'fan-in', senders = 5, rate = 1000, size = 300", |outcome| {
        all_arrived(outcome, 6);
        let ends: Vec<_> = outcome.flows.iter().map(|flow| (flow.from, flow.to)).collect();
        assert_eq!(ends, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
    });
}

#[test]
fn fan_out() {
    on_both("kind = 'fan-out', receivers = 5, rate = 1000, size = 300, poisson = true", |outcome| {
        all_arrived(outcome, 6);
        assert!(outcome.flows.iter().all(|flow| flow.from == 0));
        let sent: Vec<_> = outcome.flows.iter().map(|flow| flow.tally.sent).collect();
        assert_eq!(sent.len(), 5);
        assert!(sent.iter().max().unwrap() - sent.iter().min().unwrap() <= 1, "in turn: {sent:?}");
    });
}

#[test]
fn all_to_all() {
    on_both("kind = 'all-to-all', clients = 5, rate = 2000, size = '100-1400'", |outcome| {
        all_arrived(outcome, 5);
        assert_eq!(outcome.flows.len(), 20, "everybody to everybody else");
    });
}

#[test]
fn all_to_all_by_zipfs_law() {
    on_both("kind = 'all-to-all', clients = 5, exponent = 2.0, rate = 2000, size = 100", |outcome| {
        all_arrived(outcome, 5);
        let mut received = BTreeMap::<_, u64>::new();
        for flow in outcome.flows.iter().filter(|flow| flow.from != 0 && flow.from != 4) {
            *received.entry(flow.to).or_default() += flow.tally.delivered;
        }
        // With weights 1 and 1/25.
        assert!(received[&0] > 5 * received[&4], "{received:?}");
    });
}

#[test]
fn requests_and_answers_beside_background() {
    let load = "kind = 'request-reply', pairs = 2, request-rate = 400, background-pairs = 2, rate = 1000, size = 1000";
    on_both(load, |outcome| {
        all_arrived(outcome, 8);
        for there in outcome.flows.iter().filter(|flow| flow.from < 4 && flow.from % 2 == 0) {
            let back = outcome.flows.iter().find(|flow| (flow.to, flow.from) == (there.from, there.to));
            assert_eq!(back.unwrap().tally.sent, there.tally.sent, "each request has its answer");
        }
        let due: Vec<_> = outcome.classes.iter().map(|class| (class.name.as_str(), class.due)).collect();
        let [("request", requests), ("background", background)] = due[..] else { panic!("{due:?}") };
        assert!(requests.abs_diff(240) <= 4 && background.abs_diff(600) <= 4, "{due:?}");
    });
}

#[test]
fn a_probe_alone() {
    on_both("kind = 'probe', probe-rate = 400", |outcome| {
        all_arrived(outcome, 2);
        let [probe] = &outcome.classes[..] else { panic!("{:?}", outcome.classes) };
        assert!(probe.name == "probe" && probe.due.abs_diff(240) <= 1, "{probe:?}");
        assert_eq!(outcome.flows.iter().map(|flow| (flow.from, flow.to)).collect::<Vec<_>>(), [(1, 0)]);
    });
}

#[test]
fn a_probe_beside_others_that_push_at_its_receiver() {
    let load = "kind = 'probe', probe-rate = 400, senders = 3, unlimited = true, size = 1400";
    on_both(load, |outcome| {
        all_connected(outcome, 5);
        arrived_as_sent(outcome);
        assert!(outcome.flows.iter().all(|flow| flow.to == 0), "{:?}", outcome.flows);
        let due: Vec<_> = outcome.classes.iter().map(|class| (class.name.as_str(), class.due)).collect();
        let [("probe", probe), ("background", background)] = due[..] else { panic!("{due:?}") };
        assert!(probe.abs_diff(240) <= 1 && background > probe, "{due:?}");
    });
}

#[test]
fn idle_clients_that_send_once() {
    on_both("kind = 'idle', clients = 20, burst = 0.3, rate = 2000, size = 500", |outcome| {
        all_arrived(outcome, 20);
        assert_eq!(outcome.flows.len(), 20, "each to its partner");
        assert!(outcome.total.sent.abs_diff(600) <= 20, "{:?}", outcome.total);
        assert_eq!(outcome.measured.due, outcome.total.sent, "all of it within the window");
        assert_eq!(outcome.series.last().unwrap().connections, 20);
    });
}

#[test]
fn pairs_beside_a_storm_of_connections() {
    let load =
        "kind = 'pairs-beside-storm', pairs = 2, rate = 1000, size = 1400, per-second = 60, hold = 0.1";
    on_both(load, |outcome| {
        arrived_as_sent(outcome);
        assert_eq!(outcome.total.lost, 0);
        assert_eq!(
            outcome.flows.iter().map(|flow| (flow.from, flow.to)).collect::<Vec<_>>(),
            [(0, 1), (2, 3)]
        );
        let connects = &outcome.connects;
        // The pairs' four, and 0.7 seconds of the storm.
        assert_eq!((connects.attempted, connects.established, connects.absent), (46, 46, 0), "{connects:?}");
        assert!(connects.failed.is_empty() && connects.lost.is_empty(), "{connects:?}");
        assert_eq!(connects.latency.count(), 36, "the storm's, due in the window");
    });
}

#[test]
fn a_splice_loses_nothing_of_what_it_moves() {
    for load in [
        "kind = 'pairs', pairs = 3, both-ways = true, rate = 1200, size = '64-1400'",
        "kind = 'pairs', pairs = 2, window = 16, size = 'imix'",
        "kind = 'pairs', pairs = 2, unlimited = true, size = 1400",
        "kind = 'fan-in', senders = 4, unlimited = true, size = 1400",
        "kind = 'fan-out', receivers = 4, rate = 1000, size = 300",
    ] {
        on_both_of(spawn_splice_thread, load, |outcome| {
            arrived_as_sent(outcome);
            assert!(outcome.total.delivered > 400, "{load}: {:?}", outcome.total);
            assert_eq!(outcome.total.lost, 0, "{load}");
        });
    }
}

#[test]
fn a_splice_greets_and_lets_go_as_a_relay_does() {
    on_both_of(spawn_splice_thread, "kind = 'connection-storm', per-second = 60, hold = 0.1", |outcome| {
        let connects = &outcome.connects;
        assert_eq!((connects.attempted, connects.established, connects.absent), (42, 42, 0), "{connects:?}");
    });
}

#[test]
fn an_idle_herd() {
    on_both("kind = 'idle', clients = 40", |outcome| {
        all_connected(outcome, 40);
        assert_eq!(outcome.total, Default::default());
        assert_eq!(outcome.series.last().unwrap().connections, 40);
    });
}

#[test]
fn a_storm_of_connections() {
    on_both("kind = 'connection-storm', per-second = 60, hold = 0.1, resumption = true", |outcome| {
        let connects = &outcome.connects;
        assert_eq!((connects.attempted, connects.established, connects.absent), (42, 42, 0), "{connects:?}");
        assert!(connects.failed.is_empty() && connects.lost.is_empty(), "{connects:?}");
        assert_eq!(connects.latency.count(), 36, "those due in the window");
    });
    on_both("kind = 'connection-storm', per-second = 60, hold = 0.1, ordinary-start = true", |outcome| {
        let connects = &outcome.connects;
        assert_eq!(
            (connects.established, connects.failed.len(), connects.lost.len()),
            (42, 0, 0),
            "{connects:?}"
        );
    });
}

#[test]
fn a_relay_that_comes_back() {
    for secure in [false, true] {
        let mut server = Some(spawn_thread(null(secure)).unwrap());
        let address = server.as_ref().unwrap().address();
        let load = "kind = 'reconnect-storm', clients = 6, rate = 600, size = 200";
        // Long enough for everybody to come back: they wait half a second at most, if the first attempt succeeds.
        let phases = Phases { window: Duration::from_secs(3), ..PHASES };
        let plan = workload(load).plan(frame(address, secure, phases)).unwrap();
        let outcome = run(&plan, || {
            drop(server.take());
            server = Some(spawn_thread(NullOptions { listen: address, secure }).unwrap());
        });
        let connects = &outcome.connects;
        assert_eq!(connects.lost.values().sum::<u64>(), 6, "{connects:?}");
        assert_eq!(
            (connects.established, connects.outages.count(), connects.absent),
            (12, 6, 0),
            "{connects:?}"
        );
        assert!(outcome.total.delivered > 0);
        arrived_as_sent(&outcome);
    }
}

#[test]
fn readers_that_stop_harm_only_themselves() {
    let load =
        "kind = 'slow-readers', pairs = 4, slow-share = 0.5, bytes-per-second = 0, rate = 2000, size = 1400";
    on_both(load, |outcome| {
        all_connected(outcome, 8);
        arrived_as_sent(outcome);
        let [prompt, slow] = &outcome.classes[..] else { panic!("{:?}", outcome.classes) };
        assert_eq!((prompt.name.as_str(), slow.name.as_str()), ("prompt", "slow"));
        assert_eq!(prompt.delivered, prompt.due);
        assert!(slow.delivered < slow.due, "{slow:?}");
    });
}

#[test]
fn receivers_that_come_and_go_miss_what_comes_meanwhile() {
    on_both("kind = 'churn', pairs = 4, stay = 0.1, away = 0.1, rate = 1000, size = 200", |outcome| {
        arrived_as_sent(outcome);
        assert!(outcome.total.delivered > 0 && outcome.total.lost > 0, "{:?}", outcome.total);
        assert!(outcome.connects.established > 8, "{:?}", outcome.connects);
        assert!(
            outcome.connects.failed.is_empty() && outcome.connects.lost.is_empty(),
            "{:?}",
            outcome.connects
        );
    });
}

#[test]
fn websocket_carries_the_same() {
    for (secure, scheme) in [(false, "ws"), (true, "wss")] {
        let server = spawn_thread(null(secure)).unwrap();
        let mut frame = frame(server.address(), secure, PHASES);
        frame.target.url = format!("{scheme}://{}", server.address());
        let load = workload("kind = 'pairs', pairs = 2, rate = 1000, size = 1400");
        all_arrived(&run(&load.plan(frame).unwrap(), || {}), 4);
    }
}

/// Runs a workload without TLS and with it.
fn on_both(load: &str, check: impl Fn(&Outcome)) {
    on_both_of(spawn_thread, load, check);
}

/// The same on another server.
fn on_both_of(
    spawn: impl Fn(NullOptions) -> anyhow::Result<NullHandle>,
    load: &str,
    check: impl Fn(&Outcome),
) {
    for secure in [false, true] {
        let server = spawn(null(secure)).unwrap();
        let plan = workload(load).plan(frame(server.address(), secure, PHASES)).unwrap();
        check(&run(&plan, || {}));
    }
}

/// Everybody was there once, and stayed.
fn all_connected(outcome: &Outcome, clients: u64) {
    let connects = &outcome.connects;
    assert_eq!((connects.attempted, connects.established, connects.absent), (clients, clients, 0));
    assert!(connects.failed.is_empty() && connects.lost.is_empty(), "{connects:?}");
}

/// Beside what is lost nothing happened to packets.
fn arrived_as_sent(outcome: &Outcome) {
    let total = &outcome.total;
    assert_eq!(total.sent, total.delivered + total.lost, "{total:?}");
    let harm =
        [total.duplicates, total.reordered, total.ancient, total.corrupt, total.misrouted, total.foreign];
    assert_eq!(harm, [0; 6], "{total:?}");
}

/// All clients were there, and all packets arrived.
fn all_arrived(outcome: &Outcome, clients: u64) {
    all_connected(outcome, clients);
    arrived_as_sent(outcome);
    assert!(outcome.total.sent > 0);
    assert_eq!(outcome.total.lost, 0);
    assert_eq!(outcome.total.delivered_bytes, outcome.total.sent_bytes);
    assert_eq!(outcome.generator.unsent, 0);
    for class in &outcome.classes {
        assert_eq!(class.delivered, class.due, "{}", class.name);
        assert_eq!(class.latency.count(), class.due, "{}", class.name);
    }
}

fn workload(text: &str) -> Workload {
    let lines = text.replace(", ", "\n");
    toml::from_str(&lines).unwrap()
}

fn null(secure: bool) -> NullOptions {
    NullOptions { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), secure }
}

fn frame(address: SocketAddr, secure: bool, phases: Phases) -> Frame {
    Frame {
        target: target(address, secure),
        run: 99,
        seed: 11,
        phases,
        threads: 2,
        cores: Vec::new(),
        coalesce: false,
        stay_awake: false,
    }
}
