//! When a thread asks.

use super::request::Kind;
use crate::clock::Moment;
use crate::schedule::DueTimes;

/// When a thread asks.
#[derive(Debug)]
pub(super) enum Pace {
    /// At the schedule's times.
    Open(Open),
    /// When there is room.
    Closed(Closed),
}

/// An open loop: the sockets in turn, at the schedule's times.
#[derive(Debug)]
pub(super) struct Open {
    times: DueTimes,
    start: Moment,
    /// The next request's; None after the last.
    next: Option<Moment>,
    /// The socket whose turn it is.
    pub(super) turn: usize,
    /// A request that its socket had no room for; it goes first.
    pub(super) held: Option<(Kind, Moment)>,
}

/// A closed loop: so many requests under way per socket.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) window: usize,
    /// When requests have to be looked for that have kept their place too long.
    pub(super) next_displacement: Moment,
}

impl Pace {
    /// Whether requests that were due before `end` are not sent yet.
    pub(super) fn is_behind(&self, end: Moment) -> bool {
        match self {
            Self::Open(open) => open.held.is_some() || open.next_due(end).is_some(),
            Self::Closed(_) => false,
        }
    }
}

impl Open {
    pub(super) fn new(mut times: DueTimes, start: Moment) -> Self {
        let next = times.next_due().map(|offset| start + offset);
        Self { times, start, next, turn: 0, held: None }
    }

    /// When the next request is due, if that is before `end`.
    pub(super) fn next_due(&self, end: Moment) -> Option<Moment> {
        self.next.filter(|due| *due < end)
    }

    /// Takes the next request, if it is due before `end`.
    pub(super) fn take_due(&mut self, end: Moment) -> Option<Moment> {
        let due = self.next_due(end)?;
        self.next = self.times.next_due().map(|offset| self.start + offset);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::Schedule;

    #[test]
    fn nothing_that_was_due_is_skipped() {
        let start = Moment(5_000_000_000);
        let schedule = Schedule::Constant { per_second: 1_000.0 };
        let mut pace = Open::new(DueTimes::new(schedule, 1), start);
        // The thread slept for a second.
        let end = start + Duration::from_secs(1);
        let due: Vec<_> = std::iter::from_fn(|| pace.take_due(end)).collect();
        assert!((999..=1_001).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted() && due.iter().all(|due| *due < end));
        assert!(pace.next_due(end).is_none());
        assert!(Pace::Open(pace).is_behind(end + Duration::from_millis(2)));
    }
}
