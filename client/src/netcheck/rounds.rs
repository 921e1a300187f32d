//! Which check is next, for who checks again and again.

use std::time::Instant;

use super::{FULL_EVERY, Previous, Report, Scope};

/// All regions as often as [`FULL_EVERY`], and in between the fastest.
#[derive(Debug, Default)]
pub struct Rounds {
    previous: Option<Previous>,
    last_full: Option<Instant>,
}

impl Rounds {
    /// What to ask in a check that begins now. After one that came to nothing all is asked.
    pub fn next(&mut self, now: Instant) -> Scope {
        let is_full_due = self.last_full.is_none_or(|last| now.saturating_duration_since(last) >= FULL_EVERY);
        match self.previous.take().filter(|_| !is_full_due) {
            Some(previous) => Scope::Incremental(previous),
            None => {
                self.last_full = Some(now);
                Scope::Full
            }
        }
    }

    /// What a check came to.
    pub fn done(&mut self, report: &Report) {
        self.previous = Some(report.previous());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_is_asked_first_every_five_minutes_and_after_a_check_without_a_report() {
        let (start, mut rounds) = (Instant::now(), Rounds::default());
        let mut is_full = |seconds: u64, reported: bool| {
            let scope = rounds.next(start + Duration::from_secs(seconds));
            if reported {
                rounds.previous = Some(Previous { latencies: [].into(), ipv6: false });
            }
            scope == Scope::Full
        };
        assert!(is_full(0, true));
        assert!(!is_full(20, true));
        assert!(!is_full(299, true));
        assert!(is_full(300, true));
        assert!(!is_full(320, false));
        assert!(is_full(340, true), "the one before came to nothing");
        assert!(!is_full(639, true));
        assert!(is_full(640, true));
    }
}
