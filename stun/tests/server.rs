//! The UDP server as its owner and its clients see it.

#![cfg(all(unix, feature = "server"))]

mod common;
mod sockets;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::requests::{Expected, cases, check_answer};
use common::{TAILSCALE_REQUEST, TRANSACTION, address, hex, request};
use ferry_stun::client::BindingResponse;
use ferry_stun::{Options, Profile, RefusalReason, UdpConfig, UdpServer};
use sockets::{ask, client, client_at, config, receive, send_burst, until};

#[test]
fn the_server_answers_each_request_as_it_must() {
    // Bound to one address of either family, and dual-stack as derper's `:3478`.
    for (bound, target) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let server = sockets::start(&config(bound));
        let target = SocketAddr::new(target.parse().expect("an IP"), server.local_address().port());
        let client = client_at(&target.ip().to_string());
        let source = client.local_addr().expect("bound");

        for case in cases() {
            client.send_to(&case.request, target).expect("loopback sends");
            if matches!(case.expected, Expected::Silence(_)) {
                continue;
            }
            // Datagrams of one socket are answered in order: an answer that should not be is found here.
            let (answer, from) = receive(&client);
            check_answer(case.name, &case.expected, &answer, source);
            assert_eq!(from, target);
        }
        let (answer, _) = ask(&client, &request(&[]), target);
        check_answer("after all", &Expected::Success, &answer, source);

        // An answer is counted after it is sent: the counters are only whole once the server has stopped.
        let counters = Arc::clone(server.counters());
        server.shutdown();
        let count =
            |wanted: fn(&Expected) -> bool| cases().iter().filter(|c| wanted(&c.expected)).count() as u64;
        let silences = count(|e| matches!(e, Expected::Silence(_)));
        let errors = count(|e| matches!(e, Expected::Unknown(_)));
        let successes = 26 - silences - errors + 1;
        assert_eq!(counters.success(), successes);
        assert_eq!(counters.not_stun(), silences + errors);
        assert_eq!(counters.refused(RefusalReason::UnknownAttribute), errors);
        let families = if target.is_ipv4() { (successes, 0) } else { (0, successes) };
        assert_eq!((counters.ipv4(), counters.ipv6()), families);
        assert_eq!((counters.read_error(), counters.write_error()), (0, 0));
        assert_eq!((counters.received(), counters.errors()), (27, errors));
    }
}

#[test]
fn an_occupied_port_is_an_error_that_names_it() {
    let first = sockets::start(&config("127.0.0.1:0"));
    let taken = first.local_address();
    let error = UdpServer::start(UdpConfig::new(taken)).expect_err("the port is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains(&taken.to_string()) && text.contains("choose another STUN port"), "{text}");
}

#[test]
fn an_address_of_another_host_is_an_error_that_names_it() {
    let error = UdpServer::start(UdpConfig::new(address("192.0.2.1:0"))).expect_err("not ours");
    assert!(error.to_string().contains("no interface of this host"), "{error}");
}

#[test]
fn shutdown_is_quick_and_frees_the_port() {
    let server = sockets::start(&config("127.0.0.1:0"));
    let bound = server.local_address();
    let begin = Instant::now();
    server.shutdown();
    assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    UdpSocket::bind(bound).expect("the port is free again");
}

#[test]
fn shutdown_is_quick_under_a_flood() {
    let server = sockets::start(&config("127.0.0.1:0"));
    let target = server.local_address();
    let done = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
            // Bounded, should the test fail before it says that it is done.
            for _ in 0..2_000_000 {
                if done.load(Relaxed) {
                    break;
                }
                // Refused once the server is gone.
                let _ = socket.send_to(&request(&[]), target);
            }
        }
    });
    while server.counters().success() < 1000 {
        thread::yield_now();
    }
    let begin = Instant::now();
    server.shutdown();
    let took = begin.elapsed();
    done.store(true, Relaxed);
    flood.join().expect("the flood ends");
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn a_dropped_server_stops() {
    let server = sockets::start(&config("127.0.0.1:0"));
    let bound = server.local_address();
    drop(server);
    UdpSocket::bind(bound).expect("the port is free again");
}

/// Without it a client behind a strict NAT, or one that checks, never sees the answer. Any 127/8 address is
/// ours, so an answer from a wildcard socket would come from 127.0.0.1 if nobody cared.
#[cfg(target_os = "linux")]
#[test]
fn answers_come_from_the_address_that_was_asked() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let server = sockets::start(&config(wildcard));
        let target = SocketAddr::new(address("127.0.0.5:0").ip(), server.local_address().port());
        let (_, from) = ask(&client(), &request(&[]), target);
        assert_eq!(from, target, "{wildcard}");
    }
}

/// More at once than a batch holds.
#[cfg(target_os = "linux")]
#[test]
fn every_datagram_of_a_burst_is_answered() {
    let server = sockets::start(&tailscale());
    let client = client();
    send_burst(&client, 40, &hex(TAILSCALE_REQUEST).repeat(60), server.local_address());
    for _ in 0..60 {
        assert_eq!(receive(&client).0.len(), 32);
    }
}

/// What does not fit the buffer is cut, and must not look like a shorter message then.
#[test]
fn a_datagram_longer_than_the_buffer_is_malformed() {
    let server = sockets::start(&config("127.0.0.1:0"));
    let client = client();
    // 2,048 bytes are a whole message; the lengths of the next two fit what is left when they are cut there.
    let long = request(&[(0xF777, &[0; 2024])]);
    assert_eq!(long.len(), 2048);
    assert_eq!(ask(&client, &long, server.local_address()).0.len(), 32);
    for more in [1, 4] {
        let longer = [&long[..], &[0; 4][..more]].concat();
        client.send_to(&longer, server.local_address()).expect("loopback sends");
    }
    ask(&client, &request(&[]), server.local_address());
    assert_eq!(server.counters().refused(RefusalReason::Malformed), 2);
}

#[test]
fn each_refusal_is_counted_once_under_its_reason() {
    let server = sockets::start(&tailscale());
    let client = client();
    for datagram in [&b""[..], b"junk", &request(&[]), &request(&[(0x7777, b"")])] {
        client.send_to(datagram, server.local_address()).expect("loopback sends");
    }
    let (answer, _) = ask(&client, &hex(TAILSCALE_REQUEST), server.local_address());
    let response = BindingResponse::parse_for(&answer, TRANSACTION).expect("a success");
    assert_eq!(response.mapped_address, client.local_addr().expect("bound"));

    let counters = Arc::clone(server.counters());
    server.shutdown();
    assert_eq!(counters.refused(RefusalReason::Malformed), 2);
    assert_eq!(counters.refused(RefusalReason::NotTailscale), 2);
    assert_eq!((counters.not_stun(), counters.success(), counters.ipv4()), (4, 1, 1));
}

#[test]
fn a_quiet_server_answers_nothing_and_counts_on() {
    let server = sockets::start(&config("127.0.0.1:0"));
    let client = client();
    ask(&client, &request(&[]), server.local_address());
    until("the answer's count", || server.counters().success() == 1);

    server.quiet();
    client.send_to(&request(&[]), server.local_address()).expect("loopback sends");
    until("the count of what is left unanswered", || server.counters().unanswered() == 1);
    client.set_nonblocking(true).expect("an option");
    let error = client.recv(&mut [0; 100]).expect_err("no answer");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!((server.counters().success(), server.counters().received()), (1, 2));
    // The port stays taken, so that nobody is told that it is closed.
    UdpSocket::bind(server.local_address()).expect_err("still bound");
}

/// The source's address chooses the thread where budgets are counted, and without budgets its port does too.
#[cfg(target_os = "linux")]
#[test]
fn several_threads_share_the_clients() {
    for limits in [ferry_stun::Limits::NONE, ferry_stun::Limits::default()] {
        let threads = NonZeroUsize::new(4).expect("not zero");
        let server = sockets::start(&UdpConfig { threads, limits, ..config("127.0.0.1:0") });
        for host in 1..=100 {
            ask(&client_at(&format!("127.0.9.{host}")), &request(&[]), server.local_address());
        }
        let shares: Vec<_> = server.counters().received_by_thread().collect();
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
        assert_eq!(shares.iter().sum::<u64>(), 100);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn one_source_with_many_ports_is_read_by_one_thread() {
    for (listen, ip) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let (threads, limits) = (NonZeroUsize::new(4).expect("not zero"), ferry_stun::Limits::default());
        let server = sockets::start(&UdpConfig { threads, limits, ..config(listen) });
        let target = SocketAddr::new(ip.parse().expect("an IP"), server.local_address().port());
        for _ in 0..50 {
            ask(&client_at(ip), &request(&[]), target);
        }
        let mut shares: Vec<_> = server.counters().received_by_thread().collect();
        shares.sort_unstable();
        assert_eq!(shares, [0, 0, 0, 50], "{listen} {ip}");
    }
}

/// SO_REUSEPORT, which the threads need, must not let a second server in.
#[test]
fn a_second_server_with_several_threads_is_refused_too() {
    let threads = NonZeroUsize::new(3).expect("not zero");
    let first = sockets::start(&UdpConfig { threads, ..config("127.0.0.1:0") });
    let taken = UdpConfig { listen: first.local_address(), threads, ..config("127.0.0.1:0") };
    let error = UdpServer::start(taken).expect_err("the port is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

fn tailscale() -> UdpConfig {
    let options = Options { profile: Profile::Tailscale, ..Options::default() };
    UdpConfig { options, ..config("127.0.0.1:0") }
}
