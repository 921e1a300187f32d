//! An established connection and what is watched about it.

use std::time::{Duration, Instant};

use ferry_protocol::{encode_note_preferred, encode_ping, encode_watch_conns};

use super::Backlog;
use super::liveness::Liveness;
use crate::dial::{Endpoint, Ticket};
use crate::{Connection, ConnectionError};

/// While more bytes than this wait for the socket, packets stay where they can still grow old.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

/// An established connection.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) ticket: Ticket,
    pub(super) connection: Connection,
    pub(super) endpoint: Endpoint,
    pub(super) liveness: Liveness,
    since: Instant,
    /// The socket was full when it was last written to.
    blocked: bool,
}

impl Open {
    pub(super) fn new(now: Instant, ticket: Ticket, connection: Connection, endpoint: Endpoint) -> Self {
        Self { ticket, connection, endpoint, liveness: Liveness::new(now), since: now, blocked: false }
    }

    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Says what a relay is told first: whether it is the home, and that we watch.
    pub(super) fn introduce(&mut self, home: bool, watch: bool) -> Result<(), ConnectionError> {
        if home {
            self.note_preferred(true)?;
        }
        if watch {
            self.watch()?;
        }
        Ok(())
    }

    pub(super) fn watch(&mut self) -> Result<(), ConnectionError> {
        let mut frame = Vec::new();
        encode_watch_conns(&mut frame);
        self.connection.send_frame(&frame)
    }

    pub(super) fn note_preferred(&mut self, home: bool) -> Result<(), ConnectionError> {
        let mut frame = Vec::new();
        encode_note_preferred(&mut frame, home);
        self.connection.send_frame(&frame)
    }

    pub(super) fn ping(&mut self, now: Instant, data: [u8; 8]) -> Result<(), ConnectionError> {
        let mut frame = Vec::new();
        encode_ping(&mut frame, data);
        self.connection.send_frame(&frame)?;
        self.liveness.pinged(now, data);
        Ok(())
    }

    /// Takes packets, as many as the socket may soon take. Answers whether there were any.
    pub(super) fn fill(&mut self, now: Instant, backlog: &mut Backlog) -> Result<bool, ConnectionError> {
        let mut any = false;
        while self.connection.outgoing().len() < OUTGOING_BYTES_MAX {
            let Some(frame) = backlog.pop(now) else { break };
            self.connection.send_frame(frame)?;
            any = true;
        }
        if any {
            self.liveness.sent(now);
        }
        Ok(any)
    }

    /// The socket took so many bytes.
    pub(super) fn written(&mut self, now: Instant, bytes: usize) {
        if self.blocked && bytes > 0 {
            // There was no room and now there is: the relay's machine has acknowledged something.
            self.liveness.heard(now);
        }
        self.connection.written(bytes);
        self.blocked = !self.connection.outgoing().is_empty();
    }

    /// Says goodbye, if the socket is likely to take it.
    pub(super) fn into_goodbye(mut self) -> Vec<u8> {
        if !self.connection.outgoing().is_empty() {
            return Vec::new();
        }
        self.connection.close();
        self.connection.outgoing().to_vec()
    }
}
