//! What a worker has to do later, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;

/// What is to be done for a client when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Send what is due.
    Send,
    /// Begin a connection.
    Connect,
    /// Give up a connection that is not established.
    GiveUpConnecting,
    /// Read on, slowly.
    Read,
    /// Leave.
    Leave,
    /// Give up packets of a closed loop that have not arrived.
    GiveUpPackets,
}

/// A task of a client at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    /// When.
    pub(super) at: Moment,
    /// The client's place in the worker.
    pub(super) slot: u32,
    /// The connection that it was meant for ([`Client::epoch`](super::client::Client::epoch)); a later one ignores it, if it
    /// is about the connection.
    pub(super) epoch: u32,
    /// What.
    pub(super) task: Task,
}

/// Deadlines in the order of their times. Each client has at most one of each task that counts, so the queue is bounded by the
/// clients and by the connections that ended within a connection's patience.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<Deadline>>);

impl Deadlines {
    /// Adds one.
    pub(super) fn push(&mut self, deadline: Deadline) {
        self.0.push(Reverse(deadline));
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<Moment> {
        self.0.peek().map(|first| first.0.at)
    }

    /// The first, if it is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Deadline> {
        if self.first()? > now {
            return None;
        }
        self.0.pop().map(|first| first.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64, slot: u32) -> Deadline {
        Deadline { at: Moment(ns), slot, epoch: 0, task: Task::Send }
    }

    #[test]
    fn come_in_the_order_of_their_times_and_never_early() {
        let mut deadlines = Deadlines::default();
        for deadline in [at(30, 1), at(10, 2), at(20, 3)] {
            deadlines.push(deadline);
        }

        assert_eq!(deadlines.pop_due(Moment(9)), None);
        assert_eq!(deadlines.pop_due(Moment(25)), Some(at(10, 2)));
        assert_eq!(deadlines.pop_due(Moment(25)), Some(at(20, 3)));
        assert_eq!(deadlines.pop_due(Moment(25)), None);
        assert_eq!(deadlines.first(), Some(Moment(30)));
    }
}
