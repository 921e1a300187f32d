//! Sums of what became of packets, and whether they add up.

use serde::{Deserialize, Serialize};

use crate::plan::ClientIndex;

/// What became of everything, summed up.
///
/// Tallies of several books of one run [`add`](Self::add) up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Handed to connections.
    pub sent: u64,
    /// Arrived intact where they should, each once.
    pub delivered: u64,
    /// Sent and never seen: [`sent`](Self::sent) less [`delivered`](Self::delivered), [`ancient`](Self::ancient),
    /// [`corrupt`](Self::corrupt) and [`misrouted`](Self::misrouted). Right only when both halves of every flow are in.
    pub lost: u64,
    /// Arrived again.
    pub duplicates: u64,
    /// Of the delivered: after one that was sent later.
    pub reordered: u64,
    /// The greatest distance of such a one, in packets.
    pub reordered_by_most: u64,
    /// Arrived intact where they should, but so late ([`WINDOW`](super::WINDOW)) that nobody knows whether for the first time.
    pub ancient: u64,
    /// Arrived changed.
    pub corrupt: u64,
    /// Arrived at the wrong client, or under the wrong name.
    pub misrouted: u64,
    /// Arrived, and not of this run.
    pub foreign: u64,
    /// Payload bytes sent.
    pub sent_bytes: u64,
    /// Payload bytes delivered.
    pub delivered_bytes: u64,
}

/// What became of one flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTally {
    /// The sender.
    pub from: ClientIndex,
    /// The receiver.
    pub to: ClientIndex,
    /// Its figures. `foreign` is always 0; `corrupt` counts by the ends of the frame that it came in, `misrouted` by what its
    /// header says.
    pub tally: Tally,
}

/// Why the books do not add up: a fault of the tool, never of the relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// More arrived than was sent.
    #[error("flow {from} to {to}: {delivered} delivered of {sent} sent")]
    FromNothing {
        /// The sender.
        from: ClientIndex,
        /// The receiver.
        to: ClientIndex,
        /// Packets sent.
        sent: u64,
        /// Packets that arrived.
        delivered: u64,
    },
    /// The sum is not what its parts are.
    #[error("{what}: {sum} in all, {parts} in the flows")]
    Sum {
        /// Which figure.
        what: &'static str,
        /// In all.
        sum: u64,
        /// In the flows.
        parts: u64,
    },
    /// What was sent is not accounted for, or more than once.
    #[error("{sent} sent, but {lost} lost, where {want} are missing")]
    Conservation {
        /// Packets sent.
        sent: u64,
        /// Packets said to be lost.
        lost: u64,
        /// What is left of those sent when all others are taken away.
        want: u64,
    },
}

impl Tally {
    /// Adds what other books of the same run say, and [settles](Self::settle).
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.reordered_by_most = self.reordered_by_most.max(other.reordered_by_most);
        self.ancient += other.ancient;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.foreign += other.foreign;
        self.sent_bytes += other.sent_bytes;
        self.delivered_bytes += other.delivered_bytes;
        self.settle();
    }

    /// Works out what was lost, so that sent = delivered + lost + ancient + corrupt + misrouted.
    ///
    /// A relay that makes copies and then changes or misroutes them can have more arrive than was sent. Then nothing is
    /// lost as far as anybody can tell; [`missing`](Self::missing) is not fooled.
    pub fn settle(&mut self) {
        self.lost = self.unaccounted();
    }

    /// Sent, and not arrived intact where they should: lost or spoilt.
    pub fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }

    fn unaccounted(&self) -> u64 {
        self.missing()
            .saturating_sub(self.ancient)
            .saturating_sub(self.corrupt)
            .saturating_sub(self.misrouted)
    }
}

impl FlowTally {
    /// Sender and receiver.
    pub fn ends(&self) -> (ClientIndex, ClientIndex) {
        (self.from, self.to)
    }
}

/// Brings the flows of two books of one run together, by sender and receiver; both have to be in that order.
pub fn merge_flows(ours: Vec<FlowTally>, theirs: Vec<FlowTally>) -> Vec<FlowTally> {
    let mut merged: Vec<FlowTally> = Vec::with_capacity(ours.len().max(theirs.len()));
    let mut theirs = theirs.into_iter().peekable();
    for mut flow in ours {
        while let Some(other) = theirs.next_if(|other| other.ends() < flow.ends()) {
            merged.push(other);
        }
        if let Some(other) = theirs.next_if(|other| other.ends() == flow.ends()) {
            flow.tally.add(&other.tally);
        }
        merged.push(flow);
    }
    merged.extend(theirs);
    merged
}

/// Whether the books add up: nothing was delivered that was not sent, what was sent is accounted for, and the sums are those
/// of all flows. Both have to be merged, and all flows be there.
pub fn check(total: &Tally, flows: &[FlowTally]) -> Result<(), Imbalance> {
    for FlowTally { from, to, tally } in flows {
        if tally.delivered > tally.sent {
            return Err(Imbalance::FromNothing {
                from: *from,
                to: *to,
                sent: tally.sent,
                delivered: tally.delivered,
            });
        }
    }
    for tally in flows.iter().map(|flow| &flow.tally).chain([total]) {
        if tally.lost != tally.unaccounted() {
            return Err(Imbalance::Conservation {
                sent: tally.sent,
                lost: tally.lost,
                want: tally.unaccounted(),
            });
        }
    }
    let mut parts = Tally::default();
    flows.iter().for_each(|flow| parts.add(&flow.tally));
    let equal = [
        ("sent", total.sent, parts.sent),
        ("delivered", total.delivered, parts.delivered),
        ("duplicates", total.duplicates, parts.duplicates),
        ("reordered", total.reordered, parts.reordered),
        ("ancient", total.ancient, parts.ancient),
        ("sent bytes", total.sent_bytes, parts.sent_bytes),
        ("delivered bytes", total.delivered_bytes, parts.delivered_bytes),
        // Some of these belong to no flow that is known.
        ("corrupt", total.corrupt, parts.corrupt.max(total.corrupt)),
        ("misrouted", total.misrouted, parts.misrouted.max(total.misrouted)),
    ];
    match equal.into_iter().find(|(_, sum, parts)| sum != parts) {
        Some((what, sum, parts)) => Err(Imbalance::Sum { what, sum, parts }),
        None => Ok(()),
    }
}

/// Jain's index of fairness over flows' delivered packets: 1 is equal, 1/n is one flow alone; None if nothing was delivered.
pub fn fairness(flows: &[FlowTally]) -> Option<f64> {
    let delivered = || flows.iter().map(|flow| flow.tally.delivered as f64);
    let (sum, squares) = (delivered().sum::<f64>(), delivered().map(|x| x * x).sum::<f64>());
    (squares > 0.0).then(|| sum * sum / (flows.len() as f64 * squares))
}
