//! What is read, what is refused, and what becomes of it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;

use super::*;
use crate::plan::{Arrival, Destinations, Life, Pacing, Reading};
use crate::schedule::Schedule;

/// One of each kind and of each pace, as in a scenario.
const EXAMPLES: [(&str, &str); 21] = [
    (
        "kind = 'pairs', pairs = 10, rate = 10000, size = 1400",
        "10 pairs, 10,000 packets/s of 1,400 bytes, evenly",
    ),
    (
        "kind = 'pairs', pairs = 1, both-ways = true, rate = 0.5, size = '100-1400', poisson = true",
        "1 pair both ways, 0.5 packets/s of 100 to 1,400 bytes, at random",
    ),
    (
        "kind = 'pairs', pairs = 4, rate = 1000, ramp-to = 1234567, ramp-over = 10, size = 'imix'",
        "4 pairs, from 1,000 to 1,234,567 packets/s of IMIX sizes over 10 s",
    ),
    (
        "kind = 'pairs', pairs = 4, rate = 1000, on = 1, off = 2.5, size = 'tailscale'",
        "4 pairs, 1,000 packets/s of Tailscale's sizes for 1 s, then none for 2.5 s, and so on",
    ),
    (
        "kind = 'pairs', pairs = 4, window = 64, size = '64:7,512:4'",
        "4 pairs, 64 packets of mixed sizes (64:7,512:4) under way per sender",
    ),
    (
        "kind = 'pairs', pairs = 4, unlimited = true, size = 1400",
        "4 pairs, packets of 1,400 bytes as fast as the relay takes them",
    ),
    (
        "kind = 'fan-in', senders = 20, rate = 5000, size = 1400",
        "20 senders to one receiver, 5,000 packets/s of 1,400 bytes, evenly",
    ),
    (
        "kind = 'fan-out', receivers = 20, rate = 5000, size = 1400",
        "one sender to 20 receivers, 5,000 packets/s of 1,400 bytes, evenly",
    ),
    (
        "kind = 'all-to-all', clients = 256, rate = 5000, size = 1400",
        "256 clients all to all, 5,000 packets/s of 1,400 bytes, evenly",
    ),
    (
        "kind = 'all-to-all', clients = 256, exponent = 1.1, window = 1, size = 1400",
        "256 clients all to all by Zipf's law (1.1), 1 packet of 1,400 bytes under way per sender",
    ),
    (
        "kind = 'request-reply', pairs = 4, request-rate = 400, background-pairs = 10, rate = 20000, size = 1400",
        "4 pairs, 400 requests/s of 128 bytes, beside 10 pairs, 20,000 packets/s of 1,400 bytes, evenly",
    ),
    ("kind = 'probe', probe-rate = 100", "a flow of 100 packets/s of 128 bytes"),
    (
        "kind = 'probe', probe-rate = 100, probe-size = 1400, senders = 4, unlimited = true, size = 1400",
        "a flow of 100 packets/s of 1,400 bytes, beside 4 senders to its receiver, packets of 1,400 bytes as fast as the relay takes them",
    ),
    ("kind = 'idle', clients = 10000", "10,000 clients idle"),
    (
        "kind = 'idle', clients = 100, burst = 2, rate = 5000, size = 1400",
        "100 clients idle but for a burst of 5,000 packets/s of 1,400 bytes for 2 s",
    ),
    (
        "kind = 'pairs-beside-storm', pairs = 10, rate = 5000, size = 1400, per-second = 200, hold = 1",
        "10 pairs, 5,000 packets/s of 1,400 bytes, evenly, beside 200 connections/s, each held for 1 s",
    ),
    (
        "kind = 'connection-storm', per-second = 200, hold = 0.5, resumption = true",
        "200 connections/s, each held for 0.5 s, TLS sessions resumed",
    ),
    (
        "kind = 'connection-storm', per-second = 200, hold = 0.5, ordinary-start = true",
        "200 connections/s, each held for 0.5 s, no fast start",
    ),
    (
        "kind = 'reconnect-storm', clients = 500, rate = 1000, size = 200",
        "500 clients whose relay restarts, 1,000 packets/s of 200 bytes, evenly",
    ),
    (
        "kind = 'slow-readers', pairs = 10, slow-share = 0.2, bytes-per-second = 0, rate = 1000, size = 1400",
        "10 pairs of which 2 receivers do not read, 1,000 packets/s of 1,400 bytes, evenly",
    ),
    (
        "kind = 'churn', pairs = 50, stay = 2, away = 1, rate = 1000, size = 1400",
        "50 pairs whose receivers stay for about 2 s and are away for about 1 s, 1,000 packets/s of 1,400 bytes, evenly",
    ),
];

#[test]
fn every_shape_is_read_and_told_in_words() {
    for (text, words) in EXAMPLES {
        assert_eq!(load(text).describe(), words);
    }
}

#[test]
fn a_shape_is_written_as_it_was_read() {
    for (text, _) in EXAMPLES {
        let workload = load(text);
        let written = serde_json::to_string(&workload).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&written).unwrap(), workload, "{written}");
    }
}

#[test]
fn the_command_line_takes_the_same_keys() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        keys: Keys,
    }
    for (text, _) in EXAMPLES {
        let line = format!("test {}", text.replace("kind = ", ""));
        let line = line.replace(" = true", "").replace('\'', "").replace(", ", " --").replace(" = ", "=");
        let read = Line::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(Workload::try_from(read.keys).unwrap(), load(text), "{line}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("kind = 'circle', rate = 1", "unknown variant `circle`"),
        ("kind = 'pairs', pairs = 1, rate = 1, size = 100, colour = 1", "unknown field `colour`"),
        ("kind = 'pairs', rate = 1, size = 100", "a load of kind \"pairs\" needs `pairs`"),
        ("kind = 'pairs', pairs = 1, rate = 1", "needs `size`"),
        ("kind = 'pairs', pairs = 1, size = 100", "needs one of `rate`, `window` and `unlimited`"),
        (
            "kind = 'pairs', pairs = 1, size = 100, rate = 1, window = 1",
            "`rate` and `window` exclude each other",
        ),
        (
            "kind = 'pairs', pairs = 1, size = 100, rate = 1, unlimited = true",
            "`rate` and `unlimited` exclude",
        ),
        (
            "kind = 'pairs', pairs = 1, size = 100, window = 1, unlimited = true",
            "`window` and `unlimited` exclude",
        ),
        ("kind = 'pairs', pairs = 1, size = 100, window = 1, poisson = true", "`poisson` needs `rate`"),
        ("kind = 'pairs', pairs = 1, size = 100, unlimited = true, on = 1", "`on` needs `rate`"),
        ("kind = 'pairs', pairs = 1, size = 100, rate = 1, on = 1", "`on` needs `off`"),
        ("kind = 'pairs', pairs = 1, size = 100, rate = 1, ramp-over = 1", "`ramp-over` needs `ramp-to`"),
        (
            "kind = 'pairs', pairs = 1, size = 100, rate = 1, poisson = true, on = 1, off = 1",
            "`poisson` and `on` exclude",
        ),
        (
            "kind = 'pairs', pairs = 1, size = 100, rate = 1, poisson = true, ramp-to = 1, ramp-over = 1",
            "`poisson` and `ramp-to` exclude",
        ),
        (
            "kind = 'pairs', pairs = 1, size = 100, rate = 1, on = 1, off = 1, ramp-to = 1, ramp-over = 1",
            "`ramp-to` and `on` exclude",
        ),
        (
            "kind = 'fan-in', senders = 1, rate = 1, size = 100, exponent = 1",
            "`exponent` means nothing to a load of kind \"fan-in\"; it belongs to all-to-all",
        ),
        (
            "kind = 'connection-storm', per-second = 1, rate = 1",
            "`rate` means nothing to a load of kind \"connection-storm\"; it belongs to pairs, fan-in",
        ),
        ("kind = 'idle', clients = 1, rate = 1", "`rate` needs `burst`"),
        ("kind = 'idle', clients = 2, burst = 1, rate = 1", "needs `size`"),
        (
            "kind = 'idle', clients = 3, burst = 1, rate = 1, size = 100",
            "`clients` is 3, want an even number",
        ),
        ("kind = 'idle', clients = 2, burst = 0, rate = 1, size = 100", "`burst` is 0 s, want more than 0"),
        (
            "kind = 'idle', clients = 2, burst = 1, window = 1, size = 100",
            "a burst is sent evenly, by `rate` and `size` alone",
        ),
        ("kind = 'probe', rate = 1", "`rate` needs `senders`"),
        ("kind = 'probe'", "a load of kind \"probe\" needs `probe-rate`"),
        ("kind = 'probe', probe-rate = 0", "`probe-rate` is 0 a second"),
        (
            "kind = 'probe', probe-rate = 1, senders = 0, rate = 1, size = 100",
            "`senders` is 0, want 1 to 999998",
        ),
        ("kind = 'pairs-beside-storm', pairs = 1, rate = 1, size = 100", "needs `per-second`"),
        ("kind = 'idle', clients = 1, both-ways = true", "`both-ways` means nothing"),
        ("kind = 'idle', clients = 0", "`clients` is 0, want 1 to 1000000"),
        ("kind = 'idle', clients = 1000001", "`clients` is 1000001"),
        ("kind = 'pairs', pairs = 500001, rate = 1, size = 100", "`pairs` is 500001, want 1 to 500000"),
        (
            "kind = 'pairs', pairs = 1, rate = 0, size = 100",
            "`rate` is 0 a second, want more than 0 and at most 10000000",
        ),
        ("kind = 'pairs', pairs = 1, rate = 10000001, size = 100", "`rate` is 10000001 a second"),
        ("kind = 'pairs', pairs = 1, rate = nan, size = 100", "`rate` is NaN a second"),
        (
            "kind = 'pairs', pairs = 1, rate = 1, ramp-to = 0, ramp-over = 1, size = 100",
            "`ramp-to` is 0 a second",
        ),
        ("kind = 'pairs', pairs = 1, rate = 1, on = 0, off = 1, size = 100", "`on` is 0 s, want more than 0"),
        ("kind = 'pairs', pairs = 1, window = 0, size = 100", "`window` is 0 packets"),
        ("kind = 'pairs', pairs = 1, rate = 1, size = 20", "size of 20 bytes"),
        ("kind = 'all-to-all', clients = 1, rate = 1, size = 100", "`clients` is 1, want 2"),
        (
            "kind = 'all-to-all', clients = 2, rate = 1, size = 100, exponent = -1",
            "`exponent` is -1, want 0 to 10",
        ),
        (
            "kind = 'reconnect-storm', clients = 7, rate = 1, size = 100",
            "`clients` is 7, want an even number",
        ),
        ("kind = 'connection-storm', per-second = -1", "`per-second` is -1 a second"),
        ("kind = 'connection-storm', per-second = 1, hold = -1", "`hold` is -1 s, want 0 or more"),
        (
            "kind = 'churn', pairs = 1, stay = 0, away = 1, rate = 1, size = 100",
            "`stay` is 0 s, want more than 0",
        ),
        ("kind = 'churn', pairs = 1, stay = 1, away = 1e9, rate = 1, size = 100", "at most 604800 s"),
        (
            "kind = 'slow-readers', pairs = 1, slow-share = 1.5, bytes-per-second = 0, rate = 1, size = 100",
            "`slow-share` is 1.5",
        ),
        ("kind = 'request-reply', pairs = 1, request-rate = 1, rate = 1", "`rate` needs `background-pairs`"),
        (
            "kind = 'request-reply', pairs = 1, request-rate = 1, background-pairs = 1, rate = 1",
            "needs `size`",
        ),
        (
            "kind = 'request-reply', pairs = 1, request-rate = 1, background-pairs = 500000, rate = 1, size = 100",
            "`background-pairs` is 500000, want 1 to 499999",
        ),
    ];
    for (text, want) in cases {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn clients_send_to_others_of_the_plan_in_classes_of_the_plan() {
    for (text, _) in EXAMPLES {
        let plan = plan(text);
        let count = plan.clients.len() as u32;
        for (client, sending) in senders(&plan) {
            let (first, length) = match sending.to {
                Destinations::One { client: peer } => {
                    assert_ne!(peer, client, "{text}");
                    (peer, 1)
                }
                Destinations::InTurn { first, count }
                | Destinations::Uniform { first, count }
                | Destinations::Zipf { first, count, .. } => (first, count),
            };
            assert!(first + length <= count, "{text}: client {client} sends to {first} and {length} more");
            assert!(usize::from(sending.class) < plan.classes.len(), "{text}: class {}", sending.class);
        }
    }
}

#[test]
fn the_senders_rates_add_up_to_what_is_offered() {
    for (text, _) in EXAMPLES {
        let workload = load(text);
        let plan = plan(text);
        let rates = senders(&plan).into_iter().map(|(_, sending)| match sending.pacing {
            Pacing::Open { schedule } => Some(schedule.mean_rate()),
            Pacing::Closed { .. } | Pacing::Unlimited => None,
        });
        // One without a rate, and there is none of all together.
        let sum = rates.sum::<Option<f64>>().unwrap_or(0.0);
        let is_storm = matches!(workload, Workload::ConnectionStorm { .. });
        let want = workload.offered().filter(|_| !is_storm).unwrap_or(0.0);
        assert!((sum - want).abs() < 1e-6 * want.max(1.0), "{text}: {sum}, want {want}");
    }
}

#[test]
fn another_rate_is_what_is_then_offered_and_the_shape_stays() {
    for (text, _) in EXAMPLES {
        let workload = load(text);
        let Some(faster) = workload.at_rate(123_456.0) else {
            let is_storm = matches!(workload, Workload::ConnectionStorm { .. });
            assert!(workload.offered().is_none() || is_storm, "{text}");
            continue;
        };
        assert!((faster.offered().unwrap() - 123_456.0).abs() < 1e-6, "{text}");
        let (was, is) = (plan(text), faster.plan(frame()).unwrap());
        assert_eq!(was.clients.len(), is.clients.len());
        assert_eq!(was.classes, is.classes);
    }
}

#[test]
fn a_background_gives_way_to_the_requests() {
    let workload = load(
        "kind = 'request-reply', pairs = 4, request-rate = 400, background-pairs = 10, rate = 1, size = 1400",
    );
    let slow = workload.at_rate(100.0).unwrap();
    assert_eq!(slow.offered(), Some(400.0));
    let fast = slow.at_rate(1000.0).unwrap();
    let Workload::RequestReply { request_rate, background: Some(background), .. } = fast else {
        panic!("another shape")
    };
    assert_eq!((request_rate, background.traffic.pace), (400.0, Pace::constant(600.0)));
}

#[test]
fn both_ends_of_a_closed_loop_share_a_thread() {
    let closed = [
        "kind = 'pairs', pairs = 5, both-ways = true, window = 4, size = 100",
        "kind = 'fan-in', senders = 5, window = 4, size = 100",
        "kind = 'fan-out', receivers = 5, window = 4, size = 100",
        "kind = 'all-to-all', clients = 5, window = 4, size = 100",
        "kind = 'request-reply', pairs = 3, request-rate = 1, background-pairs = 5, window = 4, size = 100",
        "kind = 'reconnect-storm', clients = 6, window = 4, size = 100",
        "kind = 'slow-readers', pairs = 5, slow-share = 0.5, bytes-per-second = 9, window = 4, size = 100",
        "kind = 'churn', pairs = 5, stay = 1, away = 1, window = 4, size = 100",
    ];
    for text in closed {
        let plan = plan(text);
        for (client, sending) in senders(&plan) {
            let (first, count) = match sending.to {
                Destinations::One { client } => (client, 1),
                Destinations::InTurn { first, count }
                | Destinations::Uniform { first, count }
                | Destinations::Zipf { first, count, .. } => (first, count),
            };
            for peer in first..first + count {
                assert_eq!(plan.clients[peer as usize].group, plan.clients[client as usize].group, "{text}");
            }
        }
    }
}

#[test]
fn an_open_loops_clients_spread_over_threads() {
    for text in [
        "kind = 'fan-in', senders = 9, rate = 4, size = 100",
        "kind = 'fan-out', receivers = 9, rate = 4, size = 100",
        "kind = 'all-to-all', clients = 10, rate = 4, size = 100",
        "kind = 'idle', clients = 10",
    ] {
        let groups: HashSet<_> = plan(text).clients.iter().map(|client| client.group).collect();
        assert_eq!(groups.len(), 10, "{text}");
    }
}

#[test]
fn requests_are_answered_and_the_background_is_not() {
    let plan = plan(
        "kind = 'request-reply', pairs = 2, request-rate = 400, background-pairs = 3, rate = 600, size = 1400",
    );
    assert_eq!(plan.classes, ["request", "background"]);
    assert_eq!(plan.clients.len(), 10);
    let answering: Vec<_> = plan.clients.iter().map(|client| client.answers).collect();
    assert_eq!(answering, [false, true, false, true, false, false, false, false, false, false]);
    let sending: Vec<_> = senders(&plan)
        .into_iter()
        .map(|(client, sending)| (client, sending.to.clone(), sending.class, sending.requests))
        .collect();
    let one = |client| Destinations::One { client };
    assert_eq!(
        sending,
        [
            (0, one(1), 0, true),
            (2, one(3), 0, true),
            (4, one(5), 1, false),
            (6, one(7), 1, false),
            (8, one(9), 1, false)
        ]
    );
}

#[test]
fn a_storm_connects_through_warm_up_and_window_evenly() {
    let plan = plan("kind = 'connection-storm', per-second = 200, hold = 0.5, resumption = true");
    assert_eq!(plan.arrival, Arrival::Scheduled);
    assert!(plan.target.resumption && !plan.target.ordinary_start);
    // One second of warm-up and five of window.
    assert_eq!(plan.clients.len(), 1200);
    assert_eq!(plan.clients[1199].connect_at, Duration::from_micros(5_995_000));
    assert!(
        plan.clients.iter().all(|client| client.life == Life::Leaves { after: Duration::from_millis(500) })
    );
    let long = load("kind = 'connection-storm', per-second = 200000");
    let error = long.plan(frame()).unwrap_err();
    assert_eq!(error, WorkloadError::Storm { per_second: 200_000.0, seconds: 6.0 });
}

#[test]
fn a_probe_and_those_beside_it_write_to_the_same_receiver() {
    let plan = plan("kind = 'probe', probe-rate = 100, senders = 2, unlimited = true, size = 1400");
    assert_eq!(plan.classes, ["probe", "background"]);
    let sending: Vec<_> =
        senders(&plan).into_iter().map(|(from, sending)| (from, sending.to.clone(), sending.class)).collect();
    let to_first = Destinations::One { client: 0 };
    assert_eq!(sending, [(1, to_first.clone(), 0), (2, to_first.clone(), 1), (3, to_first, 1)]);
    // The flow's two ends share a thread, and those beside it share another.
    let groups: Vec<_> = plan.clients.iter().map(|client| client.group).collect();
    assert_eq!(groups, [0, 0, 1, 1]);
}

#[test]
fn a_closed_loop_beside_a_probe_shares_its_receivers_thread() {
    let plan = plan("kind = 'probe', probe-rate = 100, senders = 2, window = 8, size = 1400");
    assert!(plan.clients.iter().all(|client| client.group == 0));
}

#[test]
fn a_burst_begins_with_the_window() {
    let plan = plan("kind = 'idle', clients = 4, burst = 2, rate = 100, size = 1400");
    let (after, lasting) = (Duration::from_secs(1), Duration::from_secs(2));
    let schedule = Schedule::Once { after, per_second: 25.0, lasting };
    assert_eq!(senders(&plan).len(), 4);
    assert!(senders(&plan).iter().all(|(_, sending)| sending.pacing == Pacing::Open { schedule }));
}

#[test]
fn the_pairs_are_there_before_the_storm_beside_them() {
    let plan =
        plan("kind = 'pairs-beside-storm', pairs = 2, rate = 100, size = 1400, per-second = 10, hold = 1");
    assert!(matches!(plan.arrival, Arrival::Partly { first: 4, .. }), "{:?}", plan.arrival);
    assert_eq!(plan.clients.len(), 4 + 60);
    let (pairs, storm) = plan.clients.split_at(4);
    assert!(pairs.iter().all(|client| client.life == Life::Stays && client.group.is_multiple_of(2)));
    let leaves = Life::Leaves { after: Duration::from_secs(1) };
    assert!(storm.iter().all(|client| client.life == leaves && !client.group.is_multiple_of(2)));
    assert_eq!(storm[1].connect_at, Duration::from_millis(100));
    assert!(storm.iter().all(|client| client.sending.is_none()));
}

#[test]
fn some_receivers_are_slow_and_their_senders_are_a_class() {
    let text =
        "kind = 'slow-readers', pairs = 10, slow-share = 0.2, bytes-per-second = 9000, rate = 1, size = 100";
    let plan = plan(text);
    assert_eq!(plan.classes, ["prompt", "slow"]);
    for (sender, sending) in senders(&plan) {
        let receiver = &plan.clients[sender as usize + 1];
        let slow = sending.class == 1;
        assert_eq!(receiver.reading == Reading::Slow { bytes_per_second: 9000 }, slow);
        assert_eq!(receiver.reconnect.is_some(), slow);
    }
    assert_eq!(senders(&plan).iter().filter(|(_, sending)| sending.class == 1).count(), 2);
    let one = load(
        "kind = 'slow-readers', pairs = 3, slow-share = 0.01, bytes-per-second = 0, rate = 1, size = 100",
    );
    let plan = one.plan(frame()).unwrap();
    assert_eq!(plan.clients.iter().filter(|client| client.reading == Reading::Stopped).count(), 1);
}

#[test]
fn receivers_that_churn_do_not_all_go_at_once() {
    let plan = plan("kind = 'churn', pairs = 50, stay = 2, away = 1, rate = 1000, size = 1400");
    let mut stays = HashSet::new();
    for pair in plan.clients.chunks(2) {
        assert_eq!(pair[0].life, Life::Stays);
        let Life::Churns { stay, away } = pair[1].life else { panic!("a receiver that stays") };
        assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&stay), "{stay:?}");
        assert!((Duration::from_millis(500)..=Duration::from_millis(1500)).contains(&away), "{away:?}");
        stays.insert(stay);
    }
    assert!(stays.len() > 45, "{} different times", stays.len());
}

#[test]
fn who_loses_a_restarted_relay_comes_back() {
    let plan = plan("kind = 'reconnect-storm', clients = 500, rate = 1000, size = 200");
    assert_eq!(plan.clients.len(), 500);
    assert!(plan.clients.iter().all(|client| client.reconnect.is_some() && client.sending.is_some()));
}

#[test]
fn the_same_seed_gives_the_same_plan_and_the_plan_travels_as_json() {
    for (text, _) in EXAMPLES {
        assert_eq!(plan(text), plan(text));
        let written = serde_json::to_string(&plan(text)).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan(text));
    }
}

#[test]
fn a_series_has_some_hundred_steps() {
    for seconds in [1, 10, 30, 120, 600, 3600, 86_400] {
        let window = Duration::from_secs(seconds);
        let phases = Phases { warm_up: Duration::ZERO, window, drain: Duration::ZERO };
        let steps = window.as_secs_f64() / interval(&phases).as_secs_f64();
        assert!((10.0..=600.1).contains(&steps), "{steps} steps in {seconds} s");
    }
}

#[test]
fn a_made_workload_is_checked_before_it_is_planned() {
    let traffic = Traffic { pace: Pace::constant(-1.0), size: "100".parse().unwrap() };
    let made = Workload::Pairs { pairs: 1, both_ways: false, traffic };
    assert_eq!(made.plan(frame()).unwrap_err(), WorkloadError::Rate { key: "rate", value: -1.0 });
    let shape = Schedule::OnOff { per_second: 1.0, on: Duration::ZERO, off: Duration::ZERO };
    let traffic = Traffic { pace: Pace::Open(shape), size: "100".parse().unwrap() };
    let made = Workload::FanIn { senders: 1, traffic };
    let error = WorkloadError::Seconds { key: "on", value: 0.0, zero: false };
    assert_eq!(made.plan(frame()).unwrap_err(), error);
}

fn read(text: &str) -> Result<Workload, toml::de::Error> {
    #[derive(Debug, Deserialize)]
    struct Entry {
        load: Workload,
    }
    toml::from_str::<Entry>(&format!("load = {{ {text} }}")).map(|entry| entry.load)
}

fn load(text: &str) -> Workload {
    read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn plan(text: &str) -> Plan {
    load(text).plan(frame()).unwrap()
}

fn senders(plan: &Plan) -> Vec<(u32, &crate::plan::Sending)> {
    let sending = |(client, plan): (u32, _)| -> Option<_> {
        let plan: &crate::plan::ClientPlan = plan;
        Some((client, plan.sending.as_ref()?))
    };
    (0..).zip(&plan.clients).filter_map(sending).collect()
}

fn frame() -> Frame {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    let target = Target {
        url: "https://127.0.0.1:443".to_owned(),
        address,
        sources: Vec::new(),
        pinned: None,
        resumption: false,
        ordinary_start: false,
    };
    let phases = Phases {
        warm_up: Duration::from_secs(1),
        window: Duration::from_secs(5),
        drain: Duration::from_secs(2),
    };
    Frame {
        target,
        run: 1,
        seed: 2,
        phases,
        threads: 1,
        cores: Vec::new(),
        coalesce: false,
        stay_awake: false,
    }
}

#[test]
fn a_closed_loop_has_a_deep_window_until_many_senders_share_it() {
    let traffic = || Traffic { pace: Pace::constant(1_000.0), size: "100".parse().unwrap() };
    let pairs = |pairs, both_ways| Workload::Pairs { pairs, both_ways, traffic: traffic() };
    let window = |workload: Workload| {
        let Some(Workload::Pairs { traffic, .. } | Workload::FanOut { traffic, .. }) =
            workload.closed_loop(64, 1_024)
        else {
            panic!("another shape")
        };
        traffic.pace
    };
    assert_eq!(window(pairs(10, false)), Pace::Closed { window: 64 });
    assert_eq!(window(pairs(16, true)), Pace::Closed { window: 32 });
    assert_eq!(window(pairs(5_000, false)), Pace::Closed { window: 1 });
    assert_eq!(window(Workload::FanOut { receivers: 100, traffic: traffic() }), Pace::Closed { window: 64 });
    assert_eq!(Workload::Idle { clients: 5, burst: None }.closed_loop(64, 1_024), None);
}
