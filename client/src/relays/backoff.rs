//! How long to wait before the next attempt.

use std::time::Duration;

use super::BACKOFF_MIN;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure, at most `max` before it is drawn; `chance` is what is drawn.
    pub(super) fn next(&mut self, chance: u64, max: Duration) -> Duration {
        let doubled = BACKOFF_MIN.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        // 0.5 to 1.5.
        let share = 0.5 + chance as f64 / u64::MAX as f64;
        doubled.min(max).mul_f64(share)
    }

    /// All is well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::BACKOFF_MAX;
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_are_drawn_around_it() {
        let mut backoff = Backoff::default();
        let middle = u64::MAX / 2;
        let waits: Vec<_> = (0..8).map(|_| backoff.next(middle, BACKOFF_MAX).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        for _ in 0..100 {
            assert!(backoff.next(u64::MAX, BACKOFF_MAX) <= BACKOFF_MAX.mul_f64(1.5));
        }
        assert_eq!(backoff.next(0, BACKOFF_MAX), BACKOFF_MAX / 2);
        assert_eq!(backoff.next(0, BACKOFF_MIN), BACKOFF_MIN / 2, "a lower bound holds at once");
        backoff.reset();
        assert_eq!(backoff.next(0, BACKOFF_MAX), BACKOFF_MIN / 2);
    }
}
