//! Each kind of network, and that the report says what it is.

use std::net::IpAddr;
use std::time::Duration;

use ferry_client::dial::ProxyRules;
use ferry_client::home;
use ferry_client::netcheck::{Code, Config, Family, Nat64Prefix, Portal, Report, Severity};
use ferry_protocol::derp_map::RegionId;
use ferry_stun::discovery::{Filtering, Finding, Hairpin, Mapping, Reason};

use super::world::nat::{HairpinSource, Nat};
use super::world::{Port80, World, derpers, with_discovery, with_ipv6};

const MAPPINGS: [Mapping; 3] =
    [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
const FILTERINGS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];

/// The usual home's router.
fn usual() -> Nat {
    Nat::new(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, 3)
}

/// A firewall of IPv6.
fn firewall6() -> Nat {
    let mut firewall = Nat::firewall(Filtering::AddressAndPortDependent);
    firewall.host = "2001:db8:1::2".parse().expect("an address");
    firewall
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings().iter().map(|finding| finding.code).collect()
}

#[test]
fn every_nat_is_told_from_every_other() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let mut world = World::new(Nat::new(mapping, filtering, 3), with_discovery(&[30, 20, 80]), 1);
            let report = world.check(Config::complete()).report;
            let ipv4 = &report.families.ipv4;
            let found = ipv4.behaviour.known().unwrap_or_else(|| panic!("{mapping:?}, {filtering:?}"));
            assert_eq!(found.mapping, Finding::Known(mapping), "{filtering:?}");
            assert_eq!(found.filtering, Finding::Known(filtering), "{mapping:?}");
            let varies = mapping != Mapping::EndpointIndependent;
            assert_eq!(report.mapping_varies(), Some(varies));
            assert_eq!((report.udp(), ipv4.nat(), ipv4.can_send), (true, Some(true), true));
            assert_eq!(ipv4.global.unwrap().ip(), IpAddr::from([203, 0, 113, 7]));
            let expected = if varies { Code::MappingVaries } else { Code::MappingStable };
            assert!(codes(&report).contains(&expected), "{:?}", codes(&report));
        }
    }
}

#[test]
fn hairpinning_is_told() {
    for (source, expected) in [(None, Hairpin::No), (Some(HairpinSource::External), Hairpin::ExternalSource)]
    {
        let mut nat = usual();
        nat.hairpin = source;
        let report = World::new(nat, with_discovery(&[20, 40]), 1).check(Config::complete()).report;
        let found = report.families.ipv4.behaviour.known().unwrap();
        assert_eq!(found.hairpin, Finding::Known(expected));
        assert_eq!(codes(&report).contains(&Code::NoHairpin), expected == Hairpin::No);
    }
}

#[test]
fn without_a_nat_there_is_only_the_filter_to_tell() {
    for filtering in FILTERINGS {
        let mut world = World::new(Nat::firewall(filtering), with_discovery(&[20, 40]), 1);
        let report = world.check(Config::complete()).report;
        let ipv4 = &report.families.ipv4;
        assert_eq!((ipv4.nat(), report.mapping_varies()), (Some(false), Some(false)));
        assert_eq!(ipv4.behaviour.known().unwrap().filtering, Finding::Known(filtering));
    }
}

#[test]
fn with_derpers_alone_the_mapping_is_told_and_the_filtering_is_not() {
    for mapping in MAPPINGS {
        let nat = Nat::new(mapping, Filtering::EndpointIndependent, 3);
        let report = World::new(nat, derpers(&[20, 30, 40]), 1).check(Config::complete()).report;
        assert_eq!(report.mapping_varies(), Some(mapping != Mapping::EndpointIndependent));
        let found = report.families.ipv4.behaviour.known().unwrap();
        assert_eq!(found.filtering, Finding::Unknown(Reason::NotOffered));
    }
}

#[test]
fn one_derper_cannot_say_that_the_mapping_is_stable() {
    let report = World::new(usual(), derpers(&[20]), 1).check(Config::complete()).report;
    assert_eq!(report.mapping_varies(), None);
    assert!(codes(&report).contains(&Code::MappingUnknown));
}

#[test]
fn latency_is_both_ways_together_and_the_lowest_is_nearest() {
    let mut relays = derpers(&[30, 20, 80, 60]);
    relays[0].there = Duration::from_millis(5);
    relays[0].back = Duration::from_millis(45);
    let outcome = World::new(usual(), relays, 1).check(Config::complete());
    let latencies: Vec<_> =
        outcome.report.latencies().iter().map(|(id, latency)| (id.0, latency.as_millis())).collect();
    assert_eq!(latencies, [(1, 50), (2, 20), (3, 80), (4, 60)]);
    assert_eq!(outcome.report.preferred, Some(RegionId(2)));
    let (nearest, after) = outcome.nearest.unwrap();
    assert_eq!((nearest.region, nearest.latency.as_millis(), nearest.udp), (RegionId(2), 20, true));
    assert_eq!(after, Duration::from_millis(40), "two round trips");
}

#[test]
fn blocked_udp_is_told_and_latency_is_measured_over_https() {
    let mut nat = usual();
    nat.blocked = true;
    let outcome = World::new(nat, with_ipv6(derpers(&[30, 20, 80])), 1).check(Config::complete());
    let report = &outcome.report;
    assert_eq!(
        (report.udp(), report.families.ipv4.works(), report.families.ipv4.can_send),
        (false, true, true)
    );
    let latencies: Vec<_> =
        report.latencies().iter().map(|(id, latency)| (id.0, latency.as_millis())).collect();
    assert_eq!(latencies, [(1, 30), (2, 20), (3, 80)]);
    assert_eq!((report.preferred, report.mapping_varies()), (Some(RegionId(2)), None));
    assert!(codes(report).contains(&Code::UdpBlocked));
    let (nearest, after) = outcome.nearest.unwrap();
    assert_eq!((nearest.region, nearest.udp), (RegionId(2), false));
    assert!(after < Duration::from_millis(600), "{after:?}");
}

#[test]
fn a_network_without_anything_is_told() {
    let mut world = World::new(usual(), derpers(&[30, 20]), 1);
    world.nats.ipv4 = None;
    let outcome = world.check(Config::complete());
    let report = &outcome.report;
    assert_eq!((report.udp(), report.families.ipv4.can_send, report.preferred), (false, false, None));
    assert_eq!(codes(report)[0], Code::NoRelay);
    assert!(outcome.nearest.is_none() && outcome.took < Duration::from_secs(2), "{:?}", outcome.took);
}

#[test]
fn ipv6_alone_is_told() {
    let mut world = World::new(usual(), with_ipv6(derpers(&[30, 20])), 1);
    world.nats.ipv4 = None;
    world.nats.ipv6 = Some(firewall6());
    let report = world.check(Config::complete()).report;
    let (ipv4, ipv6) = (&report.families.ipv4, &report.families.ipv6);
    assert_eq!((ipv4.works(), ipv4.can_send, ipv6.udp(), ipv6.nat()), (false, false, true, Some(false)));
    assert!(codes(&report).contains(&Code::Ipv6Only));
    assert_eq!(report.preferred, Some(RegionId(2)));
    let region = &report.regions[&RegionId(2)];
    assert_eq!((region.stun.ipv4, region.stun.ipv6), (None, Some(Duration::from_millis(20))));
}

#[test]
fn ipv6_that_leads_nowhere_is_told() {
    let mut world = World::new(usual(), with_ipv6(derpers(&[30, 20])), 1);
    let mut blocked = firewall6();
    blocked.blocked = true;
    world.nats.ipv6 = Some(blocked);
    let report = world.check(Config::complete()).report;
    let ipv6 = &report.families.ipv6;
    assert_eq!((ipv6.can_send, ipv6.udp(), report.udp()), (true, false, true));
    assert!(codes(&report).contains(&Code::Ipv6Broken));
}

#[test]
fn one_dead_relay_is_named_and_holds_up_little() {
    let mut relays = with_discovery(&[30, 20, 80]);
    relays[1].is_dead = true;
    let outcome = World::new(usual(), relays, 1).check(Config::complete());
    let report = &outcome.report;
    assert_eq!(report.preferred, Some(RegionId(1)));
    let finding = report.findings().into_iter().find(|it| it.code == Code::RegionSilent).unwrap();
    assert_eq!((finding.severity, finding.evidence.as_str()), (Severity::Warning, "Region 2"));
    assert_eq!(report.regions[&RegionId(2)].nodes[0].stun.ipv4.unwrap().sent, 5);
    assert!(outcome.took < Duration::from_millis(2500), "{:?}", outcome.took);
}

#[test]
fn a_relay_that_answers_stun_and_not_tcp_is_not_preferred() {
    let mut relays = derpers(&[30, 20]);
    relays[1].tcp_blocked = true;
    let report = World::new(usual(), relays.clone(), 1).check(Config::complete()).report;
    assert_eq!(report.preferred, Some(RegionId(1)));
    assert!(codes(&report).contains(&Code::RelayUnusable));
    relays[0].tcp_blocked = true;
    let report = World::new(usual(), relays, 1).check(Config::complete()).report;
    assert!(codes(&report).contains(&Code::RelaysBlocked));
    assert_eq!(report.preferred, Some(RegionId(2)), "latency is all that is left to go by");
}

#[test]
fn a_captive_portal_is_told_from_relays_and_from_silence() {
    for (port80, blocked, expected) in [
        (Port80::Relays, false, Some(false)),
        (Port80::Nobody, false, Some(false)),
        (Port80::Portal(302), false, Some(true)),
        (Port80::Portal(200), true, Some(true)),
        (Port80::Portal(204), true, Some(true)),
    ] {
        let mut nat = usual();
        nat.blocked = blocked;
        let mut relays = derpers(&[30, 20]);
        relays.iter_mut().for_each(|relay| relay.tcp_blocked = blocked);
        let mut world = World::new(nat, relays, 1);
        world.port80 = port80.clone();
        let report = world.check(Config::complete()).report;
        assert_eq!(report.portal.is_captive(), expected, "{port80:?}");
        assert_eq!(codes(&report).contains(&Code::CaptivePortal), expected == Some(true));
    }
    let mut world = World::new(usual(), derpers(&[30, 20]), 1);
    let report = world.check(Config::full(None)).report;
    assert_eq!(report.portal, Portal::NotChecked, "where UDP works a client does not ask");
}

#[test]
fn names_are_resolved_and_those_that_cannot_be_are_named() {
    let mut world = World::new(usual(), derpers(&[30, 20]), 1);
    let mut map = world.map();
    for region in map.regions.values_mut() {
        region.nodes[0].ipv4.clear();
    }
    world.names.insert("relay1.example.net".to_owned(), vec!["198.51.100.1".parse().unwrap()]);
    let report = world.check_map(&map, Config::complete()).report;
    assert_eq!(report.unresolved, ["relay2.example.net"]);
    assert!(codes(&report).contains(&Code::NamesUnresolved));
    let latencies: Vec<_> =
        report.latencies().iter().map(|(id, latency)| (id.0, latency.as_millis())).collect();
    assert_eq!(latencies, [(1, 30)], "the lookup is not part of it");
}

#[test]
fn behind_a_proxy_relays_are_asked_by_name_and_that_is_said() {
    let mut nat = usual();
    nat.blocked = true;
    let mut relays = derpers(&[30, 20]);
    relays.iter_mut().for_each(|relay| relay.tcp_blocked = true);
    let mut world = World::new(nat, relays, 1);
    let mut map = world.map();
    for region in map.regions.values_mut() {
        region.nodes[0].ipv4.clear();
    }
    let proxies = ProxyRules::all("http://192.168.1.9:3128".parse().unwrap());
    let report = world.check_map(&map, Config { proxies, ..Config::complete() }).report;
    assert_eq!(report.preferred, Some(RegionId(2)), "no name is resolved here, and that does not matter");
    assert!(codes(&report).contains(&Code::RelaysProxied) && codes(&report).contains(&Code::UdpBlocked));
    assert!(!report.families.ipv4.https, "what the proxy goes on with is not known");
    assert!(report.took < Duration::from_secs(3));
    let report = world.check_map(&map, Config::complete()).report;
    assert!(codes(&report).contains(&Code::NoRelay) && !codes(&report).contains(&Code::RelaysProxied));
}

#[test]
fn nat64_is_told() {
    let mut world = World::new(usual(), derpers(&[30]), 1);
    assert_eq!(world.check(Config::complete()).report.nat64, None);
    world.names.insert("ipv4only.arpa".to_owned(), vec!["64:ff9b::c000:aa".parse().unwrap()]);
    let report = world.check(Config::complete()).report;
    assert_eq!(report.nat64.map(|prefix| prefix.to_string()).as_deref(), Some("64:ff9b::/96"));
    assert_eq!(report.nat64, Nat64Prefix::of("64:ff9b::c000:ab".parse().unwrap()));
    assert!(codes(&report).contains(&Code::Nat64));
}

#[test]
fn a_home_stays_unless_another_is_clearly_better() {
    for (round_trips, preferred) in [([50, 45], 1), ([50, 30], 2), ([20, 12], 1), ([30, 19], 2)] {
        let mut world = World::new(usual(), derpers(&round_trips), 1);
        let report = world.check(Config::full(Some(RegionId(1)))).report;
        assert_eq!(report.preferred, Some(RegionId(preferred)), "{round_trips:?}");
    }
}

#[test]
fn a_report_is_what_home_selection_takes() {
    let mut world = World::new(usual(), derpers(&[30, 20]), 1);
    let report = world.check(Config::full(None)).report;
    let now = world.now;
    let mut selector = home::HomeSelector::new(7);
    selector.handle(now, home::Input::Map(&world.map()));
    selector.handle(now, home::Input::Report { full: report.full, latencies: &report.latencies() });
    assert_eq!(selector.poll(now), home::Output::Connect(RegionId(2)));
}

#[test]
fn both_families_have_their_own_words() {
    let mut world = World::new(usual(), with_ipv6(with_discovery(&[30, 20])), 1);
    world.nats.ipv6 = Some(firewall6());
    let report = world.check(Config::complete()).report;
    for family in Family::BOTH {
        assert_eq!((report.families.of(family).asked, report.families.of(family).answered), (2, 2));
    }
    assert_eq!((report.families.ipv4.nat(), report.families.ipv6.nat()), (Some(true), Some(false)));
    assert!(codes(&report).contains(&Code::Ipv6Works));
}

#[test]
fn a_router_that_opens_ports_is_told_from_one_behind_another() {
    for (external, expected, unexpected) in [
        (Some([203, 0, 113, 7]), Some(Code::PortMapping), Code::DoubleNat),
        (Some([100, 64, 0, 9]), Some(Code::DoubleNat), Code::PortMapping),
        (None, None, Code::PortMapping),
    ] {
        let mut world = World::new(usual(), derpers(&[30, 20]), 1);
        world.nat_pmp = external;
        let config = Config { gateway: Some([192, 168, 1, 1].into()), ..Config::complete() };
        let report = world.check(config).report;
        assert_eq!(
            (report.port_mapping.pmp, report.port_mapping.any()),
            (external.is_some(), Some(external.is_some()))
        );
        assert!(expected.is_none_or(|expected| codes(&report).contains(&expected)));
        assert!(!codes(&report).contains(&unexpected));
    }
    let report = World::new(usual(), derpers(&[30, 20]), 1).check(Config::complete()).report;
    assert_eq!(report.port_mapping.any(), None, "no router is known");
}
