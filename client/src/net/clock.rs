//! The time, and whether the machine slept.

use std::time::{Duration, Instant, SystemTime};

use crate::relays::SLEEP_MIN;

/// Two clocks: one that stands still while the machine sleeps, as Linux' does, and the wall's.
#[derive(Debug)]
pub(super) struct Clock {
    awake: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { awake: now(), wall: SystemTime::now() }
    }

    /// The time, and whether the wall's clock went on for much longer than ours since the last look. A clock that was set looks the
    /// same; that costs a ping.
    pub(super) fn look(&mut self) -> (Instant, bool) {
        let (awake, wall) = (now(), SystemTime::now());
        let slept = slept(awake - self.awake, wall.duration_since(self.wall).unwrap_or_default());
        *self = Self { awake, wall };
        (awake, slept)
    }
}

fn slept(awake: Duration, wall: Duration) -> bool {
    wall > awake + SLEEP_MIN
}

/// The runtime's time, which tests may stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until this time; for ever, if there is none.
pub(super) async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_slept_if_the_wall_clock_went_on_without_it() {
        let s = Duration::from_secs;
        assert!(slept(s(1), s(3600)));
        assert!(!slept(s(3600), s(3600)), "nobody looked for an hour");
        assert!(!slept(s(3600), s(0)), "the wall's was set back");
        assert!(!slept(s(1), s(5)), "a clock is put right by little");
    }
}
