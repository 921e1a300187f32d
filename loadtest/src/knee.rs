//! The rate up to which a server keeps up.

use serde::{Deserialize, Serialize};

/// Runs that a search may take.
pub const STEPS_MOST: usize = 24;
/// The search narrows down until the rates that do and do not go are this factor apart.
const NARROW: f64 = 1.05;
/// A knee is confirmed at this share of it; one that is not confirmed is lowered to it.
const BELOW: f64 = 0.95;
/// Above the knee, at this much of it, the server must not keep up.
const ABOVE: f64 = 1.05;
/// Runs that confirm, below and above.
const TRIALS: u32 = 3;
/// A server that does not keep up with the first rate is asked for less, down to this share of it.
const FLOOR: f64 = 1.0 / 64.0;

/// What "keeps up" means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criteria {
    /// Loss, as a share, at most.
    pub loss_most: f64,
    /// p99 from the due time, in milliseconds, at most.
    pub p99_ms_most: f64,
    /// Delivered over offered, at least.
    pub achieved_least: f64,
}

impl Default for Criteria {
    fn default() -> Self {
        Self { loss_most: 0.001, p99_ms_most: 20.0, achieved_least: 0.98 }
    }
}

impl Criteria {
    /// Whether the point keeps to them, and the generator was not its limit.
    fn are_met(&self, point: &Point) -> bool {
        !point.generator_limited
            && point.loss <= self.loss_most
            && point.p99 <= self.p99_ms_most * 1_000.0
            && point.delivered >= point.offered * self.achieved_least
    }
}

/// One rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Packets a second that were offered.
    pub offered: f64,
    /// Delivered.
    pub delivered: f64,
    /// Share lost.
    pub loss: f64,
    /// Latency, µs.
    pub p50: f64,
    /// Latency, µs.
    pub p99: f64,
    /// The server's processor time per delivered packet, µs; None where it is not known.
    pub server_cpu: Option<f64>,
    /// The server kept up.
    pub kept_up: bool,
    /// The generator did not: the point says nothing about the server.
    pub generator_limited: bool,
}

/// Where the knee is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The highest rate that was confirmed three times at 95 % of it; packets a second. 0 if nothing that was tried went, down to
    /// 1/64 of the first rate.
    pub rate: f64,
    /// The search ended at the generator's limit, or at the highest rate allowed: the server can do at least this. With a rate of
    /// 0, nothing is known.
    pub at_least: bool,
    /// Three runs at 95 % of it (of one that moved up: at the rate itself) kept up. False if nothing ever did, or if there were no steps left for them; then the rate is
    /// the best guess.
    pub confirmed: bool,
    /// Everything that was tried, by rate: the latency-against-load curve. A rate that was tried more than once is there as often.
    pub curve: Vec<Point>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Offer this many packets a second.
    Try(f64),
    /// Done.
    Found(Knee),
}

/// The search, as a state machine of at most [`STEPS_MOST`] runs.
///
/// 1. Doubles the rate until the server does not keep up, twice at the same rate: one hiccup must not end it far below the knee.
///    If not even the first rate goes, halves it instead.
/// 2. Narrows down to 5 %, geometrically.
/// 3. Confirms: three runs at 95 % of the rate must keep up, or it is lowered by 5 % and confirmed again.
/// 4. Three runs at 105 %, of which one must not keep up, or the knee moves up there, and so on.
#[derive(Debug)]
pub struct Search {
    criteria: Criteria,
    first: f64,
    most: f64,
    stage: Stage,
    /// The rate to offer next.
    rate: f64,
    /// The highest rate that kept up while narrowing down; the knee, later on.
    low: Option<f64>,
    /// What kept the search from going higher.
    limit: Limit,
    confirmed: bool,
    /// A run at 95 % did not keep up.
    lowered: bool,
    curve: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Twice as much each time; `failed` once at this rate.
    Doubling { failed: bool },
    /// Half as much each time: nothing went yet.
    Halving,
    /// Between what goes and `high`, which does not.
    Narrowing { high: f64 },
    /// At 95 %; so many have kept up.
    Confirming { passed: u32 },
    /// At 105 %; so many have kept up.
    Exceeding { passed: u32 },
    /// Nothing more to try.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Server,
    Generator,
    /// The highest rate allowed.
    Most,
}

impl Search {
    /// From `first` packets a second, never above `most`.
    pub fn new(criteria: Criteria, first: f64, most: f64) -> Self {
        let first = first.min(most);
        Self {
            criteria,
            first,
            most,
            stage: Stage::Doubling { failed: false },
            rate: first,
            low: None,
            limit: Limit::Most,
            confirmed: false,
            lowered: false,
            curve: Vec::new(),
        }
    }

    /// What to try now; first, before anything was tried.
    pub fn next_step(&self) -> Next {
        if self.stage == Stage::Done || self.curve.len() >= STEPS_MOST {
            return Next::Found(self.knee());
        }
        Next::Try(self.rate)
    }

    /// What came of the rate to try; says what to do next. `kept_up` of the point is set here.
    pub fn tried(&mut self, mut point: Point) -> Next {
        point.kept_up = self.criteria.are_met(&point);
        self.curve.push(point);
        if !point.kept_up {
            self.limit = if point.generator_limited { Limit::Generator } else { Limit::Server };
        }
        match self.stage {
            Stage::Doubling { failed } => self.doubled(point.kept_up, failed),
            Stage::Halving => self.halved(point.kept_up),
            Stage::Narrowing { high } => self.narrowed(point.kept_up, high),
            Stage::Confirming { passed } => self.below(point.kept_up, passed),
            Stage::Exceeding { passed } => self.above(point.kept_up, passed),
            Stage::Done => {}
        }
        self.next_step()
    }

    fn doubled(&mut self, kept_up: bool, failed: bool) {
        if !kept_up && !failed {
            self.stage = Stage::Doubling { failed: true };
            return;
        }
        if !kept_up {
            match self.low {
                Some(low) => self.narrow(low, self.rate),
                None => self.halve(),
            }
            return;
        }
        self.low = Some(self.rate);
        self.limit = Limit::Most;
        if self.rate >= self.most {
            self.confirm(self.rate);
            return;
        }
        self.rate = (self.rate * 2.0).min(self.most);
        self.stage = Stage::Doubling { failed: false };
    }

    fn halved(&mut self, kept_up: bool) {
        if kept_up {
            self.narrow(self.rate, self.rate * 2.0);
        } else {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.rate /= 2.0;
        self.stage = if self.rate < self.first * FLOOR { Stage::Done } else { Stage::Halving };
    }

    fn narrowed(&mut self, kept_up: bool, high: f64) {
        match self.low {
            Some(low) if !kept_up => self.narrow(low, self.rate),
            _ => self.narrow(self.rate, high),
        }
    }

    fn narrow(&mut self, low: f64, high: f64) {
        self.low = Some(low);
        if high <= low * NARROW {
            self.confirm(low);
            return;
        }
        self.rate = (low * high).sqrt();
        self.stage = Stage::Narrowing { high };
    }

    fn confirm(&mut self, knee: f64) {
        self.low = Some(knee);
        self.rate = knee * BELOW;
        self.stage = Stage::Confirming { passed: 0 };
    }

    fn below(&mut self, kept_up: bool, passed: u32) {
        let knee = self.low.unwrap_or(self.rate);
        if !kept_up {
            self.lowered = true;
            self.confirm(knee * BELOW);
            return;
        }
        if passed + 1 < TRIALS {
            self.stage = Stage::Confirming { passed: passed + 1 };
            return;
        }
        self.confirmed = true;
        if self.lowered {
            // What lowered it is the run that did not keep up.
            self.stage = Stage::Done;
        } else {
            self.exceed(knee);
        }
    }

    /// Tries above the knee, where that is allowed and only the server is known to be in the way.
    fn exceed(&mut self, knee: f64) {
        self.rate = knee * ABOVE;
        let may_try = self.limit == Limit::Server && self.rate <= self.most;
        self.stage = if may_try { Stage::Exceeding { passed: 0 } } else { Stage::Done };
    }

    fn above(&mut self, kept_up: bool, passed: u32) {
        if !kept_up {
            self.stage = Stage::Done;
            return;
        }
        if passed + 1 < TRIALS {
            self.stage = Stage::Exceeding { passed: passed + 1 };
            return;
        }
        self.low = Some(self.rate);
        if self.rate * ABOVE > self.most {
            self.limit = Limit::Most;
        }
        self.exceed(self.rate);
    }

    fn knee(&self) -> Knee {
        let mut curve = self.curve.clone();
        curve.sort_by(|a, b| a.offered.total_cmp(&b.offered));
        Knee {
            rate: self.low.unwrap_or(0.0),
            at_least: self.limit != Limit::Server,
            confirmed: self.confirmed,
            curve,
        }
    }
}

#[cfg(test)]
mod tests;
