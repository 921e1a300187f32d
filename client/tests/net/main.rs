//! Relay connections over real sockets, to a relay in this process.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod relay;
#[path = "../connection/support.rs"]
#[expect(dead_code, reason = "other tests ask more of it")]
mod support;

use std::time::Duration;

use ferry_client::derp_map::Identity;
use ferry_client::dial::{Proxy, ProxyKind, ProxyRules};
use ferry_client::net::{Builder, Events, Packets, Relays, SendError};
use ferry_client::relays::Event;
use ferry_protocol::derp_map::{DerpMap, RegionId};
use ferry_protocol::{NodePublicKey, PeerPresentFlags, encode_peer_present, recv_packet_header};
use tokio::time::timeout;

use relay::{TestProxy, TestRelay};
use support::client_key;

const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);
const ONE: RegionId = RegionId(901);
const TWO: RegionId = RegionId(902);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn packets_go_both_ways_and_come_in_batches() {
    let mut relay = TestRelay::start().await;
    let (relays, mut packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    relays.send_batch(ONE, [(&BOB, &b"1"[..]), (&BOB, b"22")]).unwrap();
    assert_eq!(relay.heard().await, "NotePreferred(true)");
    assert_eq!(relay.heard().await, "packet of 1 bytes");
    assert_eq!(relay.heard().await, "packet of 2 bytes");

    let together: Vec<u8> = [&b"a"[..], b"", b"ccc"].into_iter().flat_map(from_bob).collect();
    relay.say(together);
    let batch = within(packets.recv()).await.unwrap();
    let got: Vec<_> = batch.iter().map(|packet| (packet.source, packet.bytes.to_vec())).collect();
    assert_eq!(got, [(BOB, b"a".to_vec()), (BOB, Vec::new()), (BOB, b"ccc".to_vec())]);
    assert_eq!(batch.region(), ONE);
}

#[tokio::test]
async fn a_slow_receiver_slows_the_relay_down_and_loses_nothing() {
    const PACKETS: u32 = 6000;
    let mut relay = TestRelay::start().await;
    let (relays, mut packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    assert_eq!(relay.heard().await, "NotePreferred(true)");
    // Much more than batches and sockets hold.
    for number in 0..PACKETS {
        let mut packet = vec![0; 4000];
        packet[..4].copy_from_slice(&number.to_be_bytes());
        relay.say(from_bob(&packet));
    }
    // The relay is still spoken to meanwhile.
    relays.send(ONE, &BOB, &[0; 99]).unwrap();
    assert_eq!(relay.heard().await, "packet of 99 bytes");
    let mut expected = 0;
    while expected < PACKETS {
        let batch = within(packets.recv()).await.unwrap();
        for packet in batch.iter() {
            assert_eq!((packet.bytes.len(), &packet.bytes[..4]), (4000, &expected.to_be_bytes()[..]));
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let mut relay = TestRelay::start().await;
    let (relays, _packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    let mut events = relays.events();
    assert!(matches!(next(&mut events).await, Event::Connected { region: ONE, .. }));
    assert_eq!(relay.heard().await, "NotePreferred(true)");
    relay.hang_up();
    assert!(matches!(next(&mut events).await, Event::Disconnected { region: ONE, retry_in: Some(_), .. }));
    assert!(matches!(next(&mut events).await, Event::Connected { region: ONE, .. }));
    assert_eq!(relay.heard().await, "NotePreferred(true)");
}

#[tokio::test]
async fn a_new_home_is_told_and_the_old_one_too() {
    let (mut one, mut two) = (TestRelay::start().await, TestRelay::start().await);
    let (relays, _packets) = to(&[(ONE, &one), (TWO, &two)]).home(ONE).spawn();
    assert_eq!(one.heard().await, "NotePreferred(true)");
    relays.set_home(Some(TWO));
    assert_eq!(two.heard().await, "NotePreferred(true)");
    assert_eq!(one.heard().await, "NotePreferred(false)");
    assert_eq!(relays.send(RegionId(7), &BOB, b"x"), Err(SendError::UnknownRegion(RegionId(7))));
}

#[tokio::test]
async fn relays_that_leave_the_map_are_closed_and_new_ones_used() {
    let (mut one, mut two) = (TestRelay::start().await, TestRelay::start().await);
    let (relays, _packets) = to(&[(ONE, &one)]).home(ONE).spawn();
    let mut events = relays.events();
    assert_eq!(one.heard().await, "NotePreferred(true)");
    relays.set_home(Some(TWO));
    assert_eq!(one.heard().await, "NotePreferred(false)");
    // No relay listens there, but the map has the region.
    relays.set_map(&map(TWO, 1));
    let (mut is_closed, mut is_tried) = (false, false);
    while !(is_closed && is_tried) {
        let event = next(&mut events).await;
        is_closed |= matches!(event, Event::Disconnected { region: ONE, retry_in: None, .. });
        is_tried |= matches!(event, Event::ConnectFailed { region: TWO, .. });
    }
    assert_eq!(one.hung_up().await, 1);
    relays.set_map(&map(TWO, two.address.port()));
    // It speaks no TLS, and is asked for it.
    assert_eq!(two.hung_up().await, 1);
}

#[tokio::test]
async fn dropping_the_handle_ends_all_there_is() {
    let mut relay = TestRelay::start().await;
    let (relays, mut packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    let (mut events, second) = (relays.events(), relays.clone());
    assert_eq!(relay.heard().await, "NotePreferred(true)");
    drop(relays);
    second.send(ONE, &BOB, b"x").unwrap();
    assert_eq!(relay.heard().await, "packet of 1 bytes", "a clone is still held");
    drop(second);
    assert_eq!(relay.hung_up().await, 1);
    assert!(within(packets.recv()).await.is_none());
    while within(events.next()).await.is_some() {}
}

#[tokio::test]
async fn several_instances_know_nothing_of_each_other() {
    let mut relay = TestRelay::start().await;
    let (first, _first_packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    let (_second, _second_packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    assert_eq!(
        (relay.heard().await, relay.heard().await),
        ("NotePreferred(true)".into(), "NotePreferred(true)".into())
    );
    drop(first);
    assert_eq!(relay.hung_up().await, 1, "the other stays");
}

#[tokio::test]
async fn a_program_that_only_sends_needs_no_receiver() {
    let mut relay = TestRelay::start().await;
    let (relays, packets) = to(&[(ONE, &relay)]).home(ONE).spawn();
    drop(packets);
    assert_eq!(relay.heard().await, "NotePreferred(true)");
    for _ in 0..100 {
        relay.say(from_bob(&[1; 1400]));
    }
    relays.send(ONE, &BOB, b"x").unwrap();
    assert_eq!(relay.heard().await, "packet of 1 bytes");
}

#[tokio::test]
async fn a_proxy_of_either_kind_is_gone_through() {
    for kind in [ProxyKind::HttpConnect, ProxyKind::Socks5] {
        let mut relay = TestRelay::start().await;
        let proxy = TestProxy::start(kind, relay.address).await;
        let scheme = if kind == ProxyKind::Socks5 { "socks5" } else { "http" };
        let proxy: Proxy = format!("{scheme}://ann:secret@{}", proxy.address).parse().unwrap();
        // The name is the proxy's to resolve: nobody else knows it.
        let url = format!("http://nobody.knows.invalid:{}", relay.address.port()).parse().unwrap();
        let builder = Relays::builder(client_key()).relay(ONE, &url, Identity::HostName);
        let (relays, _packets) = builder.proxies(ProxyRules::all(proxy)).spawn();
        let mut events = relays.events();
        relays.send(ONE, &BOB, b"x").unwrap();
        assert_eq!(relay.heard().await, "packet of 1 bytes");
        let Event::Connected { reached, .. } = next(&mut events).await else { panic!("not connected") };
        assert!(reached.proxied, "{reached:?}");
    }
}

#[tokio::test]
async fn a_watcher_hears_of_ten_thousand_peers_and_misses_none() {
    const PEERS: u32 = 10_000;
    let mut relay = TestRelay::start().await;
    let (relays, _packets) = to(&[(ONE, &relay)]).watch(true).spawn();
    let mut events = relays.events();
    relays.connect(ONE).unwrap();
    for asked in 0..2 {
        assert_eq!(relay.heard().await, "WatchConns");
        let mut frames = Vec::new();
        for number in 0..PEERS {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let key = NodePublicKey::from_bytes(key);
            encode_peer_present(&mut frames, &key, None, PeerPresentFlags::REGULAR);
        }
        relay.say(frames);
        let mut told = 0;
        while told < PEERS as usize {
            let event = next(&mut events).await;
            assert!(!matches!(event, Event::Missed { .. }), "{told} were told, asked {asked} times before");
            if let Event::PeersPresent { peers, .. } = event {
                told += peers.len();
            }
        }
        assert_eq!(told, PEERS as usize);
        relays.watch_again(ONE).unwrap();
    }
}

#[tokio::test]
async fn a_name_that_has_no_address_is_a_failure_with_its_step() {
    let url = "https://nobody.knows.invalid".parse().unwrap();
    let builder = Relays::builder(client_key()).relay(ONE, &url, Identity::Unchecked);
    let (relays, _packets): (Relays, Packets) = builder.home(ONE).spawn();
    let Event::ConnectFailed { failures, .. } = next(&mut relays.events()).await else {
        panic!("no failure")
    };
    assert!(failures.to_string().starts_with("https://nobody.knows.invalid: DNS: "), "{failures}");
}

fn to(regions: &[(RegionId, &TestRelay)]) -> Builder {
    regions.iter().fold(Relays::builder(client_key()), |builder, (region, relay)| {
        builder.relay(*region, &format!("http://{}", relay.address).parse().unwrap(), Identity::HostName)
    })
}

/// A map whose one relay is on this machine.
fn map(region: RegionId, port: u16) -> DerpMap {
    let json = format!(
        r#"{{"Regions":{{"{region}":{{"RegionID":{region},"Nodes":[{{"Name":"a","RegionID":{region},
            "HostName":"127.0.0.1","DERPPort":{port},"InsecureForTests":true}}]}}}}}}"#
    );
    DerpMap::from_json(json.as_bytes()).unwrap()
}

fn from_bob(packet: &[u8]) -> Vec<u8> {
    [&recv_packet_header(&BOB, packet.len())[..], packet].concat()
}

async fn next(events: &mut Events) -> Event {
    within(events.next()).await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}
