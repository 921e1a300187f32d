//! How long a binding outlives its last datagram (RFC 5780 section 4.6).
//!
//! A socket opens a binding and is then left alone. After the wait another socket asks the server to answer
//! to the first one's external port (RESPONSE-PORT). If that arrives, the binding is alive, and since an
//! arrival may keep it alive, every wait starts with a fresh datagram from inside. The waits are bisected.
//!
//! Silence counts as death only if the path of the asking socket was open, and if the server, asked the
//! same once the binding had been opened again, did answer. Without RESPONSE-PORT the binding is asked from
//! inside: another port then is proof that the old one died, the same port is proof of nothing.

mod report;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use report::{LifetimeMethod, LifetimeReport};

use super::{Output, Reason, SocketId};
use crate::client::{Answer, BindingRequest, Identity, Schedule, Step, Transaction};
use crate::message::TransactionId;

/// The waits between which the truth is sought. RFC 4787 REQ-5 asks for two minutes at least; many routers
/// give thirty seconds.
pub const LIFETIME_WAITS: [Duration; 8] = [
    Duration::from_secs(20),
    Duration::from_secs(30),
    Duration::from_secs(45),
    Duration::from_secs(60),
    Duration::from_secs(90),
    Duration::from_secs(120),
    Duration::from_secs(180),
    Duration::from_secs(300),
];

/// Gaps between the sends of one question, and the patience after the last. There is no hurry here.
const GAPS: [Duration; 5] = [Duration::from_millis(300); 5];
const PATIENCE: Duration = Duration::from_secs(1);

/// Trials that may come to nothing before the search is given up.
const LOST_TRIALS_MAX: usize = 2;

/// The socket whose binding is left alone.
const BINDING: SocketId = SocketId(0);
/// The socket that asks after it.
const ASKING: SocketId = SocketId(1);

/// The measurement, for the background: it takes three to ten minutes, and one datagram now and then. Poll
/// it, do what it wants, hand it every datagram that its sockets get. `ids` draws transaction IDs from the
/// operating system's generator.
#[derive(Debug)]
pub struct Lifetime<I> {
    server: SocketAddr,
    start: Instant,
    ids: I,
    queue: VecDeque<Output<LifetimeReport>>,
    opened: usize,
    phase: Phase,
    method: Option<LifetimeMethod>,
    /// What the server sees for the binding.
    external: Option<SocketAddr>,
    /// The first wait that is not known to be survived.
    low: usize,
    /// The first wait that is known not to be.
    high: usize,
    lost_trials: usize,
    done: Option<LifetimeReport>,
}

#[derive(Debug)]
enum Phase {
    /// Until both sockets are open.
    Opening,
    /// A question is under way, on one or both sockets.
    Asking {
        purpose: Purpose,
        question: Box<Transaction>,
        /// A plain request beside it that shows that the path was open.
        companion: Option<Box<Transaction>>,
    },
    /// The binding is left alone.
    Resting { until: Instant },
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Opens the binding, or keeps it open for the next wait.
    Open,
    /// Whether RESPONSE-PORT works at all.
    Calibrate,
    /// Whether the binding is alive.
    Check,
    /// Opens it again after a silence.
    Reopen,
    /// Whether the server was not what was silent.
    Verify,
}

impl Purpose {
    /// Whether the question is put by the asking socket, for an answer to the other.
    const fn is_redirected(self) -> bool {
        matches!(self, Self::Calibrate | Self::Check | Self::Verify)
    }
}

/// How a question ended.
enum End {
    /// The binding socket got the answer, which names this address.
    Heard(SocketAddr),
    /// The answer came to the asking socket, or was an error.
    NotOffered,
    /// Nothing came.
    Silent { path_was_open: bool },
}

impl<I: FnMut() -> TransactionId> Lifetime<I> {
    /// Starts with opening two sockets.
    #[must_use]
    pub fn new(server: SocketAddr, now: Instant, ids: I) -> Self {
        Self {
            server,
            start: now,
            ids,
            queue: VecDeque::from([Output::Open(BINDING), Output::Open(ASKING)]),
            opened: 0,
            phase: Phase::Opening,
            method: None,
            external: None,
            low: 0,
            high: LIFETIME_WAITS.len(),
            lost_trials: 0,
            done: None,
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant) -> Output<LifetimeReport> {
        loop {
            if let Some(report) = &self.done {
                return Output::Done(report.clone());
            }
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            if let Some(until) = self.advance(now) {
                return Output::Wait(until);
            }
        }
    }

    /// A socket is open.
    pub fn opened(&mut self, _socket: SocketId, _local_address: SocketAddr) {
        self.opened += 1;
    }

    /// A socket could not be opened, which ends the measurement.
    pub fn failed(&mut self, _socket: SocketId) {
        self.finish(self.start, Some(Reason::SocketFailed));
    }

    /// Takes a datagram. Whatever is not the answer that is awaited changes nothing.
    pub fn handle(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        let Phase::Asking { purpose, question, companion } = &mut self.phase else { return };
        if socket == ASKING && companion.as_mut().is_some_and(|it| it.handle(datagram, from, now).is_some()) {
            return;
        }
        // The binding socket is answered, except that a server which ignores or refuses RESPONSE-PORT
        // answers who asked.
        if socket != BINDING && !purpose.is_redirected() {
            return;
        }
        let purpose = *purpose;
        let Some(Answer { outcome, .. }) = question.handle(datagram, from, now) else { return };
        let end = match outcome {
            Ok(response) if socket == BINDING => End::Heard(response.mapped_address),
            Ok(_) | Err(_) => End::NotOffered,
        };
        self.ended(purpose, end, now);
    }

    /// Goes on; returns when to look again if there is nothing to do now.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.phase {
            Phase::Opening if self.opened < 2 => Some(now + PATIENCE),
            Phase::Opening => {
                self.ask(Purpose::Open);
                None
            }
            Phase::Resting { until } if *until > now => Some(*until),
            Phase::Resting { .. } => {
                let ported = self.method == Some(LifetimeMethod::ResponsePort);
                self.ask(if ported { Purpose::Check } else { Purpose::Reopen });
                None
            }
            Phase::Asking { .. } => self.advance_question(now),
        }
    }

    fn advance_question(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Asking { purpose, question, companion } = &mut self.phase else { return None };
        let purpose = *purpose;
        let mut path_was_open = true;
        if let Some(companion) = companion {
            let step = companion.poll(now, &mut self.ids);
            path_was_open = step == Step::Answered;
            if let Step::Send(id) = step {
                self.send(ASKING, id, BindingRequest::BARE);
                return None;
            }
        }
        match question.poll(now, &mut self.ids) {
            Step::Send(id) if purpose.is_redirected() => {
                let response_port = self.external.map(|external| external.port());
                self.send(ASKING, id, BindingRequest { response_port, ..BindingRequest::BARE });
                None
            }
            Step::Send(id) => {
                self.send(BINDING, id, BindingRequest::BARE);
                None
            }
            // The companion was sent together with the question and waits no longer.
            Step::Wait(until) => Some(until),
            Step::Failed | Step::Answered => {
                self.ended(purpose, End::Silent { path_was_open }, now);
                None
            }
        }
    }

    fn send(&mut self, socket: SocketId, id: TransactionId, request: BindingRequest<'_>) {
        let mut payload = Vec::new();
        request.write(id, &mut payload);
        self.queue.push_back(Output::Send { socket, to: self.server, payload });
    }

    fn ask(&mut self, purpose: Purpose) {
        let schedule = Schedule::with_gaps(&GAPS, PATIENCE);
        let transaction = || Box::new(Transaction::new(self.server, schedule, Identity::PerSend));
        let companion = (purpose == Purpose::Check).then(transaction);
        self.phase = Phase::Asking { purpose, question: transaction(), companion };
    }

    fn ended(&mut self, purpose: Purpose, end: End, now: Instant) {
        let ported = self.method == Some(LifetimeMethod::ResponsePort);
        let tried = self.tried();
        match (purpose, end) {
            (Purpose::Open, End::Heard(external)) => {
                self.external = Some(external);
                if self.method.is_none() { self.ask(Purpose::Calibrate) } else { self.rest(now) }
            }
            (Purpose::Calibrate, end) => {
                let works = matches!(end, End::Heard(_));
                self.method =
                    Some(if works { LifetimeMethod::ResponsePort } else { LifetimeMethod::PortComparison });
                self.rest(now);
            }
            (Purpose::Check, End::Heard(_)) => {
                self.low = tried + 1;
                if self.low >= self.high { self.finish(now, None) } else { self.ask(Purpose::Open) }
            }
            (Purpose::Check, End::Silent { path_was_open: true }) => self.ask(Purpose::Reopen),
            (Purpose::Reopen, End::Heard(external)) if ported => {
                self.external = Some(external);
                self.ask(Purpose::Verify);
            }
            (Purpose::Reopen, End::Heard(external)) => {
                let moved = self.external.replace(external) != Some(external);
                if moved {
                    self.high = tried
                } else {
                    self.low = tried + 1
                }
                self.rest(now);
            }
            (Purpose::Verify, End::Heard(_)) => {
                self.high = tried;
                self.rest(now);
            }
            (Purpose::Open | Purpose::Reopen, End::NotOffered) => self.finish(now, Some(Reason::Refused)),
            (Purpose::Open | Purpose::Reopen, End::Silent { .. }) if self.method.is_none() => {
                self.finish(now, Some(Reason::NoAnswer));
            }
            (Purpose::Open | Purpose::Reopen | Purpose::Check | Purpose::Verify, _) => self.lose_trial(now),
        }
    }

    /// The trial came to nothing: once more, from a fresh binding.
    fn lose_trial(&mut self, now: Instant) {
        self.lost_trials += 1;
        if self.lost_trials > LOST_TRIALS_MAX {
            return self.finish(now, Some(Reason::ControlSilent));
        }
        self.ask(Purpose::Open);
    }

    /// Leaves the binding alone for the wait in the middle of what is unknown.
    fn rest(&mut self, now: Instant) {
        match LIFETIME_WAITS.get(self.tried()).filter(|_| self.low < self.high) {
            Some(wait) => self.phase = Phase::Resting { until: now + *wait },
            None => self.finish(now, None),
        }
    }

    /// The wait that is on trial.
    const fn tried(&self) -> usize {
        usize::midpoint(self.low, self.high)
    }

    fn finish(&mut self, now: Instant, reason: Option<Reason>) {
        let method = self.method.unwrap_or(LifetimeMethod::ResponsePort);
        // Comparing ports never shows that a binding is alive.
        let survived = self.low.checked_sub(1).filter(|_| method == LifetimeMethod::ResponsePort);
        let at_least = survived.and_then(|place| LIFETIME_WAITS.get(place)).copied();
        let less_than = LIFETIME_WAITS.get(self.high).copied();
        let duration = now.saturating_duration_since(self.start);
        self.done =
            Some(LifetimeReport { server: self.server, method, at_least, less_than, reason, duration });
    }
}
