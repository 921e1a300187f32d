//! Why home is where it is, in types and numbers.

use std::time::Instant;

use ferry_protocol::derp_map::RegionId;
use serde::Serialize;

use super::comparison::Comparison;
use super::regions::{Permission, Region};
use super::samples::Latency;
use super::search::Why;
use super::selector::HomeSelector;

/// Why home is where it is, or why it moves. Shown, it is a sentence or two for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// The home: after the move, if there is one.
    pub home: Option<Standing>,
    /// The region that home is compared with: the fastest other one, or if home moves, the one it was.
    pub other: Option<Standing>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// There is no home yet.
    Searches,
    /// Home stays.
    Stays,
    /// Home moves, or is there for the first time.
    Moves,
}

/// How a region stood when it was decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The region's number.
    pub region: RegionId,
    /// Its name, or what comes closest to one.
    pub name: String,
    /// The best latency of the last 5 min, in milliseconds; None if it was not measured.
    pub best_ms: Option<f64>,
    /// The median latency of the last 5 min, in milliseconds.
    pub median_ms: Option<f64>,
    /// What the map multiplies its latency by to compare it.
    pub score: f64,
    /// Its relay connection was established.
    pub connected: bool,
}

/// Why it was decided. Gains are in milliseconds and compare medians times scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// There is no map with a region that may be home.
    NoRegion,
    /// The first report is not there yet.
    NoReport,
    /// Another region is wanted, but none is connected yet, or has answered a ping.
    NotConnected,
    /// No other region is faster by a millisecond.
    Nearest,
    /// The other region is faster, but not by 10 ms and a third.
    SmallGain {
        /// By this.
        gain_ms: f64,
    },
    /// The other region's gain may be chance.
    Swing {
        /// It is faster by this.
        gain_ms: f64,
        /// Latencies differ by this anyway.
        swing_ms: f64,
    },
    /// The other region is faster on the median, but not if the best latencies are compared.
    Passing {
        /// It is faster by this on the median.
        gain_ms: f64,
        /// And by this at its best.
        best_gain_ms: f64,
    },
    /// The other region is faster, but two full reports that say so are needed.
    OneReport {
        /// By this.
        gain_ms: f64,
    },
    /// The other region is faster, but its relay connection is not established.
    FasterNotConnected {
        /// By this.
        gain_ms: f64,
    },
    /// The other region is faster, but died as home.
    HeldDown {
        /// By this.
        gain_ms: f64,
        /// So often in a row.
        deaths: u32,
        /// It may be home again in this time.
        left_seconds: u64,
    },
    /// No other region was measured in the last 5 min.
    NothingMeasured,
    /// Others were measured, home was not, but it is connected.
    HomeNotMeasured,
    /// Peers could not learn of a move.
    NoControl,
    /// The user wants this region.
    Forced,
    /// The user wants the other region, but its relay connection is not established.
    ForcedNotConnected,
    /// The user wants another region, but there is none of this number in the map, or it may not be home.
    ForcedNotAllowed {
        /// Its number.
        region: RegionId,
    },
    /// The user wants the other region, but it died as home.
    ForcedHeldDown {
        /// So often in a row.
        deaths: u32,
        /// It may be home again in this time.
        left_seconds: u64,
    },
    /// The home left a ping unanswered or lost its connection, and is asked again.
    Suspect,
    /// The home is dead.
    Dead {
        /// Its connection still seems to be there.
        connected: bool,
    },
    /// The map does not want the home to be one.
    NotAllowed {
        /// It is not even in the map any more.
        gone: bool,
    },
    /// It was the fastest of those that can be connected.
    First,
    /// It is faster than the former home.
    Faster {
        /// By this.
        gain_ms: f64,
    },
}

impl Explanation {
    /// Of things as they are.
    pub(super) fn of(selector: &HomeSelector, now: Instant) -> Self {
        let home = selector.home().and_then(|home| Standing::of(selector, now, home));
        if home.is_none() {
            let has_region = selector.regions.iter().any(|(_, region)| region.permission.may_be_home());
            let reason = match (has_region, selector.reported) {
                (false, _) => Reason::NoRegion,
                (true, false) => Reason::NoReport,
                (true, true) => Reason::NotConnected,
            };
            return Self { decision: Decision::Searches, reason, home, other: None };
        }
        let (reason, other) = urgent(selector)
            .map(|reason| (reason, None))
            .or_else(|| forced(selector, now))
            .unwrap_or_else(|| compared(selector, now));
        let other = other.and_then(|id| Standing::of(selector, now, id));
        Self { decision: Decision::Stays, reason, home, other }
    }

    /// Of a move that is about to be made.
    pub(super) fn of_move(selector: &HomeSelector, now: Instant, to: RegionId, why: Why) -> Self {
        let other = selector.home().and_then(|home| Standing::of(selector, now, home));
        let home = Standing::of(selector, now, to);
        let latency = selector.regions.get(to).and_then(|region| region.counted(now));
        let medians = selector.home_latency(now).zip(latency);
        let reason = match why {
            Why::First => Reason::First,
            Why::Forced => Reason::Forced,
            Why::Dead => dead(selector),
            Why::NotAllowed => not_allowed(selector),
            Why::Faster => {
                Reason::Faster { gain_ms: medians.map_or(0.0, |(home, other)| home.median - other.median) }
            }
        };
        Self { decision: Decision::Moves, reason, home, other }
    }
}

impl Standing {
    fn of(selector: &HomeSelector, now: Instant, id: RegionId) -> Option<Self> {
        let region = selector.regions.get(id)?;
        let latency = region.samples.latency(now);
        Some(Self {
            region: id,
            name: region.name.clone(),
            best_ms: latency.map(|latency| latency.best),
            median_ms: latency.map(|latency| latency.median),
            score: region.score,
            connected: region.relay.is_established(),
        })
    }
}

/// The region that is nearest to being home: the fastest that was faster in the last full report, or else the fastest.
fn rival(selector: &HomeSelector, now: Instant) -> Option<(RegionId, &Region, Latency)> {
    let counted = |id: RegionId, region| Some((id, region, Region::counted(region, now)?));
    if let Some(first) = selector.faster.first() {
        return counted(*first, selector.regions.get(*first)?);
    }
    let others = selector
        .regions
        .iter()
        .filter(|(id, region)| Some(*id) != selector.home() && region.permission == Permission::Granted);
    let measured = others.filter_map(|(id, region)| counted(id, region));
    measured.min_by(|(.., one), (.., other)| one.median.total_cmp(&other.median))
}

/// What comes before all comparing.
fn urgent(selector: &HomeSelector) -> Option<Reason> {
    let home = selector.home.as_ref()?;
    let region = selector.regions.get(home.id)?;
    if !selector.control {
        Some(Reason::NoControl)
    } else if selector.is_home_unwanted() {
        Some(not_allowed(selector))
    } else if home.liveness.is_dead() {
        Some(dead(selector))
    } else {
        let trouble = home.liveness.trouble_since(region.relay.is_established());
        trouble.map(|_| Reason::Suspect)
    }
}

/// What the user wants, and the region if that is not home.
fn forced(selector: &HomeSelector, now: Instant) -> Option<(Reason, Option<RegionId>)> {
    let id = selector.forced?;
    if selector.home() == Some(id) {
        return Some((Reason::Forced, None));
    }
    let Some(region) = selector.regions.get(id).filter(|region| region.permission.may_be_home()) else {
        return Some((Reason::ForcedNotAllowed { region: id }, None));
    };
    let held = region
        .hold_down(now)
        .map(|left| Reason::ForcedHeldDown { deaths: region.deaths.count, left_seconds: left.as_secs() + 1 });
    Some((held.unwrap_or(Reason::ForcedNotConnected), Some(id)))
}

/// How the home compares with its rival.
fn compared(selector: &HomeSelector, now: Instant) -> (Reason, Option<RegionId>) {
    let Some((id, region, latency)) = rival(selector, now) else { return (Reason::NothingMeasured, None) };
    let Some(home) = selector.home_latency(now) else { return (Reason::HomeNotMeasured, Some(id)) };
    let reason = match Comparison::of(home, latency) {
        Comparison::NotFaster => Reason::Nearest,
        Comparison::SmallGain { gain } => Reason::SmallGain { gain_ms: gain },
        Comparison::Swing { gain, swing } => Reason::Swing { gain_ms: gain, swing_ms: swing },
        Comparison::Passing { gain, best_gain } => Reason::Passing { gain_ms: gain, best_gain_ms: best_gain },
        Comparison::Faster { gain } => match (region.hold_down(now), region.streak) {
            (Some(left), _) => Reason::HeldDown {
                gain_ms: gain,
                deaths: region.deaths.count,
                left_seconds: left.as_secs() + 1,
            },
            (None, Some(streak)) if streak.is_proof() => Reason::FasterNotConnected { gain_ms: gain },
            (None, _) => Reason::OneReport { gain_ms: gain },
        },
    };
    (reason, Some(id))
}

fn dead(selector: &HomeSelector) -> Reason {
    let region = selector.home().and_then(|home| selector.regions.get(home));
    Reason::Dead { connected: region.is_some_and(|region| region.relay.is_established()) }
}

fn not_allowed(selector: &HomeSelector) -> Reason {
    let region = selector.home().and_then(|home| selector.regions.get(home));
    Reason::NotAllowed { gone: region.is_none_or(|region| region.permission == Permission::Gone) }
}
