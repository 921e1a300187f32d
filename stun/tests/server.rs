//! The UDP server as its owner and its clients see it.

#![cfg(all(unix, feature = "server"))]

mod common;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::requests::{Expected, cases, check_answer};
use common::{TAILSCALE_REQUEST, TRANSACTION, address, hex, request};
use ferry_stun::client::BindingResponse;
use ferry_stun::{Profile, RefusalReason, UdpServer};
use quinn_udp::{Transmit, UdpSocketState};

#[test]
fn the_server_answers_each_request_as_it_must() {
    // Bound to one address of either family, and dual-stack as derper's `:3478`.
    for (bound, target) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
    {
        let server = UdpServer::bind(address(bound), Profile::Open).expect("loopback binds");
        let target = SocketAddr::new(target.parse().expect("an IP"), server.local_address().port());
        let client = UdpSocket::bind(SocketAddr::new(target.ip(), 0)).expect("loopback binds");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let source = client.local_addr().expect("bound");

        for case in cases() {
            client.send_to(&case.request, target).expect("loopback sends");
            if matches!(case.expected, Expected::Silence(_)) {
                continue;
            }
            // Datagrams of one socket are answered in order: an answer that should not be is found here.
            check_answer(case.name, &case.expected, &receive(&client, target), source);
        }
        client.send_to(&request(&[]), target).expect("loopback sends");
        check_answer("after all", &Expected::Success, &receive(&client, target), source);

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
    }
}

#[test]
fn an_occupied_port_is_an_error_that_names_it() {
    let first = UdpServer::bind(address("127.0.0.1:0"), Profile::Open).expect("loopback binds");
    let taken = first.local_address();
    let error = UdpServer::bind(taken, Profile::Open).expect_err("the port is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains(&taken.to_string()) && text.contains("choose another STUN port"), "{text}");
}

#[test]
fn an_address_of_another_host_is_an_error_that_names_it() {
    let error = UdpServer::bind(address("192.0.2.1:0"), Profile::Open).expect_err("not ours");
    assert!(error.to_string().contains("no interface of this host"), "{error}");
}

#[test]
fn shutdown_is_quick_and_frees_the_port() {
    let server = UdpServer::bind(address("127.0.0.1:0"), Profile::Open).expect("loopback binds");
    let bound = server.local_address();
    let begin = Instant::now();
    server.shutdown();
    assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    UdpSocket::bind(bound).expect("the port is free again");
}

#[test]
fn shutdown_is_quick_under_a_flood() {
    let server = UdpServer::bind(address("127.0.0.1:0"), Profile::Open).expect("loopback binds");
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
    let server = UdpServer::bind(address("127.0.0.1:0"), Profile::Open).expect("loopback binds");
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
        let server = UdpServer::bind(address(wildcard), Profile::Open).expect("binds");
        let target = SocketAddr::new(address("127.0.0.5:0").ip(), server.local_address().port());
        let client = client();
        client.send_to(&request(&[]), target).expect("loopback sends");
        let mut buffer = [0; 100];
        let (_, from) = client.recv_from(&mut buffer).expect("an answer within 5 s");
        assert_eq!(from, target, "{wildcard}");
    }
}

/// Many datagrams of one sender can reach the server as one read (UDP GRO).
#[cfg(target_os = "linux")]
#[test]
fn every_datagram_of_a_burst_is_answered() {
    let server = UdpServer::bind(address("127.0.0.1:0"), Profile::Tailscale).expect("loopback binds");
    let client = client();
    let state = UdpSocketState::new((&client).into()).expect("options");
    client.set_nonblocking(false).expect("blocking again");
    let requests = hex(TAILSCALE_REQUEST).repeat(16);
    let burst = Transmit {
        destination: server.local_address(),
        ecn: None,
        contents: &requests,
        segment_size: Some(40),
        src_ip: None,
    };
    state.try_send((&client).into(), &burst).expect("loopback sends");
    let mut buffer = [0; 4096];
    let mut answered = 0;
    while answered < 16 * 32 {
        answered += client.recv(&mut buffer).expect("an answer within 5 s");
    }
    assert_eq!(answered, 16 * 32);
}

#[test]
fn each_refusal_is_counted_once_under_its_reason() {
    let server = UdpServer::bind(address("127.0.0.1:0"), Profile::Tailscale).expect("loopback binds");
    let client = client();
    for datagram in [&b""[..], b"junk", &request(&[]), &request(&[(0x7777, b"")])] {
        client.send_to(datagram, server.local_address()).expect("loopback sends");
    }
    client.send_to(&hex(TAILSCALE_REQUEST), server.local_address()).expect("loopback sends");
    let mut buffer = [0; 100];
    let (bytes, _) = client.recv_from(&mut buffer).expect("an answer within 5 s");
    let response = BindingResponse::parse_for(&buffer[..bytes], TRANSACTION).expect("a success");
    assert_eq!(response.mapped_address, client.local_addr().expect("bound"));

    let counters = Arc::clone(server.counters());
    server.shutdown();
    assert_eq!(counters.refused(RefusalReason::Malformed), 2);
    assert_eq!(counters.refused(RefusalReason::NotTailscale), 2);
    assert_eq!((counters.not_stun(), counters.success(), counters.ipv4()), (4, 1, 1));
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    client
}

fn receive(client: &UdpSocket, server: SocketAddr) -> Vec<u8> {
    let mut buffer = [0; 1500];
    let (bytes, from) = client.recv_from(&mut buffer).expect("an answer within 5 s");
    assert_eq!(from, server);
    buffer[..bytes].to_vec()
}
