//! What is known of a region's relay connection.

use std::time::Instant;

/// A relay connection, or the lack of one.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// When it last showed a sign of life; None while it is not established.
    alive: Option<Instant>,
    /// What was asked for since: a connection, or where there is one, a ping.
    attempt: Option<Attempt>,
}

/// A connection or a ping that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// When.
    pub(super) at: Instant,
    /// It is known to have failed.
    pub(super) failed: bool,
}

impl Relay {
    pub(super) fn is_established(&self) -> bool {
        self.alive.is_some()
    }

    pub(super) fn alive(&self) -> Option<Instant> {
        self.alive
    }

    pub(super) fn attempt(&self) -> Option<Attempt> {
        self.attempt
    }

    pub(super) fn ask(&mut self, now: Instant) {
        self.attempt = Some(Attempt { at: now, failed: false });
    }

    pub(super) fn connected(&mut self, now: Instant) {
        *self = Self { alive: Some(now), attempt: None };
    }

    /// Answers whether it was believed established: a sign of life of another connection is none.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        let established = self.is_established();
        if established {
            self.connected(now);
        }
        established
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let at = self.attempt.map_or(now, |attempt| attempt.at);
        self.attempt = Some(Attempt { at, failed: true });
    }

    /// Answers whether it was believed established.
    pub(super) fn lost(&mut self, now: Instant) -> bool {
        let established = self.is_established();
        if established {
            *self = Self { alive: None, attempt: Some(Attempt { at: now, failed: true }) };
        }
        established
    }

    /// Attempts of another network say nothing about this one.
    pub(super) fn forget_attempt(&mut self) {
        self.attempt = None;
    }
}
