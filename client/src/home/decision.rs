//! What the rules make of what is known.

use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;

use super::comparison::Comparison;
use super::liveness::Liveness;
use super::regions::{Permission, Streak};
use super::samples::{Latency, Samples};
use super::search::{Errand, Proof, Step, Why};
use super::selector::{Home, HomeSelector};
use super::{
    Explanation, FIRST_REPORT_WAIT, HISTORY, OLD_HOME_KEPT, Output, PING_INTERVAL, REPORTS_APART_MAX, sooner,
};

/// A region that is needed is tried again after this time.
const RETRY: Duration = Duration::from_secs(15);
/// A region that is only faster is tried again after this: its UDP may answer, and its TCP never.
const RETRY_FASTER: Duration = HISTORY;
/// A connection that was made while home was in trouble is wanted for this long.
const STANDBY_WANTED: Duration = Duration::from_secs(60);

impl HomeSelector {
    /// Compares the home with all regions that the full report of just now measured.
    pub(super) fn judge(&mut self, now: Instant) {
        self.faster.clear();
        let Some(home) = self.home_latency(now) else { return self.regions.forget_streaks() };
        let id = self.home();
        let mut faster = Vec::new();
        for (other, region) in self.regions.iter_mut() {
            let is_goal = Some(other) != id && region.is_goal(now) && region.samples.has_new(now);
            let latency = region.counted(now).filter(|_| is_goal);
            match latency.filter(|latency| Comparison::of(home, *latency).is_faster()) {
                Some(latency) => {
                    region.streak = Some(Streak::grown(region.streak, now));
                    faster.push((latency.median, other));
                }
                None => region.streak = None,
            }
        }
        faster.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        self.faster.extend(faster.into_iter().map(|(_, id)| id));
    }

    /// The home's latency as it counts: as reports have it, or its pings if none has.
    pub(super) fn home_latency(&self, now: Instant) -> Option<Latency> {
        let home = self.home.as_ref()?;
        let region = self.regions.get(home.id)?;
        let of_pings = || Some(home.pings.latency(now)?.times(region.score));
        region.counted(now).or_else(of_pings)
    }

    /// Whether the map does not want the home to be one. What it would only rather avoid, the user may want.
    pub(super) fn is_home_unwanted(&self) -> bool {
        let home = self.home();
        match home.and_then(|home| self.regions.get(home)).map(|region| region.permission) {
            Some(Permission::Refused | Permission::Gone) => true,
            Some(Permission::LastResort) => self.forced != home,
            Some(Permission::Granted) | None => false,
        }
    }

    /// Asks the home for a sign of life.
    pub(super) fn ask_home(&mut self, now: Instant, id: RegionId) -> Output {
        let region = self.regions.known(id);
        let established = region.is_some_and(|region| {
            region.relay.ask(now);
            region.relay.is_established()
        });
        if established { Output::Ping(id) } else { Output::Connect(id) }
    }

    /// What there is to do but to ask the home for a sign of life.
    pub(super) fn decide(&mut self, now: Instant) -> Output {
        let mut wake = None;
        for errand in self.errands(now, &mut wake) {
            match self.search.step(now, &mut self.regions, &errand) {
                Step::Take(region) => {
                    if errand.why == Why::Dead
                        && let Some(home) = &mut self.home
                        && home.liveness.try_once_more(now)
                    {
                        let id = home.id;
                        return self.ask_home(now, id);
                    }
                    return self.move_to(now, region, errand.why);
                }
                Step::Ask(output) => return output,
                // A first home that the user forces is worth the wait.
                Step::Pending(at) if self.home.is_none() => return Output::Wait(Some(at)),
                Step::Pending(at) => wake = sooner(wake, Some(at)),
                Step::Idle(at) => wake = sooner(wake, at),
            }
        }
        Output::Wait(wake)
    }

    /// What searches are due, the most urgent first. `wake` is when there may be others.
    fn errands(&self, now: Instant, wake: &mut Option<Instant>) -> Vec<Errand> {
        let mut errands = Vec::new();
        if self.home.is_some() && !self.control {
            return errands;
        }
        errands.extend(self.forced_errand(now, wake));
        let Some(home) = &self.home else {
            errands.extend(self.first_errand(now, wake));
            return errands;
        };
        let region = self.regions.get(home.id);
        let established = region.is_some_and(|region| region.relay.is_established());
        let trouble = home.liveness.trouble_since(established);
        if self.is_home_unwanted() {
            errands.extend(self.leaving_errand(now, home.id, trouble));
        }
        if let Some(since) = trouble {
            let order = self.regions.nearest_first(now, self.seed, Some(home.id));
            let errand = Errand::needed(Why::Dead, order, Proof::Since(since));
            errands.push(Errand { take: home.liveness.is_dead(), ..errand });
        } else if self.forced != Some(home.id) {
            errands.extend(self.faster_errand(now));
        }
        errands
    }

    /// To the region that the user wants.
    fn forced_errand(&self, now: Instant, wake: &mut Option<Instant>) -> Option<Errand> {
        let id = self.forced.filter(|id| self.home() != Some(*id))?;
        let region = self.regions.get(id).filter(|region| region.permission.may_be_home())?;
        if let Some(left) = region.hold_down(now) {
            *wake = sooner(*wake, Some(now + left));
            return None;
        }
        Some(Errand::needed(Why::Forced, vec![id], Proof::Within(PING_INTERVAL)))
    }

    /// To the first home.
    fn first_errand(&self, now: Instant, wake: &mut Option<Instant>) -> Option<Errand> {
        let report_due = self.mapped? + FIRST_REPORT_WAIT;
        if !self.reported && now < report_due {
            *wake = sooner(*wake, Some(report_due));
            return None;
        }
        let order = self.regions.nearest_first(now, self.seed, None);
        Some(Errand::needed(Why::First, order, Proof::Within(PING_INTERVAL)))
    }

    /// Away from a home that the map does not want: if it is the last resort, only to a better one.
    fn leaving_errand(&self, now: Instant, home: RegionId, trouble: Option<Instant>) -> Option<Errand> {
        let is_last_resort =
            self.regions.get(home).is_some_and(|region| region.permission == Permission::LastResort);
        let mut order = self.regions.nearest_first(now, self.seed, Some(home));
        order.retain(|id| !is_last_resort || self.regions.get(*id).is_some_and(|region| region.is_goal(now)));
        let proof = trouble.map_or(Proof::Within(PING_INTERVAL), Proof::Since);
        Some(Errand::needed(Why::NotAllowed, order, proof)).filter(|errand| !errand.order.is_empty())
    }

    /// To a faster one: two reports are needed to move, the first has it connected.
    fn faster_errand(&self, now: Instant) -> Option<Errand> {
        let is_proven = |id: &RegionId| {
            let region = self.regions.get(*id).filter(|region| region.is_goal(now));
            region.and_then(|region| region.streak).is_some_and(Streak::is_proof)
        };
        let proven: Vec<_> = self.faster.iter().copied().filter(is_proven).collect();
        let take = !proven.is_empty();
        let order = if take { proven } else { self.faster.clone() };
        let proof = if take { Proof::Within(PING_INTERVAL) } else { Proof::Established };
        let (retry, wanted) = (RETRY_FASTER, REPORTS_APART_MAX);
        let errand = Errand { why: Why::Faster, order, take, proof, retry, wanted };
        Some(errand).filter(|errand| !errand.order.is_empty())
    }

    fn move_to(&mut self, now: Instant, id: RegionId, why: Why) -> Output {
        let explanation = Explanation::of_move(self, now, id, why);
        if let Some(old) = &self.home
            && let Some(region) = self.regions.known(old.id)
        {
            region.wanted_until = Some(now + OLD_HOME_KEPT);
            if why == Why::Dead {
                region.deaths.add(now);
            }
        }
        self.home = Some(Home { id, liveness: Liveness::new(now), pings: Samples::default() });
        self.regions.forget_streaks();
        self.faster.clear();
        self.search.reset();
        Output::Moved(Box::new(explanation))
    }
}

impl Errand {
    /// To a region that is needed now.
    fn needed(why: Why, order: Vec<RegionId>, proof: Proof) -> Self {
        Self { why, order, take: true, proof, retry: RETRY, wanted: STANDBY_WANTED }
    }
}
