//! RFC 5780 over real sockets: every answer leaves from where it was asked to, and says so.

#![cfg(all(unix, feature = "server"))]

mod common;
mod sockets;

use std::net::{IpAddr, SocketAddr};

use common::{address, hex, request};
use ferry_stun::{AttributeType, Message, UdpConfig, UdpServer};
use sockets::{ask, client_at, config, start};

/// CHANGE-REQUEST's flags.
const CHANGE_IP: u8 = 4;
const CHANGE_PORT: u8 = 2;

#[test]
fn four_sockets_answer_for_each_other() {
    let server = start(&alternate("127.0.0.1:0", "127.0.0.2:0"));
    let all = server.local_addresses();
    let client = client_at("127.0.0.9");
    for asked in 0..4_usize {
        for (flags, other) in [(0, 0), (CHANGE_PORT, 1), (CHANGE_IP, 2), (CHANGE_IP | CHANGE_PORT, 3)] {
            let (answer, from) = ask(&client, &change(flags), all[asked]);
            assert_eq!(from, all[asked ^ other], "asked {} to change {flags}", all[asked]);
            assert_eq!(told(&answer, AttributeType::RESPONSE_ORIGIN), Some(from));
            assert_eq!(told(&answer, AttributeType::OTHER_ADDRESS), Some(all[asked ^ 3]));
            assert_eq!(told(&answer, AttributeType::MAPPED_ADDRESS), client.local_addr().ok());
        }
    }
    let counters = std::sync::Arc::clone(server.counters());
    server.shutdown();
    assert_eq!((counters.success(), counters.redirected(), counters.forwarded()), (16, 12, 0));
    assert_eq!(counters.received_by_thread().collect::<Vec<_>>(), [4; 4]);
}

#[test]
fn a_second_port_answers_for_the_first() {
    for (listen, asked_ip) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        #[cfg(target_os = "linux")]
        ("0.0.0.0:0", "127.0.0.5"),
        #[cfg(target_os = "linux")]
        ("[::]:0", "127.0.0.5"),
        #[cfg(target_os = "linux")]
        ("[::]:0", "::1"),
    ] {
        let server = start(&alternate(listen, "0.0.0.0:0"));
        let ip: IpAddr = asked_ip.parse().expect("an IP");
        let [first, second] = ports(&server).map(|port| SocketAddr::new(ip, port));
        let client = client_at(asked_ip);
        for (asked, other) in [(first, second), (second, first)] {
            for (flags, expected) in [(0, asked), (CHANGE_PORT, other)] {
                let (answer, from) = ask(&client, &change(flags), asked);
                assert_eq!(from, expected, "{listen}: asked {asked} to change {flags}");
                assert_eq!(told(&answer, AttributeType::RESPONSE_ORIGIN), Some(expected));
                // RFC 5780 section 7.4: only of a server with two addresses.
                assert_eq!(told(&answer, AttributeType::OTHER_ADDRESS), None);
            }
            // The address cannot be changed, and silence would pass for a filter.
            let (refusal, from) = ask(&client, &change(CHANGE_IP), asked);
            assert_eq!(from, asked);
            assert_eq!(refusal[..2], [0x01, 0x11]);
        }
    }
}

#[test]
fn a_server_behind_a_1_to_1_nat_tells_its_outside_addresses() {
    let outside = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().expect("an IP"));
    let server = start(&UdpConfig {
        advertise: Some((outside[0], outside[1])),
        ..alternate("127.0.0.1:0", "127.0.0.2:0")
    });
    let all = server.local_addresses();
    let client = client_at("127.0.0.9");
    let place = |index: usize| SocketAddr::new(outside[index / 2], all[index].port());
    for asked in 0..4 {
        let (answer, from) = ask(&client, &change(CHANGE_IP), all[asked]);
        assert_eq!(from, all[asked ^ 2]);
        assert_eq!(told(&answer, AttributeType::RESPONSE_ORIGIN), Some(place(asked ^ 2)));
        assert_eq!(told(&answer, AttributeType::OTHER_ADDRESS), Some(place(asked ^ 3)));
    }
}

#[test]
fn a_response_port_is_answered_to() {
    let server = start(&alternate("127.0.0.1:0", "127.0.0.2:0"));
    let (asking, listening) = (client_at("127.0.0.9"), client_at("127.0.0.9"));
    let port = listening.local_addr().expect("bound").port();
    let request = request(&[(0x0027, &port.to_be_bytes())]);
    asking.send_to(&request, server.local_address()).expect("loopback sends");
    let (answer, from) = sockets::receive(&listening);
    assert_eq!(from, server.local_address());
    assert_eq!(told(&answer, AttributeType::MAPPED_ADDRESS), asking.local_addr().ok());
}

#[test]
fn tailscale_clients_get_their_32_bytes_from_where_they_asked() {
    let server = start(&alternate("127.0.0.1:0", "127.0.0.2:0"));
    for asked in server.local_addresses() {
        let (answer, from) = ask(&client_at("127.0.0.9"), &hex(common::TAILSCALE_REQUEST), asked);
        assert_eq!((answer.len(), from), (32, asked));
    }
}

#[test]
fn contradictions_are_errors_that_say_what_to_do() {
    let contradiction = alternate("127.0.0.1:3478", "127.0.0.2:3478");
    let error = UdpServer::start(contradiction).expect_err("one port");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("give another port"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_alternate_address_that_is_taken_is_named() {
    let taken = client_at("127.0.0.2");
    let taken = taken.local_addr().expect("bound");
    let error = UdpServer::start(alternate("127.0.0.1:0", &taken.to_string())).expect_err("taken");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

fn alternate(listen: &str, alternate: &str) -> UdpConfig {
    UdpConfig { alternate: Some(address(alternate)), ..config(listen) }
}

fn change(flags: u8) -> Vec<u8> {
    request(&[(0x0003, &[0, 0, 0, flags])])
}

fn ports(server: &UdpServer) -> [u16; 2] {
    let ports: Vec<_> = server.local_addresses().iter().map(SocketAddr::port).collect();
    ports.try_into().expect("two places")
}

/// An address that an answer tells.
fn told(answer: &[u8], kind: AttributeType) -> Option<SocketAddr> {
    let message = Message::parse(answer).expect("a message");
    message.plain_address(message.attribute(kind)?)
}
