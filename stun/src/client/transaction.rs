//! One question to one server, from the first send to the answer or to the end of patience.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{BindingResponse, ResponseError, Schedule};
use crate::message::{ErrorCode, TransactionId};

/// Bytes of an answer at most: what Ethernet carries in one piece. Nobody who was asked has more to say,
/// and a longer datagram is not looked at.
pub const ANSWER_BYTES_MAX: usize = 1500;

/// Error 300 (try another server). It is only to be followed from a server that has proven who it is.
const TRY_ALTERNATE: u16 = 300;

/// Which transaction ID a retransmission carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// That of the first send (RFC 8489 section 6.2.1).
    PerTransaction,
    /// One of its own, as Tailscale's clients do: the answer tells which send it is to, so the round-trip
    /// time is exact and a lost send is known to be lost.
    PerSend,
}

/// One question to one server over UDP, TCP or TLS. The caller writes the requests and owns the socket.
#[derive(Clone, Debug)]
pub struct Transaction {
    server: SocketAddr,
    /// Whether the request asked for an answer from another address or port.
    from_elsewhere: bool,
    identity: Identity,
    schedule: Schedule,
    /// In order, at most as many as the schedule has.
    sends: Vec<(TransactionId, Instant)>,
    answered: bool,
}

impl Transaction {
    /// A question to `server` that starts with the first poll.
    #[must_use]
    pub const fn new(server: SocketAddr, schedule: Schedule, identity: Identity) -> Self {
        Self { server, from_elsewhere: false, identity, schedule, sends: Vec::new(), answered: false }
    }

    /// Takes the answer from any address: for requests with CHANGE-REQUEST, whose answer does not come
    /// from where the request went. Errors still do.
    #[must_use]
    pub const fn answered_from_elsewhere(mut self) -> Self {
        self.from_elsewhere = true;
        self
    }

    /// What to do now. `ids` draws from the operating system's generator.
    pub fn poll(&mut self, now: Instant, ids: &mut impl FnMut() -> TransactionId) -> Step {
        if self.answered {
            return Step::Answered;
        }
        let Some(&(first_id, first_at)) = self.sends.first() else { return self.send(ids(), now) };
        match self.schedule.delay(self.sends.len()).map(|delay| first_at + delay) {
            Some(due) if due > now => Step::Wait(due),
            Some(_) => match self.identity {
                Identity::PerTransaction => self.send(first_id, now),
                Identity::PerSend => self.send(ids(), now),
            },
            None => match first_at + self.schedule.end() {
                end if end > now => Step::Wait(end),
                _ => Step::Failed,
            },
        }
    }

    /// Looks at a datagram; `None` if it is not the first answer to this question. Then it is somebody
    /// else's, late, or forged, and nothing has changed.
    pub fn handle(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Option<Answer> {
        if self.answered || datagram.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let (transaction_id, outcome) = match BindingResponse::parse(datagram) {
            Ok(response) => (response.transaction_id, Ok(response)),
            Err(ResponseError::Refused { transaction_id, code }) if code.code() != TRY_ALTERNATE => {
                (transaction_id, Err(code))
            }
            Err(_) => return None,
        };
        let may_be_elsewhere = self.from_elsewhere && outcome.is_ok();
        if !may_be_elsewhere && !same_endpoint(from, self.server) {
            return None;
        }
        // The last of equal IDs, so that the time is one that the answer really can have taken.
        let sent_at = self.sends.iter().rev().find(|(id, _)| *id == transaction_id)?.1;
        self.answered = true;
        let ambiguous = self.identity == Identity::PerTransaction && self.sends.len() > 1;
        let round_trip = RoundTrip { elapsed: now.saturating_duration_since(sent_at), ambiguous };
        Some(Answer { from, outcome, round_trip })
    }

    fn send(&mut self, id: TransactionId, now: Instant) -> Step {
        self.sends.push((id, now));
        Step::Send(id)
    }
}

/// What a [`Transaction`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the request with this ID, then poll again.
    Send(TransactionId),
    /// Poll again at this time, or when a datagram comes.
    Wait(Instant),
    /// Nobody answered. A datagram that still comes is read.
    Failed,
    /// It has been answered; nothing is left to do.
    Answered,
}

/// The answer to a [`Transaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it came from.
    pub from: SocketAddr,
    /// What the server says, or why it refuses.
    pub outcome: Result<BindingResponse, ErrorCode>,
    /// How long it took.
    pub round_trip: RoundTrip,
}

/// The time between a send and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// From the send that the answer names; if several have the same ID, from the last, so never too long.
    pub elapsed: Duration,
    /// Several sends have that ID. Karn: no estimate may be made of it.
    pub ambiguous: bool,
}

/// Whether two addresses are one on the wire, whatever a dual-stack socket or a scope adds.
pub(crate) fn same_endpoint(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
