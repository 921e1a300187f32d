//! A limit per second.

use std::time::{Duration, Instant};

/// A second's worth of tokens that fills up at an even pace.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_second: u32,
    /// When the bucket was, or will be, empty: full is a second ago or more.
    empty_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        // A process that runs has an instant a second ago, unless the host has just started.
        Self { per_second, empty_at: now.checked_sub(Duration::from_secs(1)).unwrap_or(now) }
    }

    /// Takes one token; false if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let Some(one) = Duration::from_secs(1).checked_div(self.per_second) else { return false };
        let full = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let next = self.empty_at.max(full) + one;
        if next > now {
            return false;
        }
        self.empty_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_then_at_the_pace() {
        let begin = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(5, begin);
        let take = |bucket: &mut Bucket, millis: u64| {
            (0..100).filter(|_| bucket.take(begin + Duration::from_millis(millis))).count()
        };
        assert_eq!(take(&mut bucket, 0), 5);
        assert_eq!(take(&mut bucket, 199), 0);
        assert_eq!(take(&mut bucket, 200), 1);
        assert_eq!(take(&mut bucket, 800), 3);
        assert_eq!(take(&mut bucket, 60_000), 5, "no more than a second's worth is saved");
    }

    #[test]
    fn nothing_a_second_is_nothing_ever() {
        let mut bucket = Bucket::new(0, Instant::now());
        assert!(!bucket.take(Instant::now() + Duration::from_secs(100)));
    }
}
