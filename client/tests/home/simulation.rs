//! Days in a world of lost probes and jitter, many seeds each.

use std::time::Duration;

use ferry_client::home::{DEAD_HOME_LEFT_WITHIN, HOLD_DOWN_MIN, Input, Reason};
use ferry_protocol::derp_map::RegionId;

use crate::reference::Reference;
use crate::world::{NOWHERE, Relay, World, chance, map, millis, mixed, secs};

const MINUTE: Duration = secs(60);
const HOUR: Duration = secs(3600);
const DAY: Duration = secs(24 * 3600);

/// Round trips to twelve regions without jitter, in ms: three that are as near, and the rest of the world.
const TWELVE: [u64; 12] = [97, 30, 240, 30, 110, 280, 30, 120, 140, 160, 180, 210];
/// The nearest is alone.
const ONE_NEAR: [u64; 6] = [95, 25, 110, 130, 160, 200];

/// What a probe comes to: the same for the same seed, report, region and try.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    /// Of region 1 and so on.
    bases: Vec<u64>,
    /// Up and down.
    jitter: f64,
    loss: f64,
    /// Regions whose UDP does not answer.
    silent: Vec<i64>,
}

impl Weather {
    fn new(seed: u64, bases: &[u64]) -> Self {
        Self { seed, bases: bases.to_vec(), jitter: 30.0, loss: 0.05, silent: Vec::new() }
    }

    /// The first of so many tries that is answered.
    fn probe(&self, report: u64, id: i64, tries: u64) -> Option<Duration> {
        let draw = |what, try_number| chance(&[self.seed, report, id.unsigned_abs(), try_number, what]);
        let answered = (0..tries).find(|try_number| draw(0, *try_number) >= self.loss)?;
        let swing = (2.0 * draw(1, answered) - 1.0) * self.jitter;
        let latency = (self.bases[place(id)] as f64 + swing).max(1.0);
        (!self.silent.contains(&id)).then(|| Duration::from_secs_f64(latency / 1_000.0))
    }
}

/// When to report on what: everything every 5 min, and every 20 to 26 s the home and the three that were fastest.
#[derive(Debug)]
struct Netcheck {
    weather: Weather,
    reports: u64,
    next: Duration,
    next_full: Duration,
    last: Vec<Option<Duration>>,
}

/// What a report has.
type Latencies = Vec<(i64, Duration)>;

impl Netcheck {
    fn new(weather: Weather) -> Self {
        let last = vec![None; weather.bases.len()];
        Self { weather, reports: 0, next: Duration::ZERO, next_full: Duration::ZERO, last }
    }

    /// The report that is due now, and whether it is full.
    fn report(&mut self, now: Duration, home: Option<i64>) -> (bool, Latencies) {
        self.reports += 1;
        let full = now >= self.next_full;
        if full {
            self.next_full = now + 5 * MINUTE;
        }
        self.next = now + millis(20_000 + mixed(&[self.weather.seed, self.reports]) % 6_000);
        let mut ranked: Vec<i64> = (1..).take(self.last.len()).collect();
        ranked.sort_by_key(|id| {
            let last = self.last[place(*id)];
            (last.is_none(), last)
        });
        let mut latencies = Vec::new();
        for (rank, id) in ranked.into_iter().enumerate() {
            let tries = match rank {
                _ if full => 3,
                _ if Some(id) == home => 4,
                0 | 1 => 2,
                2 => 1,
                _ => continue,
            };
            let latency = self.weather.probe(self.reports, id, tries);
            self.last[place(id)] = latency;
            latencies.extend(latency.map(|latency| (id, latency)));
        }
        (full, latencies)
    }
}

/// A world whose selector gets such reports.
#[derive(Debug)]
struct Sky {
    world: World,
    netcheck: Netcheck,
}

impl Sky {
    fn new(weather: Weather) -> Self {
        let mut world = World::new(&map(weather.bases.len() as i64));
        world.connecting = millis(100 + mixed(&[weather.seed, 1]) % 900);
        Self { world, netcheck: Netcheck::new(weather) }
    }

    /// Lets time pass until then.
    fn until(&mut self, end: Duration) {
        while self.netcheck.next <= end {
            self.world.pass(self.netcheck.next - self.world.now());
            self.report();
        }
        self.world.pass(end - self.world.now());
    }

    fn report(&mut self) {
        let (full, latencies) = self.netcheck.report(self.world.now(), self.world.home());
        let latencies: Vec<_> = latencies.into_iter().map(|(id, latency)| (RegionId(id), latency)).collect();
        self.world.tell(Input::Report { full, latencies: &latencies });
    }

    /// The home's relay stops in one of three ways, and in half of them its STUN too. Answers by when home must have moved.
    fn kill(&mut self, id: i64, way: u64) -> Duration {
        if way.is_multiple_of(2) {
            self.netcheck.weather.silent.push(id);
        }
        match way / 2 % 3 {
            0 => self.world.set(id, Relay::Silent),
            1 => {
                self.world.set(id, Relay::Silent);
                self.world.disconnect(id);
                return secs(6);
            }
            _ => {
                self.world.set(id, Relay::Refusing);
                self.world.disconnect(id);
                return secs(6);
            }
        }
        DEAD_HOME_LEFT_WITHIN
    }

    fn revive(&mut self, id: i64) {
        self.world.set(id, Relay::Up);
        self.netcheck.weather.silent.clear();
    }
}

/// Where a region stands in a list of all.
fn place(id: i64) -> usize {
    usize::try_from(id - 1).expect("regions count from 1")
}

/// How often the reference's rule moves in the same weather. Its relay says something every 60 s.
fn reference_moves(weather: &Weather, time: Duration) -> usize {
    let mut netcheck = Netcheck::new(weather.clone());
    let mut reference = Reference::default();
    while netcheck.next < time {
        let now = netcheck.next;
        let (_, latencies) = netcheck.report(now, reference.home);
        reference.report(now, &latencies, millis(now.as_millis() as u64 % 60_000));
    }
    reference.moves
}

#[test]
fn home_does_not_move_in_a_day_of_loss_and_jitter() {
    let (mut moves, mut reference) = (0, 0);
    for seed in 0..30 {
        let weather = Weather::new(seed, &TWELVE);
        let mut sky = Sky::new(weather.clone());
        sky.until(DAY);
        assert!([2, 4, 7].contains(&sky.world.moved_to()[0]), "seed {seed}: {:?}", sky.world.moved_to());
        assert_eq!(sky.world.moved_to()[1..], NOWHERE, "seed {seed}");
        moves += sky.world.moves.len() - 1;
        reference += reference_moves(&weather, DAY);
    }
    println!("moves in 30 days: {moves}, by the reference's rule {reference}");
    assert!(reference > 40, "the weather is too fine: the reference's rule moved {reference} times");
}

#[test]
fn between_two_regions_that_are_as_far_home_does_not_move() {
    let mut reference = 0;
    for seed in 0..20 {
        let weather = Weather::new(seed, &[40, 40, 150]);
        let mut sky = Sky::new(weather.clone());
        sky.until(DAY);
        assert_eq!(sky.world.moved_to()[1..], NOWHERE, "seed {seed}");
        reference += reference_moves(&weather, DAY);
    }
    println!("by the reference's rule {reference} moves in 20 days");
    assert!(reference > 40);
}

#[test]
fn among_many_regions_home_moves_only_to_nearer_ones_and_soon_no_more() {
    for seed in 0..20 {
        let bases: Vec<u64> = (0..12).map(|place| 30 + 15 * place).collect();
        let mut sky = Sky::new(Weather::new(seed, &bases));
        sky.until(DAY);
        let moved_to = sky.world.moved_to();
        assert!(moved_to.windows(2).all(|pair| pair[1] < pair[0]), "seed {seed}: {moved_to:?}");
        assert!(moved_to.len() <= 3, "seed {seed}: {moved_to:?}");
    }
}

#[test]
fn a_dead_home_is_left_in_time_and_returned_to_once_when_it_is_back() {
    let mut slowest = Duration::ZERO;
    let mut longest_return = Duration::ZERO;
    for seed in 0..120 {
        let mut sky = Sky::new(Weather::new(seed, &ONE_NEAR));
        let died = HOUR + millis(mixed(&[seed, 2]) % 3_600_000);
        sky.until(died);
        assert_eq!(sky.world.moved_to(), [2], "seed {seed}");

        let bound = sky.kill(2, seed);
        sky.until(died + bound);
        assert_eq!(sky.world.moves.len(), 2, "seed {seed}: not left after {bound:?}: {}", sky.world.words());
        let left = &sky.world.moves[1];
        assert!(matches!(left.explanation.reason, Reason::Dead { .. }), "seed {seed}: {}", left.explanation);
        slowest = slowest.max(left.at - died);

        let back = died + MINUTE + millis(mixed(&[seed, 3]) % 1_800_000);
        sky.until(back);
        sky.revive(2);
        sky.until(back + 3 * HOUR);
        assert_eq!(sky.world.moves.len(), 3, "seed {seed}: {:?}", sky.world.moved_to());
        let returned = &sky.world.moves[2];
        assert_eq!(returned.to, 2, "seed {seed}");
        assert!(returned.at - died >= HOLD_DOWN_MIN + MINUTE, "seed {seed}");
        longest_return = longest_return.max(returned.at - back);
    }
    println!("left after at most {slowest:?}, returned to at most {longest_return:?} after it was back");
    assert!(longest_return <= 30 * MINUTE, "{longest_return:?}");
}

#[test]
fn a_home_that_dies_every_two_minutes_makes_five_moves_in_an_hour() {
    let mut most = 0;
    for seed in 0..60 {
        let mut sky = Sky::new(Weather::new(seed, &ONE_NEAR));
        let start = HOUR + millis(mixed(&[seed, 2]) % 300_000);
        sky.until(start);
        let before = sky.world.moves.len();
        let down = if seed.is_multiple_of(2) { 60 } else { 120 };
        let mut now = start;
        while now < start + HOUR {
            sky.kill(2, seed / 2);
            sky.until(now + secs(down));
            sky.revive(2);
            now += secs(2 * down);
            sky.until(now);
        }
        let moves = sky.world.moves.len() - before;
        assert!((1..=5).contains(&moves), "seed {seed}: {moves} moves");
        most = most.max(moves);
    }
    println!("at most {most} moves in the hour");
}

#[test]
fn a_traveller_has_a_new_home_within_six_minutes_or_within_sixteen_if_nobody_says_so() {
    let mut slowest = [Duration::ZERO; 2];
    for seed in 0..60 {
        let told = u64::is_multiple_of(seed, 2);
        let mut sky = Sky::new(Weather::new(seed, &ONE_NEAR));
        let travels = HOUR + millis(mixed(&[seed, 2]) % 3_600_000);
        sky.until(travels);
        sky.netcheck.weather.bases = vec![200, 180, 160, 130, 25, 95];
        if told {
            sky.world.tell(Input::NetworkChanged);
            sky.netcheck.next_full = travels;
            sky.netcheck.next = travels;
        }
        sky.until(travels + 2 * HOUR);
        assert_eq!(sky.world.moved_to(), [2, 5], "seed {seed}");
        let took = sky.world.moves[1].at - travels;
        assert!(took <= if told { 6 * MINUTE } else { 16 * MINUTE }, "seed {seed}: {took:?}");
        slowest[usize::from(told)] = slowest[usize::from(told)].max(took);
    }
    println!("at most {:?}, told of it {:?}", slowest[0], slowest[1]);
}
