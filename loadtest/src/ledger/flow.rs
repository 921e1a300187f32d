//! One flow's books.

use super::arrivals::{Arrival, Window, expand};
use super::tally::{FlowTally, Tally};
use crate::plan::ClientIndex;

/// What one sender sent to one receiver, and what of it arrived.
///
/// There may be a million: what a flow without incidents does not need is in [`Incidents`].
#[derive(Debug)]
pub(super) struct Flow {
    from: ClientIndex,
    to: ClientIndex,
    sent: u64,
    sent_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    /// As long as there are no incidents, all below have arrived and no others.
    next: u64,
    incidents: Option<Box<Incidents>>,
}

/// Whatever is not the next packet, intact and in its place.
#[derive(Debug, Default)]
struct Incidents {
    window: Window,
    duplicates: u64,
    reordered: u64,
    reordered_by_most: u64,
    ancient: u64,
    corrupt: u64,
    misrouted: u64,
}

impl Flow {
    pub(super) fn new(from: ClientIndex, to: ClientIndex) -> Self {
        Self { from, to, sent: 0, sent_bytes: 0, delivered: 0, delivered_bytes: 0, next: 0, incidents: None }
    }

    pub(super) fn ends(&self) -> (ClientIndex, ClientIndex) {
        (self.from, self.to)
    }

    /// Books a packet as sent; its sequence number.
    pub(super) fn send(&mut self, bytes: usize) -> u32 {
        // The header has room for the lower half; the receiving side knows how to continue.
        let sequence = self.sent as u32;
        self.sent += 1;
        self.sent_bytes += bytes as u64;
        sequence
    }

    /// Books an intact packet of this flow at its receiver.
    pub(super) fn arrive(&mut self, sequence: u32, bytes: usize) -> Arrival {
        if self.incidents.is_none() && sequence == self.next as u32 {
            self.next += 1;
            self.deliver(bytes);
            return Arrival::New;
        }
        let incidents = self.incidents();
        let arrival = incidents.window.arrive(expand(sequence, incidents.window.end()));
        match arrival {
            Arrival::New => self.deliver(bytes),
            Arrival::Late { by } => {
                incidents.reordered += 1;
                incidents.reordered_by_most = incidents.reordered_by_most.max(by);
                self.deliver(bytes);
            }
            Arrival::Again => incidents.duplicates += 1,
            Arrival::Ancient => incidents.ancient += 1,
        }
        arrival
    }

    fn deliver(&mut self, bytes: usize) {
        self.delivered += 1;
        self.delivered_bytes += bytes as u64;
    }

    pub(super) fn corrupt(&mut self) {
        self.incidents().corrupt += 1;
    }

    pub(super) fn misrouted(&mut self) {
        self.incidents().misrouted += 1;
    }

    fn incidents(&mut self) -> &mut Incidents {
        let next = self.next;
        self.incidents.get_or_insert_with(|| {
            Box::new(Incidents { window: Window::all_below(next), ..Incidents::default() })
        })
    }

    /// Adds another worker's half. One of the two has received nothing: a receiver is one worker's.
    pub(super) fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        let received_there = other.delivered > self.delivered;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.next = self.next.max(other.next);
        let Some(there) = other.incidents else { return };
        let here = self.incidents();
        if received_there {
            here.window = there.window;
        }
        here.duplicates += there.duplicates;
        here.reordered += there.reordered;
        here.reordered_by_most = here.reordered_by_most.max(there.reordered_by_most);
        here.ancient += there.ancient;
        here.corrupt += there.corrupt;
        here.misrouted += there.misrouted;
    }

    pub(super) fn tally(&self) -> FlowTally {
        let mut tally = Tally {
            sent: self.sent,
            sent_bytes: self.sent_bytes,
            delivered: self.delivered,
            delivered_bytes: self.delivered_bytes,
            ..Tally::default()
        };
        if let Some(incidents) = &self.incidents {
            tally.duplicates = incidents.duplicates;
            tally.reordered = incidents.reordered;
            tally.reordered_by_most = incidents.reordered_by_most;
            tally.ancient = incidents.ancient;
            tally.corrupt = incidents.corrupt;
            tally.misrouted = incidents.misrouted;
        }
        tally.settle();
        FlowTally { from: self.from, to: self.to, tally }
    }
}
