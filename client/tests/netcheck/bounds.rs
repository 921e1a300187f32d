//! What holds whatever happens: time, datagrams, and that nothing is said that is not so.

use std::time::Duration;

use ferry_client::netcheck::{Config, Previous, REPORT_TIME_MAX, Scope};
use ferry_protocol::derp_map::{Node, RegionId};
use ferry_stun::discovery::{Filtering, Mapping};

use super::world::nat::Nat;
use super::world::{Port80, Random, World, derpers, with_discovery, with_ipv6};

const MAPPINGS: [Mapping; 3] =
    [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
const FILTERINGS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];

fn usual() -> Nat {
    Nat::new(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, 3)
}

#[test]
fn under_loss_no_region_is_missed_and_no_verdict_is_wrong() {
    let mut unknown = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mapping = MAPPINGS[random.below(3) as usize];
        let filtering = FILTERINGS[random.below(3) as usize];
        let mut world =
            World::new(Nat::new(mapping, filtering, seed), with_discovery(&[30, 22, 80, 50]), seed);
        world.loss_permille = 50;
        world.jitter = Duration::from_millis(3);
        let outcome = world.check(Config::complete());
        let report = &outcome.report;
        let regions: Vec<_> = report.latencies().iter().map(|(id, _)| id.0).collect();
        assert_eq!(regions, [1, 2, 3, 4], "seed {seed}");
        assert_eq!(report.preferred, Some(RegionId(2)), "seed {seed}");
        assert_eq!(report.mapping_varies(), Some(mapping != Mapping::EndpointIndependent), "seed {seed}");
        let found = report.families.ipv4.behaviour.known();
        for (region, relay) in report.regions.values().zip(&world.relays) {
            let late =
                region.latency.unwrap().checked_sub(relay.round_trip()).expect("not faster than light");
            assert!(late <= world.jitter * 2, "seed {seed}: {late:?} late");
        }
        match found.and_then(|found| Some((found.mapping.known()?, found.filtering.known()?))) {
            Some(said) => assert_eq!(said, (mapping, filtering), "seed {seed}"),
            None => unknown += 1,
        }
        assert!(outcome.took <= REPORT_TIME_MAX, "seed {seed}: {:?}", outcome.took);
    }
    assert!(unknown <= 15, "{unknown} of 300 unknown");
}

#[test]
fn whatever_the_network_is_a_report_ends_in_time() {
    for seed in 0..400 {
        let mut random = Random::new(seed ^ 0xB0D5);
        let mut some = |permille: u64| random.below(1000) < permille;
        let mut nat = usual();
        nat.blocked = some(300);
        let has_ipv4 = some(800);
        let mut relays = with_ipv6(with_discovery(&[5, 300, 1200, 40]));
        for relay in &mut relays {
            relay.is_dead = some(300);
            relay.tcp_blocked = some(300);
        }
        let mut world = World::new(nat, relays, seed);
        world.loss_permille = if some(500) { 300 } else { 0 };
        world.is_hostile = some(500);
        world.port80 = if some(500) { Port80::Nobody } else { Port80::Portal(200) };
        world.dns_takes = Duration::from_millis(if some(300) { 60_000 } else { 20 });
        if !has_ipv4 {
            world.nats.ipv4 = None;
        }
        if some(500) {
            let mut firewall = Nat::firewall(Filtering::AddressDependent);
            firewall.host = "2001:db8:1::2".parse().unwrap();
            world.nats.ipv6 = Some(firewall);
        }
        let mut map = world.map();
        if some(500) {
            map.regions.values_mut().for_each(|region| region.nodes[0].ipv4.clear());
            for relay in &world.relays {
                let name = format!("relay{}.example.net", relay.region);
                world.names.insert(name, vec![relay.stun.first.ip()]);
            }
        }
        let home = some(500).then_some(RegionId(3));
        let config = if some(300) {
            let previous =
                Previous { latencies: [(RegionId(1), Duration::from_millis(5))].into(), ipv6: false };
            Config::incremental(home, previous)
        } else if some(500) {
            Config::full(home)
        } else {
            Config::complete()
        };
        let outcome = world.check_map(&map, config);
        assert!(outcome.took <= REPORT_TIME_MAX, "seed {seed}: {:?}", outcome.took);
        assert!(world.sent <= 700, "seed {seed}: {} datagrams", world.sent);
        assert!(!outcome.report.findings().is_empty(), "seed {seed}");
    }
}

#[test]
fn strangers_change_nothing_and_are_counted() {
    let mut world = World::new(usual(), derpers(&[30, 20, 80]), 1);
    world.is_hostile = true;
    let report = world.check(Config::complete()).report;
    let latencies: Vec<_> =
        report.latencies().iter().map(|(id, latency)| (id.0, latency.as_millis())).collect();
    assert_eq!(latencies, [(1, 30), (2, 20), (3, 80)]);
    assert_eq!(report.families.ipv4.seen.len(), 1);
    let ignored = report.ignored;
    assert!(ignored.unknown_transaction >= 3 && ignored.from_elsewhere >= 3, "{ignored:?}");
    assert!(ignored.malformed >= 6 && ignored.refused == 0, "{ignored:?}");
}

#[test]
fn enough_regions_end_a_report_but_not_before_the_home_has_answered() {
    let fast: Vec<u64> = (0..9).map(|place| 20 + place).collect();
    let round_trips = [&fast[..], &[150]].concat();
    let home = RegionId(10);
    let mut world = World::new(usual(), derpers(&round_trips), 1);
    let config = Config { behaviour: false, relays: false, ..Config::full(Some(home)) };
    let outcome = world.check(config.clone());
    assert!(outcome.report.regions[&home].latency.is_some());
    let (_, after) = outcome.nearest.unwrap();
    assert_eq!(after, Duration::from_millis(300), "two round trips of the home");
    assert!(outcome.took < Duration::from_millis(700), "{:?}", outcome.took);

    world.relays[9].is_dead = true;
    let outcome = world.check(config);
    assert!(outcome.report.regions[&home].latency.is_none());
    assert!(outcome.took < Duration::from_millis(900), "{:?}", outcome.took);
}

#[test]
fn an_incremental_report_asks_few_and_ends_soon() {
    let mut world = World::new(usual(), derpers(&[20, 30, 40, 50, 60, 70, 80, 90]), 1);
    let full = world.check(Config::full(None));
    let before = world.sent;
    let outcome = world.check(Config::incremental(full.report.preferred, full.report.previous()));
    let regions: Vec<_> = outcome.report.latencies().iter().map(|(id, _)| id.0).collect();
    assert_eq!(regions, [1, 2, 3, 4], "the home and the three fastest others");
    assert_eq!(world.sent - before, 4, "one datagram each");
    assert!(!outcome.report.full && outcome.took < Duration::from_millis(200), "{:?}", outcome.took);
}

#[test]
fn the_next_node_stands_in_for_a_silent_one_in_an_incremental_report() {
    let mut world = World::new(usual(), derpers(&[20, 30]), 1);
    let mut map = world.map();
    let alive = map.regions[&RegionId(2)].nodes[0].clone();
    let silent = Node { ipv4: "198.51.100.77".to_owned(), ..alive.clone() };
    map.regions.get_mut(&RegionId(2)).unwrap().nodes = vec![silent, alive];
    let previous = Previous {
        latencies: [1, 2].map(|id| (RegionId(id), Duration::from_millis(20))).into(),
        ipv6: false,
    };
    let report = world.check_map(&map, Config::incremental(Some(RegionId(2)), previous)).report;
    assert_eq!(report.regions[&RegionId(2)].latency, Some(Duration::from_millis(30)));
}

#[test]
fn an_empty_map_is_no_reason_to_wait() {
    let mut world = World::new(usual(), Vec::new(), 1);
    let outcome = world.check(Config::complete());
    assert!(outcome.took < Duration::from_millis(300), "{:?}", outcome.took);
    assert_eq!(outcome.report.preferred, None);
}

#[test]
fn a_scope_says_what_was_asked() {
    assert_eq!(Config::full(None).scope, Scope::Full);
    assert_eq!(Config::complete().enough_regions, usize::MAX);
}
