//! How often has to be asked into a silence before it is one, and what has to be heard around it.

use std::time::{Duration, Instant};

/// Sends at least. Three would do on a path that never loses anything; one that loses a tenth each way shows
/// none of it in the rest of the run once in thirty times.
const SENDS_MIN: usize = 5;

/// Sends at most: what more would take does not fit a server's budget, nor the time.
const SENDS_MAX: usize = 8;

/// How long a silence is listened to, however many sends it takes: a short outage is no filter.
const SPAN: Duration = Duration::from_millis(900);

/// How seldom the network alone may be silent for as long.
const CHANCE_MAX: f64 = 2e-5;

/// The gap between two tries of a control.
const CONTROL_GAP: Duration = Duration::from_millis(180);

/// What became of the run's plain requests to addresses that answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Requests whose answer came or is overdue.
    pub(super) asked: usize,
    /// Those whose answer is overdue.
    pub(super) lost: usize,
}

impl Loss {
    /// How many sends in a row the path swallows by chance only once in 50,000 runs: five if nothing was
    /// lost, seven if every fifth request was.
    pub(super) fn sends_needed(self) -> usize {
        // Laplace's rule: what was never seen is not impossible.
        let chance = (self.lost + 1) as f64 / (self.asked + 2) as f64;
        (SENDS_MIN..SENDS_MAX).find(|sends| chance.powi(*sends as i32) <= CHANCE_MAX).unwrap_or(SENDS_MAX)
    }
}

/// Sends that nobody has answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    sends: usize,
    /// When it started.
    pub(super) first: Option<Instant>,
    /// When it was asked into last.
    pub(super) last: Option<Instant>,
}

impl Silence {
    /// Counts a send.
    pub(super) fn note_send(&mut self, now: Instant) {
        self.sends += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// How many sends are missing until it counts.
    pub(super) const fn missing(&self, needed: usize) -> usize {
        needed.saturating_sub(self.sends)
    }

    /// When the next send is due; the first one at once.
    pub(super) fn next_due(&self, now: Instant, needed: usize) -> Instant {
        self.last.map_or(now, |last| last + SPAN / (needed.max(2) - 1) as u32)
    }
}

/// A request whose answer shows that a silence is the filter's and not the server's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    sends: usize,
    last: Option<Instant>,
    pub(super) outcome: Option<ControlOutcome>,
}

/// How a control ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlOutcome {
    /// The server sends, and it arrives.
    Answered,
    /// The server does not do what the control needs.
    Refused,
    /// Nothing came.
    Silent,
}

impl Control {
    /// Sends at most.
    const SENDS: usize = 3;

    /// Whether to send now, or when to look again.
    pub(super) fn step(&mut self, now: Instant, patience: Duration) -> ControlStep {
        let Some(last) = self.last else { return ControlStep::Send };
        let due = if self.sends < Self::SENDS { last + CONTROL_GAP } else { last + patience };
        if due > now {
            return ControlStep::Wait(due);
        }
        if self.sends < Self::SENDS {
            return ControlStep::Send;
        }
        self.outcome.get_or_insert(ControlOutcome::Silent);
        ControlStep::Ended
    }

    /// Counts a send.
    pub(super) const fn note_send(&mut self, now: Instant) {
        self.sends += 1;
        self.last = Some(now);
    }
}

/// What a [`Control`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlStep {
    Send,
    Wait(Instant),
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_lost_the_more_sends_a_silence_takes() {
        for (lost, asked, needed) in [(0, 20, 5), (0, 5, 6), (1, 20, 5), (4, 23, 7), (10, 25, 8), (0, 0, 8)] {
            assert_eq!(Loss { asked, lost }.sends_needed(), needed, "{lost} of {asked}");
        }
    }

    #[test]
    fn sends_spread_over_the_whole_span() {
        let now = Instant::now();
        for needed in SENDS_MIN..=SENDS_MAX {
            let mut silence = Silence::default();
            while silence.missing(needed) > 0 {
                silence.note_send(silence.next_due(now, needed));
            }
            let span = silence.last.zip(silence.first).map(|(last, first)| last - first);
            assert!(span.is_some_and(|span| SPAN - span < Duration::from_micros(1)), "{span:?}");
        }
    }
}
