//! Sleeping to a fraction of a millisecond while waiting for sockets.

use std::io;
use std::time::Duration;

use crate::clock::Moment;

/// The longest sleep.
const SLEEP_MOST: Duration = Duration::from_millis(100);
/// What is nearer than this is not slept for: on a virtual machine, going to sleep and waking up takes 15 to 20 µs of the processor's
/// time, and more until the thread runs. What is spent on looking in vain is known, and no part of the generator's work.
const SPIN: Duration = Duration::from_micros(50);

/// How long a wait for sockets may take.
#[derive(Debug)]
pub(crate) struct Timer {
    spin: Duration,
    alarm: alarm::Alarm,
}

impl Timer {
    /// A timer that wakes the poll with this registry, by events with that token. With `stay_awake` nothing is slept for that has
    /// a time.
    pub(crate) fn new(registry: &mio::Registry, token: mio::Token, stay_awake: bool) -> io::Result<Self> {
        let spin = if stay_awake { Duration::MAX } else { SPIN };
        Ok(Self { spin, alarm: alarm::Alarm::new(registry, token)? })
    }

    /// The timeout to poll with so as to be awake at `until`.
    pub(crate) fn timeout(&mut self, now: Moment, until: Option<Moment>) -> io::Result<Duration> {
        let Some(until) = until else { return Ok(SLEEP_MOST) };
        let left = until.since(now);
        if left < self.spin {
            return Ok(Duration::ZERO);
        }
        if left > SLEEP_MOST {
            return Ok(SLEEP_MOST);
        }
        self.alarm.set(until, left)
    }
}

#[cfg(target_os = "linux")]
mod alarm {
    //! epoll counts milliseconds; a timer descriptor counts nanoseconds.

    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::SLEEP_MOST;
    use crate::clock::Moment;

    #[derive(Debug)]
    pub(super) struct Alarm {
        descriptor: OwnedFd,
        set: Option<Moment>,
    }

    impl Alarm {
        pub(super) fn new(registry: &mio::Registry, token: mio::Token) -> io::Result<Self> {
            let descriptor =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // Edge-triggered, as all of mio: it need not be read, each expiry is a new event.
            registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, mio::Interest::READABLE)?;
            Ok(Self { descriptor, set: None })
        }

        /// Once it went off it is set for a later time: a wait never asks for one that has passed.
        pub(super) fn set(&mut self, until: Moment, _left: Duration) -> io::Result<Duration> {
            if self.set != Some(until) {
                let once = Itimerspec {
                    it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                    it_value: Timespec {
                        tv_sec: (until.0 / 1_000_000_000) as i64,
                        tv_nsec: (until.0 % 1_000_000_000) as i64,
                    },
                };
                timerfd_settime(&self.descriptor, TimerfdTimerFlags::ABSTIME, &once)?;
                self.set = Some(until);
            }
            Ok(SLEEP_MOST)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod alarm {
    //! The poll's own timeout: whole milliseconds, rounded up. Lateness says what that costs.

    use std::io;
    use std::time::Duration;

    use crate::clock::Moment;

    #[derive(Debug)]
    pub(super) struct Alarm;

    impl Alarm {
        pub(super) fn new(_registry: &mio::Registry, _token: mio::Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn set(&mut self, _until: Moment, left: Duration) -> io::Result<Duration> {
            Ok(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn wakes_at_the_time_and_not_before() -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1);
        let mut timer = Timer::new(poll.registry(), Token(0), false)?;

        for _ in 0..3 {
            let until = Moment::now() + Duration::from_millis(3);
            while Moment::now() < until {
                let timeout = timer.timeout(Moment::now(), Some(until))?;
                poll.poll(&mut events, Some(timeout))?;
            }
            assert!(
                Moment::now().since(until) < Duration::from_millis(90),
                "slept on until the longest sleep was over"
            );
        }
        Ok(())
    }

    #[test]
    fn what_is_near_is_not_slept_for() -> io::Result<()> {
        let poll = Poll::new()?;
        let mut timer = Timer::new(poll.registry(), Token(0), false)?;
        let now = Moment::now();

        assert_eq!(timer.timeout(now, Some(now + Duration::from_micros(10)))?, Duration::ZERO);
        assert_eq!(timer.timeout(now, None)?, SLEEP_MOST);
        Ok(())
    }

    #[test]
    fn who_stays_awake_sleeps_for_nothing_that_has_a_time() -> io::Result<()> {
        let poll = Poll::new()?;
        let mut timer = Timer::new(poll.registry(), Token(0), true)?;
        let now = Moment::now();

        assert_eq!(timer.timeout(now, Some(now + Duration::from_secs(60)))?, Duration::ZERO);
        assert_eq!(timer.timeout(now, None)?, SLEEP_MOST);
        Ok(())
    }
}
