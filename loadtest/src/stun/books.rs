//! What one worker thread counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::request::Kind;
use super::under_way::Asked;
use crate::clock::Moment;
use crate::engine::phases::Phases;
use crate::engine::processor::LOOK_MOST;
use crate::histogram::Durations;
use crate::outcome::{Generator, Interval, Measured, Outcome};

/// The generator is late from here on.
const LATE: Duration = Duration::from_millis(1);

/// One kind of request; all of them due in the window.
#[derive(Debug, Default)]
pub(super) struct ClassBooks {
    pub(super) due: u64,
    pub(super) delivered: u64,
    pub(super) latency: Durations,
    pub(super) uncorrected: Durations,
}

/// The books of one thread, but for its sockets' tallies. Junk is in its class's `due` and in `events`, and in nothing else:
/// nobody waits for an answer to it, so it can be neither delivered nor lost.
#[derive(Debug)]
pub(super) struct Books {
    phases: Phases,
    /// Length of a step of the time series.
    interval: Duration,
    /// In the order of [`Kind::ALL`].
    pub(super) classes: [ClassBooks; 3],
    pub(super) measured: Measured,
    pub(super) generator: Generator,
    /// What is counted by name: junk, errors, answers that are none.
    pub(super) events: BTreeMap<&'static str, u64>,
    /// Counted from 1.
    step: u32,
    share: Interval,
    /// Processor time of this thread when the step began.
    step_cpu: Duration,
    /// Processor time spent on looking in vain: a thread that has to be on time does not sleep for moments. In the window, and in
    /// the step. It is no work, so no processor time of the generator has it in it.
    window_in_vain: Duration,
    step_in_vain: Duration,
    step_start: Moment,
    sockets: u64,
    window: Window,
}

/// Where the thread is with the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Before,
    /// Open; the thread's processor time when it opened.
    Open(Duration),
    Closed,
}

impl Books {
    pub(super) fn new(phases: Phases, interval: Duration, sockets: u64, cpu: Duration) -> Self {
        Self {
            phases,
            interval,
            classes: Default::default(),
            measured: Measured::default(),
            generator: Generator::default(),
            events: BTreeMap::new(),
            step: 1,
            share: empty(sockets),
            step_cpu: cpu,
            window_in_vain: Duration::ZERO,
            step_in_vain: Duration::ZERO,
            step_start: phases.start,
            sockets,
            window: Window::Before,
        }
    }

    fn class(&mut self, kind: Kind) -> &mut ClassBooks {
        &mut self.classes[kind as usize]
    }

    /// The worker came to a request that was due.
    pub(super) fn came_to(&mut self, kind: Kind, due: Moment, now: Moment) {
        let in_window = self.phases.measures(due);
        self.class(kind).due += u64::from(in_window);
        if !kind.is_answered() {
            return;
        }
        self.share.due += 1;
        if in_window {
            let late = now.since(due);
            self.measured.due += 1;
            self.generator.lateness.record(late);
            self.generator.late += u64::from(late > LATE);
        }
    }

    /// It was handed to the system.
    pub(super) fn sent(&mut self, kind: Kind, at: Moment) {
        if !kind.is_answered() {
            return self.event(super::JUNK);
        }
        self.share.sent += 1;
        self.measured.sent += u64::from(self.phases.measures(at));
    }

    /// It could not be sent at all.
    pub(super) fn unsent(&mut self, kind: Kind, due: Moment) {
        self.generator.unsent += u64::from(kind.is_answered() && self.phases.measures(due));
    }

    /// Its right answer came, for the first time.
    pub(super) fn delivered(&mut self, asked: Asked, bytes: usize, at: Moment) {
        let latency = at.since(asked.due);
        self.share.delivered += 1;
        self.share.delivered_bytes += bytes as u64;
        self.share.latency.record(latency);
        if self.phases.measures(at) {
            self.measured.delivered += 1;
            self.measured.delivered_bytes += bytes as u64;
        }
        if self.phases.measures(asked.due) {
            let class = self.class(asked.kind);
            class.delivered += 1;
            class.latency.record(latency);
            class.uncorrected.record(at.since(asked.sent));
        }
    }

    /// A look for something to do found nothing.
    pub(super) fn looked_in_vain(&mut self, from: Moment, to: Moment) {
        let took = to.since(from).min(LOOK_MOST);
        self.step_in_vain += took;
        if matches!(self.window, Window::Open(_)) {
            self.window_in_vain += took;
        }
    }

    /// Something that has no figure of its own.
    pub(super) fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    /// When [`turn`](Self::turn) has something to do next.
    pub(super) fn next_turn(&self) -> Moment {
        let edge = match self.window {
            Window::Before => self.phases.open,
            Window::Open(_) => self.phases.close,
            Window::Closed => Moment(u64::MAX),
        };
        edge.min(self.step_end())
    }

    /// Opens and closes the window, and gives the step of the time series that is over by now, and its number. Called until it
    /// gives none.
    pub(super) fn turn(&mut self, now: Moment, cpu: impl FnOnce() -> Duration) -> Option<(u64, Interval)> {
        if now < self.next_turn() {
            return None;
        }
        let cpu = cpu();
        if self.window == Window::Before {
            self.window = if now >= self.phases.open { Window::Open(cpu) } else { Window::Before };
        }
        if now >= self.phases.close {
            self.close_window(cpu);
        }
        let end = self.step_end();
        (now >= end).then(|| self.end_step(end, cpu))
    }

    /// Ends everything, and gives the step that was begun, if anything happened in it.
    pub(super) fn finish(&mut self, now: Moment, cpu: Duration) -> Option<(u64, Interval)> {
        self.close_window(cpu);
        let Interval { due, sent, delivered, .. } = self.share;
        (due + sent + delivered > 0).then(|| self.end_step(now, cpu))
    }

    fn step_end(&self) -> Moment {
        self.phases.start + self.interval * self.step
    }

    fn close_window(&mut self, cpu: Duration) {
        if let Window::Open(at_opening) = self.window {
            self.generator.cpu = cpu.saturating_sub(at_opening + self.window_in_vain);
        }
        self.window = Window::Closed;
    }

    fn end_step(&mut self, end: Moment, cpu: Duration) -> (u64, Interval) {
        let mut share = std::mem::replace(&mut self.share, empty(self.sockets));
        share.at = end.since(self.phases.start);
        share.length = end.since(self.step_start);
        share.generator_cpu = cpu.saturating_sub(self.step_cpu + std::mem::take(&mut self.step_in_vain));
        let number = u64::from(self.step);
        (self.step, self.step_start, self.step_cpu) = (self.step + 1, end, cpu);
        (number, share)
    }

    /// Adds all of it to a run's outcome, which has a class for each of `kinds`.
    pub(super) fn add_to(mut self, outcome: &mut Outcome, kinds: impl Iterator<Item = Kind>) {
        outcome.measured.merge(&self.measured);
        for (sum, kind) in outcome.classes.iter_mut().zip(kinds) {
            let class = &self.classes[kind as usize];
            sum.due += class.due;
            sum.delivered += class.delivered;
            sum.latency.merge(&class.latency);
            sum.uncorrected.merge(&class.uncorrected);
        }
        for (name, count) in self.events {
            *outcome.control_frames.entry(name.to_owned()).or_default() += count;
        }
        self.generator.threads = vec![self.generator.cpu];
        outcome.generator.merge(self.generator);
    }
}

fn empty(sockets: u64) -> Interval {
    Interval {
        at: Duration::ZERO,
        length: Duration::ZERO,
        due: 0,
        sent: 0,
        delivered: 0,
        delivered_bytes: 0,
        connected: 0,
        connections: sockets,
        latency: Durations::new(),
        generator_cpu: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Moment = Moment(1_000_000_000);

    /// Warm-up until 10 ms, window until 30 ms, steps of 15 ms.
    fn books() -> Books {
        let phases =
            Phases { start: START, open: START + 10 * MS, close: START + 30 * MS, end: START + 40 * MS };
        Books::new(phases, 15 * MS, 4, Duration::ZERO)
    }

    fn asked(due_ms: u32) -> Asked {
        Asked { due: START + MS * due_ms, sent: START + MS * (due_ms + 1), kind: Kind::Bare }
    }

    #[test]
    fn latency_counts_from_the_due_time_for_what_was_due_in_the_window() {
        let mut books = books();
        for due_ms in [5, 12, 35] {
            books.came_to(Kind::Bare, START + MS * due_ms, START + MS * (due_ms + 1));
            books.delivered(asked(due_ms), 32, START + MS * (due_ms + 3));
        }
        let class = &books.classes[Kind::Bare as usize];
        assert_eq!((class.due, class.delivered, class.latency.count()), (1, 1, 1));
        assert!(class.latency.longest() >= Some(3 * MS) && class.latency.longest() < Some(4 * MS));
        assert!(class.uncorrected.longest() >= Some(2 * MS) && class.uncorrected.longest() < Some(3 * MS));
        assert_eq!((books.measured.due, books.measured.delivered), (1, 1));
    }

    #[test]
    fn what_arrives_in_the_window_is_measured_whenever_it_was_due() {
        let mut books = books();
        books.delivered(asked(8), 32, START + 11 * MS);
        books.delivered(asked(29), 32, START + 31 * MS);
        assert_eq!((books.measured.delivered, books.measured.delivered_bytes), (1, 32));
    }

    #[test]
    fn late_is_more_than_a_millisecond() {
        let mut books = books();
        books.came_to(Kind::Bare, START + 12 * MS, START + 13 * MS);
        books.came_to(Kind::Bare, START + 12 * MS, START + 13 * MS + Duration::from_nanos(1));
        assert_eq!((books.generator.late, books.generator.lateness.count()), (1, 2));
    }

    #[test]
    fn junk_is_due_and_nothing_else() {
        let mut books = books();
        books.came_to(Kind::Junk, START + 12 * MS, START + 20 * MS);
        books.sent(Kind::Junk, START + 20 * MS);
        books.unsent(Kind::Junk, START + 12 * MS);
        assert_eq!(books.classes[Kind::Junk as usize].due, 1);
        assert_eq!(books.events, BTreeMap::from([(super::super::JUNK, 1)]));
        assert_eq!(
            (books.measured, books.generator.late, books.generator.unsent),
            (Measured::default(), 0, 0)
        );
    }

    #[test]
    fn steps_end_on_time_and_carry_what_happened_in_them() {
        let mut books = books();
        assert!(books.turn(START + 14 * MS, || MS).is_none());
        books.sent(Kind::Bare, START + 14 * MS);
        let (number, first) = books.turn(START + 16 * MS, || 3 * MS).unwrap();
        assert_eq!((number, first.sent, first.connections), (1, 1, 4));
        assert_eq!((first.at, first.generator_cpu), (15 * MS, 3 * MS));
        let (number, second) = books.turn(START + 31 * MS, || 9 * MS).unwrap();
        assert_eq!((number, second.at, second.length), (2, 30 * MS, 15 * MS));
        assert!(books.turn(START + 44 * MS, || 9 * MS).is_none());
        // It opened when the thread first looked after 10 ms.
        assert_eq!(books.generator.cpu, 8 * MS);
    }

    #[test]
    fn looking_in_vain_is_no_work_and_being_kept_from_the_core_is_no_looking() {
        let mut books = books();
        let _ = books.turn(START + 11 * MS, || MS);
        let from = START + 12 * MS;
        books.looked_in_vain(from, from + Duration::from_micros(1));
        books.looked_in_vain(from, from + MS);
        let (_, step) = books.turn(START + 15 * MS, || 2 * MS).unwrap();
        assert_eq!(step.generator_cpu, 2 * MS - Duration::from_micros(3));
        let _ = books.turn(START + 30 * MS, || 3 * MS);
        assert_eq!(books.generator.cpu, 2 * MS - Duration::from_micros(3));
    }

    #[test]
    fn an_early_end_ends_step_and_window() {
        let mut books = books();
        let _ = books.turn(START + 11 * MS, || MS);
        books.sent(Kind::Bare, START + 11 * MS);
        let (_, step) = books.finish(START + 12 * MS, 2 * MS).unwrap();
        assert_eq!((step.at, step.length, books.generator.cpu), (12 * MS, 12 * MS, MS));
        assert!(books.finish(START + 12 * MS, 2 * MS).is_none());
    }
}
