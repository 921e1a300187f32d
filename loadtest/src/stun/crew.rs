//! The threads of a load, and what they found together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, ScopedJoinHandle};

use mio::{Events, Poll};

use super::books::Books;
use super::pace::{Closed, Open, Pace};
use super::request::{Draw, Kind, Transactions, Writer};
use super::socket::Socket;
use super::worker::{TIMER, Worker};
use super::{OWN_DROPS, StunPlan, drops};
use crate::engine::conducting::{Conducting, Course, Crew, Parts, Series};
use crate::engine::phases::Phases;
use crate::engine::timer::Timer;
use crate::engine::{Conductor, Progress, Report, RunError, Stop, processor};
use crate::ledger::Tally;
use crate::outcome::{ClassOutcome, Connects, Generator, Measured, Outcome};
use crate::schedule::{DueTimes, Schedule};

/// Readiness reported at once, at most; the rest comes with the next look.
const EVENTS_MOST: usize = 1024;

/// What a thread found: its sockets, and its books if there was a start.
type Found = (Vec<Socket>, Option<Books>);

/// The threads of a load, from the outside.
struct Threads<'scope, 'run> {
    sockets: u64,
    waiting: &'run AtomicUsize,
    starters: Vec<Sender<Phases>>,
    threads: Vec<ScopedJoinHandle<'scope, Option<Found>>>,
}

impl Crew for Threads<'_, '_> {
    fn size(&self) -> u32 {
        self.threads.len() as u32
    }

    fn progress(&self) -> Progress {
        // All that is asked for is whether there is a difference.
        let sent = self.waiting.load(Ordering::Acquire) as u64;
        Progress { established: self.sockets, sent, ..Progress::default() }
    }

    fn start(&mut self, phases: Phases) -> Result<(), RunError> {
        for starter in self.starters.drain(..) {
            // One that is gone has said why.
            let _ = starter.send(phases);
        }
        Ok(())
    }
}

/// Has a thread for each share of the sockets carry out the plan.
pub(super) fn run(
    plan: &StunPlan,
    shares: Vec<Vec<Socket>>,
    stop: &Stop,
    conductor: &mut dyn Conductor,
) -> Result<Outcome, RunError> {
    let (finish, waiting) = (Stop::default(), AtomicUsize::new(shares.len()));
    let (reports, inbox) = mpsc::channel();
    let mut series = Series::new(shares.len() as u32);
    let sockets = u64::from(plan.load.sockets);
    thread::scope(|scope| {
        let mut crew = Threads { sockets, waiting: &waiting, starters: Vec::new(), threads: Vec::new() };
        for (number, sockets) in (0..).zip(shares) {
            let (starter, start) = mpsc::channel();
            let hand = Hand { plan, number, reports: reports.clone(), finish: &finish, waiting: &waiting };
            let thread = thread::Builder::new()
                .name(format!("stun-load-{number}"))
                .spawn_scoped(scope, move || hand.work(sockets, &start))
                .map_err(RunError::system("starting a thread"))?;
            crew.starters.push(starter);
            crew.threads.push(thread);
        }
        drop(reports);
        let parts = Parts { phases: plan.phases, arrival_timeout: None };
        let conducting =
            Conducting { parts, clients: sockets, stop, conductor, reports: &inbox, series: &mut series };
        let course = conducting.conduct(&mut crew);
        finish.stop();
        drop(crew.starters);
        let ends: Vec<_> = crew.threads.into_iter().map(ScopedJoinHandle::join).collect();
        let course = course?;
        let found = ends
            .into_iter()
            .map(|end| end.map_err(|_| RunError::Panicked)?.ok_or(RunError::Gone))
            .collect::<Result<Vec<Found>, _>>()?;
        for report in inbox.try_iter() {
            if let Report::Step { from, step, interval } = report {
                series.add(from, step, interval);
            }
        }
        Ok(outcome(plan, &course, series, found))
    })
}

/// What a thread is started with.
struct Hand<'run> {
    plan: &'run StunPlan,
    number: u32,
    reports: Sender<Report>,
    finish: &'run Stop,
    waiting: &'run AtomicUsize,
}

impl Hand<'_> {
    fn work(self, sockets: Vec<Socket>, start: &Receiver<Phases>) -> Option<Found> {
        let reports = self.reports.clone();
        match self.wait_and_work(sockets, start) {
            Ok(found) => Some(found),
            Err(error) => {
                // Whoever should listen has given up already.
                let _ = reports.send(Report::Failed(error));
                None
            }
        }
    }

    fn wait_and_work(self, sockets: Vec<Socket>, start: &Receiver<Phases>) -> Result<Found, RunError> {
        let cores = &self.plan.cores;
        processor::wake_exactly();
        processor::bind_to((!cores.is_empty()).then(|| cores[self.number as usize % cores.len()]))
            .map_err(RunError::system("binding a worker to its core"))?;
        // Whoever should listen has given up, and then there is no start either.
        let _ = self.reports.send(Report::Ready);
        let Ok(phases) = start.recv() else { return Ok((sockets, None)) };
        let poll = Poll::new().map_err(RunError::system("making a poll"))?;
        let timer = Timer::new(poll.registry(), TIMER, self.plan.stay_awake)
            .map_err(RunError::system("making a timer"))?;
        let worker = self.worker(sockets, phases, poll, timer);
        let (sockets, books) = worker.work().map_err(RunError::system("waiting for answers"))?;
        Ok((sockets, Some(books)))
    }
}

impl<'run> Hand<'run> {
    fn worker(self, sockets: Vec<Socket>, phases: Phases, poll: Poll, timer: Timer) -> Worker<'run> {
        let Hand { plan, number, reports, finish, waiting } = self;
        // A stream of chance for each thread; those for times, mix and junk are told apart by a turn.
        let seed = plan.seed ^ u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Worker {
            number,
            poll,
            events: Events::with_capacity(EVENTS_MOST),
            timer,
            pace: pace(plan, seed, phases),
            draw: Draw::new(&plan.load.mix, seed.rotate_left(17)),
            writer: Writer::new(Transactions::new(plan.seed), seed.rotate_left(34)),
            books: Books::new(phases, plan.interval, sockets.len() as u64, processor::thread_time()),
            phases,
            reports,
            finish,
            waiting,
            waits: true,
            readable: Vec::with_capacity(sockets.len()),
            last_heard: phases.start,
            in_vain: false,
            sockets,
        }
    }
}

/// A thread's share of the rate, or the window of each of its sockets.
fn pace(plan: &StunPlan, seed: u64, phases: Phases) -> Pace {
    let Some(rate) = plan.load.rate else {
        let window = plan.load.window.unwrap_or(1) as usize;
        return Pace::Closed(Closed { window, next_displacement: phases.start });
    };
    let per_second = rate / f64::from(plan.threads.clamp(1, plan.load.sockets));
    let schedule =
        if plan.load.poisson { Schedule::Poisson { per_second } } else { Schedule::Constant { per_second } };
    Pace::Open(Open::new(DueTimes::new(schedule, seed), phases.start))
}

/// What all threads have found, together.
fn outcome(plan: &StunPlan, course: &Course, series: Series, found: Vec<Found>) -> Outcome {
    let kinds = || Kind::ALL.into_iter().filter(|kind| kind.share(&plan.load.mix) > 0.0);
    let mut outcome = Outcome {
        start: course.start,
        window: course.window,
        interrupted: course.interrupted,
        total: Tally::default(),
        measured: Measured::default(),
        classes: kinds().map(|kind| ClassOutcome::new(kind.name().to_owned())).collect(),
        flows: Vec::new(),
        connects: Connects::default(),
        control_frames: Default::default(),
        series: series.into_intervals(),
        generator: Generator::default(),
    };
    let (sockets, books): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    books.into_iter().flatten().for_each(|books| books.add_to(&mut outcome, kinds()));
    let mut sockets: Vec<Socket> = sockets.into_iter().flatten().collect();
    sockets.sort_unstable_by_key(|socket| socket.index);
    sockets.iter().for_each(|socket| outcome.total.add(&socket.tally));
    outcome.flows = sockets.iter().map(Socket::flow).collect();
    let addresses = sockets.iter().filter_map(|socket| socket.udp.local_addr().ok());
    if let Some(dropped) = drops::dropped(addresses).filter(|dropped| *dropped > 0) {
        outcome.control_frames.insert(OWN_DROPS.to_owned(), dropped);
    }
    outcome
}
