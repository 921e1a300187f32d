//! What one request costs over a loopback socket, kernel included: our server, and the loop that derper has
//! (one recvfrom, one sendto) around the same responder. Closed loop of 256 requests from 16 sockets.
//! Client and server need a core each; with fewer, or on a busy machine, only the ratio says something.
//!
//! `cargo bench -p ferry-stun --bench udp`

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use ferry_stun::{Profile, Responder, TransactionId, UdpServer, client};

/// Client sockets.
const SOCKETS: usize = 16;
/// Requests under way on each.
const OUTSTANDING: usize = 16;

fn main() {
    divan::main();
}

#[divan::bench]
fn batched(bencher: Bencher<'_, '_>) {
    let server = UdpServer::bind(any_port(), Profile::Open).expect("loopback binds");
    ask(bencher, server.local_address());
}

#[divan::bench]
fn one_by_one(bencher: Bencher<'_, '_>) {
    let socket = UdpSocket::bind(any_port()).expect("loopback binds");
    let target = socket.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let responder = Responder::new(Profile::Open);
        let (mut buffer, mut answer) = ([0; 2048], Vec::new());
        loop {
            let (bytes, source) = socket.recv_from(&mut buffer).expect("loopback receives");
            // An empty datagram is the end.
            if bytes == 0 {
                return;
            }
            let datagram = buffer.get(..bytes).expect("recv_from fits the buffer");
            responder.answer(datagram, source, &mut answer);
            socket.send_to(&answer, source).expect("loopback sends");
        }
    });
    ask(bencher, target);
    UdpSocket::bind(any_port()).and_then(|socket| socket.send_to(&[], target)).expect("loopback sends");
    server.join().expect("the server ends");
}

fn ask(bencher: Bencher<'_, '_>, target: SocketAddr) {
    let sockets: Vec<_> = (0..SOCKETS).map(|_| connected(target)).collect();
    let mut request = Vec::new();
    client::write_tailscale_request(TransactionId::new([9; 12]), &mut request);
    let mut buffer = [0; 64];
    bencher.counter(ItemsCount::new(SOCKETS * OUTSTANDING)).bench_local(|| {
        for _ in 0..OUTSTANDING {
            for socket in &sockets {
                socket.send(&request).expect("loopback sends");
            }
        }
        for socket in &sockets {
            for _ in 0..OUTSTANDING {
                socket.recv(&mut buffer).expect("an answer within 5 s");
            }
        }
    });
}

fn connected(target: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(any_port()).expect("loopback binds");
    socket.connect(target).expect("loopback connects");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
