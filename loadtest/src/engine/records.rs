//! What a worker writes down while it runs: figures of the window and of each step of the time series.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use super::phases::Phases;
use crate::clock::Moment;
use crate::histogram::Durations;
use crate::ledger::Ledger;
use crate::outcome::{Connects, Generator, Interval, Measured, Outcome};
use crate::payload::{Header, Purpose};

/// A packet that the worker comes to later than this counts as late.
const LATE: Duration = Duration::from_millis(1);

/// Figures of one kind of traffic.
#[derive(Debug, Default)]
pub(super) struct ClassRecord {
    /// Packets due in the window.
    pub(super) due: u64,
    /// Of those: arrived.
    pub(super) delivered: u64,
    /// From due to arrival.
    pub(super) latency: Durations,
    /// From sent to arrival.
    pub(super) uncorrected: Durations,
}

/// One worker's figures.
#[derive(Debug)]
pub(super) struct Records {
    /// Known once traffic starts; nothing before it is measured.
    pub(super) phases: Option<Phases>,
    /// Counts within the window.
    pub(super) measured: Measured,
    /// By kind of traffic.
    pub(super) classes: Vec<ClassRecord>,
    /// Connecting.
    pub(super) connects: Connects,
    /// Connections established now.
    pub(super) connections: u64,
    /// Frames that are no packets.
    pub(super) control_frames: BTreeMap<&'static str, u64>,
    /// From due to the worker's coming to it, due in the window.
    pub(super) lateness: Durations,
    /// Of those: more than [`LATE`].
    pub(super) late: u64,
    /// Packets that found the socket full.
    pub(super) blocked: u64,
    /// Packets due in the window that could not be sent.
    pub(super) unsent: u64,
    /// Packets handed to connections since the start, answers among them.
    pub(super) sent: u64,
    /// Packets that arrived intact since the start.
    pub(super) arrived: u64,
    step: Step,
}

/// What happened since the last step's end.
#[derive(Debug, Default)]
struct Step {
    due: u64,
    sent: u64,
    delivered: u64,
    delivered_bytes: u64,
    connected: u64,
    latency: Durations,
    began: Moment,
    processor: Duration,
}

/// All that a worker has to say when it is done.
#[derive(Debug)]
pub(super) struct WorkerOutcome {
    /// Its figures.
    pub(super) records: Records,
    /// Its books.
    pub(super) ledger: Ledger,
    /// Its processor time within the window.
    pub(super) cpu: Duration,
}

impl Records {
    /// Empty ones.
    pub(super) fn new(classes: usize) -> Self {
        Self {
            phases: None,
            measured: Measured::default(),
            classes: (0..classes).map(|_| ClassRecord::default()).collect(),
            connects: Connects::default(),
            connections: 0,
            control_frames: BTreeMap::new(),
            lateness: Durations::new(),
            late: 0,
            blocked: 0,
            unsent: 0,
            sent: 0,
            arrived: 0,
            step: Step::default(),
        }
    }

    /// Traffic starts; the worker has worked for `processor` so far.
    pub(super) fn start(&mut self, phases: Phases, processor: Duration) {
        self.phases = Some(phases);
        self.step = Step { began: phases.start, processor, ..Step::default() };
    }

    /// Whether a time is in the window.
    pub(super) fn measures(&self, time: Moment) -> bool {
        self.phases.is_some_and(|phases| phases.measures(time))
    }

    /// A packet of a sender was due, and the worker comes to it now.
    pub(super) fn due(&mut self, class: u8, due: Moment) {
        self.answer_due(due);
        if self.measures(due)
            && let Some(class) = self.classes.get_mut(usize::from(class))
        {
            class.due += 1;
        }
    }

    /// An answer is due: as much a packet as any, but its class has counted the request.
    pub(super) fn answer_due(&mut self, due: Moment) {
        self.step.due += 1;
        if self.measures(due) {
            self.measured.due += 1;
        }
    }

    /// How late the worker came to a packet of an open loop.
    pub(super) fn late(&mut self, due: Moment, now: Moment) {
        if !self.measures(due) {
            return;
        }
        let lateness = now.since(due);
        self.lateness.record(lateness);
        if lateness > LATE {
            self.late += 1;
        }
    }

    /// A packet was handed to its connection.
    pub(super) fn sent(&mut self, now: Moment) {
        self.sent += 1;
        self.step.sent += 1;
        if self.measures(now) {
            self.measured.sent += 1;
        }
    }

    /// A packet could not be sent at all.
    pub(super) fn unsent(&mut self, due: Moment) {
        if self.measures(due) {
            self.unsent += 1;
        }
    }

    /// A packet arrived, intact and for the first time.
    pub(super) fn arrived(&mut self, header: &Header, bytes: usize, now: Moment) {
        self.arrived += 1;
        self.step.delivered += 1;
        self.step.delivered_bytes += bytes as u64;
        if self.measures(now) {
            self.measured.delivered += 1;
            self.measured.delivered_bytes += bytes as u64;
        }
        // A request's latency is known when its answer is there.
        if header.purpose == Purpose::Request {
            return;
        }
        let latency = now.since(header.due);
        self.step.latency.record(latency);
        if !self.measures(header.due) {
            return;
        }
        if let Some(class) = self.classes.get_mut(usize::from(header.class)) {
            class.delivered += 1;
            class.latency.record(latency);
            class.uncorrected.record(now.since(header.sent));
        }
    }

    /// A connection that was due at `due` is established; `measured` if its latency counts.
    pub(super) fn established(&mut self, due: Moment, now: Moment, measured: bool) {
        self.connections += 1;
        self.connects.established += 1;
        self.step.connected += 1;
        if self.measures(now) {
            self.connects.established_in_window += 1;
        }
        if measured {
            self.connects.latency.record(now.since(due));
        }
    }

    /// Connections that were begun, and are neither established nor failed yet.
    pub(super) fn connecting(&self) -> u64 {
        let Connects { attempted, established, failed, .. } = &self.connects;
        attempted - established - failed.values().sum::<u64>()
    }

    /// Adds all of it to a run's outcome.
    pub(super) fn add_to(self, outcome: &mut Outcome, cpu: Duration) {
        outcome.measured.merge(&self.measured);
        for (sum, class) in outcome.classes.iter_mut().zip(self.classes) {
            sum.due += class.due;
            sum.delivered += class.delivered;
            sum.latency.merge(&class.latency);
            sum.uncorrected.merge(&class.uncorrected);
        }
        outcome.connects.merge(self.connects);
        for (name, count) in self.control_frames {
            *outcome.control_frames.entry(name.to_owned()).or_default() += count;
        }
        outcome.generator.merge(Generator {
            cpu,
            threads: vec![cpu],
            lateness: self.lateness,
            late: self.late,
            blocked: self.blocked,
            unsent: self.unsent,
        });
    }

    /// A frame that is no packet.
    pub(super) fn control_frame(&mut self, name: &'static str) {
        *self.control_frames.entry(name).or_default() += 1;
    }

    /// Ends a step of the time series. `at` is its end by the plan, `now` the time at which the worker comes to it,
    /// `processor` its work so far.
    pub(super) fn end_step(&mut self, at: Moment, now: Moment, processor: Duration) -> Interval {
        let next = Step { began: now, processor, ..Step::default() };
        let step = mem::replace(&mut self.step, next);
        let start = self.phases.map_or(now, |phases| phases.start);
        Interval {
            at: at.since(start),
            length: now.since(step.began),
            due: step.due,
            sent: step.sent,
            delivered: step.delivered,
            delivered_bytes: step.delivered_bytes,
            connected: step.connected,
            connections: self.connections,
            latency: step.latency,
            generator_cpu: processor.saturating_sub(step.processor),
        }
    }
}
