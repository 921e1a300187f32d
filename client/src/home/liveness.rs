//! Whether the home is alive: pings and reconnects, and how many of them failed.

use std::time::{Duration, Instant};

use super::{PING_INTERVAL, PING_TIMEOUT};

/// Attempts in a row that must fail for the home to be dead.
const ATTEMPTS: u32 = 2;
/// Losses of the connection, each within [`LOSSES_APART_MAX`] of the one before, that make a dead home too.
const LOSSES: u32 = 3;
/// A loss that is further than this from the one before is the first again.
const LOSSES_APART_MAX: Duration = Duration::from_secs(60);
/// A home that was silent for this long after another relay was heard is not silent because of the network.
const NETWORK_PROOF: Duration = Duration::from_secs(1);

/// What is known of the home's life.
#[derive(Debug)]
pub(super) struct Liveness {
    state: State,
    /// When the connection was last lost.
    lost: Option<Instant>,
    /// How often it was lost in a row.
    losses: u32,
    /// When another relay was heard first, since the trouble began.
    network_up: Option<Instant>,
}

/// `since` is when the trouble began: with the first attempt that was not answered, or the loss of the connection.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is wrong.
    Alive { ping_due: Instant },
    /// A ping or a new connection is under way.
    Trying { since: Instant, at: Instant, failures: u32 },
    /// The next attempt is due at `next`.
    Resting { since: Instant, next: Instant, failures: u32 },
    /// All attempts failed, the last one at `failed`; it was made at `at`. None if it was not for silence.
    Dead { since: Instant, at: Option<Instant>, failed: Instant },
}

/// What to do about the home.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Ask it for a sign of life: by a ping, or without a connection, for a new one.
    Ask,
    /// Nothing before this time.
    Wait(Instant),
}

impl Liveness {
    /// Of a home that was just heard.
    pub(super) fn new(now: Instant) -> Self {
        Self { state: State::alive(now), lost: None, losses: 0, network_up: None }
    }

    /// The home showed a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        self.state = State::alive(now);
        self.network_up = None;
    }

    /// Another relay showed a sign of life.
    pub(super) fn other_heard(&mut self, now: Instant) {
        if self.state.since().is_some() {
            self.network_up.get_or_insert(now);
        }
    }

    /// Something makes it likely that the home is dead: it is pinged at once.
    pub(super) fn doubted(&mut self, now: Instant) {
        if let State::Alive { ping_due } = &mut self.state {
            *ping_due = now.min(*ping_due);
        }
    }

    /// What failed so far says nothing: it is asked at once, as if for the first time.
    pub(super) fn restart(&mut self, now: Instant) {
        let state = State::Resting { since: now, next: now, failures: 0 };
        *self = Self { state, lost: None, losses: 0, network_up: None };
    }

    /// The connection is gone. The first time, a new one is tried at once.
    pub(super) fn lost(&mut self, now: Instant) {
        let in_a_row = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) <= LOSSES_APART_MAX);
        self.losses = if in_a_row { self.losses.saturating_add(1) } else { 1 };
        self.lost = Some(now);
        let since = self.state.since().unwrap_or(now);
        if self.losses >= LOSSES {
            self.state = State::Dead { since, at: None, failed: now };
            return;
        }
        self.state = match self.state {
            State::Alive { .. } if self.losses == 1 => State::Resting { since, next: now, failures: 0 },
            State::Alive { .. } => State::Resting { since, next: now + PING_TIMEOUT, failures: 0 },
            State::Trying { .. } => self.state.after_failure(now),
            State::Resting { .. } | State::Dead { .. } => self.state,
        };
    }

    /// The attempt that is under way failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.state = self.state.after_failure(now);
    }

    /// If it answers to ask, that is taken as done.
    pub(super) fn poll(&mut self, now: Instant) -> Life {
        if let State::Trying { at, .. } = self.state {
            let deadline = at + PING_TIMEOUT;
            if now < deadline {
                return Life::Wait(deadline);
            }
            if now.saturating_duration_since(deadline) > PING_TIMEOUT {
                // Nobody was there to hear an answer, as in a machine that slept.
                return self.ask(now, now, 0);
            }
            self.state = self.state.after_failure(now);
        }
        let (due, since, failures) = match self.state {
            State::Alive { ping_due } => (ping_due, now, 0),
            State::Resting { since, next, failures } => (next, since, failures),
            State::Dead { since, failed, .. } => (failed + PING_INTERVAL, since, ATTEMPTS - 1),
            State::Trying { since, at, failures } => (at + PING_TIMEOUT, since, failures),
        };
        if now < due { Life::Wait(due) } else { self.ask(now, since, failures) }
    }

    /// Has a dead home asked once more, if it was silent only while nothing else was heard either: it may have been the network, and that may be
    /// back. Answers whether it is.
    pub(super) fn try_once_more(&mut self, now: Instant) -> bool {
        let (State::Dead { since, at: Some(at), failed }, Some(network_up)) = (self.state, self.network_up)
        else {
            return false;
        };
        let due = at < network_up && failed < network_up + NETWORK_PROOF;
        if due {
            self.ask(now, since, ATTEMPTS - 1);
        }
        due
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead { .. })
    }

    /// When the trouble began, if something failed already or the connection is gone.
    pub(super) fn trouble_since(&self, established: bool) -> Option<Instant> {
        let failed = match self.state {
            State::Alive { .. } => false,
            State::Trying { failures, .. } | State::Resting { failures, .. } => failures > 0,
            State::Dead { .. } => true,
        };
        self.state.since().filter(|_| failed || !established)
    }

    fn ask(&mut self, now: Instant, since: Instant, failures: u32) -> Life {
        self.state = State::Trying { since, at: now, failures };
        Life::Ask
    }
}

impl State {
    fn alive(now: Instant) -> Self {
        Self::Alive { ping_due: now + PING_INTERVAL }
    }

    fn since(self) -> Option<Instant> {
        match self {
            Self::Alive { .. } => None,
            Self::Trying { since, .. } | Self::Resting { since, .. } | Self::Dead { since, .. } => {
                Some(since)
            }
        }
    }

    fn after_failure(self, now: Instant) -> Self {
        match self {
            Self::Trying { since, at, failures } if failures + 1 >= ATTEMPTS => {
                Self::Dead { since, at: Some(at), failed: now }
            }
            Self::Trying { since, at, failures } => {
                Self::Resting { since, next: at + PING_TIMEOUT, failures: failures + 1 }
            }
            Self::Alive { .. } | Self::Resting { .. } | Self::Dead { .. } => self,
        }
    }
}
