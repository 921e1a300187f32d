//! Plans carried out against the null server: what the engine says it did is what it did.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use ferry_loadtest::clock::Moment;
use ferry_loadtest::engine::{self, Conductor, RunError, Share, Stop};
use ferry_loadtest::ledger;
use ferry_loadtest::null_server::{NullHandle, NullOptions, spawn_thread};
use ferry_loadtest::outcome::{Interval, Outcome};
use ferry_loadtest::plan::{
    Arrival, Backoff, ClientPlan, Destinations, Life, Pacing, Plan, Reading, Sending, Target,
};
use ferry_loadtest::schedule::Schedule;
use ferry_loadtest::sizes::Sizes;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[test]
fn pairs_in_an_open_loop_add_up() {
    for secure in [false, true] {
        let server = null_server(secure);
        let mut plan = plan(&server, secure);
        for pair in 0..3 {
            plan.clients.push(sender(pair, open(200.0), 2 * pair + 1));
            plan.clients.push(receiver(pair));
        }
        plan.threads = 2;

        let outcome = run(&plan);

        assert_all_arrived(&outcome);
        // Three senders, 200 a second, 0.6 s in all of which the window is 0.4 s; each has its own phase.
        assert_eq!(outcome.flows.len(), 3);
        assert!(outcome.total.sent.abs_diff(360) <= 3, "{} sent", outcome.total.sent);
        assert!(outcome.measured.due.abs_diff(240) <= 3, "{} due", outcome.measured.due);
        let class = &outcome.classes[0];
        assert_eq!((class.due, class.delivered), (outcome.measured.due, outcome.measured.due));
        assert_eq!(class.latency.count(), class.delivered);
        assert_eq!(outcome.generator.lateness.count(), class.due);
        assert_eq!(outcome.generator.threads.len(), 2);
        assert_eq!(outcome.generator.unsent, 0);
        assert_eq!(outcome.connects.established, 6);
        assert_eq!(outcome.connects.absent, 0);
    }
}

#[test]
fn the_time_series_is_the_whole_run() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.clients = vec![sender(0, open(500.0), 1), receiver(1)];
    plan.threads = 2;
    plan.interval = Duration::from_millis(50);

    let outcome = run(&plan);

    let sum = |of: fn(&Interval) -> u64| outcome.series.iter().map(of).sum::<u64>();
    assert_eq!(sum(|step| step.sent), outcome.total.sent);
    assert_eq!(sum(|step| step.delivered), outcome.total.delivered);
    assert_eq!(sum(|step| step.latency.count()), outcome.total.delivered);
    assert!(outcome.series.is_sorted_by_key(|step| step.at));
    assert!(outcome.series.iter().all(|step| step.connections == 2), "{:?}", outcome.series);
}

#[test]
fn the_conductor_sees_the_window_open_and_close() {
    #[derive(Default)]
    struct Watcher {
        calls: Vec<&'static str>,
        opened: Option<Moment>,
        closed: Option<Moment>,
    }
    impl Conductor for Watcher {
        fn connecting(&mut self, established: u64, of: u64) {
            assert!(established <= of && of == 2);
        }
        fn ready(&mut self) -> Moment {
            self.calls.push("ready");
            Moment::now() + Duration::from_millis(100)
        }
        fn window_opens(&mut self) {
            self.calls.push("opens");
            self.opened = Some(Moment::now());
        }
        fn interval(&mut self, _interval: &Interval) {}
        fn window_closes(&mut self) {
            self.calls.push("closes");
            self.closed = Some(Moment::now());
        }
    }
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.clients = vec![sender(0, open(100.0), 1), receiver(0)];
    let mut watcher = Watcher::default();

    let outcome =
        engine::run(&plan, Share::ALL, &Stop::default(), &mut watcher).expect("a null server carries it");

    assert_eq!(watcher.calls, ["ready", "opens", "closes"]);
    let opened = outcome.start + plan.warm_up;
    assert!(watcher.opened >= Some(opened));
    assert!(watcher.closed >= Some(opened + plan.window));
    assert_eq!(outcome.window, plan.window);
    assert!(!outcome.interrupted);
}

#[test]
fn a_closed_loop_never_has_more_under_way_than_its_window() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    // Nobody has this partner's key connected: nothing ever arrives, and nothing is given up within the run.
    plan.clients = vec![sender(0, Pacing::Closed { window: 7 }, 1), receiver(0)];
    plan.clients[1].life = Life::Leaves { after: Duration::ZERO };
    plan.clients[0].connect_at = Duration::from_millis(200);
    plan.arrival = Arrival::Scheduled;

    let outcome = run(&plan);

    assert_eq!(outcome.total.sent, 7);
    assert_eq!(outcome.total.lost, 7);
}

#[test]
fn a_closed_loop_goes_on_when_packets_arrive() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.clients = vec![sender(0, Pacing::Closed { window: 2 }, 1), receiver(0)];

    let outcome = run(&plan);

    assert_all_arrived(&outcome);
    assert!(outcome.total.sent > 100, "{} sent", outcome.total.sent);
}

#[test]
fn an_unlimited_sender_does_not_starve_its_own_reading() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.clients = vec![sender(0, Pacing::Unlimited, 1), sender(0, open(100.0), 0)];
    plan.classes.push("steady".into());
    plan.clients[1].sending.as_mut().expect("it sends").class = 1;
    plan.drain = Duration::from_secs(20);

    let outcome = run(&plan);

    assert_all_arrived(&outcome);
    assert!(outcome.total.sent > 1_000, "{} sent", outcome.total.sent);
    assert!(outcome.classes[1].delivered > 30, "{} delivered", outcome.classes[1].delivered);
}

#[test]
fn frames_due_at_once_may_share_a_write() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.coalesce = true;
    plan.clients = vec![
        sender(0, open(2_000.0), 1),
        sender(0, Pacing::Closed { window: 10 }, 0),
        sender(1, Pacing::Unlimited, 1),
    ];
    plan.drain = Duration::from_secs(20);

    let outcome = run(&plan);

    assert_all_arrived(&outcome);
    assert_eq!(outcome.flows.len(), 3);
}

#[test]
fn a_fan_out_visits_its_receivers_in_turn() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    let mut first = sender(0, open(300.0), 0);
    first.sending.as_mut().expect("it sends").to = Destinations::InTurn { first: 0, count: 5 };
    plan.clients = vec![first, receiver(1), receiver(2), receiver(3), receiver(4)];
    plan.threads = 2;

    let outcome = run(&plan);

    assert_all_arrived(&outcome);
    let sent: Vec<_> = outcome.flows.iter().map(|flow| flow.tally.sent).collect();
    assert_eq!(sent.len(), 4, "the sender itself is left out");
    assert!(sent.iter().max() <= sent.iter().min().map(|least| least + 1).as_ref(), "{sent:?}");
}

#[test]
fn requests_are_answered_and_their_latency_is_the_round_trip() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    for pacing in [open(200.0), Pacing::Closed { window: 1 }] {
        let mut asks = sender(0, pacing, 1);
        asks.sending.as_mut().expect("it sends").requests = true;
        let mut answers = receiver(0);
        answers.answers = true;
        plan.clients = vec![asks, answers];

        let outcome = run(&plan);

        assert_all_arrived(&outcome);
        let [there, back] = &outcome.flows[..] else { panic!("{:?}", outcome.flows) };
        assert_eq!(there.tally.sent, back.tally.sent);
        assert!(there.tally.sent > 50, "{} asked", there.tally.sent);
        // A request counts once in its class, when its answer is there.
        let class = &outcome.classes[0];
        assert_eq!(class.delivered, class.due);
        assert!(class.due < outcome.measured.due);
    }
}

#[test]
fn slow_readers_read_their_rate_and_stopped_ones_nothing() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.window = Duration::from_secs(1);
    plan.drain = Duration::ZERO;
    plan.clients = vec![sender(0, open(500.0), 1), receiver(0), sender(1, open(500.0), 3), receiver(1)];
    plan.clients[1].reading = Reading::Slow { bytes_per_second: 50_000 };
    plan.clients[3].reading = Reading::Stopped;

    let outcome = run(&plan);

    let delivered: Vec<_> = outcome.flows.iter().map(|flow| flow.tally.delivered).collect();
    // 1.2 s of 50,000 bytes, in frames of 237.
    assert!((120..=254).contains(&delivered[0]), "{delivered:?}");
    assert_eq!(delivered[1], 0);
}

#[test]
fn churning_receivers_come_and_go() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.clients = vec![sender(0, open(200.0), 1), receiver(0)];
    plan.clients[1].life = Life::Churns { stay: Duration::from_millis(60), away: Duration::from_millis(60) };

    let outcome = run(&plan);

    assert!(outcome.connects.attempted >= 3, "{:?}", outcome.connects);
    assert_eq!(outcome.connects.lost.len(), 0, "leaving is no loss");
    assert!(outcome.total.lost > 0 && outcome.total.delivered > 0, "{:?}", outcome.total);
    ledger::check(&outcome.total, &outcome.flows).expect("the books add up");
}

#[test]
fn scheduled_connections_are_begun_at_their_times_and_leave() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.arrival = Arrival::Scheduled;
    for index in 0..60 {
        let mut client = receiver(index);
        client.connect_at = Duration::from_millis(10) * index;
        client.life = Life::Leaves { after: Duration::from_millis(20) };
        plan.clients.push(client);
    }

    let outcome = run(&plan);

    assert_eq!((outcome.connects.attempted, outcome.connects.established), (60, 60));
    // Those due in the window: 200 to 600 ms.
    assert_eq!(outcome.connects.latency.count(), 40);
    assert_eq!(outcome.connects.absent, 0);
}

#[test]
fn clients_come_back_when_the_relay_was_restarted() {
    let server = null_server(false);
    let address = server.address();
    let mut plan = plan(&server, false);
    plan.window = Duration::from_secs(2);
    plan.clients = vec![sender(0, open(200.0), 1), receiver(0)];
    for client in &mut plan.clients {
        client.reconnect =
            Some(Backoff { first: Duration::from_millis(50), most: Duration::from_millis(100) });
    }
    /// Restarts the server when the window opens.
    struct Restarter(Option<NullHandle>);
    impl Conductor for Restarter {
        fn connecting(&mut self, _: u64, _: u64) {}
        fn ready(&mut self) -> Moment {
            Moment::now()
        }
        fn window_opens(&mut self) {
            drop(self.0.take());
            thread::sleep(Duration::from_millis(200));
        }
        fn interval(&mut self, _: &Interval) {}
        fn window_closes(&mut self) {}
    }
    // The listener comes back on the same port while the run goes on.
    let returned = thread::scope(|scope| {
        let carried_out =
            scope.spawn(|| engine::run(&plan, Share::ALL, &Stop::default(), &mut Restarter(Some(server))));
        let began = Instant::now();
        let mut second = None;
        while second.is_none() && began.elapsed() < Duration::from_secs(10) {
            second = spawn_thread(NullOptions { listen: address, secure: false }).ok();
            thread::yield_now();
        }
        let outcome = carried_out.join().expect("no panic");
        drop(second);
        outcome
    });

    let outcome = returned.expect("a lost connection is no error");
    assert_eq!(outcome.connects.lost.values().sum::<u64>(), 2, "{:?}", outcome.connects);
    assert_eq!(outcome.connects.outages.count(), 2);
    assert_eq!(outcome.connects.absent, 0);
    assert!(outcome.generator.unsent > 0, "what is due without a connection cannot be sent");
    assert_eq!(outcome.measured.due, outcome.generator.unsent + outcome.measured.sent);
    ledger::check(&outcome.total, &outcome.flows).expect("the books add up");
}

#[test]
fn a_run_that_is_stopped_ends_at_once_and_says_so() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.window = Duration::from_secs(3600);
    plan.clients = vec![sender(0, open(200.0), 1), receiver(0), sender(1, Pacing::Unlimited, 1)];
    let stop = Stop::default();
    /// Stops at the second step of the time series.
    struct Stopper<'a>(&'a Stop, Option<Instant>);
    impl Conductor for Stopper<'_> {
        fn connecting(&mut self, _: u64, _: u64) {}
        fn ready(&mut self) -> Moment {
            Moment::now()
        }
        fn window_opens(&mut self) {}
        fn interval(&mut self, interval: &Interval) {
            if interval.at > Duration::from_millis(400) {
                self.0.stop();
                self.1.get_or_insert_with(Instant::now);
            }
        }
        fn window_closes(&mut self) {}
    }
    let mut stopper = Stopper(&stop, None);

    let outcome = engine::run(&plan, Share::ALL, &stop, &mut stopper).expect("what there is");

    assert!(stopper.1.is_some_and(|asked| asked.elapsed() < Duration::from_secs(1)));
    assert!(outcome.interrupted);
    assert!(outcome.window > Duration::from_millis(100) && outcome.window < Duration::from_secs(60));
    assert!(outcome.classes[0].due > 0);
    ledger::check(&outcome.total, &outcome.flows).expect("the books add up");
}

#[test]
fn nobody_listening_is_said_clearly() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    // Bound, and then free again: nobody listens there.
    let address = TcpListener::bind(LOOPBACK).and_then(|socket| socket.local_addr()).expect("a free port");
    plan.target = target(address, false);
    plan.clients = vec![receiver(0)];

    let error = engine::run(&plan, Share::ALL, &Stop::default(), &mut Quiet).expect_err("nobody is there");

    let RunError::Connect { attempts: 3, stage: "connecting", reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("refused"), "{reason}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_relay_that_speaks_no_tls_is_said_clearly() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    plan.target = target(server.address(), true);
    plan.clients = vec![receiver(0)];

    let error = engine::run(&plan, Share::ALL, &Stop::default(), &mut Quiet).expect_err("no TLS there");

    assert!(matches!(error, RunError::Connect { stage: "the TLS handshake", .. }), "{error}");
}

#[test]
fn who_never_answers_is_not_waited_for_longer_than_planned() {
    let silent = TcpListener::bind(LOOPBACK).expect("a free port");
    let mut plan = plan(&null_server(false), false);
    plan.target = target(silent.local_addr().expect("it is bound"), false);
    plan.arrival = Arrival::Before { at_once: 10, timeout: Duration::from_millis(300) };
    plan.clients = vec![receiver(0)];

    let error = engine::run(&plan, Share::ALL, &Stop::default(), &mut Quiet).expect_err("nobody answers");

    assert!(matches!(error, RunError::Arrival { established: 0, of: 1, .. }), "{error}");
}

#[test]
fn plans_that_cannot_be_carried_out_are_refused() {
    let server = null_server(false);
    let good = {
        let mut plan = plan(&server, false);
        plan.clients = vec![sender(0, open(1.0), 1), receiver(0)];
        plan
    };
    let refused = |change: fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        match engine::run(&plan, Share::ALL, &Stop::default(), &mut Quiet) {
            Err(RunError::Plan(reason)) => reason,
            other => panic!("{other:?}"),
        }
    };

    assert!(refused(|plan| plan.threads = 0).contains("threads"));
    assert!(refused(|plan| plan.classes.clear()).contains("class 0 of 0"));
    assert!(refused(|plan| plan.clients.truncate(1)).contains("sends to 1 clients from 1 on"));
    assert!(refused(|plan| plan.clients[0] = sender(0, open(1.0), 0)).contains("nobody but itself"));
}

#[test]
fn two_shares_of_one_plan_are_together_the_whole() {
    let server = null_server(false);
    let mut plan = plan(&server, false);
    // Each sender's receiver is the other share's.
    plan.clients = vec![sender(0, open(200.0), 1), sender(1, open(200.0), 0)];
    let start = Moment::now() + Duration::from_millis(300);
    struct At(Moment);
    impl Conductor for At {
        fn connecting(&mut self, _: u64, _: u64) {}
        fn ready(&mut self) -> Moment {
            self.0
        }
        fn window_opens(&mut self) {}
        fn interval(&mut self, _: &Interval) {}
        fn window_closes(&mut self) {}
        // Neither share can know; the whole drain is waited for.
        fn drained(&mut self, _: engine::Progress) -> bool {
            false
        }
    }

    let mut halves = thread::scope(|scope| {
        let plan = &plan;
        let share = |index| {
            scope.spawn(move || {
                engine::run(plan, Share { index, of: 2 }, &Stop::default(), &mut At(start))
                    .expect("a null server carries it")
            })
        };
        let both = [share(0), share(1)];
        both.map(|share| share.join().expect("no panic"))
    })
    .into_iter();

    let mut whole = halves.next().expect("two");
    whole.merge(halves.next().expect("two"));
    assert_all_arrived(&whole);
    assert_eq!(whole.flows.len(), 2);
    assert_eq!(whole.connects.established, 2);
    assert_eq!(whole.classes[0].delivered, whole.classes[0].due);
    assert_eq!(whole.series.iter().map(|step| step.sent).sum::<u64>(), whole.total.sent);
    assert_eq!(whole.start, start);
}

/// Says nothing, and starts at once.
struct Quiet;

impl Conductor for Quiet {
    fn connecting(&mut self, _: u64, _: u64) {}
    fn ready(&mut self) -> Moment {
        Moment::now()
    }
    fn window_opens(&mut self) {}
    fn interval(&mut self, _: &Interval) {}
    fn window_closes(&mut self) {}
}

fn run(plan: &Plan) -> Outcome {
    engine::run(plan, Share::ALL, &Stop::default(), &mut Quiet).expect("a null server carries it")
}

fn assert_all_arrived(outcome: &Outcome) {
    assert_eq!(outcome.total.delivered, outcome.total.sent, "{:?}", outcome.total);
    let spoilt = &outcome.total;
    let spoilt = [spoilt.duplicates, spoilt.reordered, spoilt.corrupt, spoilt.misrouted, spoilt.foreign];
    assert_eq!(spoilt, [0; 5], "{:?}", outcome.total);
    ledger::check(&outcome.total, &outcome.flows).expect("the books add up");
}

fn null_server(secure: bool) -> NullHandle {
    spawn_thread(NullOptions { listen: LOOPBACK, secure }).expect("a port on loopback")
}

fn target(address: SocketAddr, secure: bool) -> Target {
    let scheme = if secure { "https" } else { "http" };
    Target {
        url: format!("{scheme}://{address}"),
        address,
        sources: Vec::new(),
        pinned: None,
        resumption: false,
        ordinary_start: false,
    }
}

fn plan(server: &NullHandle, secure: bool) -> Plan {
    Plan {
        run: 7,
        seed: 42,
        target: target(server.address(), secure),
        classes: vec!["traffic".into()],
        clients: Vec::new(),
        arrival: Arrival::Before { at_once: 10, timeout: Duration::from_secs(30) },
        warm_up: Duration::from_millis(200),
        window: Duration::from_millis(400),
        drain: Duration::from_secs(5),
        interval: Duration::from_millis(100),
        threads: 1,
        cores: Vec::new(),
        coalesce: false,
        stay_awake: false,
    }
}

fn open(per_second: f64) -> Pacing {
    Pacing::Open { schedule: Schedule::Constant { per_second } }
}

fn receiver(group: u32) -> ClientPlan {
    ClientPlan {
        group,
        connect_at: Duration::ZERO,
        sending: None,
        reading: Reading::Prompt,
        answers: false,
        life: Life::Stays,
        reconnect: None,
    }
}

fn sender(group: u32, pacing: Pacing, to: u32) -> ClientPlan {
    let sending = Sending {
        to: Destinations::One { client: to },
        pacing,
        sizes: Sizes::Fixed { bytes: 200 },
        class: 0,
        requests: false,
    };
    ClientPlan { sending: Some(sending), ..receiver(group) }
}
