//! Whether a region is so much faster than the home that it should be home itself.

use super::samples::Latency;
use super::{GAIN_MIN, SHARE_MAX};

/// How another region compares with the home. Gains are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    /// Not faster by a millisecond.
    NotFaster,
    /// Faster, but by less than a move needs.
    SmallGain { gain: f64 },
    /// Not by more than latencies swing anyway.
    Swing { gain: f64, swing: f64 },
    /// Most of the time, but not if the best of both is compared.
    Passing { gain: f64, best_gain: f64 },
    /// By all that a move needs.
    Faster { gain: f64 },
}

impl Comparison {
    /// Both as they count, times their scores.
    pub(super) fn of(home: Latency, other: Latency) -> Self {
        let gain = home.median - other.median;
        let swing = home.swing.max(other.swing);
        if gain < 1.0 {
            return Self::NotFaster;
        }
        if !is_enough(home.median, other.median) {
            return Self::SmallGain { gain };
        }
        if gain < swing {
            return Self::Swing { gain, swing };
        }
        if !is_enough(home.best, other.best) {
            return Self::Passing { gain, best_gain: home.best - other.best };
        }
        Self::Faster { gain }
    }

    pub(super) fn is_faster(self) -> bool {
        matches!(self, Self::Faster { .. })
    }
}

fn is_enough(home: f64, other: f64) -> bool {
    home - other >= GAIN_MIN.as_secs_f64() * 1_000.0 && other <= home * SHARE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(best: f64, median: f64, swing: f64) -> Latency {
        Latency { best, median, swing }
    }

    #[test]
    fn ten_milliseconds_and_a_third_are_enough_and_less_of_either_is_not() {
        for (home, other, faster) in [
            (30.0, 20.0, true),
            (30.0, 20.1, false),
            (29.0, 19.1, false),
            (24.0, 14.0, true),
            (24.0, 14.1, false),
            (90.0, 60.0, true),
            (90.0, 60.1, false),
            (1_000.0, 700.0, false),
        ] {
            let comparison = Comparison::of(latency(home, home, 0.0), latency(other, other, 0.0));
            assert_eq!(comparison.is_faster(), faster, "{home} against {other}: {comparison:?}");
        }
    }

    #[test]
    fn a_gain_below_a_millisecond_is_none() {
        let comparison = Comparison::of(latency(9.0, 9.0, 0.0), latency(8.1, 8.1, 0.0));
        assert_eq!(comparison, Comparison::NotFaster);
    }

    #[test]
    fn a_gain_that_is_less_than_the_swing_of_either_may_be_chance() {
        for (home, other) in [(25.0, 0.0), (0.0, 25.0)] {
            let comparison = Comparison::of(latency(50.0, 60.0, home), latency(30.0, 40.0, other));
            assert_eq!(comparison, Comparison::Swing { gain: 20.0, swing: 25.0 });
        }
    }

    #[test]
    fn a_home_that_was_as_fast_at_its_best_is_only_busy() {
        let comparison = Comparison::of(latency(20.0, 200.0, 0.0), latency(22.0, 30.0, 0.0));
        assert_eq!(comparison, Comparison::Passing { gain: 170.0, best_gain: -2.0 });
    }
}
