//! The walk through nodes, step by step.

use std::time::Duration;

use ferry_protocol::derp_map::DerpMap;
use rustls::RootCertStore;

use super::*;
use crate::derp_map::{Identity, roles};

const S: Duration = Duration::from_secs(1);

#[test]
fn both_families_of_a_name_are_raced_and_the_slower_is_stopped() {
    let now = Instant::now();
    let mut dial = dial(now, &["http://relay.example.net"], ProxyRules::none());
    let Output::Resolve { ticket, host } = dial.poll(now) else { panic!("a name is asked for first") };
    assert_eq!(host, "relay.example.net");
    assert!(matches!(dial.poll(now), Output::Wait(_)), "once");
    dial.resolved(now, ticket, Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")]));
    let six = connect(&mut dial, now, "[2001:db8::1]:80");
    let four = connect(&mut dial, now, "192.0.2.1:80");
    dial.connected(now, four, Ok(()), [9; 40]);
    assert!(matches!(dial.poll(now), Output::Cancel(ticket) if ticket == six));
    assert_eq!(dial.socket(), Some(four));
    assert!(dial.outgoing().starts_with(b"GET /derp HTTP/1.1\r\nHost: relay.example.net\r\n"));
    assert!(matches!(dial.poll(now), Output::Wait(until) if until == now + 4 * S));
}

#[test]
fn answers_of_another_time_change_nothing() {
    let now = Instant::now();
    let mut dial = dial(now, &["http://relay.example.net"], ProxyRules::none());
    let stale = Ticket { dial: 99, number: 0 };
    dial.resolved(now, stale, Ok(vec![ip("192.0.2.1")]));
    dial.connected(now, stale, Ok(()), [9; 40]);
    dial.receive(now, stale, &mut [0], &mut |_| {});
    dial.ended(stale, None);
    assert!(matches!(dial.poll(now), Output::Resolve { .. }));
    assert_eq!((dial.socket(), dial.outgoing()), (None, &[][..]));
}

#[test]
fn the_map_says_which_families_are_used() {
    let json = br#"{"Regions":{"900":{"RegionID":900,"Nodes":[
        {"Name":"a","HostName":"a.example.net","STUNOnly":true},
        {"Name":"b","HostName":"b.example.net","IPv4":"none","IPv6":"none"},
        {"Name":"c","HostName":"c.example.net","IPv4":"192.0.2.3","IPv6":"none","DERPPort":8443},
        {"Name":"d","HostName":"d.example.net","IPv4":"none","CertName":"sha256-raw:0"},
        {"Name":"e","HostName":"e.example.net","IPv6":"2001:db8::5","IPv4":"none","InsecureForTests":true}]}}}"#;
    let region = roles(&DerpMap::from_json(json).unwrap()).remove(0);
    let endpoints = Endpoint::of_region(&region, &Arc::new(RootCertStore::empty()));
    let names: Vec<_> =
        endpoints.iter().map(|endpoint| (&*endpoint.node, endpoint.ideal_node.as_deref())).collect();
    assert_eq!(names, [("c", Some("a")), ("d", Some("a")), ("e", Some("a"))]);

    let now = Instant::now();
    let mut dial = Dial::new(now, 1, &settings(ProxyRules::none()), &endpoints.into(), |_| false);
    let c = connect(&mut dial, now, "192.0.2.3:8443");
    dial.connected(now, c, Ok(()), [9; 40]);
    assert!(matches!(dial.poll(now), Output::Cancel(ticket) if ticket == c), "no root, no TLS");
    let Output::Resolve { ticket, .. } = dial.poll(now) else { panic!("the next node") };
    dial.resolved(now, ticket, Ok(vec![ip("192.0.2.4")]));
    let e = connect(&mut dial, now, "[2001:db8::5]:443");
    dial.connected(now, e, Err(io::ErrorKind::ConnectionRefused.into()), [9; 40]);
    let Output::Failed(failures) = poll_on(&mut dial, now) else { panic!("no node is left") };
    let steps: Vec<_> = failures.iter().map(|failure| (&*failure.node, failure.step)).collect();
    assert_eq!(steps, [("c", Step::Tls), ("d", Step::Dns), ("e", Step::Tcp)]);
    let text = failures.to_string();
    assert!(text.starts_with("c (192.0.2.3:8443): TLS: certificates cannot be checked: "), "{text}");
    assert!(text.contains("d: DNS: d.example.net has no address of a family that the map allows"), "{text}");
}

#[test]
fn each_step_has_its_time_and_the_whole_has_too() {
    let began = Instant::now();
    let mut dial = dial(began, &["http://a.example.net", "http://192.0.2.2"], ProxyRules::none());
    assert!(matches!(dial.poll(began), Output::Resolve { .. }));
    assert!(matches!(dial.poll(began + 5 * S), Output::Wait(until) if until == began + 6 * S));
    assert!(matches!(dial.poll(began + 6 * S), Output::Cancel(_)));
    let ticket = connect(&mut dial, began + 6 * S, "192.0.2.2:80");
    dial.connected(began + 6 * S, ticket, Ok(()), [9; 40]);
    assert!(matches!(dial.poll(began + 6 * S), Output::Wait(until) if until == began + 10 * S));
    let Output::Failed(failures) = poll_on(&mut dial, began + 10 * S) else {
        panic!("10 s are all there are")
    };
    assert_eq!(
        failures.to_string(),
        "http://a.example.net: DNS: no answer within 6.0 s; \
         http://192.0.2.2: upgrade: no answer within 4.0 s"
    );
}

#[test]
fn a_proxy_gets_the_name_and_is_named_when_it_refuses() {
    let now = Instant::now();
    let proxy = ProxyRules::all("http://proxy.example.net:3128".parse().unwrap());
    let mut dial = dial(now, &["https://192.0.2.1"], proxy);
    let Output::Resolve { ticket, host } = dial.poll(now) else { panic!("the proxy's name") };
    assert_eq!(host, "proxy.example.net");
    dial.resolved(now, ticket, Ok(vec![ip("198.51.100.1")]));
    let ticket = connect(&mut dial, now, "198.51.100.1:3128");
    dial.connected(now, ticket, Ok(()), [9; 40]);
    assert!(dial.outgoing().starts_with(b"CONNECT 192.0.2.1:443 HTTP/1.1\r\n"));
    dial.receive(now, ticket, &mut b"HTTP/1.1 407 Who?\r\n\r\n".to_vec(), &mut |_| {});
    let Output::Failed(failures) = poll_on(&mut dial, now) else { panic!("refused") };
    assert_eq!(
        failures.to_string(),
        "https://192.0.2.1 (198.51.100.1:3128): proxy: it wants a user and a password that it knows; write them into its URL"
    );
}

#[test]
fn behind_a_proxys_yes_tls_begins() {
    let now = Instant::now();
    let proxy = ProxyRules::all("socks5://198.51.100.1".parse().unwrap());
    let mut dial = dial(now, &["https://192.0.2.1"], proxy);
    let ticket = connect(&mut dial, now, "198.51.100.1:1080");
    dial.connected(now, ticket, Ok(()), [9; 40]);
    for answer in [&b"\x05\x00"[..], b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"] {
        let written = dial.outgoing().len();
        dial.written(written);
        dial.receive(now, ticket, &mut answer.to_vec(), &mut |_| {});
    }
    assert_eq!(dial.outgoing().first(), Some(&0x16), "a ClientHello");
    assert!(matches!(dial.poll(now), Output::Wait(until) if until == now + Step::Tls.time_max()));
}

#[test]
fn whatever_eats_the_upgrade_is_tried_by_websocket_once() {
    for answer in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.1 426 No\r\n\r\n", b"\x00 no HTTP at all"] {
        let now = Instant::now();
        let mut dial = dial(now, &["http://192.0.2.1"], ProxyRules::none());
        let first = connect(&mut dial, now, "192.0.2.1:80");
        dial.connected(now, first, Ok(()), [9; 40]);
        dial.receive(now, first, &mut answer.to_vec(), &mut |_| {});
        let Output::Cancel(_) = dial.poll(now) else { panic!("the first is closed") };
        let second = connect(&mut dial, now, "192.0.2.1:80");
        dial.connected(now, second, Ok(()), [9; 40]);
        assert!(String::from_utf8_lossy(dial.outgoing()).contains("Upgrade: websocket\r\n"));
        dial.receive(now, second, &mut answer.to_vec(), &mut |_| {});
        let Output::Failed(failures) = poll_on(&mut dial, now) else { panic!("both were tried") };
        let ways: Vec<_> = failures.iter().map(|failure| (failure.step, failure.websocket)).collect();
        assert_eq!(ways, [(Step::Upgrade, false), (Step::Upgrade, true)]);
    }
}

#[test]
fn a_region_without_a_relay_says_so() {
    let now = Instant::now();
    let Output::Failed(failures) = dial(now, &[], ProxyRules::none()).poll(now) else {
        panic!("nothing to try")
    };
    assert_eq!(failures.to_string(), "none of the region's nodes is a relay that can be reached");
}

#[test]
fn an_abandoned_dial_leaves_nothing_behind() {
    let now = Instant::now();
    let mut racing = dial(now, &["http://relay.example.net"], ProxyRules::none());
    let Output::Resolve { ticket, .. } = racing.poll(now) else { panic!("a name") };
    racing.resolved(now, ticket, Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")]));
    let six = connect(&mut racing, now, "[2001:db8::1]:80");
    let four = connect(&mut racing, now, "192.0.2.1:80");
    assert_eq!(racing.abandon(), [six, four]);
}

fn settings(proxies: ProxyRules) -> Arc<Settings> {
    let key = Arc::new(NodePrivateKey::from_random([1; 32]));
    Arc::new(Settings { key, info: ClientInfo::current(), proxies, prefer_ipv6: false, fast_start: true })
}

fn dial(now: Instant, urls: &[&str], proxies: ProxyRules) -> Dial {
    let roots = Arc::new(RootCertStore::empty());
    let endpoints: Vec<_> =
        urls.iter().map(|url| Endpoint::of_url(&url.parse().unwrap(), Identity::Unchecked, &roots)).collect();
    Dial::new(now, 1, &settings(proxies), &endpoints.into(), |_| false)
}

/// Expects to be asked for a connection.
fn connect(dial: &mut Dial, now: Instant, to: &str) -> Ticket {
    let output = poll_on(dial, now);
    let Output::Connect { ticket, address } = output else {
        panic!("want a connection to {to}, not {output:?}")
    };
    assert_eq!(address.to_string(), to);
    ticket
}

/// What it says after all that it wants stopped.
fn poll_on(dial: &mut Dial, now: Instant) -> Output {
    loop {
        let output = dial.poll(now);
        if !matches!(output, Output::Cancel(_)) {
            return output;
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
