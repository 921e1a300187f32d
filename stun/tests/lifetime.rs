//! How long a binding lives, measured in a network in memory.

mod nat_world;

use std::time::Duration;

use ferry_stun::discovery::{
    Filtering, LIFETIME_WAITS, Lifetime, LifetimeMethod, LifetimeReport, Mapping, PortAllocation, Reason,
};
use nat_world::nat::Nat;
use nat_world::server::{Fault, Kind, Server};
use nat_world::{Random, World};

const LIFETIMES_SECS: [u64; 9] = [10, 25, 40, 55, 75, 100, 150, 200, 400];

fn nat(lifetime_secs: u64, seed: u64) -> Nat {
    let mut nat = Nat::new(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, seed);
    nat.lifetime = Duration::from_secs(lifetime_secs);
    nat
}

fn server(kind: Kind) -> Server {
    Server::new(kind, "192.0.2.1:3478", "198.51.100.2:3479")
}

fn measure(world: &mut World, seed: u64) -> LifetimeReport {
    let mut ids = Random::new(seed ^ 0x1D5);
    let server = world.servers[0].first;
    let report = world.run(&mut Lifetime::new(server, world.now, move || ids.transaction_id()));
    // At worst the waits of 90, 180 and 300 s, and two lost trials of the longest.
    assert!(report.duration < Duration::from_secs(1200), "{:?}", report.duration);
    report
}

/// The waits next to a lifetime on both sides.
fn bounds(lifetime_secs: u64) -> (Option<Duration>, Option<Duration>) {
    let lifetime = Duration::from_secs(lifetime_secs);
    let below = LIFETIME_WAITS.into_iter().rfind(|wait| *wait < lifetime);
    (below, LIFETIME_WAITS.into_iter().find(|wait| *wait >= lifetime))
}

#[test]
fn a_lifetime_is_found_between_two_neighbouring_waits() {
    for kind in [Kind::ByTheBook, Kind::Ferry] {
        for lifetime in LIFETIMES_SECS {
            let mut world = World::new(nat(lifetime, 1), vec![server(kind)], 1);
            let report = measure(&mut world, 1);
            assert_eq!((report.at_least, report.less_than), bounds(lifetime), "{lifetime} s: {report}");
            assert_eq!((report.method, report.reason), (LifetimeMethod::ResponsePort, None));
            assert!(report.duration < Duration::from_secs(600), "{:?}", report.duration);
            assert!(world.sent < 60, "{} datagrams", world.sent);
        }
    }
}

/// A dead binding whose port is given again looks alive from inside, not from outside.
#[test]
fn a_port_that_comes_back_does_not_hide_a_death() {
    let mut preserving = nat(40, 1);
    preserving.allocation = PortAllocation::Preserved;
    let report = measure(&mut World::new(preserving, vec![server(Kind::Ferry)], 1), 1);
    assert_eq!((report.at_least, report.less_than), bounds(40), "{report}");
}

#[test]
fn without_response_port_only_a_death_can_be_shown() {
    for fault in [Fault::RefusesResponsePort, Fault::IgnoresResponsePort] {
        for lifetime in LIFETIMES_SECS {
            let servers = vec![server(Kind::ByTheBook).with(fault)];
            let report = measure(&mut World::new(nat(lifetime, 1), servers, 1), 1);
            assert_eq!(
                (report.at_least, report.less_than),
                (None, bounds(lifetime).1),
                "{lifetime} s: {report}"
            );
            assert_eq!((report.method, report.reason), (LifetimeMethod::PortComparison, None));
        }
    }
    let mut preserving = nat(40, 1);
    preserving.allocation = PortAllocation::Preserved;
    let servers = vec![server(Kind::ByTheBook).with(Fault::RefusesResponsePort)];
    let report = measure(&mut World::new(preserving, servers, 1), 1);
    assert_eq!((report.at_least, report.less_than), (None, None), "{report}");
}

#[test]
fn nobody_there_ends_the_measurement_at_once() {
    let mut blocked = nat(40, 1);
    blocked.blocked = true;
    let report = measure(&mut World::new(blocked, vec![server(Kind::Ferry)], 1), 1);
    assert_eq!(report.reason, Some(Reason::NoAnswer));
    assert_eq!((report.at_least, report.less_than), (None, None));
    assert!(report.duration < Duration::from_secs(5), "{:?}", report.duration);

    let mut world = World::new(nat(40, 1), vec![server(Kind::Ferry)], 1);
    world.unopenable = vec![1];
    assert_eq!(measure(&mut world, 1).reason, Some(Reason::SocketFailed));
}

#[test]
fn loss_never_makes_a_lifetime_wrong() {
    let mut exact = 0;
    for lifetime in LIFETIMES_SECS {
        for seed in 0..50 {
            let mut world = World::new(nat(lifetime, seed), vec![server(Kind::Ferry)], seed);
            world.loss_permille = 100;
            let report = measure(&mut world, seed);
            assert_not_wrong(&report, lifetime);
            exact += usize::from((report.at_least, report.less_than) == bounds(lifetime));
        }
    }
    assert!(exact >= 440, "{exact} of 450 exact");
}

/// An answer of the server's own address with the right ID on the wrong socket is that of a server which
/// ignores RESPONSE-PORT; who can forge it can have less found, but nothing wrong.
#[test]
fn forged_answers_never_make_a_lifetime_wrong() {
    for lifetime in LIFETIMES_SECS {
        let mut world = World::new(nat(lifetime, 1), vec![server(Kind::Ferry)], 1);
        world.hostile = true;
        assert_not_wrong(&measure(&mut world, 1), lifetime);
    }
}

#[test]
fn a_report_says_what_is_known() {
    let mut world = World::new(nat(40, 1), vec![server(Kind::Ferry)], 1);
    let report = measure(&mut world, 1);
    assert_eq!(report.to_string(), "lifetime:   between 30 and 45 s without traffic");
    let json = report.to_json();
    assert!(json.contains("\"at_least_secs\":30,\"less_than_secs\":45,\"reason\":null"), "{json}");
}

fn assert_not_wrong(report: &LifetimeReport, lifetime_secs: u64) {
    let (low, high) = bounds(lifetime_secs);
    assert!(report.at_least <= low, "{lifetime_secs} s: {report}");
    let above = |found| high.is_some_and(|high| found >= high);
    assert!(report.less_than.is_none_or(above), "{lifetime_secs} s: {report}");
}
