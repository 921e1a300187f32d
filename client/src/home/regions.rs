//! The regions of the map, and what is known of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::{self, DerpMap, RegionId};

use super::relay::Relay;
use super::samples::{Latency, Samples};
use super::{
    DEATHS_REMEMBERED, HOLD_DOWN_MAX, HOLD_DOWN_MIN, REGIONS_MAX, REPORTS_APART_MAX, REPORTS_APART_MIN,
};

/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 64;

/// At most [`REGIONS_MAX`] regions.
#[derive(Debug, Default)]
pub(super) struct Regions {
    by_id: BTreeMap<RegionId, Region>,
    /// Sound scores of the last map that had any.
    scores: BTreeMap<RegionId, f64>,
}

/// One region.
#[derive(Debug)]
pub(super) struct Region {
    // As the map has it.
    /// How people call it.
    pub(super) name: String,
    pub(super) permission: Permission,
    /// What its latency counts times; positive and finite.
    pub(super) score: f64,
    // As it showed.
    pub(super) samples: Samples,
    pub(super) relay: Relay,
    /// Full reports in a row in which it was faster than the home.
    pub(super) streak: Option<Streak>,
    pub(super) deaths: Deaths,
    /// Its connection is wanted until then, though it is not home.
    pub(super) wanted_until: Option<Instant>,
}

/// Whether a region may be home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may.
    Granted,
    /// Only if no other can be had.
    LastResort,
    /// It may not, but is in the map.
    Refused,
    /// It is not in the map any more.
    Gone,
}

/// Full reports in a row with the same outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streak {
    /// The first.
    first: Instant,
    /// The last.
    last: Instant,
}

/// How often a region died while it was home.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    pub(super) count: u32,
    last: Option<Instant>,
}

impl Regions {
    /// Takes over a map. What is not in it is forgotten, but for the home.
    pub(super) fn update(&mut self, map: &DerpMap, home: Option<RegionId>) {
        if let Some(scores) = map.region_scores() {
            let sound = scores.iter().filter(|(_, score)| score.is_finite() && **score > 0.0);
            self.scores = sound.take(REGIONS_MAX).map(|(id, score)| (*id, *score)).collect();
        }
        self.by_id.retain(|id, _| map.regions.contains_key(id) || Some(*id) == home);
        if let Some(home) = home.filter(|home| !map.regions.contains_key(home))
            && let Some(home) = self.known(home)
        {
            home.permission = Permission::Gone;
        }
        for (id, region) in map.regions.iter().filter(|(id, _)| id.is_valid()) {
            let room = self.by_id.len() < REGIONS_MAX;
            let Some(known) = (match self.by_id.get_mut(id) {
                None if room => Some(self.by_id.entry(*id).or_insert_with(Region::new)),
                known => known,
            }) else {
                continue;
            };
            known.name = name(*id, region);
            known.permission = Permission::of(region);
            known.score = self.scores.get(id).copied().unwrap_or(1.0);
        }
        self.forget_streaks();
    }

    pub(super) fn get(&self, id: RegionId) -> Option<&Region> {
        self.by_id.get(&id)
    }

    pub(super) fn known(&mut self, id: RegionId) -> Option<&mut Region> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        self.by_id.iter().map(|(id, region)| (*id, region))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (RegionId, &mut Region)> {
        self.by_id.iter_mut().map(|(id, region)| (*id, region))
    }

    pub(super) fn forget_streaks(&mut self) {
        self.by_id.values_mut().for_each(|region| region.streak = None);
    }

    /// All that may be home but this one: those that the map would rather avoid and those on hold last, otherwise by
    /// the best latency, and what was not measured in an order that the seed gives.
    pub(super) fn nearest_first(&self, now: Instant, seed: u64, but: Option<RegionId>) -> Vec<RegionId> {
        let eligible = self.iter().filter(|(id, region)| Some(*id) != but && region.permission.may_be_home());
        let mut order: Vec<_> = eligible
            .map(|(id, region)| {
                let late = (region.permission == Permission::LastResort, region.hold_down(now).is_some());
                let best = region.samples.best(now).map_or(f64::INFINITY, |best| best * region.score);
                (late, best, shuffled(seed, id), id)
            })
            .collect();
        order.sort_by(|one, other| {
            let by_latency = one.0.cmp(&other.0).then(one.1.total_cmp(&other.1));
            by_latency.then((one.2, one.3).cmp(&(other.2, other.3)))
        });
        order.into_iter().map(|(.., id)| id).collect()
    }
}

impl Region {
    fn new() -> Self {
        Self {
            name: String::new(),
            permission: Permission::Gone,
            score: 1.0,
            samples: Samples::default(),
            relay: Relay::default(),
            streak: None,
            deaths: Deaths::default(),
            wanted_until: None,
        }
    }

    /// Its latency as it counts.
    pub(super) fn counted(&self, now: Instant) -> Option<Latency> {
        Some(self.samples.latency(now)?.times(self.score))
    }

    /// For how long it is still no goal of a move, because it died as home.
    pub(super) fn hold_down(&self, now: Instant) -> Option<Duration> {
        let ends = self.deaths.last? + hold_down_after(self.deaths.count);
        Some(ends.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether it may be the goal of a move that is not urgent.
    pub(super) fn is_goal(&self, now: Instant) -> bool {
        self.permission == Permission::Granted && self.hold_down(now).is_none()
    }
}

impl Permission {
    fn of(region: &derp_map::Region) -> Self {
        // Without a relay it cannot be connected.
        if region.no_measure_no_home || region.nodes.iter().all(|node| node.stun_only) {
            Self::Refused
        } else if region.avoid {
            Self::LastResort
        } else {
            Self::Granted
        }
    }

    pub(super) fn may_be_home(self) -> bool {
        matches!(self, Self::Granted | Self::LastResort)
    }
}

impl Streak {
    /// Another report at this time, after those of `streak`.
    pub(super) fn grown(streak: Option<Self>, now: Instant) -> Self {
        match streak {
            Some(Self { first, last }) if now.saturating_duration_since(last) <= REPORTS_APART_MAX => {
                Self { first, last: now }
            }
            _ => Self { first: now, last: now },
        }
    }

    /// Whether it is long enough to move.
    pub(super) fn is_proof(self) -> bool {
        self.last.saturating_duration_since(self.first) >= REPORTS_APART_MIN
    }
}

impl Deaths {
    pub(super) fn add(&mut self, now: Instant) {
        let remembered =
            self.last.is_some_and(|last| now.saturating_duration_since(last) < DEATHS_REMEMBERED);
        self.count = if remembered { self.count.saturating_add(1) } else { 1 };
        self.last = Some(now);
    }
}

/// How long a region is no goal of a move, after so many deaths.
fn hold_down_after(deaths: u32) -> Duration {
    let doublings = deaths.saturating_sub(1).min(16);
    (HOLD_DOWN_MIN * (1 << doublings)).min(HOLD_DOWN_MAX)
}

/// A name that can be shown.
fn name(id: RegionId, region: &derp_map::Region) -> String {
    let names = [&region.region_name, &region.region_code]
        .map(|name| name.chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect::<String>());
    names.into_iter().find(|name| !name.trim().is_empty()).unwrap_or_else(|| format!("region {id}"))
}

/// A number that looks like chance, the same for the same region and seed (splitmix64's mixing).
fn shuffled(seed: u64, id: RegionId) -> u64 {
    let mut mixed = seed ^ id.0.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_hold_down_doubles_up_to_four_hours() {
        let minutes = [1, 2, 3, 4, 5, 6, u32::MAX].map(|deaths| hold_down_after(deaths).as_secs() / 60);
        assert_eq!(minutes, [10, 20, 40, 80, 160, 240, 240]);
    }

    #[test]
    fn a_day_without_a_death_forgives_all() {
        let (mut region, now) = (Region::new(), Instant::now());
        region.deaths.add(now);
        region.deaths.add(now + DEATHS_REMEMBERED - MINUTE);
        assert_eq!(region.deaths.count, 2);
        let day_later = now + 2 * DEATHS_REMEMBERED - MINUTE;
        region.deaths.add(day_later);
        assert_eq!((region.deaths.count, region.hold_down(day_later)), (1, Some(HOLD_DOWN_MIN)));
        assert_eq!(region.hold_down(day_later + HOLD_DOWN_MIN), None);
    }

    #[test]
    fn only_consecutive_reports_a_minute_apart_are_proof() {
        let now = Instant::now();
        let once = Streak::grown(None, now);
        assert!(!once.is_proof());
        assert!(!Streak::grown(Some(once), now + MINUTE / 2).is_proof());
        assert!(Streak::grown(Some(once), now + MINUTE).is_proof());
        assert!(!Streak::grown(Some(once), now + 12 * MINUTE).is_proof());
    }

    #[test]
    fn a_region_is_called_by_its_name_or_code_or_number_and_nothing_that_moves_a_cursor() {
        let named = |region_name: &str, region_code: &str| {
            let texts = (region_name.to_owned(), region_code.to_owned());
            let region =
                derp_map::Region { region_name: texts.0, region_code: texts.1, ..Default::default() };
            name(RegionId(7), &region)
        };
        assert_eq!(named("Bern", "brn"), "Bern");
        assert_eq!(named(" ", "brn"), "brn");
        assert_eq!(named("\u{1b}\n", ""), "region 7");
        assert_eq!(named("\u{1b}[2JBern", ""), "[2JBern");
        assert_eq!(named(&"ä".repeat(65), "").chars().count(), 64);
    }

    #[test]
    fn what_was_not_measured_is_tried_in_an_order_that_differs_between_clients() {
        let ids: Vec<_> = (1..=50).map(RegionId).collect();
        let order = |seed| {
            let mut order = ids.clone();
            order.sort_by_key(|id| shuffled(seed, *id));
            order
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let firsts: std::collections::BTreeSet<_> = (0..200).map(|seed| order(seed)[0]).collect();
        assert!(firsts.len() > 40, "only {} of 50 regions come first for one of 200 clients", firsts.len());
    }
}
