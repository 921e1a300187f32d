//! Servers and clients on loopback, for the tests that need sockets.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use ferry_stun::{Limits, UdpConfig, UdpServer};
use quinn_udp::{Transmit, UdpSocketState};

/// How long to wait for what has to come, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One thread per address and port, without limits, on loopback.
pub(crate) fn config(listen: &str) -> UdpConfig {
    UdpConfig {
        limits: Limits::NONE,
        threads: std::num::NonZeroUsize::MIN,
        ..UdpConfig::new(listen.parse().expect("test addresses are addresses"))
    }
}

/// Starts a server. Where a port was chosen on the first address, somebody may have it on the second: once more then.
pub(crate) fn start(config: &UdpConfig) -> UdpServer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UdpServer::start(config.clone()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {}
            started => return started.expect("loopback binds"),
        }
    }
}

/// A client on an address of its own.
pub(crate) fn client_at(ip: &str) -> UdpSocket {
    let client = UdpSocket::bind((ip, 0)).expect("loopback binds");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client
}

pub(crate) fn client() -> UdpSocket {
    client_at("127.0.0.1")
}

/// The next datagram and who sent it.
pub(crate) fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (bytes, from) = client.recv_from(&mut buffer).expect("an answer in time");
    (buffer[..bytes].to_vec(), from)
}

/// Asks and waits for the answer.
pub(crate) fn ask(client: &UdpSocket, request: &[u8], server: SocketAddr) -> (Vec<u8>, SocketAddr) {
    client.send_to(request, server).expect("loopback sends");
    receive(client)
}

/// Sends requests of the same length, as many in a call as they are (up to 64).
pub(crate) fn send_burst(client: &UdpSocket, request_bytes: usize, requests: &[u8], server: SocketAddr) {
    let state = UdpSocketState::new(client.into()).expect("options");
    client.set_nonblocking(false).expect("blocking again");
    let burst = Transmit {
        destination: server,
        ecn: None,
        contents: requests,
        segment_size: Some(request_bytes),
        src_ip: None,
    };
    state.try_send(client.into(), &burst).expect("loopback sends");
}

/// Waits for what other threads bring about.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        thread::yield_now();
    }
}
