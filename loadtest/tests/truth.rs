//! Known truth in, the same numbers out: what a faulty relay does to packets is found and counted exactly, and what it does
//! to time is seen where it happened.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod proxy;
    pub(crate) mod run;
}

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::proxy::{Fault, Faults, Harm, Proxy};
use common::run::{run, target};
use ferry_loadtest::ledger::Tally;
use ferry_loadtest::null_server::{NullHandle, NullOptions, spawn_thread};
use ferry_loadtest::outcome::Outcome;
use ferry_loadtest::plan::{
    Arrival, ClientIndex, ClientPlan, Destinations, Life, Pacing, Plan, Reading, Sending, node_key,
};
use ferry_loadtest::schedule::Schedule;
use ferry_loadtest::sizes::Sizes;
use rustix::process::{Pid, Signal, kill_process};

const SEED: u64 = 5;
/// A client that never sends.
const RECEIVER: ClientIndex = 2;
const PACKET_BYTES: u32 = 200;
/// A relay's standstill, in these tests.
const PAUSE: Duration = Duration::from_millis(200);
/// How late a busy machine may make something that should be at once.
const SLACK: Duration = Duration::from_millis(400);

#[test]
fn a_relay_without_faults_has_none() {
    let (outcome, harm) = run_with(&[]);
    assert!(harm.packets > 1_000);
    assert_eq!(harm, Harm { packets: harm.packets, ..Harm::default() });
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.measured.due, outcome.classes[0].due);
    assert_eq!(outcome.classes[0].delivered, outcome.classes[0].due);
}

#[test]
fn every_dropped_packet_is_lost() {
    let (outcome, harm) = run_with(&[(10, Fault::Drop)]);
    assert!(harm.dropped >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.lost, harm.dropped);
}

#[test]
fn every_second_copy_is_a_duplicate() {
    let (outcome, harm) = run_with(&[(7, Fault::Duplicate)]);
    assert!(harm.duplicated >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.duplicates, harm.duplicated);
}

#[test]
fn swapped_neighbours_are_reordered_by_one() {
    let (outcome, harm) = run_with(&[(10, Fault::HoldBack(1))]);
    assert!(harm.held_back >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.reordered_by_most, 1);
}

#[test]
fn a_packet_that_others_overtake_is_reordered_by_as_many() {
    let (outcome, harm) = run_with(&[(20, Fault::HoldBack(7))]);
    assert!(harm.held_back >= 50, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.reordered_by_most, harm.held_back_by_most);
}

#[test]
fn a_flipped_bit_anywhere_in_a_packet_is_corruption() {
    let (outcome, harm) = run_with(&[(4, Fault::Corrupt)]);
    assert!(harm.corrupted >= 200, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.corrupt, harm.corrupted);
}

#[test]
fn a_packet_under_another_clients_name_is_misrouted() {
    let (outcome, harm) = run_with(&[(10, Fault::Rename(node_key(SEED, RECEIVER).public()))]);
    assert!(harm.renamed >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
}

#[test]
fn a_packet_under_a_strangers_name_is_misrouted() {
    let (outcome, harm) = run_with(&[(10, Fault::Rename(node_key(SEED + 1, 0).public()))]);
    assert!(harm.renamed >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
}

#[test]
fn a_packet_at_another_client_is_misrouted() {
    let (outcome, harm) = run_with(&[(10, Fault::Misdeliver)]);
    assert!(harm.misdelivered >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
}

#[test]
fn another_runs_packet_is_foreign_and_the_one_it_replaces_is_lost() {
    let (outcome, harm) = run_with(&[(10, Fault::Replace)]);
    assert!(harm.replaced >= 100, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
}

#[test]
fn faults_of_all_kinds_are_told_apart() {
    let all = [
        (11, Fault::Drop),
        (13, Fault::Duplicate),
        (17, Fault::Corrupt),
        (19, Fault::Rename(node_key(SEED, RECEIVER).public())),
        (23, Fault::Misdeliver),
        (29, Fault::HoldBack(3)),
        (31, Fault::Replace),
    ];
    let (outcome, harm) = run_with(&all);
    assert!(harm.held_back >= 20 && harm.replaced >= 20, "{harm:?}");
    assert_eq!(outcome.total, truth(&harm));
}

#[test]
fn a_delay_is_in_the_latency_and_nowhere_else() {
    const DELAY: Duration = Duration::from_millis(50);
    let faults = Faults { delay: DELAY, ..Faults::default() };
    let (outcome, harm) = run_through(faults, &two_pairs(1_000.0));
    assert_eq!(outcome.total, truth(&harm));
    assert_eq!(outcome.total.lost, 0);
    let latency = &outcome.classes[0].latency;
    assert!(latency.quantile(0.0).unwrap() >= DELAY, "{latency:?}");
    assert!(latency.quantile(0.5).unwrap() < DELAY + SLACK, "{latency:?}");
    // The generator had nothing to wait for.
    let lateness = &outcome.generator.lateness;
    assert!(lateness.quantile(0.5).unwrap() < DELAY / 2, "{lateness:?}");
}

#[test]
fn the_slowest_connections_count_like_any_other() {
    const DELAY: Duration = Duration::from_millis(200);
    let mut plan = plan(
        (0..20)
            .map(|client| ClientPlan { connect_at: Duration::from_millis(100 + 25 * client), ..silent() })
            .collect(),
    );
    plan.arrival = Arrival::Scheduled;
    plan.drain = Duration::from_secs(20);
    // The relay's key and its ServerInfo come late, one after the other: most are still under way when the window closes.
    plan.window = Duration::from_millis(600);
    let (outcome, _) = run_through(Faults { delay: DELAY, ..Faults::default() }, &plan);
    let connects = &outcome.connects;
    assert_eq!((connects.attempted, connects.established, connects.absent), (20, 20, 0), "{connects:?}");
    assert_eq!(connects.latency.count(), 20);
    assert!(connects.established_in_window < 20, "{connects:?}");
    assert!(connects.latency.quantile(0.0).unwrap() >= 2 * DELAY, "{connects:?}");
    assert!(connects.latency.quantile(0.5).unwrap() < 2 * DELAY + SLACK, "{connects:?}");
}

#[test]
fn a_bandwidth_of_half_the_load_is_a_latency_that_grows_with_time() {
    let outcome = run_at_half_bandwidth(Duration::from_secs(5));
    assert_eq!(outcome.total.lost, 0, "the drain was long enough");
    // After a second, half a second's packets wait, and take as long again.
    let latency = &outcome.classes[0].latency;
    assert!(latency.longest().unwrap() > Duration::from_millis(900), "{latency:?}");
    assert!(latency.longest().unwrap() < Duration::from_millis(1_100) + SLACK, "{latency:?}");
    let middle = latency.quantile(0.5).unwrap();
    assert!(
        middle > Duration::from_millis(450) && middle < Duration::from_millis(550) + SLACK,
        "{latency:?}"
    );
    let steps: Vec<_> = outcome.series.iter().filter_map(|step| step.latency.quantile(0.5)).collect();
    assert!(steps.first().unwrap() < &Duration::from_millis(300), "{steps:?}");
    assert!(steps.last().unwrap() > &Duration::from_millis(800), "{steps:?}");
}

#[test]
fn what_a_bandwidth_limit_still_holds_at_the_end_of_the_drain_is_lost() {
    let outcome = run_at_half_bandwidth(Duration::from_millis(200));
    let Tally { sent, delivered, lost, .. } = outcome.total;
    assert_eq!(sent, delivered + lost);
    // 1.2 seconds at half the rate.
    let share = delivered as f64 / sent as f64;
    assert!((0.5..0.75).contains(&share), "{delivered} of {sent} delivered");
}

/// A second of twice what the proxy lets through.
fn run_at_half_bandwidth(drain: Duration) -> Outcome {
    const PER_SECOND: f64 = 500.0;
    let frame = f64::from(PACKET_BYTES) + 37.0;
    let faults = Faults { bytes_per_second: Some((PER_SECOND / 2.0 * frame) as u64), ..Faults::default() };
    let mut plan = plan(vec![sender(1, constant(PER_SECOND)), silent()]);
    plan.warm_up = Duration::ZERO;
    plan.drain = drain;
    run_through(faults, &plan).0
}

#[test]
fn an_open_loop_sees_what_a_pause_did_to_everybody() {
    let outcome = run_through_a_pause(&constant(1_000.0));
    sees_the_pause(&outcome);
}

#[test]
fn a_closed_loop_hides_the_same_pause() {
    let outcome = run_through_a_pause(&Pacing::Closed { window: 1 });
    let latency = &outcome.classes[0].latency;
    // It was there, for the one packet that was under way; all others waited for that one, uncounted.
    assert!(latency.longest().unwrap() > PAUSE * 9 / 10, "{latency:?}");
    assert!(latency.count() > 200, "{latency:?}");
    assert!(latency.quantile(0.99).unwrap() < PAUSE / 2, "{latency:?}");
}

/// Two seconds, in the middle of which nothing arrives for a while.
fn run_through_a_pause(pacing: &Pacing) -> Outcome {
    let (server, proxy) = behind_a_proxy(Faults::default());
    let mut plan = plan(vec![sender(1, pacing.clone()), silent()]);
    plan.window = Duration::from_secs(2);
    plan.target = target(proxy.address(), false);
    let outcome = run(&plan, || proxy.pause(Duration::from_millis(700), PAUSE));
    assert_eq!(outcome.total, truth(&proxy.harm()));
    drop(server);
    outcome
}

/// A tenth of the packets were due within the pause, evenly: 5 % waited more than half of it, 1 % nearly all of it.
fn sees_the_pause(outcome: &Outcome) {
    let latency = &outcome.classes[0].latency;
    assert_eq!(latency.count(), outcome.measured.due);
    let at = |quantile| latency.quantile(quantile).unwrap();
    assert!(at(0.5) < PAUSE / 2, "{latency:?}");
    assert!(at(0.95) > PAUSE * 4 / 10 && at(0.95) < PAUSE / 2 + SLACK, "p95 {:?}", at(0.95));
    assert!(at(0.99) > PAUSE * 3 / 4 && at(0.99) < PAUSE + SLACK, "p99 {:?}", at(0.99));
    assert!(latency.longest().unwrap() > PAUSE * 9 / 10, "{latency:?}");
}

#[test]
fn a_server_process_that_stands_still_shows_in_p99() {
    let server = ServerProcess::start();
    let mut plan = plan(vec![sender(1, constant(1_000.0)), silent()]);
    plan.window = Duration::from_secs(2);
    plan.target = target(server.address, false);
    let pid = server.pid();
    let mut standstill = None;
    let outcome = run(&plan, || {
        standstill = Some(thread::spawn(move || {
            thread::sleep(Duration::from_millis(700));
            kill_process(pid, Signal::STOP).unwrap();
            thread::sleep(PAUSE);
            kill_process(pid, Signal::CONT).unwrap();
        }));
    });
    standstill.unwrap().join().unwrap();
    assert_eq!(outcome.total.lost, 0);
    sees_the_pause(&outcome);
}

/// The null server as a process of its own.
struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ferry-load"))
            .args(["null-server", "--listen", "127.0.0.1:0", "--plain"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the tool has to find if this was done.
fn truth(harm: &Harm) -> Tally {
    let lost = harm.dropped + harm.replaced;
    let misrouted = harm.renamed + harm.misdelivered;
    let delivered = harm.packets - lost - misrouted - harm.corrupted;
    Tally {
        // The null server loses nothing.
        sent: harm.packets,
        delivered,
        lost,
        duplicates: harm.duplicated,
        reordered: harm.held_back,
        reordered_by_most: harm.held_back_by_most,
        corrupt: harm.corrupted,
        misrouted,
        foreign: harm.replaced,
        sent_bytes: harm.packets * u64::from(PACKET_BYTES),
        delivered_bytes: delivered * u64::from(PACKET_BYTES),
        ..Tally::default()
    }
}

fn run_with(every: &[(u64, Fault)]) -> (Outcome, Harm) {
    run_through(Faults { every: every.to_vec(), ..Faults::default() }, &two_pairs(1_000.0))
}

fn run_through(faults: Faults, plan: &Plan) -> (Outcome, Harm) {
    let (_server, proxy) = behind_a_proxy(faults);
    let plan = Plan { target: target(proxy.address(), false), ..plan.clone() };
    let outcome = run(&plan, || {});
    (outcome, proxy.harm())
}

fn behind_a_proxy(faults: Faults) -> (NullHandle, Proxy) {
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let server = spawn_thread(NullOptions { listen, secure: false }).unwrap();
    let proxy = Proxy::start(server.address(), faults);
    (server, proxy)
}

/// Clients 0 and 1 send to 2 and 3, each at this rate.
fn two_pairs(per_second: f64) -> Plan {
    let pacing = constant(per_second);
    plan(vec![sender(2, pacing.clone()), sender(3, pacing), silent(), silent()])
}

fn plan(clients: Vec<ClientPlan>) -> Plan {
    Plan {
        run: 77,
        seed: SEED,
        // Until it is known.
        target: target(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1), false),
        classes: vec!["all".to_owned()],
        clients,
        arrival: Arrival::Before { at_once: 4, timeout: Duration::from_secs(20) },
        warm_up: Duration::from_millis(100),
        window: Duration::from_secs(1),
        drain: Duration::from_secs(1),
        interval: Duration::from_millis(100),
        threads: 1,
        cores: Vec::new(),
        coalesce: false,
        stay_awake: false,
    }
}

fn constant(per_second: f64) -> Pacing {
    Pacing::Open { schedule: Schedule::Constant { per_second } }
}

fn sender(to: ClientIndex, pacing: Pacing) -> ClientPlan {
    let sending = Sending {
        to: Destinations::One { client: to },
        pacing,
        sizes: Sizes::Fixed { bytes: PACKET_BYTES },
        class: 0,
        requests: false,
    };
    ClientPlan { sending: Some(sending), ..silent() }
}

fn silent() -> ClientPlan {
    ClientPlan {
        group: 0,
        connect_at: Duration::ZERO,
        sending: None,
        reading: Reading::Prompt,
        answers: false,
        life: Life::Stays,
        reconnect: None,
    }
}
