//! What holds whatever happens, in whatever order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ferry_client::home::{HomeSelector, Input, Output};
use ferry_protocol::derp_map::{DerpMap, RegionId};
use proptest::prelude::*;

use crate::world::{map, millis, scored, secs};

/// Regions of the largest map; there are inputs about others too.
const REGIONS: i64 = 5;

/// Something that happens, after some time.
#[derive(Debug, Clone)]
enum Happening {
    Map { refused: u8, avoided: u8, gone: u8, scores: Vec<(i64, f64)> },
    Report { full: bool, latencies: Vec<(i64, Duration)> },
    Control(bool),
    Forced(Option<i64>),
    NetworkChanged,
    Connected(i64),
    ConnectFailed(i64),
    Disconnected(i64),
    Heard(i64),
    Pong(i64, Duration),
    PingFailed(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let id = || 0..REGIONS + 2;
    let latency = || prop_oneof![8 => (0..300_u64).prop_map(millis), 1 => Just(Duration::MAX), 1 => Just(Duration::ZERO)];
    let score =
        prop_oneof![Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::MAX), Just(f64::INFINITY), 0.1..3.0];
    let latencies = || prop::collection::vec((id(), latency()), 0..7);
    prop_oneof![
        1 => (any::<u8>(), any::<u8>(), any::<u8>(), prop::collection::vec((id(), score), 0..4))
            .prop_map(|(refused, avoided, gone, scores)| Map { refused, avoided, gone, scores }),
        3 => (any::<bool>(), latencies()).prop_map(|(full, latencies)| Report { full, latencies }),
        1 => any::<bool>().prop_map(Control),
        1 => prop::option::of(id()).prop_map(Forced),
        1 => Just(NetworkChanged),
        6 => id().prop_map(Connected),
        2 => id().prop_map(ConnectFailed),
        3 => id().prop_map(Disconnected),
        2 => id().prop_map(Heard),
        3 => (id(), latency()).prop_map(|(id, rtt)| Pong(id, rtt)),
        2 => id().prop_map(PingFailed),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => Just(Duration::ZERO),
        3 => (0..4_000_u64).prop_map(millis),
        2 => (0..400_u64).prop_map(secs),
        1 => (0..1_000_000_u64).prop_map(secs),
    ]
}

/// A selector, and what it has been told.
#[derive(Debug)]
struct Model {
    selector: HomeSelector,
    now: Instant,
    control: bool,
    map: DerpMap,
    connected: BTreeSet<i64>,
    /// Of the last time it was polled.
    pinged: Vec<RegionId>,
    asked: Vec<RegionId>,
}

impl Model {
    fn new() -> Self {
        Self {
            selector: HomeSelector::new(1),
            now: Instant::now(),
            control: false,
            map: DerpMap::default(),
            connected: BTreeSet::new(),
            pinged: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn happens(&mut self, happening: &Happening) {
        let now = self.now;
        let mut tell = |input: Input<'_>| self.selector.handle(now, input);
        match happening {
            Happening::Map { refused, avoided, gone, scores } => {
                let mut map = scored(map(REGIONS), scores);
                let has = |bits: u8, id: &RegionId| bits >> id.0 & 1 == 1;
                map.regions.retain(|id, _| !has(*gone, id));
                for (id, region) in &mut map.regions {
                    region.no_measure_no_home = has(*refused, id);
                    region.avoid = has(*avoided, id);
                }
                tell(Input::Map(&map));
                // Connections of regions that are gone are not to be told of.
                let home = self.selector.home().map(|home| home.0);
                self.connected.retain(|id| map.regions.contains_key(&RegionId(*id)) || Some(*id) == home);
                self.map = map;
            }
            Happening::Report { full, latencies } => {
                let latencies: Vec<_> =
                    latencies.iter().map(|(id, latency)| (RegionId(*id), *latency)).collect();
                tell(Input::Report { full: *full, latencies: &latencies });
            }
            Happening::Control(connected) => {
                tell(Input::Control { connected: *connected });
                self.control = *connected;
            }
            Happening::Forced(id) => tell(Input::Forced(id.map(RegionId))),
            Happening::NetworkChanged => tell(Input::NetworkChanged),
            Happening::Connected(id) => {
                tell(Input::Connected(RegionId(*id)));
                let home = self.selector.home().map(|home| home.0);
                if self.map.regions.contains_key(&RegionId(*id)) || home == Some(*id) {
                    self.connected.insert(*id);
                }
            }
            Happening::ConnectFailed(id) => tell(Input::ConnectFailed(RegionId(*id))),
            Happening::Disconnected(id) => {
                tell(Input::Disconnected(RegionId(*id)));
                self.connected.remove(id);
            }
            Happening::Heard(id) => tell(Input::Heard(RegionId(*id))),
            Happening::Pong(id, rtt) => tell(Input::Pong { region: RegionId(*id), rtt: *rtt }),
            Happening::PingFailed(id) => tell(Input::PingFailed(RegionId(*id))),
        }
    }

    fn may_be_home(&self, id: i64) -> bool {
        self.map.regions.get(&RegionId(id)).is_some_and(|region| !region.no_measure_no_home)
    }

    /// Polls until it waits, and checks each output.
    fn poll(&mut self) {
        for _ in 0..100 {
            let (before, control) = (self.selector.home(), self.control);
            match self.selector.poll(self.now) {
                Output::Wait(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a wait that is over");
                    assert_eq!(before, self.selector.home());
                    return;
                }
                Output::Moved(explanation) => {
                    let home = self.selector.home().expect("a home");
                    assert!(self.connected.contains(&home.0), "{home} is not connected");
                    assert!(self.may_be_home(home.0), "{home} is not allowed");
                    assert!(control || before.is_none(), "moved without control");
                    assert_ne!(before, Some(home));
                    assert_eq!(explanation.home.expect("a home").region, home);
                    assert_eq!(explanation.other.map(|other| other.region), before);
                }
                Output::Ping(region) => {
                    assert!(self.connected.contains(&region.0), "{region} has no connection to ping over");
                    self.pinged.push(region);
                }
                Output::Connect(region) => {
                    assert!(!self.connected.contains(&region.0), "{region} is connected");
                    self.asked.push(region);
                }
            }
            assert!(!self.selector.explanation(self.now).to_string().is_empty());
        }
        panic!("it does not wait");
    }

    /// Control is there, connected relays answer and others refuse, for a minute.
    fn settle(&mut self) {
        self.happens(&Happening::Control(true));
        for _ in 0..600 {
            self.poll();
            for region in std::mem::take(&mut self.pinged) {
                self.happens(&Happening::Pong(region.0, millis(30)));
            }
            for region in std::mem::take(&mut self.asked) {
                self.happens(&Happening::ConnectFailed(region.0));
            }
            self.poll();
            self.now += millis(100);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn home_is_connected_and_allowed_if_any_region_is(
        happenings in prop::collection::vec((time(), happening()), 0..60),
    ) {
        let mut model = Model::new();
        for (time, happening) in &happenings {
            model.now += *time;
            model.happens(happening);
            model.poll();
        }
        model.settle();
        let possible = model.connected.iter().any(|id| model.may_be_home(*id));
        let home = model.selector.home();
        if possible {
            let home = home.expect("a home").0;
            prop_assert!(model.connected.contains(&home), "{home} is not connected: {:?}", model.connected);
            prop_assert!(model.may_be_home(home), "{home} is not allowed");
        }
    }

    #[test]
    fn time_that_goes_back_stands_still(
        happenings in prop::collection::vec((0..40_u64, happening()), 0..60),
    ) {
        let mut model = Model::new();
        let start = model.now;
        let mut latest = start;
        for (at, happening) in &happenings {
            model.now = start + secs(*at);
            model.happens(happening);
            latest = latest.max(model.now);
            // What it says is as of the latest time.
            let told = std::mem::replace(&mut model.now, latest);
            model.poll();
            model.now = told;
        }
    }
}
