//! When a workload's senders send.

use crate::plan::Pacing;
use crate::schedule::Schedule;

/// When, for all senders together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Open loop, with the rate of all senders together.
    Open(Schedule),
    /// Closed loop.
    Closed {
        /// Packets under way, of each sender.
        window: u32,
    },
    /// As fast as the relay takes it.
    Unlimited,
}

impl Pace {
    /// Evenly, `per_second` packets a second in all.
    pub fn constant(per_second: f64) -> Self {
        Self::Open(Schedule::Constant { per_second })
    }

    /// The rate of all senders together in the long run, in packets a second; None if the relay decides it.
    pub fn offered(&self) -> Option<f64> {
        match self {
            Self::Open(schedule) => Some(schedule.mean_rate()),
            Self::Closed { .. } | Self::Unlimited => None,
        }
    }

    /// The same with another rate in the long run; None if it has none.
    pub fn at_rate(&self, per_second: f64) -> Option<Self> {
        let Self::Open(schedule) = self else { return None };
        Some(Self::Open(match schedule.mean_rate() {
            rate if rate > 0.0 => schedule.scaled(per_second / rate),
            _ => Schedule::Constant { per_second },
        }))
    }

    /// What each of so many senders does.
    pub(super) fn of_one(&self, senders: u32) -> Pacing {
        match *self {
            Self::Open(schedule) => {
                Pacing::Open { schedule: schedule.scaled(1.0 / f64::from(senders.max(1))) }
            }
            Self::Closed { window } => Pacing::Closed { window },
            Self::Unlimited => Pacing::Unlimited,
        }
    }

    /// Whether both ends of a flow have to share a worker thread.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}
