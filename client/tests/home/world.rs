//! A world of relays around one selector, with a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferry_client::home::{Explanation, HomeSelector, Input, Output};
use ferry_protocol::derp_map::{DerpMap, HomeParams, Node, Region, RegionId};

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// No moves.
pub(crate) const NOWHERE: [i64; 0] = [];

/// splitmix64: the same numbers for the same seed.
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    let mut state = 0_u64;
    for part in parts {
        state = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^= state >> 31;
    }
    state
}

/// From 0 to 1.
pub(crate) fn chance(parts: &[u64]) -> f64 {
    (mixed(parts) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A map of regions 1 to `count`, named `R1` and so on.
pub(crate) fn map(count: i64) -> DerpMap {
    let region = |id| Region {
        region_id: RegionId(id),
        region_name: format!("R{id}"),
        nodes: vec![Node { host_name: "relay.example.net".to_owned(), ..Node::default() }],
        ..Region::default()
    };
    DerpMap { regions: (1..=count).map(|id| (RegionId(id), region(id))).collect(), ..DerpMap::default() }
}

/// The same with scores.
pub(crate) fn scored(mut map: DerpMap, scores: &[(i64, f64)]) -> DerpMap {
    let region_score = scores.iter().map(|(id, score)| (RegionId(*id), *score)).collect();
    map.home_params = Some(HomeParams { region_score: Some(region_score) });
    map
}

/// How a relay behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relay {
    /// It accepts connections and answers pings.
    Up,
    /// It is not heard any more: connections hang, pings stay unanswered.
    Silent,
    /// Connections are refused.
    Refusing,
}

/// A move of the home.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// Since the start.
    pub(crate) at: Duration,
    pub(crate) to: i64,
    pub(crate) explanation: Explanation,
}

/// One selector and the relays.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) selector: HomeSelector,
    start: Instant,
    now: Instant,
    /// Those that are not [`Relay::Up`].
    relays: BTreeMap<i64, Relay>,
    connected: BTreeSet<i64>,
    /// How long a connection takes, and a ping.
    pub(crate) connecting: Duration,
    pub(crate) rtt: Duration,
    /// Answers under way, by when they arrive.
    under_way: Vec<(Instant, Output)>,
    wake: Option<Instant>,
    /// What was asked for, and when.
    pub(crate) asked: Vec<(Duration, Output)>,
    pub(crate) moves: Vec<Move>,
}

impl World {
    /// A selector that has its map and control.
    pub(crate) fn new(map: &DerpMap) -> Self {
        let start = Instant::now();
        let mut world = Self {
            selector: HomeSelector::new(7),
            start,
            now: start,
            relays: BTreeMap::new(),
            connected: BTreeSet::new(),
            connecting: millis(100),
            rtt: millis(20),
            under_way: Vec::new(),
            wake: None,
            asked: Vec::new(),
            moves: Vec::new(),
        };
        world.tell(Input::Control { connected: true });
        world.tell(Input::Map(map));
        world
    }

    /// One whose home is region 1, 20 ms away like it was for five minutes; the others are 100 ms away.
    pub(crate) fn at_home(count: i64) -> Self {
        let mut world = Self::new(&map(count));
        let latencies: Vec<_> = (1..=count).map(|id| (id, if id == 1 { 20 } else { 100 })).collect();
        world.report(true, &latencies);
        world.pass(secs(1));
        assert_eq!(world.home(), Some(1), "{:?}", world.moves);
        world.moves.clear();
        world.asked.clear();
        world
    }

    pub(crate) fn now(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn home(&self) -> Option<i64> {
        Some(self.selector.home()?.0)
    }

    pub(crate) fn wants(&self, id: i64) -> bool {
        self.selector.wants(self.now, RegionId(id))
    }

    pub(crate) fn is_connected(&self, id: i64) -> bool {
        self.connected.contains(&id)
    }

    /// Where home moved, in order.
    pub(crate) fn moved_to(&self) -> Vec<i64> {
        self.moves.iter().map(|made| made.to).collect()
    }

    pub(crate) fn explanation(&self) -> Explanation {
        self.selector.explanation(self.now)
    }

    pub(crate) fn words(&self) -> String {
        self.explanation().to_string()
    }

    pub(crate) fn report(&mut self, full: bool, latencies: &[(i64, u64)]) {
        let latencies: Vec<_> = latencies.iter().map(|(id, ms)| (RegionId(*id), millis(*ms))).collect();
        self.tell(Input::Report { full, latencies: &latencies });
    }

    /// A full report, three times, 5 min apart, with partial ones between.
    pub(crate) fn reports(&mut self, latencies: &[(i64, u64)]) {
        for _ in 0..3 {
            self.report(true, latencies);
            for _ in 0..12 {
                self.pass(secs(25));
                self.report(false, latencies);
            }
        }
    }

    /// Changes a relay, of which nobody is told.
    pub(crate) fn set(&mut self, id: i64, relay: Relay) {
        self.relays.insert(id, relay);
    }

    /// The relay's connection breaks.
    pub(crate) fn disconnect(&mut self, id: i64) {
        self.connected.remove(&id);
        self.under_way.retain(|(_, output)| *output != Output::Ping(RegionId(id)));
        self.tell(Input::Disconnected(RegionId(id)));
    }

    /// The caller connects by itself, because of a peer.
    pub(crate) fn connect(&mut self, id: i64) {
        self.connected.insert(id);
        self.tell(Input::Connected(RegionId(id)));
    }

    /// Tells the selector and does what it says.
    pub(crate) fn tell(&mut self, input: Input<'_>) {
        self.selector.handle(self.now, input);
        self.poll();
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.under_way.iter().map(|(at, _)| *at).min();
            let next = arrival.into_iter().chain(self.wake).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.arrive();
            self.poll();
        }
        self.now = end;
    }

    /// The machine sleeps: time passes, nothing happens.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.poll();
    }

    fn arrive(&mut self) {
        let now = self.now;
        let (arrived, under_way) = self.under_way.drain(..).partition(|(at, _)| *at <= now);
        self.under_way = under_way;
        let arrived: Vec<(Instant, Output)> = arrived;
        for (_, output) in arrived {
            match output {
                Output::Connect(region) => match self.relay(region.0) {
                    Relay::Up => {
                        self.connected.insert(region.0);
                        self.tell(Input::Connected(region));
                    }
                    Relay::Silent | Relay::Refusing => self.tell(Input::ConnectFailed(region)),
                },
                Output::Ping(region) if self.relay(region.0) == Relay::Up && self.is_connected(region.0) => {
                    self.tell(Input::Pong { region, rtt: self.rtt });
                }
                Output::Ping(_) | Output::Moved(_) | Output::Wait(_) => {}
            }
        }
    }

    fn relay(&self, id: i64) -> Relay {
        self.relays.get(&id).copied().unwrap_or(Relay::Up)
    }

    fn poll(&mut self) {
        for _ in 0..10_000 {
            let output = self.selector.poll(self.now);
            match &output {
                Output::Wait(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a wait that is over");
                    self.wake = *at;
                    return;
                }
                Output::Moved(explanation) => {
                    let home = self.selector.home().expect("a home").0;
                    assert!(self.is_connected(home), "home moved to R{home}, which is not connected");
                    let explanation = Explanation::clone(explanation);
                    self.moves.push(Move { at: self.now(), to: home, explanation });
                    continue;
                }
                Output::Connect(region) => {
                    let answer = match self.relay(region.0) {
                        Relay::Up => self.connecting,
                        Relay::Silent => secs(10),
                        Relay::Refusing => millis(1),
                    };
                    self.under_way.push((self.now + answer, output.clone()));
                }
                Output::Ping(_) => self.under_way.push((self.now + self.rtt, output.clone())),
            }
            self.asked.push((self.now(), output));
        }
        panic!("it never waits");
    }
}
