//! The course of a run, whoever works: threads of this process, or other processes.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::phases::Phases;
use super::{Conductor, Progress, Report, RunError, Stop};
use crate::clock::Moment;
use crate::outcome::Interval;
use crate::plan::{Arrival, Plan};
use crate::workload;

/// How often somebody is told how many are connected.
const TELL: Duration = Duration::from_millis(100);
/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is asked in the drain whether everything has arrived; twice the same answer counts.
const ASK: Duration = Duration::from_millis(20);

/// How long the parts of a run take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// From the start on.
    pub(crate) phases: workload::Phases,
    /// How long it may take until everybody is connected; None if nobody waits for that.
    pub(crate) arrival_timeout: Option<Duration>,
}

impl Parts {
    /// Those of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let phases = workload::Phases { warm_up: plan.warm_up, window: plan.window, drain: plan.drain };
        let arrival_timeout = match plan.arrival {
            Arrival::Before { timeout, .. } | Arrival::Partly { timeout, .. } => Some(timeout),
            Arrival::Scheduled => None,
        };
        Self { phases, arrival_timeout }
    }
}

/// Those who do the work of a run, from the outside.
pub(crate) trait Crew {
    /// How many work, and report.
    fn size(&self) -> u32;
    /// What they have done so far.
    fn progress(&self) -> Progress;
    /// Traffic starts at `phases.start`.
    fn start(&mut self, phases: Phases) -> Result<(), RunError>;
}

/// How a run went.
#[derive(Debug)]
pub(crate) struct Course {
    /// When traffic started.
    pub(crate) start: Moment,
    /// What the window really was.
    pub(crate) window: Duration,
    /// Somebody stopped it.
    pub(crate) interrupted: bool,
}

/// Steps of the time series, as the crew reports them.
#[derive(Debug)]
pub(crate) struct Series {
    /// The last step that each one reported.
    last: Vec<u64>,
    pending: BTreeMap<u64, Interval>,
    /// Those that everybody has reported.
    pub(crate) over: Vec<Interval>,
}

impl Series {
    /// An empty one.
    pub(crate) fn new(crew: u32) -> Self {
        Self { last: vec![0; crew as usize], pending: BTreeMap::new(), over: Vec::new() }
    }

    /// Adds one's step, and says from where on in [`over`](Self::over) steps are new.
    pub(crate) fn add(&mut self, from: u32, step: u64, interval: Interval) -> usize {
        if let Some(last) = self.last.get_mut(from as usize) {
            *last = step;
        }
        match self.pending.get_mut(&step) {
            Some(merged) => merged.merge(&interval),
            None => {
                self.pending.insert(step, interval);
            }
        }
        // Whoever missed a step reports it with a later one.
        let everybody = self.last.iter().copied().min().unwrap_or_default();
        let new = self.over.len();
        let pending = self.pending.split_off(&(everybody + 1));
        self.over.extend(std::mem::replace(&mut self.pending, pending).into_values());
        new
    }

    /// All of it, at the end.
    pub(crate) fn into_intervals(mut self) -> Vec<Interval> {
        self.over.extend(self.pending.into_values());
        self.over
    }
}

/// Leads a crew through a run, up to the time when it should finish.
pub(crate) struct Conducting<'a> {
    pub(crate) parts: Parts,
    /// Clients of this crew.
    pub(crate) clients: u64,
    pub(crate) stop: &'a Stop,
    pub(crate) conductor: &'a mut dyn Conductor,
    pub(crate) reports: &'a Receiver<Report>,
    pub(crate) series: &'a mut Series,
}

impl Conducting<'_> {
    /// From the first connection to the end of the drain.
    pub(crate) fn conduct(mut self, crew: &mut impl Crew) -> Result<Course, RunError> {
        if !self.wait_for_everybody(crew)? {
            return Ok(Course { start: Moment::now(), window: Duration::ZERO, interrupted: true });
        }
        let phases = Phases::new(self.parts.phases, self.conductor.ready());
        crew.start(phases)?;
        let mut course = Course { start: phases.start, window: self.parts.phases.window, interrupted: true };
        if !self.pass_until(phases.open)? {
            course.window = Duration::ZERO;
            return Ok(course);
        }
        self.conductor.window_opens();
        let in_full = self.pass_until(phases.close)?;
        if !in_full {
            course.window = Moment::now().min(phases.close).since(phases.open);
        }
        self.conductor.window_closes();
        course.interrupted = !in_full || !self.drain(phases.end, crew)?;
        Ok(course)
    }

    /// Until all are connected; false if somebody stopped it.
    fn wait_for_everybody(&mut self, crew: &impl Crew) -> Result<bool, RunError> {
        let began = Moment::now();
        let mut missing = crew.size();
        while missing > 0 {
            match self.next_report(Moment::now() + TELL)? {
                Some(Report::Ready) => missing -= 1,
                Some(report) => self.note(report)?,
                None => {}
            }
            let established = crew.progress().established;
            self.conductor.connecting(established, self.clients);
            if self.stop.is_stopped() {
                return Ok(false);
            }
            if let Some(timeout) = self.parts.arrival_timeout
                && missing > 0
                && Moment::now().since(began) > timeout
            {
                return Err(RunError::Arrival { established, of: self.clients, timeout });
            }
        }
        Ok(true)
    }

    /// Until a time; false if somebody stopped it.
    fn pass_until(&mut self, end: Moment) -> Result<bool, RunError> {
        loop {
            if self.stop.is_stopped() {
                return Ok(false);
            }
            let now = Moment::now();
            if now >= end {
                return Ok(true);
            }
            if let Some(report) = self.next_report(end.min(now + LOOK))? {
                self.note(report)?;
            }
        }
    }

    /// Until everything has arrived, or a time; false if somebody stopped it.
    fn drain(&mut self, end: Moment, crew: &impl Crew) -> Result<bool, RunError> {
        let mut before = None;
        loop {
            let next = Moment::now() + ASK;
            if !self.pass_until(next.min(end))? {
                return Ok(false);
            }
            let progress = crew.progress();
            let settled = self.conductor.drained(progress);
            if next >= end || settled && before == Some(progress) {
                return Ok(true);
            }
            before = settled.then_some(progress);
        }
    }

    /// The next report, or None when the time is over.
    fn next_report(&self, until: Moment) -> Result<Option<Report>, RunError> {
        match self.reports.recv_timeout(until.since(Moment::now())) {
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(RunError::Gone),
        }
    }

    fn note(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            Report::Step { from, step, interval } => {
                let new = self.series.add(from, step, interval);
                for interval in &self.series.over[new..] {
                    self.conductor.interval(interval);
                }
                Ok(())
            }
            Report::Failed(error) => Err(error),
            // Said twice, or after a stop.
            Report::Ready => Ok(()),
        }
    }
}
