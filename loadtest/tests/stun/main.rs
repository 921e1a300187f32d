//! Known truth in, the same numbers out: load on STUN servers that do known harm.

mod proxy;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ferry_loadtest::clock::Moment;
use ferry_loadtest::engine::{Conductor, Stop};
use ferry_loadtest::ledger;
use ferry_loadtest::outcome::{Interval, Outcome};
use ferry_loadtest::stun::{self, StunKind, StunLoad, StunMix, StunPlan};
use ferry_loadtest::workload::Phases;
use ferry_stun::{Limits, UdpConfig, UdpServer};
use proxy::{Done, Harm, HarmfulServer, serve_in_batches};

const MS: Duration = Duration::from_millis(1);

/// Notes what it is told.
#[derive(Debug, Default)]
struct Notes {
    told: Vec<&'static str>,
    steps: usize,
}

impl Conductor for Notes {
    fn connecting(&mut self, established: u64, of: u64) {
        assert_eq!(established, of);
        if self.told.is_empty() {
            self.told.push("connected");
        }
    }

    fn ready(&mut self) -> Moment {
        self.told.push("ready");
        // Late enough that every thread is up.
        Moment::now() + 5 * MS
    }

    fn window_opens(&mut self) {
        self.told.push("opens");
    }

    fn interval(&mut self, _interval: &Interval) {
        self.steps += 1;
    }

    fn window_closes(&mut self) {
        self.told.push("closes");
    }
}

/// 2,000 requests a second from four sockets for half a second, half of it warm-up.
fn plan(target: SocketAddr) -> StunPlan {
    StunPlan {
        load: StunLoad {
            kind: StunKind::Stun,
            rate: Some(2_000.0),
            poisson: false,
            window: None,
            sockets: 4,
            sources: 0,
            mix: StunMix::default(),
        },
        target,
        seed: 11,
        phases: Phases { warm_up: 250 * MS, window: 250 * MS, drain: 10_000 * MS },
        interval: 50 * MS,
        threads: 1,
        cores: Vec::new(),
        stay_awake: false,
    }
}

fn run(plan: &StunPlan) -> Outcome {
    stun::run(plan, &Stop::default(), &mut Notes::default()).expect("a run")
}

/// Every rule that holds whatever happens.
fn assert_books_add_up(outcome: &Outcome) {
    ledger::check(&outcome.total, &outcome.flows).expect("books add up");
    let answered: Vec<_> = outcome.classes.iter().filter(|class| class.name != stun::JUNK).collect();
    assert_eq!(answered.iter().map(|class| class.due).sum::<u64>(), outcome.measured.due);
    for class in answered {
        assert_eq!(class.latency.count(), class.delivered);
        assert_eq!(class.uncorrected.count(), class.delivered);
        assert!(class.delivered <= class.due);
    }
    assert_eq!(outcome.generator.lateness.count(), outcome.measured.due);
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Loads a harmful server; what it did, and what was found.
fn load(harm: Harm) -> (Outcome, std::sync::Arc<Done>) {
    let server = HarmfulServer::start(harm);
    let outcome = run(&plan(server.address));
    assert_books_add_up(&outcome);
    let done = std::sync::Arc::clone(&server.done);
    assert_eq!(outcome.total.sent, count(&done.requests));
    (outcome, done)
}

fn ferry_stun() -> UdpServer {
    let mut config = UdpConfig::new(([127, 0, 0, 1], 0).into());
    config.threads = std::num::NonZeroUsize::MIN;
    config.limits = Limits::NONE;
    UdpServer::start(config).expect("a free port")
}

#[test]
fn every_request_to_a_good_server_is_answered() {
    let server = ferry_stun();
    let mut plan = plan(server.local_address());
    plan.load.mix = StunMix { tailscale: 1.0, bare: 1.0, junk: 0.0 };
    plan.load.sources = 3;
    plan.threads = 2;
    let mut notes = Notes::default();
    let outcome = stun::run(&plan, &Stop::default(), &mut notes).unwrap();

    assert_books_add_up(&outcome);
    // Two threads have a thousand each, give or take one for where in a gap they start.
    assert!(outcome.total.sent.abs_diff(1_000) <= 2, "{outcome:?}");
    assert!(outcome.measured.due.abs_diff(500) <= 2, "{outcome:?}");
    assert_eq!(outcome.total.delivered, outcome.total.sent);
    assert_eq!((outcome.total.duplicates, outcome.total.foreign, outcome.total.reordered), (0, 0, 0));
    // The probe's is one more.
    assert_eq!(server.counters().success(), outcome.total.sent + 1);
    assert_eq!(
        outcome.classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>(),
        ["tailscale", "bare"]
    );
    assert_eq!(outcome.flows.len(), 4);
    assert!(outcome.control_frames.is_empty() && !outcome.interrupted);
    assert_eq!(notes.told, ["connected", "ready", "opens", "closes"]);
    // What ends with the run is told by the outcome alone.
    assert!((10..=outcome.series.len()).contains(&notes.steps), "{notes:?} {outcome:?}");
    assert_eq!(outcome.series.iter().map(|step| step.sent).sum::<u64>(), outcome.total.sent);
    assert_eq!(outcome.series.iter().map(|step| step.delivered).sum::<u64>(), outcome.total.delivered);
    assert_eq!(outcome.generator.threads.len(), 2);
    assert_eq!(outcome.generator.cpu, outcome.generator.threads.iter().sum::<Duration>());
}

#[test]
fn the_same_seed_is_the_same_load() {
    let server = ferry_stun();
    let mut plan = plan(server.local_address());
    plan.load.poisson = true;
    plan.load.mix = StunMix { tailscale: 1.0, bare: 2.0, junk: 1.0 };
    let offered = |plan: &StunPlan| {
        let outcome = run(plan);
        (
            outcome.total.sent,
            outcome.total.sent_bytes,
            outcome.classes.iter().map(|class| class.due).collect::<Vec<_>>(),
        )
    };
    let first = offered(&plan);
    assert_eq!(first, offered(&plan));
    plan.seed += 1;
    assert_ne!(first, offered(&plan));
}

#[test]
fn lost_requests_are_counted_exactly() {
    let (outcome, done) = load(Harm { drop_every: 10, ..Harm::default() });
    assert_eq!(outcome.total.lost, count(&done.dropped));
    assert!(outcome.total.lost >= 99, "{outcome:?}");
    assert_eq!(outcome.total.delivered, outcome.total.sent - outcome.total.lost);
    let class = &outcome.classes[0];
    assert!((class.due - class.delivered).abs_diff(50) <= 1, "{class:?}");
}

#[test]
fn duplicates_are_counted_exactly_and_delivered_once() {
    let (outcome, done) = load(Harm { repeat_every: 7, ..Harm::default() });
    assert_eq!(outcome.total.duplicates, count(&done.repeated));
    assert!(outcome.total.duplicates >= 140, "{outcome:?}");
    assert_eq!(outcome.total.delivered, outcome.total.sent);
}

#[test]
fn wrong_and_foreign_answers_are_counted_exactly() {
    let (outcome, done) = load(Harm { corrupt_every: 5, foreign_every: 9, ..Harm::default() });
    assert_eq!(outcome.total.corrupt, count(&done.corrupted));
    assert_eq!(outcome.control_frames["answer-with-wrong-address"], count(&done.corrupted));
    assert_eq!(outcome.total.foreign, count(&done.foreign));
    assert!(outcome.total.corrupt >= 199 && outcome.total.foreign >= 110, "{outcome:?}");
    // A wrong answer is an answer.
    assert_eq!(outcome.total.lost, 0);
}

#[test]
fn answers_out_of_order_are_counted_exactly() {
    let server = HarmfulServer::start(Harm { hold_every: 10, ..Harm::default() });
    let mut plan = plan(server.address);
    plan.load.sockets = 1;
    let outcome = run(&plan);
    assert_books_add_up(&outcome);
    let held = count(&server.done.held);
    // What is held is released after the next answer, or when nothing comes for a while: then it is in order.
    assert!(held >= 99 && outcome.total.reordered <= held, "{outcome:?}");
    assert!(outcome.total.reordered >= held / 2, "{outcome:?}");
    assert_eq!(outcome.total.reordered_by_most, 1);
}

#[test]
fn a_pause_of_the_server_is_in_the_latency() {
    // In mid-window: 400 of 1,000 requests fall due while it sleeps.
    let pause = Harm { pause_before: 550, pause: 200 * MS, ..Harm::default() };
    let (outcome, _) = load(pause);
    let class = &outcome.classes[0];
    assert_eq!(outcome.total.lost, 0);
    assert!(class.latency.quantile(0.99) >= Some(180 * MS), "{class:?}");
    // Had the tool waited for the server, one request would have been slow.
    assert!(class.latency.quantile(0.5) >= Some(20 * MS), "{class:?}");
}

#[test]
fn junk_is_sent_and_not_missed() {
    let server = HarmfulServer::start(Harm::default());
    let mut plan = plan(server.address);
    plan.load.mix = StunMix { tailscale: 1.0, bare: 0.0, junk: 1.0 };
    let outcome = run(&plan);
    assert_books_add_up(&outcome);
    assert_eq!(outcome.control_frames["junk"], count(&server.done.junk));
    assert_eq!(outcome.total.sent, count(&server.done.requests));
    assert!((outcome.total.sent + outcome.control_frames["junk"]).abs_diff(1_000) <= 1, "{outcome:?}");
    let junk = &outcome.classes[1];
    assert_eq!((junk.name.as_str(), junk.delivered), ("junk", 0));
    assert!((junk.due + outcome.measured.due).abs_diff(500) <= 1, "{outcome:?}");
    assert_eq!((outcome.total.lost, outcome.total.delivered), (0, outcome.total.sent));
}

#[test]
fn a_closed_loop_never_has_more_under_way_than_its_window() {
    let server = serve_in_batches(8, 3);
    let mut plan = plan(server.address);
    (plan.load.rate, plan.load.window, plan.load.sockets) = (None, Some(8), 3);
    plan.phases.drain = 50 * MS;
    let outcome = run(&plan);
    assert_books_add_up(&outcome);
    // The server answers full windows only, so that any were answered says that they were full.
    assert!(outcome.total.delivered >= 48, "{outcome:?}");
    assert_eq!(count(&server.done.most_waiting), 8);
}

#[test]
fn a_closed_loop_goes_on_when_requests_are_lost() {
    let server = HarmfulServer::start(Harm { drop_every: 3, ..Harm::default() });
    let mut plan = plan(server.address);
    (plan.load.rate, plan.load.window) = (None, Some(1));
    // Every third request stops its socket for a second; the window of measurement is longer.
    plan.phases = Phases { warm_up: Duration::ZERO, window: 2_500 * MS, drain: 5_000 * MS };
    let outcome = run(&plan);
    assert_books_add_up(&outcome);
    assert_eq!(outcome.total.lost, count(&server.done.dropped));
    assert!((8..=12).contains(&outcome.total.lost), "{outcome:?}");
}

#[test]
fn a_server_that_goes_away_is_seen_and_lost_requests_too() {
    let server = ferry_stun();
    let mut plan = plan(server.local_address());
    plan.phases.drain = Duration::ZERO;
    let outcome = thread::scope(|scope| {
        let load = scope.spawn(|| run(&plan));
        while server.counters().success() < 300 {
            thread::yield_now();
        }
        server.shutdown();
        load.join().unwrap()
    });
    assert_books_add_up(&outcome);
    assert!(outcome.total.lost > 0, "{outcome:?}");
    assert!(outcome.control_frames["connection-refused"] > 0, "{outcome:?}");
}

#[test]
fn a_stop_ends_it_within_a_second_with_books_that_add_up() {
    let server = ferry_stun();
    let mut plan = plan(server.local_address());
    plan.phases.window = 60_000 * MS;
    let stop = Stop::default();
    let (outcome, took) = thread::scope(|scope| {
        let load = scope.spawn(|| stun::run(&plan, &stop, &mut Notes::default()).unwrap());
        while server.counters().success() < 600 {
            thread::yield_now();
        }
        let asked = Instant::now();
        stop.stop();
        (load.join().unwrap(), asked.elapsed())
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(outcome.interrupted && outcome.window < Duration::from_secs(30), "{outcome:?}");
    assert_books_add_up(&outcome);
    assert!(outcome.measured.delivered > 0 && !outcome.series.is_empty(), "{outcome:?}");
}

#[test]
fn a_load_without_a_server_fails_at_once() {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut notes = Notes::default();
    let error = stun::run(&plan(nobody), &Stop::default(), &mut notes).unwrap_err();
    assert!(error.to_string().starts_with(&format!("no answer from {nobody} in 1 s")), "{error}");
    assert!(notes.told.is_empty());
}
