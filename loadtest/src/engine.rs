//! Carries out a plan.
//!
//! Each worker is a thread with a poll of its own, a share of the clients, and nothing to lock: books and figures are brought
//! together at the end. The thread that called [`run`] only watches the clock.

mod client;
pub(crate) mod conducting;
mod connecting;
mod deadlines;
mod destinations;
pub(crate) mod phases;
pub(crate) mod processor;
mod receiving;
mod records;
mod sending;
mod shared;
pub(crate) mod timer;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};

use self::conducting::{Conducting, Course, Crew, Parts, Series};
use self::phases::Phases;
use self::records::WorkerOutcome;
use self::shared::Shared;
use self::worker::Worker;
use crate::clock::Moment;
use crate::ledger::Ledger;
use crate::outcome::{ClassOutcome, Generator, Interval, Outcome};
use crate::plan::{Arrival, Plan};

/// Which of a plan's groups this process serves: those with `group % of == index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// This process.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Share {
    /// The only process.
    pub const ALL: Self = Self { index: 0, of: 1 };
}

/// Asks a run to end: it drains nothing more, and returns what it has within a second.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag that asks, for a signal handler.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// Whether somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was done so far, by all who work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Connections established now.
    pub established: u64,
    /// Connections under way: begun, and neither established nor failed.
    pub connecting: u64,
    /// Packets handed to connections.
    pub sent: u64,
    /// Packets that arrived intact.
    pub arrived: u64,
}

/// Who watches a run and says when it starts; called on the thread that called [`run`], never by a worker.
pub trait Conductor {
    /// So many clients are connected, of so many; about ten times a second while they connect.
    fn connecting(&mut self, established: u64, of: u64);
    /// All are connected (or, with scheduled arrival, all workers are there): when should traffic start? May block, for other
    /// processes.
    fn ready(&mut self) -> Moment;
    /// The measured window opens now.
    fn window_opens(&mut self);
    /// A step of the time series is over. Those of several threads are merged already.
    fn interval(&mut self, interval: &Interval);
    /// The measured window closes now.
    fn window_closes(&mut self);
    /// The drain goes on: is this all? Asked many times a second. One process of several cannot know, and asks the others.
    fn drained(&mut self, progress: Progress) -> bool {
        progress.sent == progress.arrived && progress.connecting == 0
    }
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan asks for something that cannot be.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// The relay's address is none.
    #[error(transparent)]
    Url(#[from] ferry_client::UrlError),
    /// TLS cannot be set up.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// More connections than files.
    #[error(
        "{clients} connections need as many files, and this process may open {files}; use more processes, or raise the limit (ulimit -n)"
    )]
    Files {
        /// Clients of this process.
        clients: u64,
        /// Files it may open.
        files: u64,
    },
    /// A client that has to be there before the start could not be connected.
    #[error("no connection to {url} at {address} in {attempts} attempts: {stage} failed: {reason}")]
    Connect {
        /// The relay.
        url: String,
        /// Where it was looked for.
        address: SocketAddr,
        /// How often it was tried.
        attempts: u32,
        /// How far the last attempt came.
        stage: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// Not everybody was connected in time.
    #[error("{established} of {of} clients connected within {} s; the relay is too slow, or the time too short", timeout.as_secs_f64())]
    Arrival {
        /// Those who were.
        established: u64,
        /// Those who should have been.
        of: u64,
        /// The time they had.
        timeout: Duration,
    },
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A worker thread panicked: a fault of this program.
    #[error("a worker thread panicked; please report it with the lines above")]
    Panicked,
    /// Those who work are gone without a word.
    #[error("all workers ended without a word")]
    Gone,
    /// Load on a STUN server.
    #[error(transparent)]
    Stun(#[from] crate::stun::StunError),
    /// Another process could not carry out its share.
    #[error("process {index} of the load generator: {reason}")]
    Agent {
        /// Which.
        index: u32,
        /// What it says, or how it ended.
        reason: String,
    },
}

impl RunError {
    /// For `map_err`: what was to be done when the system refused.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// What a worker is told.
#[derive(Debug, Clone, Copy)]
enum Command {
    /// Traffic starts at a time.
    Start(Phases),
    /// Hang up and say what was found.
    Finish,
}

/// What those who work say meanwhile.
#[derive(Debug)]
pub(crate) enum Report {
    /// All clients are connected.
    Ready,
    /// A step of the time series is over.
    Step {
        /// Whose.
        from: u32,
        /// Its number, from 1.
        step: u64,
        /// What happened in it.
        interval: Interval,
    },
    /// It cannot go on.
    Failed(RunError),
}

/// Carries out this process' share of a plan. Blocks until it is over.
pub fn run(
    plan: &Plan,
    share: Share,
    stop: &Stop,
    conductor: &mut dyn Conductor,
) -> Result<Outcome, RunError> {
    let shared = Shared::new(plan, share)?;
    check_files(&shared)?;
    let (reports, inbox) = mpsc::channel();
    thread::scope(|scope| {
        let mut crew = Threads { shared: &shared, hands: Vec::new() };
        let mut series = Series::new(plan.threads);
        let course = crew.hire(scope, &reports).and_then(|()| {
            // Only workers hold the other end now: when all are gone, that is noticed.
            drop(reports);
            let clients = shared.clients();
            Conducting {
                parts: Parts::of(plan),
                clients,
                stop,
                conductor,
                reports: &inbox,
                series: &mut series,
            }
            .conduct(&mut crew)
        });
        let found = crew.dismiss();
        let course = course?;
        let found = found?;
        for report in inbox.try_iter() {
            if let Report::Step { from, step, interval } = report {
                series.add(from, step, interval);
            }
        }
        Ok(outcome(plan, &course, series, found))
    })
}

/// Files that are not connections: standard streams, polls, timers, and what the program reads about servers.
const OTHER_FILES: u64 = 100;

fn check_files(shared: &Shared<'_>) -> Result<(), RunError> {
    let clients = shared.clients();
    let Some(files) = processor::raise_files_limit() else { return Ok(()) };
    // Of those whose arrival is scheduled, not all are there at the same time; attempts without a file are counted.
    if shared.plan.arrival != Arrival::Scheduled && clients + OTHER_FILES > files {
        return Err(RunError::Files { clients, files });
    }
    Ok(())
}

/// Worker threads of this process.
struct Threads<'scope, 'run> {
    shared: &'run Shared<'run>,
    hands: Vec<Hand<'scope>>,
}

struct Hand<'scope> {
    commands: Sender<Command>,
    waker: Waker,
    thread: ScopedJoinHandle<'scope, Option<WorkerOutcome>>,
}

impl<'scope, 'run: 'scope> Threads<'scope, 'run> {
    fn hire<'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        reports: &Sender<Report>,
    ) -> Result<(), RunError> {
        let shared = self.shared;
        for number in 0..shared.plan.threads {
            let poll = Poll::new().map_err(RunError::system("making a poll"))?;
            let waker =
                Waker::new(poll.registry(), worker::WAKER).map_err(RunError::system("making a waker"))?;
            let (commands, orders) = mpsc::channel();
            let reports = reports.clone();
            let core = core_of(shared, number);
            let work = move || {
                let found = prepare(core)
                    .and_then(|()| {
                        Worker::new(shared, number, poll, orders, reports.clone())
                            .map_err(RunError::system("making a timer"))
                    })
                    .and_then(Worker::work);
                match found {
                    Ok(found) => Some(found),
                    Err(error) => {
                        // Only another's failure, earlier than this one, stops them from listening.
                        let _ = reports.send(Report::Failed(error));
                        None
                    }
                }
            };
            let thread = thread::Builder::new()
                .name(format!("load-{number}"))
                .spawn_scoped(scope, work)
                .map_err(RunError::system("starting a thread"))?;
            self.hands.push(Hand { commands, waker, thread });
        }
        Ok(())
    }

    fn tell(&self, command: Command) -> Result<(), RunError> {
        for hand in &self.hands {
            // One that is gone has said why.
            let _ = hand.commands.send(command);
            hand.waker.wake().map_err(RunError::system("waking a worker"))?;
        }
        Ok(())
    }

    /// Has everybody finish, and collects what they found.
    fn dismiss(self) -> Result<Vec<WorkerOutcome>, RunError> {
        self.tell(Command::Finish)?;
        let ends: Vec<_> = self.hands.into_iter().map(|hand| hand.thread.join()).collect();
        ends.into_iter().map(|end| end.map_err(|_| RunError::Panicked)?.ok_or(RunError::Gone)).collect()
    }
}

impl Crew for Threads<'_, '_> {
    fn size(&self) -> u32 {
        self.shared.plan.threads
    }

    fn progress(&self) -> Progress {
        self.shared.progress()
    }

    fn start(&mut self, phases: Phases) -> Result<(), RunError> {
        self.tell(Command::Start(phases))
    }
}

/// The core that a worker is bound to, over all processes in turn.
fn core_of(shared: &Shared<'_>, number: u32) -> Option<usize> {
    let cores = &shared.plan.cores;
    let place = (shared.share.index * shared.plan.threads + number) as usize;
    (!cores.is_empty()).then(|| cores[place % cores.len()])
}

fn prepare(core: Option<usize>) -> Result<(), RunError> {
    processor::wake_exactly();
    processor::bind_to(core).map_err(RunError::system("binding a worker to its core"))
}

/// Brings together what the workers found.
fn outcome(plan: &Plan, course: &Course, series: Series, found: Vec<WorkerOutcome>) -> Outcome {
    let mut ledger = Ledger::new(plan.run);
    let mut outcome = Outcome {
        start: course.start,
        window: course.window,
        interrupted: course.interrupted,
        total: ledger.total(),
        measured: Default::default(),
        classes: plan.classes.iter().cloned().map(ClassOutcome::new).collect(),
        flows: Vec::new(),
        connects: Default::default(),
        control_frames: Default::default(),
        series: series.into_intervals(),
        generator: Generator::default(),
    };
    for worker in found {
        ledger.merge(worker.ledger);
        worker.records.add_to(&mut outcome, worker.cpu);
    }
    outcome.total = ledger.total();
    outcome.flows = ledger.flows();
    outcome
}
