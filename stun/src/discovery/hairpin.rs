//! Whether two sockets behind one NAT meet at its external address (RFC 4787 section 6).
//!
//! Both send to where the server saw the other: a filter that only lets in whom the socket sent to is then
//! open, and what does not arrive is not hairpinned. That needs a mapping that is the same for every
//! destination; else the filter that was opened is not the one that is knocked at.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::silence::Silence;
use super::verdict::Hairpin;
use super::{Progress, SocketId};
use crate::message::TransactionId;

#[derive(Clone, Debug, Default)]
pub(super) struct HairpinTest {
    silence: Silence,
    /// What arrived first.
    pub(super) heard: Option<Hairpin>,
}

impl HairpinTest {
    /// Sends what is due; the two addresses are those that the server sees for the two sockets.
    pub(super) fn step<I>(
        &mut self,
        now: Instant,
        (mapping, hairpin): (SocketAddr, SocketAddr),
        needed: usize,
        patience: Duration,
        ledger: &mut Ledger<I>,
    ) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        if self.heard.is_some() {
            return Progress::Settled;
        }
        let due = if self.silence.missing(needed) > 0 {
            self.silence.next_due(now, needed)
        } else {
            match self.silence.last.unwrap_or(now) + patience {
                end if end <= now => return Progress::Settled,
                end => return Progress::Wait(end),
            }
        };
        if due > now {
            return Progress::Wait(due);
        }
        self.silence.note_send(now);
        ledger.hairpin(now, SocketId::MAPPING, hairpin, SocketId::HAIRPIN);
        ledger.hairpin(now, SocketId::HAIRPIN, mapping, SocketId::MAPPING);
        Progress::Sent
    }

    /// Takes a request of ours that came back in, from the sender's address inside or another.
    pub(super) fn note_arrival(&mut self, internal: bool) {
        self.heard.get_or_insert(if internal { Hairpin::InternalSource } else { Hairpin::ExternalSource });
    }

    /// When it was sent last, once no more sends are due and nothing came.
    pub(super) fn silent_since(&self, needed: usize) -> Option<Instant> {
        if self.silence.missing(needed) > 0 || self.heard.is_some() { None } else { self.silence.last }
    }
}
