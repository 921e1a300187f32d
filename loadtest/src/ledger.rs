//! The books: what was sent, and what became of it. They must add up.
//!
//! Per flow, and in all: **sent = delivered + lost + ancient + corrupt + misrouted**. What a relay delivers beyond that (copies
//! that are corrupt or misrouted while the original arrives as well) leaves `lost` at zero, never below: see [`Tally::settle`].

mod arrivals;
mod flow;
mod tally;

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use self::arrivals::Arrival;
pub use self::arrivals::WINDOW;
use self::flow::Flow;
pub use self::tally::{FlowTally, Imbalance, Tally, check, fairness, merge_flows};
use crate::payload::{self, Header, PayloadError};
use crate::plan::ClientIndex;

/// Flows that are known only from misrouted packets, at most: their headers are the relay's word, and a broken one could
/// invent any number. Beyond that they are counted in all only.
const STRAY_FLOWS_MOST: usize = 65_536;

/// The books of one worker: its clients' sending and their receiving, per flow (sender, receiver).
///
/// Sending and receiving of one flow may be in different workers' books; [`merge`](Self::merge) brings them together. All
/// that one client receives has to be in the books of one.
///
/// A million flows take some 85 MB; each that has lost or reordered anything 160 bytes more, up to [`WINDOW`] bits.
#[derive(Debug)]
pub struct Ledger {
    run: u64,
    /// Not settled: `lost` is worked out when asked for.
    total: Tally,
    /// Where a flow is in `flows`. Apart, because a hash table of whole flows would be half empty.
    index: HashMap<(ClientIndex, ClientIndex), u32, FxBuildHasher>,
    flows: Vec<Flow>,
    /// How many of them only misrouted packets have named.
    stray_flows: usize,
}

/// What a packet that arrived was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Ours, intact, for this receiver, for the first time.
    Intact(Header),
    /// The same again.
    Duplicate(Header),
    /// Intact, but more than [`WINDOW`] behind: nobody knows any more whether it is the first or a duplicate.
    Ancient(Header),
    /// Intact, but for somebody else, or not from whom the relay says.
    Misrouted,
    /// Changed on the way.
    Corrupt,
    /// Another run's, or nobody's.
    Foreign,
}

impl Ledger {
    /// Empty books of a run.
    pub fn new(run: u64) -> Self {
        Self { run, total: Tally::default(), index: HashMap::default(), flows: Vec::new(), stray_flows: 0 }
    }

    /// Books a packet as handed to a connection, and says its number in the flow.
    pub fn send(&mut self, from: ClientIndex, to: ClientIndex, bytes: usize) -> u32 {
        self.total.sent += 1;
        self.total.sent_bytes += bytes as u64;
        self.flow(from, to).send(bytes)
    }

    /// Books what `at` received from `from` (None: a key of nobody's).
    pub fn receive(&mut self, at: ClientIndex, from: Option<ClientIndex>, packet: &[u8]) -> Receipt {
        let header = match payload::read(packet) {
            Ok(header) => header,
            Err(PayloadError::Short(_) | PayloadError::Checksum { .. }) => return self.corrupt(at, from),
            Err(PayloadError::Magic(_) | PayloadError::Purpose(_)) => return self.foreign(),
        };
        if header.run != self.run {
            return self.foreign();
        }
        if header.to != at || from != Some(header.from) {
            return self.misrouted(&header);
        }
        let arrival = self.flow(header.from, at).arrive(header.sequence, packet.len());
        match arrival {
            Arrival::New => self.delivered(packet.len()),
            Arrival::Late { by } => {
                self.delivered(packet.len());
                self.total.reordered += 1;
                self.total.reordered_by_most = self.total.reordered_by_most.max(by);
            }
            Arrival::Again => {
                self.total.duplicates += 1;
                return Receipt::Duplicate(header);
            }
            Arrival::Ancient => {
                self.total.ancient += 1;
                return Receipt::Ancient(header);
            }
        }
        Receipt::Intact(header)
    }

    fn delivered(&mut self, bytes: usize) {
        self.total.delivered += 1;
        self.total.delivered_bytes += bytes as u64;
    }

    /// The content names nobody, but the relay still says from whom it is.
    fn corrupt(&mut self, at: ClientIndex, from: Option<ClientIndex>) -> Receipt {
        self.total.corrupt += 1;
        if let Some(from) = from {
            self.flow(from, at).corrupt();
        }
        Receipt::Corrupt
    }

    fn foreign(&mut self) -> Receipt {
        self.total.foreign += 1;
        Receipt::Foreign
    }

    fn misrouted(&mut self, header: &Header) -> Receipt {
        self.total.misrouted += 1;
        if !self.index.contains_key(&(header.from, header.to)) {
            if self.stray_flows == STRAY_FLOWS_MOST {
                return Receipt::Misrouted;
            }
            self.stray_flows += 1;
        }
        self.flow(header.from, header.to).misrouted();
        Receipt::Misrouted
    }

    fn flow(&mut self, from: ClientIndex, to: ClientIndex) -> &mut Flow {
        // Flows are as many as pairs of clients that talk: memory ends before 32 bits do.
        let place = *self.index.entry((from, to)).or_insert_with(|| {
            self.flows.push(Flow::new(from, to));
            (self.flows.len() - 1) as u32
        });
        &mut self.flows[place as usize]
    }

    /// Adds another worker's books of the same run.
    pub fn merge(&mut self, other: Self) {
        debug_assert_eq!(self.run, other.run, "books of different runs");
        self.total.add(&other.total);
        for flow in other.flows {
            let (from, to) = flow.ends();
            self.flow(from, to).merge(flow);
        }
    }

    /// The sum over all flows, and what belongs to none. `lost` is right only of merged books.
    pub fn total(&self) -> Tally {
        let mut total = self.total.clone();
        total.settle();
        total
    }

    /// Every flow that there was, by sender and receiver. Each one's `lost` is right only of merged books.
    pub fn flows(&self) -> Vec<FlowTally> {
        let mut flows: Vec<_> = self.flows.iter().map(Flow::tally).collect();
        flows.sort_unstable_by_key(FlowTally::ends);
        flows
    }

    /// Whether the books add up: nothing delivered that was not sent, every sum is that of its parts. Only of merged books.
    pub fn check(&self) -> Result<(), Imbalance> {
        check(&self.total(), &self.flows())
    }

    /// Whether everything that was sent has arrived. Only of merged books: of several workers', see [`Tally::missing`].
    pub fn is_settled(&self) -> bool {
        self.total.missing() == 0
    }
}

#[cfg(test)]
mod tests;
