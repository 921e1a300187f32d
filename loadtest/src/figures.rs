//! From what a run gave to the figures that it is judged by: only those that mean something.

use std::time::Duration;

use crate::histogram::Durations;
use crate::knee::{Knee, Point};
use crate::ledger;
use crate::metric::{Figure, Metric};
use crate::outcome::{Connects, Outcome};
use crate::process::Reading;
use crate::shape::Shape;
use crate::validity::Doubt;

/// With fewer clients than this, what a server's memory grows by is not the clients'.
const CLIENTS_LEAST: u64 = 100;
/// The class of STUN requests that ask for no answer.
const JUNK: &str = "junk";
/// Stands for a latency that is longer than can be said, µs: the longest that histograms tell apart.
const NEVER_US: f64 = 60e6;

/// What was seen of the server's process. A reading is None where there was none, or where the process is another one than
/// before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerReadings {
    /// Before anybody connected.
    pub before: Option<Reading>,
    /// As the window opened.
    pub opened: Option<Reading>,
    /// As the window closed.
    pub closed: Option<Reading>,
}

/// The traffic that a workload is about, which its latency and loss are told of: a plan's first class (what the others do is in
/// the background), all of a STUN load's but the junk.
#[derive(Debug, Clone, Default)]
pub(crate) struct MainTraffic {
    pub(crate) due: u64,
    pub(crate) delivered: u64,
    pub(crate) latency: Durations,
    pub(crate) uncorrected: Durations,
}

impl MainTraffic {
    pub(crate) fn of(shape: Shape, outcome: &Outcome) -> Self {
        let mut main = Self::default();
        let classes =
            outcome.classes.iter().filter(|class| class.due > 0 && !(shape.stun && class.name == JUNK));
        for class in classes.take(if shape.stun { usize::MAX } else { 1 }) {
            main.due += class.due;
            main.delivered += class.delivered;
            main.latency.merge(&class.latency);
            main.uncorrected.merge(&class.uncorrected);
        }
        main
    }
}

/// The figures of a run, in the metrics' order. `connected` clients were there as the window closed. The outcome's flows must not
/// be cut yet.
pub fn of_run(
    shape: impl Into<Shape>,
    outcome: &Outcome,
    server: &ServerReadings,
    connected: u64,
) -> Vec<Figure> {
    let shape = shape.into();
    let mut figures = Figures { list: Vec::new(), window: outcome.window.as_secs_f64() };
    if shape.storm {
        figures.storm(&outcome.connects);
    } else {
        figures.traffic(shape, outcome);
        if shape.beside_storm {
            figures.storm(&outcome.connects);
        }
    }
    figures.server(shape, outcome, server);
    let herd = !shape.stun && !shape.storm && !shape.beside_storm && connected >= CLIENTS_LEAST;
    if herd && shape.burst {
        figures.memory_around_burst(server, connected);
    } else if herd {
        figures.memory(server, connected);
    }
    figures.outages(&outcome.connects);
    figures.generator(shape, outcome);
    figures.list.sort_by_key(|figure| figure.metric);
    figures.list
}

/// The figure of a search for the knee; None for one that was not confirmed. Of a server that kept up with nothing it is 0.
pub fn of_knee(knee: &Knee) -> Option<Figure> {
    let never_kept_up = knee.rate == 0.0 && !knee.at_least;
    (knee.confirmed || never_kept_up).then_some(Figure { metric: Metric::Knee, value: knee.rate })
}

/// A run as a point of the search for the knee: `offered` packets a second were asked for. A server that delivered too little to
/// tell its latency has the longest.
pub fn point(offered: f64, figures: &[Figure], doubts: &[Doubt]) -> Point {
    let value = |metric| figures.iter().find(|figure| figure.metric == metric).map(|figure| figure.value);
    Point {
        offered,
        delivered: value(Metric::Delivered).unwrap_or(0.0),
        loss: value(Metric::LossShare).unwrap_or(1.0),
        p50: value(Metric::LatencyP50).unwrap_or(NEVER_US),
        p99: value(Metric::LatencyP99).unwrap_or(NEVER_US),
        server_cpu: value(Metric::ServerCpuPerPacket),
        kept_up: false,
        generator_limited: doubts.iter().any(Doubt::means_generator_was_the_limit),
    }
}

struct Figures {
    list: Vec<Figure>,
    /// Seconds.
    window: f64,
}

impl Figures {
    /// A number that is none (of a window of no length) is no figure.
    fn push(&mut self, metric: Metric, value: f64) {
        if value.is_finite() {
            self.list.push(Figure { metric, value });
        }
    }

    fn push_some(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.push(metric, value);
        }
    }

    fn traffic(&mut self, shape: Shape, outcome: &Outcome) {
        let measured = outcome.measured;
        if measured.due == 0 {
            return;
        }
        if shape.open_loop {
            self.push(Metric::Offered, measured.due as f64 / self.window);
        }
        self.push(Metric::Sent, measured.sent as f64 / self.window);
        self.push(Metric::Delivered, measured.delivered as f64 / self.window);
        if !shape.stun {
            let megabits = measured.delivered_bytes as f64 * 8.0 / 1e6;
            self.push(Metric::DeliveredMegabits, megabits / self.window);
        }
        if shape.even_flows && outcome.flows.len() > 1 {
            self.push_some(Metric::Fairness, ledger::fairness(&outcome.flows));
        }

        let main = MainTraffic::of(shape, outcome);
        if main.due > 0 {
            self.push(Metric::LossShare, main.due.saturating_sub(main.delivered) as f64 / main.due as f64);
        }
        self.push_some(Metric::LatencyP50, quantile(&main.latency, 500).map(microseconds));
        self.push_some(Metric::LatencyP90, quantile(&main.latency, 900).map(microseconds));
        self.push_some(Metric::LatencyP99, quantile(&main.latency, 990).map(microseconds));
        self.push_some(Metric::LatencyP999, quantile(&main.latency, 999).map(microseconds));
        self.push_some(Metric::LatencyMost, main.latency.longest().map(microseconds));
        if shape.open_loop {
            self.push_some(Metric::UncorrectedP99, quantile(&main.uncorrected, 990).map(microseconds));
        }
    }

    fn storm(&mut self, connects: &Connects) {
        if connects.attempted == 0 {
            return;
        }
        let failed: u64 = connects.failed.values().sum();
        self.push(Metric::ConnectsPerSecond, connects.established_in_window as f64 / self.window);
        self.push(Metric::ConnectFailures, failed as f64 / connects.attempted as f64);
        self.push_some(Metric::ConnectP50, quantile(&connects.latency, 500).map(milliseconds));
        self.push_some(Metric::ConnectP99, quantile(&connects.latency, 990).map(milliseconds));
    }

    fn server(&mut self, shape: Shape, outcome: &Outcome, server: &ServerReadings) {
        let (Some(opened), Some(closed)) = (server.opened, server.closed) else { return };
        // A process that has used less than before is another one.
        let Some(cpu) = closed.cpu.checked_sub(opened.cpu) else { return };

        self.push(Metric::ServerCores, cpu.as_secs_f64() / self.window);
        // What it spent on packets and what on handshakes, nobody knows.
        if shape.beside_storm {
            return;
        }
        let (metric, count) = if shape.storm {
            (Metric::ServerCpuPerConnect, outcome.connects.established_in_window)
        } else {
            (Metric::ServerCpuPerPacket, outcome.measured.delivered)
        };
        if count > 0 {
            self.push(metric, microseconds(cpu) / count as f64);
        }
    }

    fn memory(&mut self, server: &ServerReadings, connected: u64) {
        let (Some(before), Some(closed)) = (server.before, server.closed) else { return };
        self.push(Metric::ServerResidentPerClient, per_client(before.resident, closed.resident, connected));
        if let (Some(before), Some(after)) = (before.proportional, closed.proportional) {
            self.push(Metric::ServerProportionalPerClient, per_client(before, after, connected));
        }
    }

    fn memory_around_burst(&mut self, server: &ServerReadings, connected: u64) {
        let (Some(before), Some(opened), Some(closed)) = (server.before, server.opened, server.closed) else {
            return;
        };
        let idle = per_client(before.resident, opened.resident, connected);
        let after = per_client(before.resident, closed.resident, connected);
        self.push(Metric::ServerResidentPerClient, idle);
        self.push(Metric::ServerResidentAfterBurst, after);
        if idle > 0.0 {
            self.push(Metric::ServerResidentKept, after / idle);
        }
    }

    fn outages(&mut self, connects: &Connects) {
        if connects.outages.count() == 0 {
            return;
        }
        let quantile = |share| outage_quantile(connects, share).map(milliseconds);
        self.push_some(Metric::OutageP50, quantile(0.50));
        self.push_some(Metric::OutageP95, quantile(0.95));
        self.push_some(Metric::OutageP99, quantile(0.99));
        if connects.absent == 0 {
            self.push_some(Metric::OutageMost, connects.outages.longest().map(milliseconds));
        }
    }

    fn generator(&mut self, shape: Shape, outcome: &Outcome) {
        let generator = &outcome.generator;
        if !shape.storm && outcome.measured.sent > 0 && !generator.cpu.is_zero() {
            let per_packet = microseconds(generator.cpu) / outcome.measured.sent as f64;
            self.push(Metric::GeneratorCpuPerPacket, per_packet);
        }
        if let Some(busiest) = generator.threads.iter().max() {
            self.push(Metric::GeneratorBusiest, busiest.as_secs_f64() / self.window);
        }
    }
}

/// What came on top for each client, in KiB.
fn per_client(before: u64, after: u64, clients: u64) -> f64 {
    (after as f64 - before as f64) / 1024.0 / clients as f64
}

/// The value at so many thousandths; None if fewer than one lies beyond, for then it would be the longest under another name.
fn quantile(durations: &Durations, thousandths: u64) -> Option<Duration> {
    if durations.count().saturating_mul(1_000 - thousandths) < 1_000 {
        return None;
    }
    durations.quantile(thousandths as f64 / 1_000.0)
}

/// The value that a share of all outages did not exceed, where those that have not ended exceed every other; None if that share
/// had not ended.
fn outage_quantile(connects: &Connects, share: f64) -> Option<Duration> {
    let ended = connects.outages.count() as f64;
    let among_ended = share * (ended + connects.absent as f64) / ended;
    if among_ended <= 1.0 { connects.outages.quantile(among_ended) } else { None }
}

fn microseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1e6
}

fn milliseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

#[cfg(test)]
pub(crate) mod tests;
