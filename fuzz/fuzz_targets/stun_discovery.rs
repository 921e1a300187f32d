//! Any datagrams to a discovery, at any time, on any of its sockets, with the ID of one of its requests if
//! the fuzzer likes: it ends in time, within its bounds, and without a panic.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_stun::TransactionId;
use ferry_stun::discovery::{Config, Discovery, Output};
use libfuzzer_sys::fuzz_target;

/// What comes in after so many milliseconds, on this socket, from the first or the second address, and as
/// the answer to this request.
type Event<'a> = (u8, u8, bool, u8, &'a [u8]);

fuzz_target!(|events: Vec<Event<'_>>| {
    let server = SocketAddr::from(([192, 0, 2, 1], 3478));
    let elsewhere = SocketAddr::from(([198, 51, 100, 2], 3479));
    let mut last = 0_u64;
    let ids = || {
        last += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&last.to_be_bytes());
        TransactionId::new(id)
    };
    let start = Instant::now();
    let (mut now, mut opened, mut requests) = (start, Vec::new(), Vec::<[u8; 12]>::new());
    let mut events = events.into_iter();
    let mut discovery = Discovery::new(&Config::new(server), start, ids).expect("a server is named");
    let report = loop {
        match discovery.poll(now) {
            Output::Open(id) => {
                opened.push(id);
                discovery.opened(id, SocketAddr::from(([192, 168, 1, 2], 40_000 + id.index() as u16)));
            }
            Output::Send { payload, .. } => requests.push(payload[8..20].try_into().expect("12 bytes")),
            Output::Wait(until) => {
                assert!(until > now);
                let Some((millis, socket, from_server, request, datagram)) = events.next() else {
                    now = until;
                    continue;
                };
                now = until.min(now + Duration::from_millis(millis.into()));
                let mut datagram = datagram.to_vec();
                if let (Some(id), Some(place)) = (requests.get(usize::from(request)), datagram.get_mut(8..20)) {
                    place.copy_from_slice(id);
                }
                let socket = opened[usize::from(socket) % opened.len()];
                discovery.handle(now, socket, if from_server { server } else { elsewhere }, &datagram);
            }
            Output::Done(report) => break report,
        }
    };
    assert!(now - start < Duration::from_secs(2));
    assert!(requests.len() <= 256 && report.redirects <= 12);
    assert!(!report.to_string().is_empty() && report.to_json().ends_with('}'));
});
