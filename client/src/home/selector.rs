//! The state machine: what happened goes in, what to do comes out.

use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;

use super::liveness::{Life, Liveness};
use super::regions::Regions;
use super::samples::Samples;
use super::search::Search;
use super::{Explanation, Input, Output, sooner};

/// Selects the home region; see [the module](super) for the rules.
///
/// After each input, and at the time it [waited](Output::Wait) for, it is to be polled until it waits again. Time that goes back is
/// taken to stand still.
#[derive(Debug)]
pub struct HomeSelector {
    // Told from outside.
    pub(super) regions: Regions,
    /// Peers can learn of a move.
    pub(super) control: bool,
    pub(super) forced: Option<RegionId>,
    /// Orders regions that were not measured.
    pub(super) seed: u64,
    /// The latest time that was told.
    clock: Option<Instant>,
    // For the first choice.
    /// When the first map came.
    pub(super) mapped: Option<Instant>,
    /// There was a report since.
    pub(super) reported: bool,
    // Decided.
    pub(super) home: Option<Home>,
    /// Regions that were faster in the last full report, the fastest first.
    pub(super) faster: Vec<RegionId>,
    pub(super) search: Search,
}

/// The home, which is always among the regions.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) id: RegionId,
    pub(super) liveness: Liveness,
    /// Round trips of its pings, for when no report measures it.
    pub(super) pings: Samples,
}

impl HomeSelector {
    /// Without a map, so without a home. The seed orders regions that were not measured; if it is the machine's own (of its node key,
    /// say), not everybody tries the same one first.
    pub fn new(seed: u64) -> Self {
        Self {
            regions: Regions::default(),
            control: false,
            forced: None,
            seed,
            clock: None,
            mapped: None,
            reported: false,
            home: None,
            faster: Vec::new(),
            search: Search::default(),
        }
    }

    /// The home region, once there is one. It stays one until there is another.
    pub fn home(&self) -> Option<RegionId> {
        Some(self.home.as_ref()?.id)
    }

    /// Whether the region's relay connection is to be kept, though no packet may go over it: that of the home, of the home before, and of a
    /// region that may become it.
    pub fn wants(&self, now: Instant, region: RegionId) -> bool {
        let wanted_until = self.regions.get(region).and_then(|region| region.wanted_until);
        self.home() == Some(region) || wanted_until.is_some_and(|until| self.latest(now) < until)
    }

    /// Why home is where it is, or why there is none.
    pub fn explanation(&self, now: Instant) -> Explanation {
        Explanation::of(self, self.latest(now))
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let now = self.advance(now);
        match input {
            Input::Map(map) => {
                self.regions.update(map, self.home());
                self.faster.clear();
                self.mapped.get_or_insert(now);
            }
            Input::Report { full, latencies } => self.report(now, full, latencies),
            Input::Control { connected } => self.control = connected,
            Input::Forced(region) => self.forced = region,
            Input::NetworkChanged => self.network_changed(now),
            Input::Connected(region) => self.connected(now, region),
            Input::ConnectFailed(region) => self.failed(now, region, false),
            Input::PingFailed(region) => self.failed(now, region, true),
            Input::Disconnected(region) => self.disconnected(now, region),
            Input::Heard(region) => self.heard(now, region),
            Input::Pong { region, rtt } => {
                self.heard(now, region);
                if let Some(home) = self.home_if(region) {
                    home.pings.add(now, rtt);
                }
            }
        }
    }

    /// What to do next. To be called until it answers [`Output::Wait`].
    pub fn poll(&mut self, now: Instant) -> Output {
        let now = self.advance(now);
        let mut wake = None;
        if let Some(home) = &mut self.home {
            match home.liveness.poll(now) {
                Life::Ask => {
                    let id = home.id;
                    return self.ask_home(now, id);
                }
                Life::Wait(at) => wake = Some(at),
            }
        }
        let output = self.decide(now);
        if let Output::Wait(at) = output { Output::Wait(sooner(wake, at)) } else { output }
    }

    /// The latest time that was told, this one included.
    fn latest(&self, now: Instant) -> Instant {
        self.clock.map_or(now, |clock| clock.max(now))
    }

    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.latest(now);
        self.clock = Some(now);
        now
    }

    fn home_if(&mut self, region: RegionId) -> Option<&mut Home> {
        self.home.as_mut().filter(|home| home.id == region)
    }

    fn report(&mut self, now: Instant, full: bool, latencies: &[(RegionId, Duration)]) {
        let mut measured = false;
        for (id, latency) in latencies {
            let Some(region) = self.regions.known(*id) else { continue };
            region.samples.add(now, *latency);
            measured = true;
        }
        self.reported |= self.mapped.is_some();
        if let Some(home) = &mut self.home
            && measured
            && self.regions.get(home.id).is_none_or(|region| !region.samples.has_new(now))
        {
            home.liveness.doubted(now);
        }
        if full {
            self.regions.iter_mut().for_each(|(_, region)| region.samples.expire(now));
            self.judge(now);
        }
    }

    fn network_changed(&mut self, now: Instant) {
        for (_, region) in self.regions.iter_mut() {
            region.samples.clear();
            region.relay.forget_attempt();
        }
        self.regions.forget_streaks();
        self.faster.clear();
        self.search.reset();
        if let Some(home) = &mut self.home {
            home.pings.clear();
            home.liveness.restart(now);
        }
    }

    fn connected(&mut self, now: Instant, region: RegionId) {
        let Some(known) = self.regions.known(region) else { return };
        known.relay.connected(now);
        self.search.reset();
        self.alive(now, region);
    }

    fn heard(&mut self, now: Instant, region: RegionId) {
        let heard = self.regions.known(region).is_some_and(|known| known.relay.heard(now));
        if heard {
            self.alive(now, region);
        }
    }

    fn alive(&mut self, now: Instant, region: RegionId) {
        match &mut self.home {
            Some(home) if home.id == region => home.liveness.heard(now),
            Some(home) => home.liveness.other_heard(now),
            None => {}
        }
    }

    fn failed(&mut self, now: Instant, region: RegionId, ping: bool) {
        let Some(known) = self.regions.known(region) else { return };
        // What is said of a connection that has been replaced or lost since is old.
        if known.relay.is_established() != ping {
            return;
        }
        known.relay.failed(now);
        if let Some(home) = self.home_if(region) {
            home.liveness.failed(now);
        }
    }

    fn disconnected(&mut self, now: Instant, region: RegionId) {
        let lost = self.regions.known(region).is_some_and(|known| known.relay.lost(now));
        if lost && let Some(home) = self.home_if(region) {
            home.liveness.lost(now);
        }
    }
}
