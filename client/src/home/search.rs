//! Finding a region that may become home: connecting one after the other, without waiting long for any.

use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;

use super::regions::Regions;
use super::{Output, sooner};

/// An attempt that is not answered in this time has the next region tried beside it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// After an attempt, the next is made this much later at the soonest, and twice that after each further one.
const PACE_MIN: Duration = Duration::from_millis(250);
/// Up to this: a network that is down costs one attempt in that time.
const PACE_MAX: Duration = Duration::from_secs(2);

/// How fast attempts follow each other.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// When the last attempt was made.
    asked: Option<Instant>,
    /// Attempts since one was answered.
    attempts: u32,
}

/// What a search is for.
#[derive(Debug)]
pub(super) struct Errand {
    /// Why home may move.
    pub(super) why: Why,
    /// The regions that it may move to, the best first.
    pub(super) order: Vec<RegionId>,
    /// It may move at once; otherwise a connection is only made ready.
    pub(super) take: bool,
    /// What shows that a connection is alive.
    pub(super) proof: Proof,
    /// A region that could not be connected is not tried again for this long.
    pub(super) retry: Duration,
    /// A connection that was asked for is wanted for this long.
    pub(super) wanted: Duration,
}

/// Why home moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    First,
    Forced,
    NotAllowed,
    Dead,
    Faster,
}

/// The sign of life that a connection must have shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// None but that it was established.
    Established,
    /// After this time.
    Since(Instant),
    /// No longer ago than this.
    Within(Duration),
}

/// How far a search is.
#[derive(Debug)]
pub(super) enum Step {
    /// This region can be home now.
    Take(RegionId),
    /// This is to be done first.
    Ask(Output),
    /// A region was asked and may answer before this time.
    Pending(Instant),
    /// There is nothing to do before this time, if ever.
    Idle(Option<Instant>),
}

impl Search {
    /// The next step of an errand. A region is passed over for a worse one if it does not answer in time.
    pub(super) fn step(&mut self, now: Instant, regions: &mut Regions, errand: &Errand) -> Step {
        let mut wake = None;
        for id in &errand.order {
            let Some(region) = regions.known(*id) else { continue };
            let established = region.relay.is_established();
            if region.relay.alive().is_some_and(|alive| errand.proof.holds(alive, now)) {
                return if errand.take { Step::Take(*id) } else { Step::Idle(wake) };
            }
            if let Some(attempt) = region.relay.attempt() {
                let (answer_due, retry_due) = (attempt.at + ANSWER_PATIENCE, attempt.at + errand.retry);
                if !attempt.failed && now < answer_due {
                    return Step::Pending(answer_due);
                }
                if now < retry_due {
                    wake = sooner(wake, Some(retry_due));
                    continue;
                }
            }
            if let Some(due) = self.due().filter(|due| now < *due) {
                return Step::Idle(sooner(wake, Some(due)));
            }
            self.asked = Some(now);
            self.attempts = self.attempts.saturating_add(1);
            region.relay.ask(now);
            region.wanted_until = region.wanted_until.max(Some(now + errand.wanted));
            return Step::Ask(if established { Output::Ping(*id) } else { Output::Connect(*id) });
        }
        Step::Idle(wake)
    }

    /// An attempt was answered, or there is reason to hope again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn due(&self) -> Option<Instant> {
        let doublings = self.attempts.saturating_sub(1).min(8);
        Some(self.asked? + (PACE_MIN * (1 << doublings)).min(PACE_MAX))
    }
}

impl Proof {
    fn holds(self, alive: Instant, now: Instant) -> bool {
        match self {
            Self::Established => true,
            Self::Since(since) => alive >= since,
            Self::Within(time) => now.saturating_duration_since(alive) <= time,
        }
    }
}
