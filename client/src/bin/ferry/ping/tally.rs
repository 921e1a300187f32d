//! Which pings were answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pings that are waited for; an interval of 10 ms and a patience of a minute have fewer.
const WAITING_MAX: usize = 10_000;

/// Counts pings and answers.
#[derive(Debug)]
pub(crate) struct Tally {
    /// How long an answer may take.
    patience: Duration,
    waiting: BTreeMap<u64, Instant>,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    least: Duration,
    most: Duration,
    sum: Duration,
}

/// Round trips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RoundTrips {
    pub(crate) least: Duration,
    pub(crate) mean: Duration,
    pub(crate) most: Duration,
}

impl Tally {
    pub(crate) fn new(patience: Duration) -> Self {
        let (sent, answered) = (0, 0);
        let (least, most, sum) = (Duration::MAX, Duration::ZERO, Duration::ZERO);
        Self { patience, waiting: BTreeMap::new(), sent, answered, least, most, sum }
    }

    /// The number of the next ping, which is sent now.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_first();
        }
        self.waiting.insert(self.sent, now);
        self.sent
    }

    /// The round trip of a ping that is answered; None if it is not waited for.
    pub(crate) fn answer(&mut self, now: Instant, number: u64) -> Option<Duration> {
        let rtt = now.saturating_duration_since(self.waiting.remove(&number)?);
        self.answered += 1;
        self.least = self.least.min(rtt);
        self.most = self.most.max(rtt);
        self.sum += rtt;
        Some(rtt)
    }

    /// A ping that was waited for too long, if there is one.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<u64> {
        let oldest = self.waiting.first_entry()?;
        let is_late = now.saturating_duration_since(*oldest.get()) >= self.patience;
        is_late.then(|| oldest.remove_entry().0)
    }

    /// When the next ping was waited for too long, if none is answered.
    pub(crate) fn next_give_up(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, sent)| *sent + self.patience)
    }

    /// None is waited for any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many per cent were not answered.
    pub(crate) fn loss_percent(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 100.0 * (self.sent - self.answered) as f64 / self.sent as f64 }
    }

    /// None without an answer.
    pub(crate) fn round_trips(&self) -> Option<RoundTrips> {
        let mean = self.sum.div_f64((self.answered > 0).then_some(self.answered as f64)?);
        Some(RoundTrips { least: self.least, mean, most: self.most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_answer_counts_once_and_the_late_not_at_all() {
        let now = Instant::now();
        let mut tally = Tally::new(100 * MS);
        assert_eq!((tally.send(now), tally.send(now), tally.send(now + 50 * MS)), (1, 2, 3));
        assert_eq!(tally.answer(now + 10 * MS, 1), Some(10 * MS));
        assert_eq!(tally.answer(now + 10 * MS, 1), None);
        assert_eq!(tally.give_up(now + 99 * MS), None);
        assert_eq!(tally.next_give_up(), Some(now + 100 * MS));
        assert_eq!(tally.give_up(now + 100 * MS), Some(2));
        assert_eq!(tally.answer(now + 100 * MS, 2), None, "too late");
        assert_eq!(tally.answer(now + 80 * MS, 3), Some(30 * MS));
        assert!(tally.is_settled());
        assert_eq!((tally.sent, tally.answered), (3, 2));
        let trips = RoundTrips { least: 10 * MS, mean: 20 * MS, most: 30 * MS };
        assert_eq!(tally.round_trips(), Some(trips));
        assert!((tally.loss_percent() - 33.3).abs() < 0.1);
    }

    #[test]
    fn without_pings_nothing_is_lost() {
        let tally = Tally::new(MS);
        assert_eq!((tally.loss_percent(), tally.round_trips()), (0.0, None));
    }
}
