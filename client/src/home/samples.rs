//! What was measured of one region lately, and what that comes to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{HISTORY, SAMPLES_MAX};

/// The newest measurements, at most [`SAMPLES_MAX`], none older than [`HISTORY`] when last added to.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// In the order of time.
    newest: VecDeque<(Instant, Duration)>,
}

/// What measurements come to, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Latency {
    /// The lowest.
    pub(super) best: f64,
    /// Half are lower.
    pub(super) median: f64,
    /// The range of the middle half.
    pub(super) swing: f64,
}

impl Samples {
    pub(super) fn add(&mut self, now: Instant, latency: Duration) {
        self.expire(now);
        if self.newest.len() >= SAMPLES_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back((now, latency));
    }

    /// Gives back the memory of what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.newest.retain(|(at, _)| is_fresh(*at, now));
        if self.newest.is_empty() {
            self.newest = VecDeque::new();
        }
    }

    pub(super) fn clear(&mut self) {
        self.newest = VecDeque::new();
    }

    /// Whether the newest is of just now.
    pub(super) fn has_new(&self, now: Instant) -> bool {
        self.newest.back().is_some_and(|(at, _)| *at == now)
    }

    /// The lowest latency, in milliseconds.
    pub(super) fn best(&self, now: Instant) -> Option<f64> {
        self.fresh(now).min_by(f64::total_cmp)
    }

    /// All there is to say of them.
    pub(super) fn latency(&self, now: Instant) -> Option<Latency> {
        let mut sorted: Vec<_> = self.fresh(now).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied();
        let count = sorted.len();
        let best = at(0)?;
        let median = f64::midpoint(at((count - 1) / 2)?, at(count / 2)?);
        let swing = at(3 * count / 4)? - at(count / 4)?;
        Some(Latency { best, median, swing })
    }

    fn fresh(&self, now: Instant) -> impl Iterator<Item = f64> {
        let fresh = self.newest.iter().filter(move |(at, _)| is_fresh(*at, now));
        fresh.map(|(_, latency)| latency.as_secs_f64() * 1_000.0)
    }
}

impl Latency {
    /// As the map's score for the region makes it count.
    pub(super) fn times(self, score: f64) -> Self {
        Self { best: self.best * score, median: self.median * score, swing: self.swing * score }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= HISTORY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: &[u64], at: Instant) -> Samples {
        let mut samples = Samples::default();
        for millis in millis {
            samples.add(at, Duration::from_millis(*millis));
        }
        samples
    }

    #[test]
    fn the_middle_of_what_was_measured_counts() {
        let now = Instant::now();
        for (millis, best, median, swing) in [
            (&[7][..], 7.0, 7.0, 0.0),
            (&[9, 5], 5.0, 7.0, 4.0),
            (&[30, 10, 20], 10.0, 20.0, 20.0),
            (&[4, 1, 3, 2], 1.0, 2.5, 2.0),
            (&[5, 5, 5, 5, 900], 5.0, 5.0, 0.0),
        ] {
            assert_eq!(
                samples(millis, now).latency(now),
                Some(Latency { best, median, swing }),
                "{millis:?}"
            );
        }
        assert_eq!(samples(&[], now).latency(now), None);
    }

    #[test]
    fn what_is_older_than_five_minutes_does_not_count_and_is_not_kept() {
        let now = Instant::now();
        let mut samples = samples(&[5], now);
        let last = now + HISTORY;
        assert_eq!(samples.best(last), Some(5.0));
        assert_eq!(samples.best(last + Duration::from_nanos(1)), None);
        samples.add(last + Duration::from_nanos(1), Duration::from_millis(8));
        assert_eq!(samples.newest.len(), 1);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let now = Instant::now();
        let millis: Vec<_> = (1..=100).collect();
        let samples = samples(&millis, now);
        assert_eq!((samples.newest.len(), samples.best(now)), (SAMPLES_MAX, Some(85.0)));
    }
}
