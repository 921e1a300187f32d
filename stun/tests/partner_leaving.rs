//! A machine that leaves tells its partner, who promises its address to nobody from then on.

#![cfg(feature = "partner")]

mod network;

use std::time::Duration;

use ferry_stun::partner::{Content, DownReason, Envelope, PartnerRefusal, PartnerState, Services};
use network::{A, B, Network};

const SECOND: Duration = Duration::from_secs(1);

/// The kind of a leaving, in a datagram's second byte.
const LEAVING: u8 = 4;

const NOT_SERVING: PartnerState = PartnerState::Down(DownReason::PartnerNotServing);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The leavings sent so far to a machine.
fn leavings(network: &Network, to: usize) -> Vec<Vec<u8>> {
    let sent = network.recorded.iter().filter(|(machine, datagram)| *machine == to && datagram[1] == LEAVING);
    sent.map(|(_, datagram)| datagram.clone()).collect()
}

/// The datagram takes 1 ms, and so does the news, wherever between two probes it comes.
#[test]
fn a_machine_that_serves_no_more_is_known_as_soon_as_its_word_arrives() {
    for since_probe in [0, 1, 300, 999] {
        let mut network = Network::up();
        network.run(millis(since_probe));
        network.set_services(B, Services::default());
        assert_eq!(network.state(A), PartnerState::Up, "not there yet");
        network.run(millis(1));
        assert_eq!(network.state(A), NOT_SERVING, "{since_probe} ms");
        assert_eq!(network.nodes[A].route(), None);
        network.run(60 * SECOND);
        assert_eq!(network.state(A), NOT_SERVING, "its replies say the same");
        assert_eq!(leavings(&network, A).len(), 1);
    }
}

#[test]
fn a_machine_that_stops_is_known_at_once_and_then_missed() {
    let mut network = Network::up();
    network.leave(B);
    network.run(millis(1));
    assert_eq!(network.state(A), NOT_SERVING);
    network.run(millis(3500));
    assert_eq!(network.state(A), PartnerState::Down(DownReason::NoReply));
}

/// An upgrade: out for as long as it takes, and no longer.
#[test]
fn a_machine_that_comes_back_is_up_again_within_its_second() {
    let mut network = Network::up();
    let before = network.here[B].services;
    network.set_services(B, Services::default());
    network.run(millis(20));
    assert_eq!(network.state(A), NOT_SERVING);
    network.set_services(B, before);
    network.run(millis(60));
    assert_eq!(network.state(A), PartnerState::Up, "asked again 50 ms after the leaving");

    network.leave(B);
    network.run(millis(1));
    network.cut[B] = false;
    network.restart(B);
    network.run(millis(300));
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
}

#[test]
fn a_lost_leaving_costs_what_silence_does() {
    let mut network = Network::up();
    network.cut[B] = true;
    network.leave(B);
    network.run(millis(3510));
    assert_eq!(network.state(A), PartnerState::Down(DownReason::NoReply));
}

/// The partner's reply was on its way, with services in it, when it left.
#[test]
fn a_reply_that_a_leaving_overtook_says_nothing_any_more() {
    let mut network = Network::new(millis(20));
    network.run(10 * SECOND);
    let replies = |network: &Network| {
        let to_a = |(to, datagram): &&(usize, Vec<u8>)| *to == A && datagram[1] == 2;
        network.recorded.iter().filter(to_a).cloned().collect::<Vec<_>>()
    };
    let before = replies(&network).len();
    while replies(&network).len() == before {
        network.run(millis(1));
    }
    let (_, reply) = replies(&network).pop().expect("one more");
    network.set_services(B, Services::default());
    let leaving = leavings(&network, A).pop().expect("sent");
    assert_eq!(network.deliver(A, &leaving), Ok(None));
    assert_eq!(network.deliver(A, &reply), Err(PartnerRefusal::UnexpectedReply));
    assert_eq!(network.state(A), NOT_SERVING);
}

#[test]
fn nobody_leaves_for_a_partner_that_is_not_known_or_twice_for_one_reason() {
    let mut network = Network::new(millis(1));
    network.leave(B);
    assert_eq!(leavings(&network, A).len(), 0, "whom should it tell");
    let mut network = Network::up();
    for services in [network.here[B].services, Services::default(), Services::default()] {
        network.set_services(B, services);
    }
    assert_eq!(leavings(&network, A).len(), 1);
}

/// Otherwise whoever has seen a machine leave could keep it out for good.
#[test]
fn a_leaving_counts_once_for_one_life_of_both_machines_and_for_five_seconds() {
    let mut network = Network::up();
    let before = network.here[B].services;
    network.set_services(B, Services::default());
    network.run(millis(10));
    network.set_services(B, before);
    network.run(SECOND);
    let seen = leavings(&network, A).pop().expect("sent");
    assert_eq!(network.deliver(A, &seen), Err(PartnerRefusal::Replay));
    assert_eq!(network.deliver(B, &seen), Err(PartnerRefusal::Misdirected), "sent back");
    assert_eq!(network.state(A), PartnerState::Up);

    let leaving = |network: &Network, from, to, age| {
        let unix_millis = network.unix_millis(B) - age;
        network.seal(&Envelope { unix_millis, from, to, number: 2 }, &Content::Leaving)
    };
    let [a, b] = network.epochs;
    for (datagram, refusal) in [
        (leaving(&network, b, a, 5001), PartnerRefusal::Stale),
        (leaving(&network, 99, a, 0), PartnerRefusal::UnknownSender),
        (leaving(&network, b, 99, 0), PartnerRefusal::Misdirected),
        (leaving(&network, b, 0, 0), PartnerRefusal::Misdirected),
    ] {
        assert_eq!(network.deliver(A, &datagram), Err(refusal));
        assert_eq!(network.state(A), PartnerState::Up, "{refusal:?}");
    }

    network.restart(B);
    network.run(SECOND);
    assert_eq!(network.deliver(A, &leaving(&network, b, a, 0)), Err(PartnerRefusal::UnknownSender));
    network.restart(A);
    network.run(SECOND);
    assert_eq!(network.deliver(A, &seen), Err(PartnerRefusal::Misdirected));
    assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
    let forged = {
        let mut forged = leaving(&network, b, a, 0);
        forged[12] ^= 1;
        forged
    };
    assert_eq!(network.deliver(A, &forged), Err(PartnerRefusal::Forged));
}
