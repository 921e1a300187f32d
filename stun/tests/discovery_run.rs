//! A discovery over real sockets: this host's loopback, where no NAT is.
#![cfg(all(unix, feature = "server"))]

mod nat_world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ferry_stun::discovery::{self, Config, Filtering, Finding, Mapping, PortAllocation, Reason};
use nat_world::server::{Kind, Server};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The server of the simulations on four real sockets, or on one if it has one address and port. Its
/// threads end with the test's process.
fn serve(sockets: Vec<UdpSocket>, server: Server) {
    let sockets = Arc::new(sockets);
    let server = Arc::new(Mutex::new(server));
    for place in 0..sockets.len() {
        let (sockets, server) = (Arc::clone(&sockets), Arc::clone(&server));
        thread::spawn(move || {
            let socket = &sockets[place];
            let here = socket.local_addr().expect("bound");
            let mut buffer = [0; 2048];
            while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
                let answer =
                    server.lock().expect("no panic").answer(Instant::now(), from, here, &buffer[..bytes]);
                let Some((origin, to, answer)) = answer else { continue };
                let sender = sockets.iter().find(|it| it.local_addr().is_ok_and(|local| local == origin));
                sender.expect("one of ours").send_to(&answer, to).expect("loopback takes it");
            }
        });
    }
}

fn bind(ip: [u8; 4], port: u16) -> Option<UdpSocket> {
    UdpSocket::bind(SocketAddr::from((ip, port))).ok()
}

/// Two loopback addresses by two ports; a port that is taken on the second address is tried again.
fn two_addresses() -> (SocketAddr, SocketAddr) {
    let (first, second) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    for _ in 0..50 {
        let corner = || {
            let (a, b) = (bind(first, 0)?, bind(first, 0)?);
            let (p, q) = (a.local_addr().ok()?.port(), b.local_addr().ok()?.port());
            Some((vec![a, b, bind(second, p)?, bind(second, q)?], p, q))
        };
        let Some((sockets, p, q)) = corner() else { continue };
        let (here, other) = (SocketAddr::from((first, p)), SocketAddr::from((second, q)));
        serve(sockets, Server::new(Kind::Ferry, &here.to_string(), &other.to_string()));
        return (here, other);
    }
    panic!("no two ports are free on both addresses");
}

#[cfg(target_os = "linux")]
#[test]
fn loopback_has_no_nat_and_no_filter() {
    let (server, other) = two_addresses();
    let start = Instant::now();
    let report = discovery::run(&Config::new(server), Some(LOOPBACK)).expect("a run");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((report.udp, report.nat, report.other_address), (true, Some(false), Some(other)), "{report}");
    assert_eq!((report.local, report.mapped.map(|it| it.ip())), (report.mapped, Some(LOOPBACK)));
    assert_eq!(report.mapping, Finding::Known(Mapping::EndpointIndependent), "{report}");
    assert_eq!(report.filtering, Finding::Known(Filtering::EndpointIndependent), "{report}");
    assert_eq!(report.port_allocation, Finding::Known(PortAllocation::Preserved), "{report}");
    assert_eq!(report.hairpin, Finding::Unknown(Reason::NoNat));
}

#[test]
fn sockets_bound_to_no_address_know_theirs() {
    let socket = bind([127, 0, 0, 1], 0).expect("loopback");
    let server = socket.local_addr().expect("bound");
    serve(vec![socket], Server::new(Kind::Ferry, &server.to_string(), &server.to_string()));
    let report = discovery::run(&Config::new(server), None).expect("a run");
    assert_eq!((report.nat, report.local.map(|it| it.ip())), (Some(false), Some(LOOPBACK)), "{report}");
    assert_eq!(report.filtering, Finding::Unknown(Reason::Refused));
}

#[test]
fn a_server_that_is_not_there_is_reported_and_not_an_error() {
    let socket = bind([127, 0, 0, 1], 0).expect("loopback");
    let report = discovery::run(&Config::new(socket.local_addr().expect("bound")), Some(LOOPBACK));
    assert!(!report.expect("a run").udp);
}

#[test]
fn what_cannot_be_run_says_why() {
    let none = discovery::run(&Config { servers: Vec::new() }, None).expect_err("nobody to ask");
    assert_eq!(none.to_string(), "no server to ask; name one");
    // An address that this host does not have.
    let server = SocketAddr::from((LOOPBACK, 9));
    assert!(discovery::run(&Config::new(server), Some([192, 0, 2, 1].into())).is_err());
}
