//! Two machines that do RFC 5780 together, in virtual time and on a network that tests command.

#![cfg(feature = "partner")]

mod network;

use std::net::SocketAddr;
use std::time::Duration;

use ferry_stun::partner::{
    ANSWER_BYTES_MAX, Content, DownReason, Envelope, Forward, PartnerLimits, PartnerRefusal, PartnerState,
    Services,
};
use ferry_stun::{AttributeType, MessageType, MessageWriter, TransactionId};
use network::{A, B, CLIENT, Network, answer, service};

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn down(reason: DownReason) -> PartnerState {
    PartnerState::Down(reason)
}

#[test]
fn two_machines_that_start_together_are_up_in_a_fraction_of_a_second() {
    for round_trip in [0, 2, 40, 300] {
        let mut network = Network::new(millis(round_trip / 2));
        network.run(millis(300) + 4 * millis(round_trip));
        for machine in [A, B] {
            assert_eq!(network.state(machine), PartnerState::Up, "{round_trip} ms");
        }
        let (_, services) = network.nodes[A].route().expect("up");
        assert_eq!(services, network.here[B].services);
    }
}

#[test]
fn a_machine_without_a_stun_server_is_not_up_and_neither_is_its_partner() {
    let mut network = Network::new(millis(1));
    network.set_services(B, Services::default());
    network.run(2 * SECOND);
    assert_eq!(network.state(A), down(DownReason::PartnerNotServing));
    assert_eq!(network.state(B), down(DownReason::NotServing));
    network.set_services(B, Services { ipv4: service("192.0.2.2"), ipv6: None });
    assert_eq!(network.state(B), PartnerState::Up, "it knows the partner already");
    network.run(SECOND + millis(10));
    assert_eq!(network.state(A), PartnerState::Up);
}

#[test]
fn three_missed_probes_are_down_and_the_first_reply_is_up_again() {
    let mut network = Network::up();
    // The last reply is at most a second old, so the silence begins at once or up to a second later.
    network.cut = [true, true];
    network.run(millis(2450));
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
    network.run(millis(1050));
    let silent = || down(DownReason::NoReply);
    assert_eq!((network.state(A), network.state(B)), (silent(), silent()));
    assert_eq!(network.nodes[A].route(), None);
    network.run(600 * SECOND);
    assert_eq!((network.state(A), network.state(B)), (silent(), silent()));

    network.cut = [false, false];
    network.run(SECOND + millis(10));
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
}

#[test]
fn two_probes_lost_in_a_row_are_nothing() {
    let mut network = Network::up();
    for _ in 0..10 {
        network.cut = [true, true];
        network.run(2 * SECOND);
        network.cut = [false, false];
        network.run(2 * SECOND);
        assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
    }
}

/// Neither could tell whether what it hands over arrives.
#[test]
fn one_direction_lost_is_down_for_both() {
    for direction in [A, B] {
        let mut network = Network::up();
        network.cut[direction] = true;
        network.run(4 * SECOND);
        assert_eq!(network.state(A), down(DownReason::NoReply));
        assert_eq!(network.state(B), down(DownReason::NoReply));
    }
}

#[test]
fn a_partner_that_starts_again_is_accepted_at_once() {
    let mut network = Network::up();
    let (before, _) = network.nodes[A].route().expect("up");
    network.restart(B);
    network.run(millis(200));
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
    let (after, _) = network.nodes[A].route().expect("up");
    assert_ne!(before, after);
    let forward = network.sealed_forward(A, 1);
    assert!(network.deliver(B, &forward).is_ok());
    // And in the other direction with the number that its earlier life began with.
    let forward = network.sealed_forward(B, 1);
    assert!(network.deliver(A, &forward).is_ok());
}

#[test]
fn nothing_that_was_ever_sent_is_taken_twice() {
    let mut network = Network::up();
    let forwards = [network.sealed_forward(A, 1), network.sealed_forward(A, 2)];
    for forward in &forwards {
        assert!(network.deliver(B, forward).is_ok());
    }
    let mut recorded = network.recorded.clone();
    recorded.extend(forwards.map(|forward| (B, forward)));
    assert!(recorded.len() > 8);

    // At once, to either machine, and after one of them has started again, or the other, or both.
    for restarted in [&[][..], &[A], &[B], &[A, B]] {
        for machine in restarted {
            network.restart(*machine);
        }
        let routes = |network: &Network| [A, B].map(|m| network.nodes[m].route().map(|(epoch, _)| epoch));
        for run in [Duration::ZERO, SECOND] {
            network.run(run);
            let before = routes(&network);
            for (_, datagram) in &recorded {
                for machine in [A, B] {
                    // A probe of another life may be answered (what is answered goes to the partner, who knows of no
                    // such probe), everything else is refused.
                    let taken = network.deliver(machine, datagram);
                    assert!(!matches!(taken, Ok(Some(_))), "{restarted:?}");
                }
            }
            assert_eq!(routes(&network), before, "{restarted:?}");
        }
        network.run(3 * SECOND);
        assert_eq!(
            (network.state(A), network.state(B)),
            (PartnerState::Up, PartnerState::Up),
            "{restarted:?}"
        );
        let forward = network.sealed_forward(A, 3 + restarted.len() as u64 * 100);
        assert!(network.deliver(B, &forward).is_ok(), "what is new still passes");
    }
}

#[test]
fn each_repeated_datagram_is_refused_under_its_reason() {
    let mut network = Network::up();
    let forward = network.sealed_forward(A, 7);
    assert_eq!(network.deliver(B, &forward).map(|client| client.is_some()), Ok(true));
    assert_eq!(network.deliver(B, &forward), Err(PartnerRefusal::Replay));
    assert_eq!(network.deliver(A, &forward), Err(PartnerRefusal::Misdirected), "sent back");
    network.run(3 * SECOND);
    let last = |network: &Network, kind| {
        let of_kind = |(to, datagram): &&(usize, Vec<u8>)| *to == B && datagram[1] == kind;
        network.recorded.iter().rev().find(of_kind).expect("sent").1.clone()
    };
    let (probe, reply) = (last(&network, 1), last(&network, 2));
    assert_eq!(network.deliver(B, &probe), Err(PartnerRefusal::Replay));
    assert_eq!(network.deliver(A, &probe), Err(PartnerRefusal::Misdirected), "sent back");
    assert_eq!(network.deliver(B, &reply), Err(PartnerRefusal::UnexpectedReply));
    assert_eq!(network.deliver(A, &reply), Err(PartnerRefusal::Misdirected));
    network.restart(B);
    assert_eq!(network.deliver(B, &forward), Err(PartnerRefusal::Misdirected), "to an earlier life");
    assert_eq!(network.deliver(B, &reply), Err(PartnerRefusal::Misdirected), "to an earlier life");
    network.restart(A);
    network.run(SECOND);
    let (_, old) = network.recorded.iter().find(|(to, _)| *to == B).expect("sent").clone();
    assert_eq!(network.deliver(B, &old), Ok(None), "a probe of nobody known is answered, and no more");
}

#[test]
fn a_forward_of_a_life_that_has_not_proven_to_be_there_is_refused() {
    let mut network = Network::up();
    let epochs = network.epochs;
    let envelope = Envelope { unix_millis: network.unix_millis(B), from: 99, to: epochs[B], number: 1 };
    let forward =
        network.seal(&envelope, &Content::Forward(Forward { answer: &answer(), ..network::FORWARD }));
    assert_eq!(network.deliver(B, &forward), Err(PartnerRefusal::UnknownSender));
}

#[test]
fn forwards_are_taken_within_five_seconds_of_the_receivers_clock() {
    let mut network = Network::up();
    let epochs = network.epochs;
    for (number, (offset, expected)) in [
        (-5001, false),
        (-5000, true),
        (0, true),
        (5000, true),
        (5001, false),
        (i64::MIN, false),
        (i64::MAX, false),
    ]
    .into_iter()
    .enumerate()
    {
        let unix_millis = network.unix_millis(B).saturating_add_signed(offset);
        let envelope = Envelope { unix_millis, from: epochs[A], to: epochs[B], number: number as u64 + 1 };
        let forward =
            network.seal(&envelope, &Content::Forward(Forward { answer: &answer(), ..network::FORWARD }));
        let expected = if expected { Ok(Some(CLIENT)) } else { Err(PartnerRefusal::Stale) };
        assert_eq!(network.deliver(B, &forward), expected, "{offset} ms");
    }
}

#[test]
fn clocks_apart_are_down_and_the_reason_has_the_figure() {
    for ahead in [-3_600_000, -5100, 5100, 3_600_000] {
        let mut network = Network::up();
        network.ahead_millis[B] = ahead;
        network.run(2 * SECOND);
        for (machine, ahead) in [(A, ahead), (B, -ahead)] {
            let PartnerState::Down(DownReason::ClocksDiffer { ahead_millis }) = network.state(machine) else {
                panic!("{:?}", network.state(machine));
            };
            assert!((ahead_millis - ahead).abs() <= 1, "{ahead_millis}");
        }
        network.ahead_millis[B] = -ahead.signum() * 4900;
        network.run(2 * SECOND);
        assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up), "{ahead}");
    }
}

#[test]
fn what_the_two_serve_has_to_fit_together() {
    let both = |ipv4, ipv6| Services { ipv4: service(ipv4), ipv6: service(ipv6) };
    let mut other_ports = both("192.0.2.2", "2001:db8::2");
    if let Some(service) = &mut other_ports.ipv6 {
        service.ports = [3478, 3480];
    }
    let (here, partner) = ([3478, 3479], [3478, 3480]);
    let only_ipv6 = Services { ipv4: None, ..both("192.0.2.2", "2001:db8::2") };
    for (services, expected) in [
        (both("192.0.2.2", "2001:db8::2"), PartnerState::Up),
        (only_ipv6, PartnerState::Up),
        (both("192.0.2.1", "2001:db8::2"), down(DownReason::SameAddress { ip: [192, 0, 2, 1].into() })),
        (other_ports, down(DownReason::PortsDiffer { here, partner })),
    ] {
        let mut network = Network::new(millis(1));
        network.set_services(A, both("192.0.2.1", "2001:db8::1"));
        network.set_services(B, services);
        network.run(2 * SECOND);
        assert_eq!(network.state(A), expected);
        assert_eq!(network.state(B) == PartnerState::Up, expected == PartnerState::Up);
        let common = network.nodes[A].route().map(|(_, services)| services);
        assert_eq!(common, (expected == PartnerState::Up).then_some(services));
    }
    let mut network = Network::new(millis(1));
    network.set_services(B, only_ipv6);
    network.run(2 * SECOND);
    assert_eq!(network.state(A), down(DownReason::NoCommonFamily));
}

#[test]
fn only_answers_to_clients_are_sent_for_the_partner() {
    let mut network = Network::up();
    network.here[B].bound[0] = Some([10, 0, 0, 2].into());
    network.set_services(B, network.here[B].services);
    let (epochs, mut number) = (network.epochs, 0);
    let mut refusal = |forward: &Forward<'_>| {
        number += 1;
        let unix_millis = network.unix_millis(A);
        let envelope = Envelope { unix_millis, from: epochs[A], to: epochs[B], number };
        let datagram = network.seal(&envelope, &Content::Forward(*forward));
        network.deliver(B, &datagram).err()
    };
    let to = |text: &str| text.parse::<SocketAddr>().expect("test address");
    let good = answer();
    let forward = Forward { answer: &good, ..network::FORWARD };
    assert_eq!(refusal(&forward), None);
    assert_eq!(refusal(&Forward { from_port: 3479, ..forward }), None);

    for client in [
        "192.0.2.2:3478",
        "192.0.2.2:1023",
        "10.0.0.2:3479",
        "127.0.0.1:41641",
        "0.0.0.0:41641",
        "224.0.0.1:41641",
        "255.255.255.255:41641",
        "203.0.113.7:0",
        "203.0.113.7:53",
        "203.0.113.7:123",
    ] {
        let refused = refusal(&Forward { to: to(client), ..forward });
        assert_eq!(refused, Some(PartnerRefusal::ClientAddress), "{client}");
    }
    let operator = to("192.0.2.2:41641");
    let on_the_machine = network::answer_to(operator);
    assert_eq!(refusal(&Forward { to: operator, answer: &on_the_machine, ..forward }), None);
    for from_port in [0, 22, 3477, 3480] {
        assert_eq!(refusal(&Forward { from_port, ..forward }), Some(PartnerRefusal::NotServed));
    }
    let ipv6 = Forward { to: to("[2001:db8::7]:41641"), ..forward };
    assert_eq!(refusal(&ipv6), Some(PartnerRefusal::NotServed));

    let mut request = Vec::new();
    MessageWriter::new(&mut request, MessageType::BINDING_REQUEST, TransactionId::new([7; 12])).finish();
    let mut padded = Vec::new();
    MessageWriter::new(&mut padded, MessageType::BINDING_SUCCESS, TransactionId::new([7; 12]))
        .xor_mapped_address(CLIENT)
        .attribute(AttributeType::PADDING, &[0; ANSWER_BYTES_MAX - 36])
        .finish();
    assert_eq!(padded.len(), ANSWER_BYTES_MAX);
    assert_eq!(refusal(&Forward { answer: &padded, ..forward }), None);
    for bytes in [&b""[..], b"anything", &request] {
        assert_eq!(refusal(&Forward { answer: bytes, ..forward }), Some(PartnerRefusal::NotAnswer));
    }
    let neighbour = Forward { to: to("203.0.113.8:41641"), ..forward };
    assert_eq!(refusal(&neighbour), Some(PartnerRefusal::NotAnswer), "it tells another address");
}

#[test]
fn what_is_sent_for_the_partner_is_limited_for_a_network_and_for_all() {
    for (limits, expected, passed) in [
        (PartnerLimits::default(), PartnerRefusal::RedirectRate, 20),
        (
            PartnerLimits { redirects_per_second: None, forwards_per_second: 30 },
            PartnerRefusal::TotalRate,
            30,
        ),
    ] {
        let mut network = Network::with_limits(millis(1), limits);
        network.run(SECOND);
        let mut refused = 0;
        for number in 1..=100 {
            let forward = network.sealed_forward(A, number);
            match network.deliver(B, &forward) {
                Ok(_) => {}
                Err(reason) => {
                    assert_eq!(reason, expected);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 100 - passed);
    }
}

/// Old probes are all that a stranger can have answered, and only so many; the partner does not notice.
#[test]
fn a_flood_of_old_probes_is_answered_five_times_a_second_and_keeps_nobody_out() {
    let mut network = Network::up();
    let old: Vec<_> = network.recorded.iter().filter(|(to, datagram)| *to == B && datagram[1] == 1).collect();
    let old = old.first().expect("A has probed B").1.clone();
    network.restart(A);
    network.run(SECOND);
    let sent = network.recorded.len();
    let mut refused = 0;
    for _ in 0..10 {
        for _ in 0..100 {
            refused += usize::from(network.deliver(B, &old) == Err(PartnerRefusal::ProbeRate));
        }
        network.run(SECOND);
        assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
    }
    assert!((940..=960).contains(&refused), "{refused}");
    // Each may have drawn a probe and its reply with it; the rest is a probe and a reply a second each way.
    assert!(network.recorded.len() - sent < 60 * 3 + 10 * 4 + 8, "{}", network.recorded.len() - sent);
    network.restart(A);
    for _ in 0..100 {
        let _ = network.deliver(B, &old);
    }
    network.run(2 * SECOND);
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
}
