//! The home of ferry-client's relay connections, among relays of ours on this machine.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use ferry_client::home::DEAD_HOME_LEFT_WITHIN;
use ferry_client::net::{HomeEvent, HomeEvents, HomeKeeper, Relays};
use ferry_client::netcheck::{Checker, Config};
use ferry_client::relays::Event;
use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use ferry_tests::{PATIENCE, TestRelay, new_key};
use rustls::RootCertStore;
use tokio::time::timeout;

/// What a stop may take, with nobody who delays it.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_home_is_chosen_by_itself_moves_at_a_word_and_away_from_a_relay_that_is_gone() {
    let mut relays = [relay(), relay()];
    let (node, keeper) = node(&relays);
    let mut heard = node.events();
    let mut events = keeper.events();

    let first = moved(&mut events, PATIENCE).await;
    assert_eq!(keeper.home(), Some(first));
    assert!(keeper.explanation().to_string().starts_with("Home stays"), "{}", keeper.explanation());
    let connected = timeout(PATIENCE, heard.next()).await.expect("a connection").expect("events");
    assert!(matches!(connected, Event::Connected { region, .. } if region == first), "{connected:?}");

    let other = if first == RegionId(1) { RegionId(2) } else { RegionId(1) };
    keeper.force(Some(other));
    assert_eq!(moved(&mut events, PATIENCE).await, other);
    keeper.force(None);

    let place = usize::from(other == RegionId(2));
    tokio::task::block_in_place(|| relays[place].stop(GRACE));
    assert_eq!(moved(&mut events, DEAD_HOME_LEFT_WITHIN + Duration::from_secs(5)).await, first);
    drop(keeper);
    while let Some(event) = timeout(PATIENCE, events.next()).await.expect("it ends with its keeper") {
        assert!(!matches!(event, HomeEvent::Moved(_)), "{event:?}");
    }
}

#[tokio::test]
async fn without_control_only_a_first_home_is_chosen() {
    let relays = [relay(), relay()];
    let (_node, keeper) = node(&relays);
    keeper.set_control(false);
    let mut events = keeper.events();
    let first = moved(&mut events, PATIENCE).await;
    let other = if first == RegionId(1) { RegionId(2) } else { RegionId(1) };
    keeper.force(Some(other));
    // The other network's check is what happens next, and no move.
    keeper.network_changed();
    loop {
        let event = timeout(PATIENCE, events.next()).await.expect("a check").expect("events");
        assert!(!matches!(event, HomeEvent::Moved(_)), "{event:?}");
        if matches!(event, HomeEvent::Checked(report) if report.full) {
            break;
        }
    }
    assert_eq!(keeper.home(), Some(first));
    keeper.set_control(true);
    assert_eq!(moved(&mut events, PATIENCE).await, other);
}

/// A node whose home is kept. It takes no packets.
fn node(relays: &[TestRelay; 2]) -> (Relays, HomeKeeper) {
    let (map, roots) = (map(relays), Arc::new(RootCertStore::empty()));
    let (node, _) = Relays::builder(new_key()).roots(Arc::clone(&roots)).map(&map).spawn();
    let checks = Config { behaviour: false, nat64: false, ..Config::full(None) };
    let keeper = HomeKeeper::start(&node, Checker::new(roots), map, checks);
    (node, keeper)
}

fn relay() -> TestRelay {
    TestRelay::tls_with(&["-stun", "-stun-port", "0"])
}

/// Each relay in a region of its own.
fn map(relays: &[TestRelay; 2]) -> DerpMap {
    let region = |(relay, number): (&TestRelay, i64)| {
        let stun = relay.stun_address().expect("STUN is on");
        let region_id = RegionId(number);
        let node = Node {
            name: format!("{number}a"),
            region_id,
            host_name: relay.ipv4().to_string(),
            ipv4: relay.ipv4().to_string(),
            ipv6: "none".to_owned(),
            stun_port: stun.port().into(),
            derp_port: relay.address().port().into(),
            insecure_for_tests: true,
            ..Node::default()
        };
        let region_name = format!("region {number}");
        (region_id, Region { region_id, region_name, nodes: vec![node], ..Region::default() })
    };
    DerpMap { regions: relays.iter().zip(1..).map(region).collect(), ..DerpMap::default() }
}

/// Where the home moves to.
async fn moved(events: &mut HomeEvents, within: Duration) -> RegionId {
    let next = async {
        loop {
            if let HomeEvent::Moved(explanation) = events.next().await.expect("the keeper lives") {
                return explanation.home.as_ref().expect("a move ends somewhere").region;
            }
        }
    };
    timeout(within, next).await.expect("the home moves")
}
