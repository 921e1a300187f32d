//! A worker: one thread, one poll, its clients, and no lock.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use mio::{Events, Poll, Token};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::client::{Client, Pace};
use super::connecting::Arrivals;
use super::deadlines::{Deadline, Deadlines, Task};
use super::phases::Phases;
use super::processor::Work;
use super::receiving::Inbox;
use super::records::{Records, WorkerOutcome};
use super::sending::senders;
use super::shared::Shared;
use super::timer::Timer;
use super::{Command, Progress, Report, RunError};
use crate::clock::Moment;
use crate::ledger::Ledger;
use crate::plan::{ClientIndex, Life, Plan, node_key};

/// The timer's events; clients' have their slot.
const TIMER: Token = Token(usize::MAX);
/// Somebody sent a command.
pub(super) const WAKER: Token = Token(usize::MAX - 1);
/// Events taken from the system at once.
const EVENTS: usize = 1024;
/// Deadlines met before sockets get their turn again. Whoever is behind catches up, but reads meanwhile.
const DEADLINES_PER_TURN: usize = 64;
/// What is read from a socket at once.
const READ_BUFFER: usize = 256 << 10;

/// Bytes that may wait for the sockets of all clients of a worker.
const OUTGOING_MOST: usize = 256 << 20;
/// Bytes that may wait for one socket, at least: a frame of the longest packet always finds room.
const CLIENT_OUTGOING_LEAST: usize = 64 << 10;
/// Bytes that may wait for one socket, at most.
const CLIENT_OUTGOING_MOST: usize = 1 << 20;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker<'run> {
    pub(super) shared: &'run Shared<'run>,
    /// Its number among this process' workers.
    pub(super) number: u32,
    pub(super) poll: Poll,
    timer: Timer,
    pub(super) clients: Vec<Client<'run>>,
    /// Where in `clients` a client is; `u32::MAX` if it is another worker's.
    pub(super) slots: Vec<u32>,
    pub(super) deadlines: Deadlines,
    /// Clients that have more to do than one turn allows; each at most once.
    pub(super) busy: VecDeque<u32>,
    pub(super) arrivals: Arrivals,
    pub(super) ledger: Ledger,
    pub(super) records: Records,
    /// Chance that need not be the same in the next run: nonces, jitter.
    pub(super) random: SmallRng,
    pub(super) read_buffer: Vec<u8>,
    pub(super) frame: Vec<u8>,
    /// Bytes that may wait for a client's socket before what is due cannot be sent any more.
    pub(super) outgoing_most: usize,
    pub(super) inbox: Inbox,
    commands: Receiver<Command>,
    pub(super) reports: Sender<Report>,
    work: Work,
    /// Steps of the time series that are over.
    steps: u64,
    /// Processor time when the window opened and closed.
    window_time: [Option<Duration>; 2],
}

impl<'run> Worker<'run> {
    /// A worker with its clients, none of them connected.
    pub(super) fn new(
        shared: &'run Shared<'run>,
        number: u32,
        poll: Poll,
        commands: Receiver<Command>,
        reports: Sender<Report>,
    ) -> io::Result<Self> {
        let plan = shared.plan;
        let mut senders = senders(plan);
        let mut slots = vec![u32::MAX; plan.clients.len()];
        let mut clients = Vec::new();
        for index in shared.clients_of(number) {
            slots[index as usize] = clients.len() as u32;
            clients.push(client(plan, index, &mut senders));
        }
        let timer = Timer::new(poll.registry(), TIMER, plan.stay_awake)?;
        let closed_loops =
            clients.iter().any(|client| client.sender.as_ref().is_some_and(|sender| sender.is_closed_loop()));
        let senders = clients.iter().filter(|client| client.sender.is_some()).count();
        let outgoing_most =
            (OUTGOING_MOST / senders.max(1)).clamp(CLIENT_OUTGOING_LEAST, CLIENT_OUTGOING_MOST);
        let first = |(slot, client): (u32, &Client<'_>)| plan.comes_first(client.index).then_some(slot);
        Ok(Self {
            shared,
            number,
            timer,
            poll,
            arrivals: Arrivals::new((0..).zip(&clients).filter_map(first)),
            clients,
            slots,
            deadlines: Deadlines::default(),
            busy: VecDeque::new(),
            ledger: Ledger::new(plan.run),
            records: Records::new(plan.classes.len()),
            random: SmallRng::seed_from_u64(plan.run ^ u64::from(number) << 32),
            read_buffer: vec![0; READ_BUFFER],
            frame: Vec::new(),
            outgoing_most,
            inbox: Inbox::new(closed_loops),
            commands,
            reports,
            work: Work::default(),
            steps: 0,
            window_time: [None; 2],
        })
    }

    /// Works until it is told to finish, and says what it found.
    pub(super) fn work(mut self) -> Result<WorkerOutcome, RunError> {
        let mut events = Events::with_capacity(EVENTS);
        self.begin_arrivals()?;
        let mut looked_since: Option<Moment> = None;
        loop {
            if self.take_commands() {
                return Ok(self.finish());
            }
            self.meet_deadlines()?;
            self.serve_busy()?;
            let now = Moment::now();
            if let Some(before) = looked_since {
                self.work.looked_in_vain(before, now);
            }
            self.keep_time(now);
            self.publish();

            let until = self.next_time();
            let timeout = if self.busy.is_empty() {
                self.timer.timeout(now, until).map_err(RunError::system("setting a timer"))?
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(RunError::system("waiting for sockets"))?,
            }
            looked_since = (timeout.is_zero() && self.busy.is_empty() && events.is_empty()).then_some(now);
            for event in &events {
                if event.token() != TIMER && event.token() != WAKER {
                    self.ready(event)?;
                    // Sending on time does not wait until everybody has read.
                    self.meet_deadlines()?;
                }
            }
        }
    }

    /// Does what it is told; true to finish.
    fn take_commands(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Start(phases) => self.start(phases),
                Command::Finish => return true,
            }
        }
        false
    }

    /// Traffic starts at a time that may still be to come.
    fn start(&mut self, phases: Phases) {
        self.records.start(phases, self.work.time());
        for slot in 0..self.clients.len() as u32 {
            let client = &mut self.clients[slot as usize];
            let mut begin = phases.start;
            if !self.shared.plan.comes_first(client.index) {
                begin = begin + client.plan.connect_at;
                let epoch = client.epoch;
                if begin < phases.close {
                    self.deadlines.push(Deadline { at: begin, slot, epoch, task: Task::Connect });
                }
            }
            let client = &mut self.clients[slot as usize];
            if let Some(first) = client.sender.as_mut().and_then(|sender| sender.start(begin))
                && first < phases.close
            {
                self.deadlines.push(Deadline { at: first, slot, epoch: 0, task: Task::Send });
            }
            if client.established().is_some() {
                self.plan_leaving(slot, phases.start);
            }
        }
    }

    /// Meets what is due, but not all of it if that is much.
    fn meet_deadlines(&mut self) -> Result<(), RunError> {
        let mut now = Moment::now();
        for _ in 0..DEADLINES_PER_TURN {
            let Some(deadline) = self.deadlines.pop_due(now) else { return Ok(()) };
            now = self.meet(deadline, now)?;
        }
        Ok(())
    }

    /// Does what is due, and says what time it is then.
    fn meet(&mut self, deadline: Deadline, now: Moment) -> Result<Moment, RunError> {
        let Deadline { at, slot, epoch, task } = deadline;
        let current = self.clients[slot as usize].epoch == epoch;
        match task {
            Task::Send => return self.send_due(slot),
            Task::GiveUpPackets => self.give_up_packets(slot, now)?,
            Task::Connect if current => self.connect(slot, at, now)?,
            Task::GiveUpConnecting if current => self.give_up_connecting(slot)?,
            Task::Leave if current => self.leave(slot, now),
            Task::Read if current => self.read_on(slot)?,
            Task::Connect | Task::GiveUpConnecting | Task::Leave | Task::Read => {}
        }
        Ok(Moment::now())
    }

    /// Gives each client that has more to do one turn.
    fn serve_busy(&mut self) -> Result<(), RunError> {
        for _ in 0..self.busy.len() {
            let Some(slot) = self.busy.pop_front() else { break };
            self.clients[slot as usize].busy = false;
            self.read(slot)?;
            self.pump(slot)?;
        }
        Ok(())
    }

    /// Remembers that a client has more to do.
    pub(super) fn keep_busy(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        if !client.busy {
            client.busy = true;
            self.busy.push_back(slot);
        }
    }

    /// Ends steps of the time series, and reads the thread's clock when the window opens and closes.
    fn keep_time(&mut self, now: Moment) {
        let Some(phases) = self.records.phases else { return };
        for (time, mark) in self.window_time.iter_mut().zip([phases.open, phases.close]) {
            if now >= mark && time.is_none() {
                *time = Some(self.work.time());
            }
        }
        let interval = self.shared.plan.interval.as_nanos().max(1);
        let over = (u128::from(now.0.saturating_sub(phases.start.0)) / interval) as u64;
        if over > self.steps {
            // Steps that a busy thread missed are part of the one that it notices.
            self.steps = over;
            self.report_step(phases.start + self.shared.plan.interval.saturating_mul(over as u32), now);
        }
    }

    fn report_step(&mut self, at: Moment, now: Moment) {
        let interval = self.records.end_step(at, now, self.work.time());
        // Nobody listens any more if another worker failed.
        let _ = self.reports.send(Report::Step { from: self.number, step: self.steps, interval });
    }

    /// When there is something to do at the latest.
    fn next_time(&self) -> Option<Moment> {
        let phases = self.records.phases;
        let step = phases
            .map(|phases| phases.start + self.shared.plan.interval.saturating_mul(self.steps as u32 + 1));
        let mark = phases.and_then(|phases| match self.window_time {
            [None, _] => Some(phases.open),
            [_, None] => Some(phases.close),
            [_, _] => None,
        });
        [self.deadlines.first(), step, mark].into_iter().flatten().min()
    }

    fn publish(&self) {
        self.shared.counters[self.number as usize].publish(Progress {
            established: self.records.connections,
            connecting: self.records.connecting(),
            sent: self.records.sent,
            arrived: self.records.arrived,
        });
    }

    /// Hangs up everywhere and says what it found.
    fn finish(mut self) -> WorkerOutcome {
        let now = Moment::now();
        if let Some(phases) = self.records.phases {
            self.count_what_never_was_sent(now.min(phases.close));
            if now > phases.start {
                self.steps += 1;
                self.report_step(now, now);
            }
        }
        for slot in 0..self.clients.len() as u32 {
            let client = &self.clients[slot as usize];
            if client.wanted && client.link.as_ref().is_none_or(|link| !link.established) {
                self.records.connects.absent += 1;
            }
            self.hang_up(slot);
        }
        let [opened, closed] = self.window_time;
        let cpu = opened.map_or(Duration::ZERO, |opened| {
            closed.unwrap_or_else(|| self.work.time()).saturating_sub(opened)
        });
        WorkerOutcome { records: self.records, ledger: self.ledger, cpu }
    }
}

/// A client as it is before anything happened.
fn client<'run>(
    plan: &'run Plan,
    index: ClientIndex,
    senders: &mut impl FnMut(ClientIndex) -> Option<super::client::Sender<'run>>,
) -> Client<'run> {
    Client {
        index,
        plan: &plan.clients[index as usize],
        key: node_key(plan.seed, index).into(),
        link: None,
        epoch: 0,
        wanted: false,
        failures: 0,
        lost_at: None,
        sender: senders(index),
        busy: false,
    }
}

impl Worker<'_> {
    /// Says when an established client will leave, if it will. `since` is when traffic started or the client was connected,
    /// whichever is later.
    pub(super) fn plan_leaving(&mut self, slot: u32, since: Moment) {
        let client = &self.clients[slot as usize];
        let stay = match client.plan.life {
            Life::Stays => return,
            Life::Leaves { after } => after,
            // The first stay is cut at random, so that not all leave together.
            Life::Churns { stay, .. } if client.epoch <= 1 => stay.mul_f64(self.random.random::<f64>()),
            Life::Churns { stay, .. } => stay,
        };
        let at = since + stay;
        // What is under way at the end of the window is waited for, by everybody.
        if self.records.phases.is_some_and(|phases| at < phases.close) {
            self.deadlines.push(Deadline { at, slot, epoch: client.epoch, task: Task::Leave });
        }
    }

    /// Books what was due and not come to when the run ended.
    fn count_what_never_was_sent(&mut self, until: Moment) {
        for client in &mut self.clients {
            let Some(sender) = &mut client.sender else { continue };
            let class = sender.class;
            let Pace::Open { .. } = sender.pace else { continue };
            while let Some(due) = sender.next_due()
                && due < until
            {
                self.records.due(class, due);
                self.records.late(due, until);
                self.records.unsent(due);
                sender.advance();
            }
        }
    }
}
