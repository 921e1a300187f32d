//! What a run gave: figures without a judgement.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::histogram::Durations;
use crate::ledger::{FlowTally, Tally, merge_flows};

/// Everything that one run gave. Two processes' outcomes of the same run [`merge`](Self::merge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// When traffic (or, with scheduled arrival, connecting) started.
    pub start: Moment,
    /// What the measured window really was; shorter than planned if it was interrupted.
    #[serde(with = "crate::seconds")]
    pub window: Duration,
    /// Somebody stopped it early.
    pub interrupted: bool,
    /// What became of everything, warm-up and drain included.
    pub total: Tally,
    /// What happened within the window.
    pub measured: Measured,
    /// Per kind of traffic, in the plan's order.
    pub classes: Vec<ClassOutcome>,
    /// Per flow. A report keeps the first [`FLOWS_MOST`].
    pub flows: Vec<FlowTally>,
    /// Connecting.
    pub connects: Connects,
    /// Frames other than packets, by name, and PeerGone by reason (`peer-gone-disconnected`).
    pub control_frames: BTreeMap<String, u64>,
    /// Time series.
    pub series: Vec<Interval>,
    /// The load generator itself.
    pub generator: Generator,
}

/// Flows beyond this number are not kept one by one in a report.
pub const FLOWS_MOST: usize = 1_000;

/// Counts by the time at which something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Packets that were due in the window.
    pub due: u64,
    /// Packets handed to connections in the window.
    pub sent: u64,
    /// Packets that arrived intact in the window.
    pub delivered: u64,
    /// Their payload bytes.
    pub delivered_bytes: u64,
}

/// One kind of traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassOutcome {
    /// Its name in the plan.
    pub name: String,
    /// Packets due in the window.
    pub due: u64,
    /// Of those: arrived.
    pub delivered: u64,
    /// From the time a packet was due to its arrival (of a request: to its answer's); those due in the window.
    pub latency: Durations,
    /// The same from the time it was really sent: what a tool that waits for the server would have seen.
    pub uncorrected: Durations,
}

/// Connecting and losing connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connects {
    /// Connections begun.
    pub attempted: u64,
    /// Handshakes done.
    pub established: u64,
    /// Handshakes done within the window.
    pub established_in_window: u64,
    /// Attempts that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Connections that the relay ended, by reason.
    pub lost: BTreeMap<String, u64>,
    /// From the time a connection was due to ServerInfo.
    pub latency: Durations,
    /// From losing a connection to having the next one.
    pub outages: Durations,
    /// Clients that were without a connection at the end and should have had one.
    pub absent: u64,
}

/// One step of the time series; of one process, or merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, after the start.
    #[serde(with = "crate::seconds")]
    pub at: Duration,
    /// Its real length.
    #[serde(with = "crate::seconds")]
    pub length: Duration,
    /// Packets due.
    pub due: u64,
    /// Packets handed to connections.
    pub sent: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Payload bytes delivered.
    pub delivered_bytes: u64,
    /// Handshakes done.
    pub connected: u64,
    /// Connections there are at its end.
    pub connections: u64,
    /// From due to arrival, of those that arrived in it; all classes.
    pub latency: Durations,
    /// Processor time of the worker threads.
    #[serde(with = "crate::seconds")]
    pub generator_cpu: Duration,
}

/// What the generator did to the result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Processor time of all worker threads within the window, but for what they spent on looking in vain for something to do: who
    /// has to be on time does not sleep for moments.
    #[serde(with = "crate::seconds")]
    pub cpu: Duration,
    /// The same per worker thread: the busiest decides whether the tool was the limit.
    #[serde(with = "crate::seconds::list")]
    pub threads: Vec<Duration>,
    /// From the time a packet was due to the time the worker came to it: the generator's own lateness. A socket that is full is
    /// the relay's doing and not counted here. Those due in the window.
    pub lateness: Durations,
    /// Packets due in the window that the worker came to more than a millisecond late.
    pub late: u64,
    /// Packets that waited because the socket was full: the relay did not read.
    pub blocked: u64,
    /// Packets that were due in the window and could not be sent at all: no connection, or a MiB of it was already
    /// waiting (less with more than 256 senders in a thread).
    pub unsent: u64,
}

impl Outcome {
    /// Adds another process' outcome of the same run: counts, histograms, flows, and the series step by step.
    pub fn merge(&mut self, other: Self) {
        // They started together; where they did not end together, the longer window keeps rates from being flattered.
        self.start = self.start.min(other.start);
        self.window = self.window.max(other.window);
        self.interrupted |= other.interrupted;
        self.total.add(&other.total);
        self.measured.merge(&other.measured);
        for (class, others) in self.classes.iter_mut().zip(&other.classes) {
            class.merge(others);
        }
        self.flows = merge_flows(mem::take(&mut self.flows), other.flows);
        self.connects.merge(other.connects);
        merge_counts(&mut self.control_frames, other.control_frames);
        merge_series(&mut self.series, other.series);
        self.generator.merge(other.generator);
    }
}

impl Measured {
    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.due += other.due;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
    }
}

impl ClassOutcome {
    /// An empty one.
    pub fn new(name: String) -> Self {
        Self { name, due: 0, delivered: 0, latency: Durations::new(), uncorrected: Durations::new() }
    }

    /// Adds another's counts.
    fn merge(&mut self, other: &Self) {
        self.due += other.due;
        self.delivered += other.delivered;
        self.latency.merge(&other.latency);
        self.uncorrected.merge(&other.uncorrected);
    }
}

impl Connects {
    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.established_in_window += other.established_in_window;
        merge_counts(&mut self.failed, other.failed);
        merge_counts(&mut self.lost, other.lost);
        self.latency.merge(&other.latency);
        self.outages.merge(&other.outages);
        self.absent += other.absent;
    }
}

impl Interval {
    /// Adds what others did in the same step.
    pub fn merge(&mut self, other: &Self) {
        self.at = self.at.max(other.at);
        self.length = self.length.max(other.length);
        self.due += other.due;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.connected += other.connected;
        self.connections += other.connections;
        self.latency.merge(&other.latency);
        self.generator_cpu += other.generator_cpu;
    }
}

impl Generator {
    /// Adds other threads'.
    pub(crate) fn merge(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.threads.extend(other.threads);
        self.lateness.merge(&other.lateness);
        self.late += other.late;
        self.blocked += other.blocked;
        self.unsent += other.unsent;
    }
}

fn merge_counts(counts: &mut BTreeMap<String, u64>, others: BTreeMap<String, u64>) {
    for (name, count) in others {
        *counts.entry(name).or_default() += count;
    }
}

/// Both are in the order of time. Full steps end at the same time in every process; the last one is cut off at each one's own, so
/// ends that are less than half a step apart count as the same.
fn merge_series(series: &mut Vec<Interval>, others: Vec<Interval>) {
    let mut others = others.into_iter().peekable();
    let mut merged = Vec::with_capacity(series.len());
    for mut step in series.drain(..) {
        let reach = step.length / 2;
        while let Some(earlier) = others.next_if(|other| other.at + reach.min(other.length / 2) < step.at) {
            merged.push(earlier);
        }
        let same = |other: &Interval| other.at.saturating_sub(step.at) <= reach.min(other.length / 2);
        if let Some(other) = others.next_if(same) {
            step.merge(&other);
        }
        merged.push(step);
    }
    merged.extend(others);
    *series = merged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger;

    /// What a process that only sends, or only receives, knows of a flow of ten packets of which one is lost.
    fn half(sent: u64, delivered: u64) -> Outcome {
        let mut tally = Tally { sent, delivered, ..Tally::default() };
        tally.settle();
        let mut class = ClassOutcome::new("traffic".into());
        class.due = sent;
        class.delivered = delivered;
        for _ in 0..delivered {
            class.latency.record(Duration::from_millis(1));
        }
        Outcome {
            start: Moment(5),
            window: Duration::from_secs(1),
            interrupted: false,
            total: tally.clone(),
            measured: Measured { due: sent, sent, delivered, delivered_bytes: 100 * delivered },
            classes: vec![class],
            flows: vec![FlowTally { from: 0, to: 1, tally }],
            connects: Connects {
                attempted: 1,
                lost: BTreeMap::from([("closed".into(), 1)]),
                ..Connects::default()
            },
            control_frames: BTreeMap::from([("keep-alive".into(), 2)]),
            series: vec![step(1000, 1000, sent)],
            generator: Generator {
                cpu: Duration::from_secs(1),
                threads: vec![Duration::from_secs(1)],
                ..Generator::default()
            },
        }
    }

    fn step(at_ms: u64, length_ms: u64, sent: u64) -> Interval {
        Interval {
            at: Duration::from_millis(at_ms),
            length: Duration::from_millis(length_ms),
            due: sent,
            sent,
            delivered: 0,
            delivered_bytes: 0,
            connected: 0,
            connections: 1,
            latency: Durations::new(),
            generator_cpu: Duration::ZERO,
        }
    }

    #[test]
    fn the_halves_of_a_flow_make_a_whole() {
        let mut outcome = half(10, 0);
        assert_eq!(outcome.total.lost, 10, "the sender alone sees nothing arrive");

        outcome.merge(half(0, 9));

        assert_eq!((outcome.total.sent, outcome.total.delivered, outcome.total.lost), (10, 9, 1));
        assert_eq!(outcome.flows.len(), 1);
        ledger::check(&outcome.total, &outcome.flows).expect("the books add up");
        assert_eq!(outcome.measured, Measured { due: 10, sent: 10, delivered: 9, delivered_bytes: 900 });
        assert_eq!((outcome.classes[0].due, outcome.classes[0].latency.count()), (10, 9));
        assert_eq!((outcome.connects.attempted, outcome.connects.lost["closed"]), (2, 2));
        assert_eq!(outcome.control_frames["keep-alive"], 4);
        assert_eq!((outcome.series.len(), outcome.series[0].connections), (1, 2));
        assert_eq!(outcome.generator.threads.len(), 2);
    }

    #[test]
    fn one_that_was_interrupted_makes_the_whole_interrupted() {
        let mut outcome = half(1, 1);
        let interrupted = Outcome { interrupted: true, window: Duration::ZERO, ..half(1, 1) };

        outcome.merge(interrupted);

        assert!(outcome.interrupted);
        assert_eq!(outcome.window, Duration::from_secs(1));
    }

    #[test]
    fn steps_with_the_same_end_are_one_and_others_stay_apart() {
        // The second process missed a step, went on longer, and its last step is cut off elsewhere.
        let mut series =
            vec![step(1000, 1000, 1), step(2000, 1000, 1), step(3000, 1000, 1), step(3200, 200, 1)];
        let others =
            vec![step(1000, 1000, 10), step(3000, 2000, 10), step(3250, 250, 10), step(9000, 1000, 10)];

        merge_series(&mut series, others);

        let ends: Vec<_> = series.iter().map(|step| (step.at.as_millis(), step.sent)).collect();
        assert_eq!(ends, [(1000, 11), (2000, 1), (3000, 11), (3250, 11), (9000, 10)]);
    }
}
