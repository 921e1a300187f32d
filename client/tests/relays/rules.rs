//! The rules one by one.
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::time::Duration;

use ferry_client::relays::Event;
use ferry_protocol::{
    NodePublicKey, PeerGoneReason, PeerPresentFlags, encode_health, encode_peer_gone, encode_peer_present,
    encode_restarting,
};

use crate::world::{BOB, DELAY, World, endpoints};

const A: &str = "http://192.0.2.1";
const B: &str = "http://192.0.2.2";
const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn the_home_is_connected_at_once_and_told_that_it_is() {
    let mut world = World::home(1, &[A]);
    assert_eq!(world.told(), ["connected http://192.0.2.1"]);
    assert_eq!(world.got, ["NotePreferred(true)"]);
    world.line.set_home(world.now(), false);
    world.run(S);
    assert_eq!(world.got, ["NotePreferred(true)", "NotePreferred(false)"]);
    world.run(118 * S);
    assert!(world.line.is_open(), "peers may still write to the former home");
    world.run(2 * S);
    assert_eq!(world.told(), ["connected http://192.0.2.1", "lost: idle"]);
}

#[test]
fn another_line_is_connected_for_a_packet_and_closed_when_idle() {
    let mut world = World::new(1, &[A]);
    world.run(100 * S);
    assert_eq!(world.dials.len(), 0, "nobody needs it");
    for len in [10, 11, 12] {
        world.send(len);
    }
    world.run(S);
    assert_eq!(world.got, ["packet of 10 bytes", "packet of 11 bytes", "packet of 12 bytes"]);
    world.run(58 * S);
    world.send(13);
    world.run(59 * S);
    assert!(world.line.is_open(), "it was used within 60 s");
    world.run(2 * S);
    assert_eq!(world.told_but_pongs(), ["connected http://192.0.2.1", "lost: idle"]);
    world.run(1000 * S);
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_path_in_use_that_is_black_holed_is_replaced_in_little_more_than_5_s() {
    for swallows in [(true, false), (false, true), (true, true)] {
        let mut world = World::home(1, &[A]);
        world.run(100 * S);
        world.swallows = swallows;
        world.send(1);
        world.run(4900 * MS);
        world.swallows = (false, false);
        assert!(world.line.is_open(), "a ping may still be answered");
        let took = world.run_until_open_again();
        assert!(took < 400 * MS, "{took:?} after 4.9 s");
        assert_eq!(world.told_but_pongs()[1..], ["lost: silent", "connected http://192.0.2.1"]);
    }
}

#[test]
fn a_path_that_goes_silent_again_and_again_is_replaced_as_fast_each_time() {
    let mut world = World::home(2, &[A]);
    for _ in 0..10 {
        world.run(S);
        world.swallows = (true, true);
        world.send(1);
        world.run(4900 * MS);
        world.swallows = (false, false);
        let took = world.run_until_open_again();
        assert!(took < 400 * MS, "{took:?} after 4.9 s");
    }
}

#[test]
fn an_idle_home_that_is_black_holed_is_found_within_18_s() {
    let mut world = World::home(1, &[A]);
    world.run(100 * S);
    let pongs = world.told().iter().filter(|word| *word == "pong").count();
    assert!(pongs >= 5, "an idle home is pinged, {pongs} times");
    world.swallows = (true, true);
    world.run(18 * S + 2 * DELAY);
    assert!(!world.line.is_open());
}

#[test]
fn a_line_that_is_heard_is_not_pinged() {
    let mut world = World::home(1, &[A]);
    let mut frame = Vec::new();
    encode_health(&mut frame, "");
    for _ in 0..100 {
        world.relay_says(&frame);
        world.run(S);
    }
    assert!(!world.told().contains(&"pong".to_owned()));
}

#[test]
fn a_relay_that_comes_back_is_found_within_8_s_and_tried_seldom_before() {
    for seed in 0..20 {
        let mut world = World::home(seed, &[A]);
        world.run(20 * S);
        world.refuses = true;
        world.relay_dies();
        world.run(100 * S);
        let tries = world.dials.len();
        assert!((15..=50).contains(&tries), "{tries} in 100 s");
        world.refuses = false;
        let took = world.run_until_open(8 * S);
        assert!(took <= 7550 * MS, "{took:?}");
    }
}

#[test]
fn after_a_connection_that_lasted_the_first_wait_is_short() {
    let mut world = World::home(3, &[A]);
    for _ in 0..5 {
        world.run(11 * S);
        world.relay_dies();
        world.run(DELAY + MS);
        assert!(!world.line.is_open());
        let took = world.run_until_open(S);
        assert!(took <= 200 * MS, "{took:?}");
    }
}

#[test]
fn a_relay_that_loses_us_again_and_again_is_left_in_peace() {
    let mut world = World::home(3, &[A]);
    for _ in 0..400 {
        if world.line.is_open() {
            world.relay_dies();
        }
        world.run(250 * MS);
    }
    assert!(world.dials.len() < 60, "{} connections in 100 s", world.dials.len());
}

#[test]
fn a_relay_that_restarts_is_dialled_when_it_asked_for_it() {
    let mut world = World::home(4, &[A]);
    world.run(20 * S);
    let mut frame = Vec::new();
    encode_restarting(&mut frame, 3 * S, 20 * S);
    world.relay_says(&frame);
    world.run(S);
    world.refuses = true;
    world.relay_dies();
    let before = world.dials.len();
    world.run(1900 * MS);
    assert_eq!(world.dials.len(), before, "not before its time");
    world.run(10 * S);
    assert!(world.dials.len() >= before + 8, "and then often: {}", world.dials.len() - before);
    world.refuses = false;
    let took = world.run_until_open(2 * S);
    assert!(took <= 1550 * MS, "{took:?}");
    assert_eq!(world.told()[1..4], ["pong", "restarting", "lost: closed"]);
}

#[test]
fn packets_wait_for_a_connection_but_not_for_ever() {
    let mut world = World::new(5, &[A]);
    world.refuses = true;
    world.send(10);
    world.run(2 * S);
    world.send(20);
    world.run(2 * S);
    world.refuses = false;
    world.run(900 * MS);
    let took = world.run_until_open(8 * S);
    world.run(S);
    let all = 2 * S + 900 * MS + took;
    if all < 3 * S {
        assert_eq!(world.got, ["packet of 20 bytes"]);
    } else {
        assert_eq!(world.got.len(), 0);
    }
    assert!(world.told().contains(&"dropped 1: waited too long".to_owned()));
}

#[test]
fn a_map_that_still_has_the_node_changes_nothing_and_another_one_moves_the_line() {
    let mut world = World::home(6, &[A]);
    world.line.set_endpoints(world.now(), endpoints(&[B, A]));
    world.run(S);
    assert_eq!((world.dials.len(), world.goodbyes), (1, 0));
    world.line.set_endpoints(world.now(), endpoints(&[B]));
    world.run(2 * DELAY * 5);
    assert_eq!(
        world.told(),
        ["connected http://192.0.2.1", "lost: map-changed", "connected http://192.0.2.2"]
    );
}

#[test]
fn a_map_with_a_new_node_ends_the_wait_for_the_old_one() {
    let mut world = World::new(7, &[A]);
    world.line.set_home(world.now(), true);
    world.refuses = true;
    world.run(60 * S);
    world.refuses = false;
    world.line.set_endpoints(world.now(), endpoints(&[B]));
    let took = world.run_until_open(S);
    assert!(took <= 100 * MS, "{took:?}");
}

#[test]
fn in_another_network_the_connection_is_looked_at_and_no_wait_goes_on() {
    let mut world = World::home(8, &[A]);
    world.run(5 * S);
    world.swallows = (true, true);
    world.line.network_changed(world.now());
    world.run(3 * S + MS);
    assert!(!world.line.is_open(), "3 s for the answer to a ping");
    world.run(60 * S);
    world.swallows = (false, false);
    world.line.network_changed(world.now());
    let took = world.run_until_open(S);
    assert!(took <= 100 * MS, "{took:?}");
}

#[test]
fn a_machine_that_slept_looks_whether_its_connection_lives() {
    let mut world = World::home(9, &[A]);
    world.run(2 * S);
    world.sleep(3600 * S);
    world.swallows = (true, true);
    world.run(3 * S + MS);
    assert!(!world.line.is_open());
}

#[test]
fn nodes_are_tried_in_order_and_the_next_when_one_refuses() {
    let mut world = World::new(10, &[A, B]);
    world.refuses = true;
    world.line.set_home(world.now(), true);
    world.run(50 * MS);
    let hosts: Vec<_> = world.dials.iter().map(|(_, address)| address.to_string()).collect();
    assert_eq!(hosts, ["192.0.2.1:80", "192.0.2.2:80"]);
    let Some((_, Event::ConnectFailed { failures, .. })) = world.events.first() else { panic!("no failure") };
    assert_eq!(
        failures.to_string(),
        "http://192.0.2.1 (192.0.2.1:80): TCP: connection refused; \
         http://192.0.2.2 (192.0.2.2:80): TCP: connection refused"
    );
}

#[test]
fn a_silent_node_costs_a_second_and_a_half() {
    let mut world = World::new(11, &[A, B]);
    world.swallows = (true, true);
    world.line.set_home(world.now(), true);
    world.run(1400 * MS);
    assert_eq!(world.dials.len(), 1);
    world.swallows = (false, false);
    world.run(200 * MS);
    assert_eq!(world.told(), ["connected http://192.0.2.2"]);
}

#[test]
fn where_the_upgrade_is_eaten_websocket_is_used_and_remembered_for_a_while() {
    let mut world = World::new(12, &[A]);
    world.eats_upgrade = true;
    world.line.set_home(world.now(), true);
    world.run(S);
    assert_eq!(world.told(), ["connected http://192.0.2.1 by WebSocket"]);
    assert_eq!((world.dials.len(), &*world.got), (2, &["NotePreferred(true)".to_owned()][..]));
    world.run(20 * S);
    world.relay_dies();
    world.run(S);
    assert_eq!(world.dials.len(), 3, "at once by WebSocket");
    world.eats_upgrade = false;
    world.run(600 * S);
    world.relay_dies();
    world.run(S);
    assert_eq!(world.told().last().unwrap(), "connected http://192.0.2.1", "the upgrade is tried again");
    assert_eq!(world.dials.len(), 4);
}

#[test]
fn what_a_relay_says_is_told_in_order() {
    let mut world = World::home(13, &[A]);
    let mut frames = Vec::new();
    encode_peer_gone(&mut frames, &BOB, PeerGoneReason::NotHere);
    encode_health(&mut frames, "another connection has this key");
    encode_health(&mut frames, "");
    world.relay_says(&frames);
    world.run(S);
    assert_eq!(world.told()[1..], ["peer gone", "health: another connection has this key", "health: "]);
}

#[test]
fn a_watcher_is_told_of_many_peers_in_few_events_and_in_order() {
    let mut world = World::watcher(14, &[A]);
    assert_eq!(world.got, ["WatchConns"]);
    let peer = |number: u8| NodePublicKey::from_bytes([number; 32]);
    let mut frames = Vec::new();
    for number in 0..200 {
        encode_peer_present(&mut frames, &peer(number), None, PeerPresentFlags::REGULAR);
    }
    encode_peer_gone(&mut frames, &peer(7), PeerGoneReason::Disconnected);
    encode_peer_gone(&mut frames, &peer(8), PeerGoneReason::Disconnected);
    encode_peer_present(&mut frames, &peer(7), None, PeerPresentFlags::PROBER);
    world.relay_says(&frames);
    world.run(S);
    let (mut present, mut gone) = (Vec::new(), Vec::new());
    for (place, (_, event)) in world.events.iter().enumerate() {
        if let Event::PeersPresent { peers, .. } = event {
            present.push((place, peers.iter().map(|peer| peer.key).collect::<Vec<_>>()));
        }
        if let Event::PeersGone { peers, .. } = event {
            gone.push((place, peers.iter().map(|peer| peer.key).collect::<Vec<_>>()));
        }
    }
    let all: Vec<_> = (0..200).map(peer).collect();
    assert_eq!(present, [(1, all), (3, vec![peer(7)])]);
    assert_eq!(gone, [(2, vec![peer(7), peer(8)])]);
    world.line.watch_again(world.now());
    world.run(S);
    assert_eq!(world.got, ["WatchConns", "WatchConns"]);
}

#[test]
fn a_watcher_stays_and_knows_that_its_connection_is_dead_though_it_sends_nothing() {
    let mut world = World::watcher(15, &[A]);
    world.run(1000 * S);
    assert_eq!(world.dials.len(), 1);
    world.swallows = (false, true);
    // 15 s of silence, and 3 for a ping.
    world.run(18 * S);
    world.swallows = (false, false);
    world.run(5 * S);
    let mut told = world.told_but_pongs();
    told.retain(|word| word != "failed");
    assert_eq!(told, ["connected http://192.0.2.1", "lost: silent", "connected http://192.0.2.1"]);
    assert_eq!(world.got, ["WatchConns", "WatchConns"]);
}

#[test]
fn a_line_that_is_stopped_closes_and_stays_closed() {
    let mut world = World::home(14, &[A]);
    world.line.stop(world.now());
    world.run(100 * S);
    assert_eq!(world.told()[1..], ["lost: stopped"]);
    assert_eq!(world.dials.len(), 1);
}

impl World {
    /// Runs until the connection is lost and there is another; answers how long that took.
    fn run_until_open_again(&mut self) -> Duration {
        let began = self.now();
        while self.line.is_open() {
            assert!(self.now() - began < 10 * S, "still the old one");
            self.run(10 * MS);
        }
        self.run_until_open(10 * S);
        self.now() - began
    }
}
