//! The requests of one socket that somebody may still answer.

use std::collections::VecDeque;
use std::time::Duration;

use super::request::Kind;
use crate::clock::Moment;

/// After so long a request is lost: Tailscale's clients have long asked again, and gone elsewhere.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(3);
/// After so long a closed loop no longer keeps a place of its window for an answer; until [`LOST_AFTER`] it still counts.
pub(super) const PLACE_KEPT: Duration = Duration::from_secs(1);

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// When it should have been.
    pub(super) due: Moment,
    /// When it was.
    pub(super) sent: Moment,
    /// What it was.
    pub(super) kind: Kind,
}

/// Which request an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// One that had none yet.
    First(Asked),
    /// One that had one already.
    Again,
    /// One that was given up [`LOST_AFTER`] it was sent, answered or not.
    TooLate,
    /// None that was sent.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Unanswered, and has its place in the window.
    Waiting,
    /// Unanswered, and its place is another's.
    Displaced,
    /// Answered.
    Done,
}

/// The requests of the last [`LOST_AFTER`], at most `most`, by number. Answered ones stay, so that a second answer is known.
#[derive(Debug)]
pub(super) struct UnderWay {
    requests: VecDeque<(Asked, State)>,
    /// The number of the first of them; numbers start again after 2³².
    first: u32,
    most: usize,
    /// Unanswered.
    unanswered: usize,
    /// In [`State::Waiting`].
    in_window: usize,
    /// How many at the front are not [`State::Waiting`], as far as is known.
    displaced_to: usize,
}

impl UnderWay {
    pub(super) fn new(most: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            first: 0,
            most: most.max(1),
            unanswered: 0,
            in_window: 0,
            displaced_to: 0,
        }
    }

    /// The number that the next request has.
    pub(super) fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.requests.len() as u32)
    }

    /// Requests without an answer, younger than [`LOST_AFTER`] when [`forget`](Self::forget) was last called.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Requests that have a place in a closed loop's window.
    pub(super) fn in_window(&self) -> usize {
        self.in_window
    }

    /// Books a request under [`next_number`](Self::next_number).
    pub(super) fn ask(&mut self, asked: Asked) {
        if self.requests.len() >= self.most {
            self.forget_first();
        }
        self.requests.push_back((asked, State::Waiting));
        self.unanswered += 1;
        self.in_window += 1;
    }

    /// Books an answer to a request.
    pub(super) fn answer(&mut self, number: u32) -> Settled {
        let place = number.wrapping_sub(self.first);
        let Some((asked, state)) = self.requests.get_mut(place as usize) else {
            // Half of all numbers are past, the other half is to come.
            return if place > u32::MAX / 2 { Settled::TooLate } else { Settled::Never };
        };
        match state {
            State::Done => return Settled::Again,
            State::Waiting => self.in_window -= 1,
            State::Displaced => {}
        }
        self.unanswered -= 1;
        *state = State::Done;
        Settled::First(*asked)
    }

    /// Gives up what is lost by now.
    pub(super) fn forget(&mut self, now: Moment) {
        while self.requests.front().is_some_and(|(asked, _)| now.since(asked.sent) >= LOST_AFTER) {
            self.forget_first();
        }
    }

    /// Takes their places from those that have kept them too long. Returns when the next one will have, if there is one.
    pub(super) fn displace(&mut self, now: Moment) -> Option<Moment> {
        while let Some((asked, state)) = self.requests.get_mut(self.displaced_to) {
            let until = asked.sent + PLACE_KEPT;
            if *state == State::Waiting {
                if until > now {
                    return Some(until);
                }
                *state = State::Displaced;
                self.in_window -= 1;
            }
            self.displaced_to += 1;
        }
        None
    }

    fn forget_first(&mut self) {
        let Some((_, state)) = self.requests.pop_front() else { return };
        self.first = self.first.wrapping_add(1);
        self.displaced_to = self.displaced_to.saturating_sub(1);
        self.unanswered -= usize::from(state != State::Done);
        self.in_window -= usize::from(state == State::Waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const START: Moment = Moment(1_000_000_000_000);

    fn asked(after: Duration) -> Asked {
        Asked { due: START + after, sent: START + after, kind: Kind::Bare }
    }

    fn under_way(requests: u32) -> UnderWay {
        let mut under_way = UnderWay::new(1_000);
        for _ in 0..requests {
            under_way.ask(asked(Duration::ZERO));
        }
        under_way
    }

    #[test]
    fn the_first_answer_settles_and_the_second_is_a_duplicate() {
        let mut under_way = under_way(3);
        assert_eq!(under_way.answer(1), Settled::First(asked(Duration::ZERO)));
        assert_eq!(under_way.answer(1), Settled::Again);
        assert_eq!(under_way.unanswered(), 2);
    }

    #[test]
    fn an_answer_to_what_was_not_asked_yet_is_to_nothing() {
        assert_eq!(under_way(3).answer(3), Settled::Never);
    }

    #[test]
    fn a_request_is_lost_after_its_time_and_no_sooner() {
        let mut under_way = under_way(2);
        under_way.ask(asked(S));
        under_way.forget(START + LOST_AFTER - Duration::from_nanos(1));
        assert_eq!(under_way.unanswered(), 3);
        under_way.forget(START + LOST_AFTER);
        assert_eq!((under_way.unanswered(), under_way.in_window()), (1, 1));
        assert_eq!(under_way.answer(1), Settled::TooLate);
        assert_eq!(under_way.answer(2), Settled::First(asked(S)));
    }

    #[test]
    fn a_place_in_the_window_is_kept_for_a_second_and_the_answer_counts_longer() {
        let mut under_way = under_way(2);
        under_way.ask(asked(S));
        assert_eq!(under_way.displace(START), Some(START + PLACE_KEPT));
        assert_eq!(under_way.displace(START + PLACE_KEPT), Some(START + S + PLACE_KEPT));
        assert_eq!((under_way.in_window(), under_way.unanswered()), (1, 3));
        assert_eq!(under_way.answer(0), Settled::First(asked(Duration::ZERO)));
        assert_eq!((under_way.in_window(), under_way.unanswered()), (1, 2));
        under_way.forget(START + LOST_AFTER);
        assert_eq!(under_way.displace(START + S + PLACE_KEPT), None);
        assert_eq!((under_way.in_window(), under_way.unanswered()), (0, 1));
    }

    #[test]
    fn memory_is_bounded_at_the_oldest_ones_cost() {
        let mut under_way = UnderWay::new(2);
        for second in 0..3 {
            under_way.ask(asked(S * second));
        }
        assert_eq!(under_way.unanswered(), 2);
        assert_eq!(under_way.answer(0), Settled::TooLate);
        assert_eq!(under_way.answer(2), Settled::First(asked(S * 2)));
    }

    #[test]
    fn numbers_start_again_after_the_last() {
        let mut under_way = under_way(0);
        under_way.first = u32::MAX;
        under_way.ask(asked(Duration::ZERO));
        under_way.ask(asked(S));
        assert_eq!(under_way.next_number(), 1);
        assert_eq!(under_way.answer(0), Settled::First(asked(S)));
        assert_eq!(under_way.answer(u32::MAX), Settled::First(asked(Duration::ZERO)));
        assert_eq!(under_way.answer(u32::MAX - 1), Settled::TooLate);
    }
}
