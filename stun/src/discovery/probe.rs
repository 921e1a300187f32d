//! A plain request, asked until it is answered: to learn what a destination sees.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ledger::{Ledger, SocketState};
use super::{Progress, SocketId};
use crate::client::{BindingResponse, Change, Schedule};
use crate::message::TransactionId;

/// Gaps between sends. The sends at 0, 300 and 900 ms are those that a verdict of "nobody there" needs;
/// those between make up for loss early enough for what is built on the answer.
const GAPS: [Duration; 5] = [
    Duration::from_millis(150),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(300),
    Duration::from_millis(300),
];

/// Which question of the run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// To a configured server (its place), from the mapping socket, as anyone asks.
    Server(usize),
    /// The same as a Tailscale client asks: derper answers nothing else.
    TailscaleServer(usize),
    /// To another address or port of the first server, from the mapping socket (RFC 5780 section 4.3).
    Alternate(Change),
    /// From the filtering socket: the path is open before silence is listened for.
    FilteringBefore,
    /// And after.
    FilteringAfter,
    /// From the hairpin socket.
    HairpinBefore,
    /// And after.
    HairpinAfter,
    /// From a socket that is only there to see which port it gets.
    Allocation(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) role: Role,
    pub(super) socket: SocketId,
    pub(super) to: SocketAddr,
    pub(super) tailscale: bool,
    pub(super) created: Instant,
    schedule: Schedule,
    started: Option<Instant>,
    sends: usize,
    last_send: Option<Instant>,
    pub(super) outcome: Option<Outcome>,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(BindingResponse),
    Refused,
    /// Nobody answered, or there is no socket to ask from.
    Silent,
    /// Nobody needs the answer any more.
    Dropped,
}

impl Probe {
    pub(super) fn new(role: Role, socket: SocketId, to: SocketAddr, tailscale: bool, now: Instant) -> Self {
        Self {
            role,
            socket,
            to,
            tailscale,
            created: now,
            schedule: Schedule::with_gaps(&GAPS, Duration::ZERO),
            started: None,
            sends: 0,
            last_send: None,
            outcome: None,
        }
    }

    /// Asks if it is time to. `index` is the probe's place, by which answers find it.
    pub(super) fn step<I>(&mut self, index: usize, now: Instant, ledger: &mut Ledger<I>) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        if self.outcome.is_some() {
            return Progress::Settled;
        }
        match ledger.socket(self.socket) {
            SocketState::Open(_) => {}
            SocketState::Opening => return Progress::Blocked,
            SocketState::Failed => {
                self.outcome = Some(Outcome::Silent);
                return Progress::Settled;
            }
        }
        let started = *self.started.get_or_insert(now);
        let Some(due) = self.schedule.delay(self.sends).map(|delay| started + delay) else {
            let end = self.last_send.unwrap_or(started) + ledger.patience();
            if now < end {
                return Progress::Wait(end);
            }
            self.outcome = Some(Outcome::Silent);
            return Progress::Settled;
        };
        if due > now {
            return Progress::Wait(due);
        }
        self.sends += 1;
        self.last_send = Some(now);
        ledger.ask(now, self.socket, self.to, self.tailscale, index);
        Progress::Sent
    }

    /// What the destination sees.
    pub(super) fn response(&self) -> Option<&BindingResponse> {
        match &self.outcome {
            Some(Outcome::Answered(response)) => Some(response),
            _ => None,
        }
    }

    /// Whether nothing will come of it: asked often enough, or not to be asked.
    pub(super) const fn is_hopeless(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Refused | Outcome::Silent | Outcome::Dropped))
    }

    /// Whether it was asked twice and the second answer is overdue too.
    pub(super) fn is_overdue(&self, now: Instant, patience: Duration) -> bool {
        let second = self.started.zip(self.schedule.delay(1)).map(|(started, delay)| started + delay);
        second.is_some_and(|second| self.sends >= 2 && second + patience <= now)
    }

    /// Ends it without an answer.
    pub(super) fn drop_unanswered(&mut self) {
        self.outcome.get_or_insert(Outcome::Dropped);
    }
}
