//! What holds for a discovery whatever comes in, and whenever.

mod nat_world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_stun::TransactionId;
use ferry_stun::discovery::{Config, Discovery, Finding, Lifetime, Machine, Output, Reason};
use nat_world::Random;
use proptest::prelude::*;

const SERVER: &str = "192.0.2.1:3478";

/// What comes in between two polls: after this many milliseconds, on this socket, from the server or not.
#[derive(Clone, Debug)]
struct Event {
    after_millis: u64,
    socket: usize,
    from_server: bool,
    /// Bytes 8 to 19 become the ID of this request, if there was one.
    request: Option<prop::sample::Index>,
    datagram: Vec<u8>,
}

fn event() -> impl Strategy<Value = Event> {
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    let kind = prop::sample::select(vec![0x0001_u16, 0x0003, 0x0009, 0x0020, 0x0027, 0x8020, 0x802B, 0x802C]);
    let value = prop_oneof![
        (1..3_u8, any::<[u8; 18]>()).prop_map(|(family, rest)| {
            [&[0, family], &rest[..if family == 1 { 6 } else { 18 }]].concat()
        }),
        (3..7_u8, 0..100_u8).prop_map(|(hundreds, rest)| vec![0, 0, hundreds, rest]),
        prop::collection::vec(any::<u8>(), 0..24),
    ];
    let message_type = prop::sample::select(vec![0x0101_u16, 0x0101, 0x0101, 0x0111, 0x0001, 0x0011]);
    let message =
        (message_type, prop::collection::vec((kind, value), 0..5)).prop_map(|(kind, attributes)| {
            let mut body = Vec::new();
            for (kind, value) in attributes {
                body.extend_from_slice(&kind.to_be_bytes());
                body.extend_from_slice(&(value.len() as u16).to_be_bytes());
                body.extend_from_slice(&value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            let length = (body.len() as u16).to_be_bytes();
            [&kind.to_be_bytes()[..], &length, &[0x21, 0x12, 0xA4, 0x42], &[0; 12], &body].concat()
        });
    let datagram = prop_oneof![1 => noise, 8 => message];
    (0..80_u64, 0..11_usize, prop::bool::weighted(0.8), any::<Option<prop::sample::Index>>(), datagram)
        .prop_map(|(after_millis, socket, from_server, request, datagram)| Event {
            after_millis,
            socket,
            from_server,
            request,
            datagram,
        })
}

/// Polls to the end while the events come in; the requests and how long it took.
fn live<M: Machine>(machine: &mut M, start: Instant, events: Vec<Event>) -> (M::Found, usize, Duration) {
    let (mut now, mut opened, mut requests) = (start, Vec::new(), Vec::<Vec<u8>>::new());
    let mut events = events.into_iter();
    loop {
        match machine.poll(now) {
            Output::Open(id) => {
                opened.push(id);
                machine.opened(id, SocketAddr::from(([192, 168, 1, 2], 40_000 + id.index() as u16)));
            }
            Output::Send { payload, .. } => requests.push(payload),
            Output::Wait(until) => {
                assert!(until > now, "a wait for what has been");
                let Some(event) = events.next() else {
                    now = until;
                    continue;
                };
                now = until.min(now + Duration::from_millis(event.after_millis));
                let mut datagram = event.datagram;
                let request = event.request.filter(|_| !requests.is_empty());
                if let (Some(index), Some(id)) = (request, datagram.get_mut(8..20)) {
                    id.copy_from_slice(&index.get(&requests)[8..20]);
                }
                let from = if event.from_server { SERVER } else { "198.51.100.2:3479" };
                let socket = opened[event.socket % opened.len()];
                machine.handle(now, socket, from.parse().expect("test address"), &datagram);
            }
            Output::Done(found) => return (found, requests.len(), now - start),
        }
    }
}

fn ids() -> impl FnMut() -> TransactionId {
    let mut random = Random::new(1);
    move || random.transaction_id()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Answers with the right ID included: they may say anything, but they end nothing late, open no
    /// flood, and break nothing.
    #[test]
    fn a_discovery_ends_in_time_whatever_comes_in(events in prop::collection::vec(event(), 0..150)) {
        let server = SERVER.parse().expect("test address");
        let start = Instant::now();
        let mut discovery = Discovery::new(&Config::new(server), start, ids()).expect("a server");
        let (report, requests, took) = live(&mut discovery, start, events);
        prop_assert!(took < Duration::from_secs(2), "{took:?}");
        prop_assert!(requests <= 256 && report.redirects <= 12, "{requests} requests");
        let (text, json) = (report.to_string(), report.to_json());
        prop_assert!(!text.is_empty() && json.contains(SERVER));
    }

    /// Whoever cannot guess an ID is not heard at all.
    #[test]
    fn without_the_right_id_nothing_is_an_answer(mut events in prop::collection::vec(event(), 0..150)) {
        events.iter_mut().for_each(|event| event.request = None);
        let server = SERVER.parse().expect("test address");
        let start = Instant::now();
        let mut discovery = Discovery::new(&Config::new(server), start, ids()).expect("a server");
        let (report, _, _) = live(&mut discovery, start, events);
        prop_assert!(!report.udp);
        prop_assert_eq!((report.mapped, report.hairpin), (None, Finding::Unknown(Reason::NoAnswer)));
    }

    #[test]
    fn a_lifetime_ends_whatever_comes_in(events in prop::collection::vec(event(), 0..150)) {
        let start = Instant::now();
        let mut lifetime = Lifetime::new(SERVER.parse().expect("test address"), start, ids());
        let (report, requests, took) = live(&mut lifetime, start, events);
        prop_assert!(took < Duration::from_secs(3600), "{took:?}");
        prop_assert!(requests < 500, "{requests} requests");
        prop_assert!(report.at_least.is_none() || report.less_than.is_none() || report.at_least < report.less_than);
        let (text, json) = (report.to_string(), report.to_json());
        prop_assert!(!text.is_empty() && json.contains(SERVER));
    }
}
