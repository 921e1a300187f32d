//! A made-up report with everything in it that a report can have: two relays and the null server on six workloads. Nothing in
//! it was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use ferry_loadtest::clock::Moment;
use ferry_loadtest::histogram::Durations;
use ferry_loadtest::knee::{Knee, Point};
use ferry_loadtest::ledger::{FlowTally, Tally};
use ferry_loadtest::machine::Machine;
use ferry_loadtest::metric::{Figure, Metric};
use ferry_loadtest::outcome::{ClassOutcome, Connects, Generator, Interval, Measured, Outcome};
use ferry_loadtest::process::Reading;
use ferry_loadtest::report::{Report, Run, SCHEMA, Section, Subject, ThresholdResult};
use ferry_loadtest::summary;
use ferry_loadtest::validity::Doubt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Rounds of every workload.
const ROUNDS: u32 = 5;
/// The servers: name, and how slow it is.
const SERVERS: [(&str, f64); 3] = [("derper", 1.0), ("ferry-relay", 0.54), ("null", 0.2)];
/// Steps of a run's series, a tenth of a second each.
const STEPS: u64 = 80;

/// What a workload is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Packets { rate: u64 },
    TwoClasses { rate: u64 },
    Knee,
    Idle { clients: u64 },
    Connects { rate: u64 },
    Reconnects { clients: u64 },
}

/// The report.
pub(crate) fn report() -> Report {
    let mut random = SmallRng::seed_from_u64(5);
    let sections = [
        ("pairs-10k", "10 pairs, 10,000 packets/s of 1,400 bytes, evenly", Shape::Packets { rate: 10_000 }),
        ("saturation", "10 pairs of 1,400 bytes: the rate up to which the server keeps up", Shape::Knee),
        ("fan-in", "20 senders to one receiver, 8,000 packets/s, Poisson", Shape::Packets { rate: 8_000 }),
        (
            "request-reply",
            "5 pairs ask 200 times a second beside 20 pairs with 5,000 packets/s",
            Shape::TwoClasses { rate: 5_000 },
        ),
        ("idle-10k", "10,000 clients that only are there", Shape::Idle { clients: 10_000 }),
        (
            "connection-storm",
            "300 connects a second, open loop, each held for 2 s",
            Shape::Connects { rate: 300 },
        ),
        (
            "reconnect-storm",
            "2,000 clients whose relay is restarted in mid-window",
            Shape::Reconnects { clients: 2_000 },
        ),
    ];
    let sections: Vec<Section> = sections
        .into_iter()
        .map(|(name, description, shape)| section(&mut random, name, description, shape))
        .collect();
    Report {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        title: "ferry-relay beside derper (a made-up example)".to_owned(),
        began: "2026-07-25T09:14:03Z".to_owned(),
        took: Duration::from_secs(2_520),
        arguments: ["ferry-load", "compare", "--scenario", "my scenario.toml"].map(str::to_owned).to_vec(),
        scenario:
            "title = \"an example\"\nrounds = 5\nbaseline = \"derper\"\n\n[[server]]\nname = \"derper\"\n"
                .to_owned(),
        machine: machine(),
        subjects: SERVERS.map(|(name, _)| subject(name)).to_vec(),
        baseline: Some("derper".to_owned()),
        sections,
        interrupted: false,
    }
}

fn machine() -> Machine {
    Machine {
        kernel: "Linux 6.18.0".to_owned(),
        processor: "Example Processor 9000 @ 2.60GHz".to_owned(),
        cores: 4,
        memory_bytes: 16 << 30,
        governor: Some("performance".to_owned()),
        hypervisor: Some("KVM".to_owned()),
        mitigations: vec!["spectre_v2: Mitigation: Enhanced IBRS".to_owned()],
        settings: vec![("net.ipv4.tcp_rmem".to_owned(), "4096 131072 6291456".to_owned())],
        files: 1_048_576,
    }
}

fn subject(name: &str) -> Subject {
    let command = match name {
        "derper" => "derper -a 127.0.0.1:{port} -certmode manual -c {dir}/derper.key",
        "null" => "",
        other => {
            return Subject {
                name: other.to_owned(),
                command: format!("{other} --config {{dir}}/relay.toml"),
                null: false,
            };
        }
    };
    Subject { name: name.to_owned(), command: command.to_owned(), null: name == "null" }
}

fn section(random: &mut SmallRng, name: &str, description: &str, shape: Shape) -> Section {
    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        let mut order = SERVERS;
        if round % 2 == 1 {
            order.swap(0, 1);
        }
        runs.extend(order.map(|(server, slow)| run(random, server, slow, round, shape)));
    }
    if name == "fan-in" {
        spoil(&mut runs);
    }
    let subjects = SERVERS.map(|(name, _)| subject(name));
    let comparisons = summary::compare(&runs, &subjects, "derper", 1);
    let thresholds = if name == "pairs-10k" { thresholds() } else { Vec::new() };
    Section {
        name: name.to_owned(),
        description: description.to_owned(),
        ceiling: Some(180_000.0),
        note: None,
        summaries: summary::summarise(&runs, 1),
        comparisons,
        runs,
        thresholds,
    }
}

fn thresholds() -> Vec<ThresholdResult> {
    let threshold =
        |bound: &str, value, held| ThresholdResult { bound: bound.to_owned(), value, surely: None, held };
    vec![
        threshold("ferry-relay's CPU per delivered packet at most 0.6 of derper's", Some(0.54), true),
        threshold("ferry-relay's latency p99 at most 0.9 of derper's", Some(0.97), false),
    ]
}

/// One run that was the generator's, one that failed, and a note.
fn spoil(runs: &mut [Run]) {
    runs[4].doubts.push(Doubt::GeneratorBusy { share: 0.93, paced: true });
    runs[4].doubts.push(Doubt::RateMissed { due: 8_000.0, sent: 7_430.5 });
    runs[7].doubts.push(Doubt::FewSamples { count: 712 });
    let (subject, round) = (runs[9].subject.clone(), runs[9].round);
    runs[9] = Run::failed(subject, round, "connection refused: derper did not answer within 5 s".to_owned());
}

fn run(random: &mut SmallRng, server: &str, slow: f64, round: u32, shape: Shape) -> Run {
    let noise = 1.0 + random.random_range(-0.05..0.05);
    let slow = slow * noise;
    let (subject, readings) = (server.to_owned(), vec![Reading::default(); 3]);
    if shape == Shape::Knee {
        let knee = knee(slow);
        let figures = vec![figure(Metric::ServerCpuPerPacket, 6.1 * slow), figure(Metric::Knee, knee.rate)];
        return Run::searched(subject, round, figures, Vec::new(), knee, readings);
    }
    let outcome = outcome(random, slow, shape);
    let figures = figures(&outcome, slow, shape);
    Run::measured(subject, round, figures, Vec::new(), &outcome, readings)
}

fn figure(metric: Metric, value: f64) -> Figure {
    Figure { metric, value }
}

fn micros(histogram: &Durations, quantile: f64) -> f64 {
    histogram.quantile(quantile).unwrap_or_default().as_secs_f64() * 1e6
}

fn figures(outcome: &Outcome, slow: f64, shape: Shape) -> Vec<Figure> {
    let seconds = outcome.window.as_secs_f64();
    let mut figures = Vec::new();
    if let Some(class) = outcome.classes.first() {
        figures.extend([
            figure(Metric::Offered, outcome.measured.due as f64 / seconds),
            figure(Metric::Delivered, outcome.measured.delivered as f64 / seconds),
            figure(Metric::LossShare, 1.0 - class.delivered as f64 / class.due as f64),
            figure(Metric::LatencyP50, micros(&class.latency, 0.5)),
            figure(Metric::LatencyP90, micros(&class.latency, 0.9)),
            figure(Metric::LatencyP99, micros(&class.latency, 0.99)),
            figure(Metric::LatencyP999, micros(&class.latency, 0.999)),
            figure(Metric::LatencyMost, micros(&class.latency, 1.0)),
            figure(Metric::UncorrectedP99, micros(&class.uncorrected, 0.99)),
            figure(Metric::Fairness, 0.998),
            figure(Metric::ServerCpuPerPacket, 6.3 * slow),
        ]);
    }
    figures.push(figure(Metric::ServerCores, 0.07 * slow));
    figures.push(figure(Metric::GeneratorCpuPerPacket, 2.1));
    match shape {
        Shape::Idle { .. } => {
            figures.push(figure(Metric::ServerResidentPerClient, 61.0 * slow));
            figures.push(figure(Metric::ServerProportionalPerClient, 58.0 * slow));
        }
        Shape::Connects { rate } => {
            figures.push(figure(Metric::ConnectsPerSecond, rate as f64));
            figures.push(figure(Metric::ConnectP50, micros(&outcome.connects.latency, 0.5) / 1e3));
            figures.push(figure(Metric::ConnectP99, micros(&outcome.connects.latency, 0.99) / 1e3));
            // One figure that is worse, one that cannot be told.
            figures.push(figure(Metric::ServerCpuPerConnect, 900.0 * slow.sqrt().recip()));
        }
        Shape::Reconnects { .. } => {
            figures.push(figure(Metric::OutageP95, micros(&outcome.connects.outages, 0.95) / 1e3));
            figures.push(figure(Metric::OutageMost, micros(&outcome.connects.outages, 1.0) / 1e3));
        }
        Shape::Packets { .. } | Shape::TwoClasses { .. } | Shape::Knee => {}
    }
    figures.sort_by_key(|figure| figure.metric);
    figures
}

/// Latencies like a queue's: most near the middle, a long tail.
fn latency(random: &mut SmallRng, middle_us: f64) -> Duration {
    let spread: f64 = (0..6).map(|_| random.random_range(-0.5..0.5)).sum();
    let tail = if random.random_bool(0.004) { random.random_range(2.0..12.0) } else { 1.0 };
    Duration::from_secs_f64(middle_us * (0.45 * spread).exp() * tail / 1e6)
}

fn histogram(random: &mut SmallRng, middle_us: f64, count: u64) -> Durations {
    let mut durations = Durations::new();
    (0..count).for_each(|_| durations.record(latency(random, middle_us)));
    durations
}

fn class(random: &mut SmallRng, name: &str, middle_us: f64, count: u64) -> ClassOutcome {
    let uncorrected = histogram(random, middle_us * 0.9, count);
    let mut latency = uncorrected.clone();
    // A pause that only the time from the due time shows.
    (0..count / 150).for_each(|n| latency.record(Duration::from_micros(40 * n)));
    ClassOutcome { name: name.to_owned(), due: count + 3, delivered: count, latency, uncorrected }
}

fn outcome(random: &mut SmallRng, slow: f64, shape: Shape) -> Outcome {
    let middle = 40.0 + 90.0 * slow;
    let (rate, classes) = match shape {
        Shape::Packets { rate } => (rate, vec![class(random, "packets", middle, rate)]),
        Shape::TwoClasses { rate } => (
            rate,
            vec![class(random, "requests", 2.1 * middle, 1_000), class(random, "background", middle, rate)],
        ),
        Shape::Knee | Shape::Idle { .. } | Shape::Connects { .. } | Shape::Reconnects { .. } => {
            (0, Vec::new())
        }
    };
    let series: Vec<Interval> =
        (0..STEPS).map(|step| interval(random, step, rate, middle, slow, shape)).collect();
    let sent = series.iter().map(|interval| interval.sent).sum();
    let lost = u64::from(rate > 0) * 17;
    let total = Tally {
        sent,
        delivered: sent - lost,
        lost,
        reordered: 0,
        sent_bytes: sent * 1_400,
        ..Tally::default()
    };
    let measured = Measured {
        due: rate * 5,
        sent: rate * 5,
        delivered: rate * 5 - lost.min(rate),
        delivered_bytes: rate * 5 * 1_400,
    };
    Outcome {
        start: Moment(1_000_000_000),
        window: Duration::from_secs(5),
        interrupted: false,
        total,
        measured,
        classes,
        flows: (0..20).map(|n| flow(n, sent / 20)).collect(),
        connects: connects(random, slow, shape),
        control_frames: BTreeMap::from([("keep-alive".to_owned(), 40), ("ping".to_owned(), 2)]),
        series,
        generator: Generator {
            cpu: Duration::from_millis(900),
            threads: vec![Duration::from_millis(900)],
            lateness: histogram(random, 12.0, 2_000),
            late: 3,
            blocked: 0,
            unsent: 0,
        },
    }
}

fn flow(number: u32, sent: u64) -> FlowTally {
    let tally = Tally { sent, delivered: sent - u64::from(number == 7) * 17.min(sent), ..Tally::default() };
    FlowTally { from: number, to: number + 20, tally }
}

fn connects(random: &mut SmallRng, slow: f64, shape: Shape) -> Connects {
    match shape {
        Shape::Connects { rate } => Connects {
            attempted: rate * 6,
            established: rate * 6 - 2,
            established_in_window: rate * 5,
            failed: BTreeMap::from([("timeout".to_owned(), 2)]),
            latency: histogram(random, 2_900.0 * (0.7 + 0.3 * slow), rate * 5),
            ..Connects::default()
        },
        Shape::Reconnects { clients } => Connects {
            attempted: 2 * clients,
            established: 2 * clients,
            established_in_window: clients,
            lost: BTreeMap::from([("connection reset".to_owned(), clients)]),
            latency: histogram(random, 4_000.0 * slow, clients),
            outages: histogram(random, 900_000.0 * (0.5 + slow), clients),
            ..Connects::default()
        },
        Shape::Packets { .. } | Shape::TwoClasses { .. } | Shape::Knee | Shape::Idle { .. } => Connects {
            attempted: 20,
            established: 20,
            latency: histogram(random, 3_000.0, 20),
            ..Connects::default()
        },
    }
}

fn interval(random: &mut SmallRng, step: u64, rate: u64, middle: f64, slow: f64, shape: Shape) -> Interval {
    let sent = if step < 70 { rate / 10 } else { 0 };
    let (connected, connections) = match shape {
        Shape::Connects { rate } => (if step < 70 { rate / 10 } else { 0 }, rate * 2 * step.min(20) / 20),
        Shape::Reconnects { clients } if (30..50).contains(&step) => {
            let back = 1.0 - (-(step as f64 - 29.0) / (4.0 + 9.0 * slow)).exp();
            (clients / 20, (clients as f64 * back) as u64)
        }
        Shape::Reconnects { clients } | Shape::Idle { clients } => (0, clients),
        Shape::Packets { .. } | Shape::TwoClasses { .. } | Shape::Knee => (0, 20),
    };
    let middle = if step == 41 { middle * 6.0 } else { middle };
    Interval {
        at: Duration::from_millis(100 * (step + 1)),
        length: Duration::from_millis(100),
        due: sent,
        sent,
        delivered: sent.saturating_sub(random.random_range(0..=sent / 40)),
        delivered_bytes: sent * 1_400,
        connected,
        connections,
        latency: histogram(random, middle, sent.min(50)),
        generator_cpu: Duration::from_millis(18),
    }
}

fn knee(slow: f64) -> Knee {
    let rate = 41_000.0 / slow;
    let point = |step: i32| {
        let offered = 2_000.0 * 2f64.powf(f64::from(step) / 2.0);
        let load = offered / rate;
        let over = (load - 1.0).max(0.0);
        Point {
            offered,
            delivered: offered.min(rate * 1.02),
            loss: over / load,
            p50: 45.0 + 60.0 * slow / (1.03 - load.min(1.0)) + 2e5 * over,
            p99: 120.0 + 260.0 * slow / (1.02 - load.min(1.0)) + 9e5 * over,
            server_cpu: Some(6.0 * slow + 20_000.0 / offered),
            kept_up: load < 1.0,
            generator_limited: offered > 150_000.0,
        }
    };
    let curve = (0..16)
        .map(point)
        .take_while(|point| point.offered < rate * 1.9 && point.offered < 260_000.0)
        .collect();
    Knee { rate, at_least: rate > 150_000.0, confirmed: true, curve }
}
