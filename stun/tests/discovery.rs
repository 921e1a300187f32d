//! Discovery against every kind of NAT, in a network in memory.

mod nat_world;

use std::time::Duration;

use ferry_stun::discovery::{
    Config, Discovery, Filtering, Finding, Hairpin, Mapping, Pooling, PortAllocation, Reason, Report,
};
use nat_world::nat::{HairpinSource, Nat};
use nat_world::server::{Fault, Kind, Server};
use nat_world::{Random, World};

const MAPPINGS: [Mapping; 3] =
    [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
const FILTERINGS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];

/// What Ferry allows one run; see `REDIRECTS_MAX` of the discovery.
const REDIRECTS_MAX: u32 = 12;

fn two_addresses(kind: Kind) -> Server {
    Server::new(kind, "192.0.2.1:3478", "198.51.100.2:3479")
}

fn one_address(kind: Kind) -> Server {
    Server::new(kind, "192.0.2.1:3478", "192.0.2.1:3479")
}

fn plain(address: &str) -> Server {
    Server::new(Kind::ByTheBook, address, address)
}

/// Asks all servers of the world, the first one most, and holds the run to its bounds.
fn discover(world: &mut World, seed: u64) -> Report {
    let config = Config { servers: world.servers.iter().map(|server| server.first).collect() };
    let mut ids = Random::new(seed ^ 0x1D5);
    let start = world.now;
    let mut discovery = Discovery::new(&config, start, move || ids.transaction_id()).expect("a server");
    let report = world.run(&mut discovery);
    let took = world.now - start;
    assert_eq!(took, report.duration);
    assert!(took < Duration::from_secs(2), "took {took:?}");
    assert!(report.redirects <= REDIRECTS_MAX, "{} redirects", report.redirects);
    assert!(world.sent < 200, "{} requests", world.sent);
    report
}

fn discover_behind(nat: Nat, servers: Vec<Server>) -> Report {
    discover(&mut World::new(nat, servers, 1), 1)
}

fn known<T>(finding: Finding<T>) -> T {
    match finding {
        Finding::Known(verdict) => verdict,
        Finding::Unknown(reason) => panic!("unknown: {reason}"),
    }
}

#[test]
fn every_mapping_and_filtering_is_told_from_every_other() {
    for kind in [Kind::ByTheBook, Kind::Ferry] {
        for mapping in MAPPINGS {
            for filtering in FILTERINGS {
                let report = discover_behind(Nat::new(mapping, filtering, 3), vec![two_addresses(kind)]);
                assert_eq!(report.mapping, Finding::Known(mapping), "{kind:?} {filtering:?}\n{report}");
                assert_eq!(report.filtering, Finding::Known(filtering), "{kind:?} {mapping:?}\n{report}");
                assert_eq!((report.udp, report.nat, report.lost), (true, Some(true), 0));
                assert_eq!(report.varies_by_destination, Some(mapping != Mapping::EndpointIndependent));
                assert_eq!(report.port_allocation, Finding::Known(PortAllocation::Random));
                assert_eq!(report.pooling, Some(Pooling::Paired));
                // Without loss far fewer than the bound.
                assert!(report.redirects <= 8, "{} redirects", report.redirects);
            }
        }
    }
}

#[test]
fn the_old_names_follow_from_the_verdicts() {
    for (mapping, filtering, name) in [
        (Mapping::EndpointIndependent, Filtering::EndpointIndependent, "full cone"),
        (Mapping::EndpointIndependent, Filtering::AddressDependent, "restricted cone"),
        (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, "port-restricted cone"),
        (Mapping::AddressDependent, Filtering::AddressAndPortDependent, "symmetric"),
        (Mapping::AddressAndPortDependent, Filtering::EndpointIndependent, "symmetric"),
    ] {
        let report = discover_behind(Nat::new(mapping, filtering, 3), vec![two_addresses(Kind::Ferry)]);
        assert_eq!(report.classic_name(), Some(name));
    }
}

#[test]
fn without_a_nat_only_the_firewall_is_judged() {
    for filtering in FILTERINGS {
        let report = discover_behind(Nat::firewall(filtering), vec![two_addresses(Kind::Ferry)]);
        assert_eq!((report.nat, report.local), (Some(false), report.mapped), "{report}");
        assert_eq!(report.mapping, Finding::Known(Mapping::EndpointIndependent));
        assert_eq!(report.filtering, Finding::Known(filtering));
        assert_eq!(report.hairpin, Finding::Unknown(Reason::NoNat));
        assert_eq!(report.pooling, None);
        let open = filtering == Filtering::EndpointIndependent;
        assert_eq!(
            report.classic_name(),
            Some(if open { "open internet" } else { "symmetric UDP firewall" })
        );
    }
}

#[test]
fn blocked_udp_is_called_so_after_sends_over_nine_hundred_milliseconds() {
    let mut nat = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    nat.blocked = true;
    let report = discover_behind(nat, vec![two_addresses(Kind::Ferry), plain("198.51.100.9:3478")]);
    assert!(!report.udp);
    assert!(report.duration > Duration::from_millis(900), "{:?}", report.duration);
    assert_eq!((report.mapped, report.nat, report.redirects), (None, None, 0));
    assert_eq!(report.mapping, Finding::Unknown(Reason::NoAnswer));
    assert_eq!(report.filtering, Finding::Unknown(Reason::NoAnswer));
    assert_eq!(report.port_allocation, Finding::Unknown(Reason::NoAnswer));
    assert_eq!(report.classic_name(), Some("UDP blocked"));
    assert!(report.to_string().contains("blocked"), "{report}");
}

#[test]
fn a_hairpin_is_seen_with_the_source_it_has() {
    for filtering in FILTERINGS {
        for (hairpin, expected) in
            [(None, Hairpin::No), (Some(HairpinSource::External), Hairpin::ExternalSource)]
        {
            let mut nat = Nat::new(Mapping::EndpointIndependent, filtering, 3);
            nat.hairpin = hairpin;
            let report = discover_behind(nat, vec![two_addresses(Kind::Ferry)]);
            assert_eq!(report.hairpin, Finding::Known(expected), "{filtering:?}\n{report}");
        }
    }
    let mut nat = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    nat.hairpin = Some(HairpinSource::Internal);
    let report = discover_behind(nat, vec![two_addresses(Kind::Ferry)]);
    assert_eq!(report.hairpin, Finding::Known(Hairpin::InternalSource));
}

#[test]
fn a_filter_that_cannot_be_opened_hides_a_hairpin() {
    let mut nat = Nat::new(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, 3);
    nat.hairpin = Some(HairpinSource::External);
    let report = discover_behind(nat, vec![two_addresses(Kind::Ferry)]);
    assert_eq!(report.hairpin, Finding::Unknown(Reason::MappingVaries));
}

#[test]
fn each_way_to_pick_ports_is_told() {
    for mapping in MAPPINGS {
        for allocation in [
            PortAllocation::Preserved,
            PortAllocation::Parity,
            PortAllocation::Sequential { step: 1 },
            PortAllocation::Sequential { step: 2 },
            PortAllocation::Random,
        ] {
            let mut nat = Nat::new(mapping, Filtering::AddressAndPortDependent, 5);
            nat.allocation = allocation;
            let report = discover_behind(nat, vec![two_addresses(Kind::Ferry)]);
            assert_eq!(known(report.port_allocation).name(), allocation.name(), "{mapping:?}\n{report}");
            if mapping == Mapping::EndpointIndependent {
                assert_eq!(report.port_allocation, Finding::Known(allocation));
            }
        }
    }
}

#[test]
fn sockets_with_different_external_addresses_are_arbitrary_pooling() {
    let mut nat = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    nat.external_ips = (1..5).map(|last| [203, 0, 113, last].into()).collect();
    let report = discover_behind(nat, vec![two_addresses(Kind::Ferry)]);
    assert_eq!(report.pooling, Some(Pooling::Arbitrary));
}

#[test]
fn a_server_with_one_address_tells_what_a_second_port_can_tell() {
    for kind in [Kind::ByTheBook, Kind::Ferry] {
        for mapping in MAPPINGS {
            for filtering in FILTERINGS {
                let report = discover_behind(Nat::new(mapping, filtering, 3), vec![one_address(kind)]);
                let strict = filtering == Filtering::AddressAndPortDependent;
                assert_eq!(
                    report.filtering,
                    if strict { Finding::Known(filtering) } else { Finding::Unknown(Reason::OneAddress) },
                    "{kind:?} {mapping:?}\n{report}"
                );
                // The second port is known only where its answer came in.
                let told = mapping == Mapping::AddressAndPortDependent && !strict;
                assert_eq!(
                    report.mapping,
                    if told { Finding::Known(mapping) } else { Finding::Unknown(Reason::OneAddress) },
                    "{kind:?} {filtering:?}\n{report}"
                );
            }
        }
    }
}

#[test]
fn a_second_server_stands_in_for_the_other_address() {
    for filtering in FILTERINGS {
        for mapping in MAPPINGS {
            let servers = vec![plain("192.0.2.1:3478"), plain("198.51.100.9:3478")];
            let report = discover_behind(Nat::new(mapping, filtering, 3), servers);
            let varies = mapping != Mapping::EndpointIndependent;
            assert_eq!(report.varies_by_destination, Some(varies));
            assert_eq!(
                report.mapping,
                if varies { Finding::Unknown(Reason::OnePort) } else { Finding::Known(mapping) }
            );
            assert_eq!(report.filtering, Finding::Unknown(Reason::Refused));
            if varies {
                assert_eq!(report.classic_name(), Some("symmetric"));
            }
        }
    }
}

#[test]
fn a_second_server_beside_a_second_port_tells_every_mapping() {
    for mapping in MAPPINGS {
        let servers = vec![one_address(Kind::Ferry), plain("198.51.100.9:3478")];
        let report = discover_behind(Nat::new(mapping, Filtering::AddressDependent, 3), servers);
        assert_eq!(report.mapping, Finding::Known(mapping), "{report}");
    }
}

#[test]
fn derpers_are_enough_to_compare_mappings() {
    for mapping in MAPPINGS {
        let derper = |address| Server::new(Kind::Tailscale, address, address);
        let servers = vec![derper("192.0.2.1:3478"), derper("198.51.100.9:3478")];
        let mut nat = Nat::new(mapping, Filtering::AddressAndPortDependent, 3);
        nat.allocation = PortAllocation::Sequential { step: 1 };
        let report = discover_behind(nat, servers);
        assert_eq!((report.udp, report.nat, report.lost), (true, Some(true), 0));
        assert_eq!(report.varies_by_destination, Some(mapping != Mapping::EndpointIndependent));
        assert_eq!(report.filtering, Finding::Unknown(Reason::NotOffered), "{report}");
        assert_eq!(known(report.port_allocation).name(), "sequential");
        assert_eq!(report.redirects, 0);
    }
}

#[test]
fn what_a_server_cannot_do_is_never_taken_for_a_filter() {
    let faults = [
        Fault::IgnoresChange,
        Fault::OtherAddressDead,
        Fault::PartnerDead,
        Fault::RefusesResponsePort,
        Fault::IgnoresResponsePort,
        Fault::AnswersFromWrongAddress,
    ];
    for fault in faults {
        for mapping in MAPPINGS {
            for filtering in FILTERINGS {
                let server = two_addresses(Kind::ByTheBook).with(fault);
                let report = discover_behind(Nat::new(mapping, filtering, 3), vec![server]);
                assert_not_wrong(&report, mapping, filtering, &format!("{fault:?}"));
            }
        }
    }
}

#[test]
fn a_server_that_ignores_or_refuses_is_named_as_the_reason() {
    let nat = || Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    let ignores = two_addresses(Kind::ByTheBook).with(Fault::IgnoresChange);
    let report = discover_behind(nat(), vec![ignores]);
    assert_eq!(report.filtering, Finding::Unknown(Reason::Ignored));
    let report = discover_behind(nat(), vec![plain("192.0.2.1:3478")]);
    assert_eq!(report.filtering, Finding::Unknown(Reason::Refused));
    let dead = two_addresses(Kind::ByTheBook).with(Fault::OtherAddressDead);
    let report = discover_behind(nat(), vec![dead]);
    assert_eq!(report.mapping, Finding::Unknown(Reason::OtherAddressSilent));
    // Answers from an address that was not asked are no answers.
    let wrong = two_addresses(Kind::ByTheBook).with(Fault::AnswersFromWrongAddress);
    assert!(!discover_behind(nat(), vec![wrong]).udp);
}

/// Somebody else in the same network spent the server's budget.
#[test]
fn a_spent_redirect_budget_is_never_taken_for_a_filter() {
    for left in 0..9 {
        for mapping in MAPPINGS {
            for filtering in FILTERINGS {
                let mut server = two_addresses(Kind::Ferry);
                server.redirects_left = Some(left);
                let report = discover_behind(Nat::new(mapping, filtering, 3), vec![server]);
                assert_not_wrong(&report, mapping, filtering, &format!("{left} redirects left"));
            }
        }
    }
}

#[test]
fn a_box_that_rewrites_payloads_is_seen() {
    let nat = || Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    let report = discover_behind(nat(), vec![two_addresses(Kind::ByTheBook).with(Fault::PayloadsRewritten)]);
    assert_eq!(report.rewrites_payloads, Some(true));
    let report = discover_behind(nat(), vec![two_addresses(Kind::Ferry)]);
    assert_eq!(report.rewrites_payloads, Some(false));
}

#[test]
fn a_carriers_address_space_is_seen() {
    let mut nat = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent, 3);
    nat.host = [100, 127, 255, 1].into();
    assert!(discover_behind(nat.clone(), vec![two_addresses(Kind::Ferry)]).shared_address_space);
    nat.host = [100, 128, 0, 1].into();
    assert!(!discover_behind(nat, vec![two_addresses(Kind::Ferry)]).shared_address_space);
}

#[test]
fn a_socket_that_cannot_be_opened_costs_only_its_own_test() {
    let world = |socket| {
        let mut nat = Nat::new(Mapping::EndpointIndependent, Filtering::AddressDependent, 3);
        nat.hairpin = Some(HairpinSource::External);
        let mut world = World::new(nat, vec![two_addresses(Kind::Ferry)], 1);
        world.unopenable = vec![socket];
        discover(&mut world, 1)
    };
    let without_filtering = world(1);
    assert_eq!(without_filtering.mapping, Finding::Known(Mapping::EndpointIndependent));
    assert_eq!(without_filtering.filtering, Finding::Unknown(Reason::SocketFailed));
    let without_hairpin = world(2);
    assert_eq!(without_hairpin.hairpin, Finding::Unknown(Reason::SocketFailed));
    assert_eq!(without_hairpin.filtering, Finding::Known(Filtering::AddressDependent));
    assert_eq!(world(7).port_allocation, Finding::Known(PortAllocation::Random));
    // The mapping socket is everybody's: nothing is known, and nothing is wrong.
    assert_eq!(world(0).mapped, None);
}

/// A tenth of the datagrams is lost each way, so every fifth exchange.
#[test]
fn loss_makes_verdicts_rarer_but_never_wrong() {
    let (mut runs, mut unknown) = (0, 0);
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            for seed in 0..200 {
                let mut nat = Nat::new(mapping, filtering, seed);
                nat.hairpin = (seed % 2 == 0).then_some(HairpinSource::External);
                let mut world = World::new(nat, vec![two_addresses(Kind::Ferry)], seed);
                world.loss_permille = 100;
                let report = discover(&mut world, seed);
                assert_not_wrong(&report, mapping, filtering, &format!("seed {seed}"));
                let hairpin = if seed % 2 == 0 { Hairpin::ExternalSource } else { Hairpin::No };
                assert!(report.hairpin.known().is_none_or(|it| it == hairpin), "seed {seed}\n{report}");
                let allocation = report.port_allocation.known();
                assert!(allocation.is_none_or(|it| it == PortAllocation::Random), "seed {seed}\n{report}");
                runs += 1;
                unknown += usize::from(report.filtering.known().is_none());
                assert_eq!(report.mapping, Finding::Known(mapping), "seed {seed}\n{report}");
            }
        }
    }
    assert!(unknown * 20 < runs, "{unknown} of {runs} filters stayed unknown");
}

#[test]
fn forged_answers_change_nothing() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let run = |hostile| {
                let mut nat = Nat::new(mapping, filtering, 3);
                nat.hairpin = Some(HairpinSource::External);
                let mut world = World::new(nat, vec![two_addresses(Kind::Ferry)], 1);
                world.hostile = hostile;
                discover(&mut world, 1)
            };
            let honest = run(false);
            let attacked = run(true);
            assert_eq!(attacked.mapping, honest.mapping);
            assert_eq!(attacked.filtering, honest.filtering);
            assert_eq!(attacked.hairpin, honest.hairpin);
            assert_eq!(attacked.port_allocation, honest.port_allocation);
            assert_eq!(attacked.mapped.map(|it| it.ip()), honest.mapped.map(|it| it.ip()));
            assert_eq!((attacked.pooling, attacked.lost), (honest.pooling, 0));
        }
    }
}

/// Time is short on a long path: what needs silence may stay unknown, the rest may not.
#[test]
fn a_slow_path_costs_time_for_silence_only() {
    for millis in [1, 50, 100, 150, 300] {
        for filtering in FILTERINGS {
            let nat = Nat::new(Mapping::AddressDependent, filtering, 3);
            let mut world = World::new(nat, vec![two_addresses(Kind::Ferry)], 1);
            world.latency = Duration::from_millis(millis);
            let report = discover(&mut world, 1);
            assert_eq!(report.mapping, Finding::Known(Mapping::AddressDependent), "{millis} ms\n{report}");
            assert_not_wrong(&report, Mapping::AddressDependent, filtering, &format!("{millis} ms"));
            if millis <= 100 || filtering == Filtering::EndpointIndependent {
                assert_eq!(report.filtering, Finding::Known(filtering), "{millis} ms\n{report}");
            }
        }
    }
}

#[test]
fn without_servers_there_is_no_run() {
    let mut ids = Random::new(1);
    let config = Config { servers: Vec::new() };
    assert!(Discovery::new(&config, std::time::Instant::now(), || ids.transaction_id()).is_none());
}

#[test]
fn a_report_is_json_with_the_names_of_the_rfc() {
    let mut nat = Nat::new(Mapping::AddressDependent, Filtering::AddressAndPortDependent, 3);
    nat.allocation = PortAllocation::Sequential { step: 2 };
    let json = discover_behind(nat, vec![two_addresses(Kind::Ferry)]).to_json();
    for field in [
        "\"server\":\"192.0.2.1:3478\"",
        "\"family\":\"ipv4\"",
        "\"udp\":true",
        "\"local\":\"192.168.1.2:",
        "\"mapped\":\"203.0.113.7:",
        "\"nat\":true",
        "\"mapping\":\"address-dependent\"",
        "\"filtering\":\"address-and-port-dependent\"",
        "\"hairpin\":null",
        "\"port_allocation\":\"sequential\"",
        "\"duration_ms\":",
    ] {
        assert!(json.contains(field), "{field} in {json}");
    }
    assert!(json.starts_with('{') && json.ends_with('}'));
}

fn assert_not_wrong(report: &Report, mapping: Mapping, filtering: Filtering, what: &str) {
    let said = report.mapping.known();
    assert!(said.is_none_or(|said| said == mapping), "{what}: {mapping:?} {filtering:?}\n{report}");
    let said = report.filtering.known();
    assert!(said.is_none_or(|said| said == filtering), "{what}: {mapping:?} {filtering:?}\n{report}");
}
