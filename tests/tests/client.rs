//! ferry-client's connections against our relay, over real sockets: all four ways to speak with it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ferry_client::{Connection, Event, RelayUrl, Settings, Stage, Trust, client_config};
use ferry_protocol::frame::PeerGoneReason;
use ferry_protocol::{
    ClientInfo, NodePrivateKey, NodePublicKey, ServerFrame, encode_ping, send_packet_header,
};
use ferry_tests::{Client, PATIENCE, TestRelay, disco_packet, new_key, pattern, random};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What a stop may take, with nobody who delays it.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

#[test]
fn packets_of_every_size_cross_between_all_wires() {
    for (relay, schemes) in relays() {
        let mut nodes: Vec<Node> = schemes.iter().map(|scheme| Node::join(&relay, scheme)).collect();
        let mut stranger = Client::join(&relay);
        for len in [0, 1, 1400, 16_384, 65_536] {
            let packet = pattern(len as u64, len);
            for from in 0..nodes.len() {
                let to = (from + 1) % nodes.len();
                let (src, dst) = (nodes[from].key, nodes[to].key);
                nodes[from].send(&dst, &packet);
                assert_eq!(nodes[to].next(), Heard::Packet(src, packet.clone()));
                // And with a client whose code is another.
                nodes[from].send(&stranger.key(), &packet);
                stranger.expect_packet(&src, &packet);
                stranger.send(&src, &packet);
                assert_eq!(nodes[from].next(), Heard::Packet(stranger.key(), packet.clone()));
            }
        }
    }
}

#[test]
fn many_packets_arrive_in_order_and_none_is_missing() {
    const PACKETS: u32 = 500;
    for (relay, schemes) in relays() {
        for scheme in schemes {
            let (mut alice, mut bob) = (Node::join(&relay, scheme), Node::join(&relay, scheme));
            for round in 0..PACKETS / 20 {
                let numbers = round * 20..(round + 1) * 20;
                numbers.clone().for_each(|number| alice.queue(&bob.key, &number.to_be_bytes().repeat(350)));
                alice.flush();
                for number in numbers {
                    let packet = number.to_be_bytes().repeat(350);
                    assert_eq!(bob.next(), Heard::Packet(alice.key, packet), "{scheme}");
                }
            }
        }
    }
}

#[test]
fn who_is_not_there_or_leaves_is_told() {
    for (relay, schemes) in relays() {
        for scheme in schemes {
            let (mut alice, mut bob) = (Node::join(&relay, scheme), Node::join(&relay, scheme));
            let nobody = new_key().public();
            // Only disco is told: data to nobody is dropped without a word.
            alice.send(&nobody, &disco_packet(100));
            assert_eq!(alice.next(), Heard::PeerGone(nobody, PeerGoneReason::NotHere), "{scheme}");
            let left = bob.key;
            bob.send(&alice.key, b"goodbye");
            assert_eq!(alice.next(), Heard::Packet(left, b"goodbye".to_vec()), "{scheme}");
            bob.leave();
            assert_eq!(alice.next(), Heard::PeerGone(left, PeerGoneReason::Disconnected), "{scheme}");
        }
    }
}

#[test]
fn a_ping_is_answered() {
    for (relay, schemes) in relays() {
        for scheme in schemes {
            let mut node = Node::join(&relay, scheme);
            let mut ping = Vec::new();
            encode_ping(&mut ping, *b"ferryman");
            node.connection.send_frame(&ping).expect("an established connection");
            node.flush();
            assert_eq!(node.next(), Heard::Pong(*b"ferryman"), "{scheme}");
        }
    }
}

#[test]
fn a_relay_that_stops_says_goodbye() {
    for (mut relay, schemes) in relays() {
        let mut nodes: Vec<Node> = schemes.iter().map(|scheme| Node::join(&relay, scheme)).collect();
        relay.stop(GRACE);
        for (node, scheme) in nodes.iter_mut().zip(schemes) {
            if scheme != "http" {
                assert_eq!(node.next(), Heard::Goodbye, "{scheme}");
                assert_eq!(node.connection.stage(), Stage::Closed, "{scheme}");
            }
            assert_eq!(node.next(), Heard::End, "{scheme}");
        }
    }
}

/// A plain relay and one with TLS, and the schemes that each speaks.
fn relays() -> [(TestRelay, [&'static str; 2]); 2] {
    [(TestRelay::plain(), ["http", "ws"]), (TestRelay::tls(), ["https", "wss"])]
}

/// A connection on a blocking socket.
struct Node {
    connection: Connection,
    socket: TcpStream,
    key: NodePublicKey,
    heard: VecDeque<Heard>,
}

/// An event that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Packet(NodePublicKey, Vec<u8>),
    PeerGone(NodePublicKey, PeerGoneReason),
    Pong([u8; 8]),
    Goodbye,
    /// Of the TCP stream.
    End,
}

impl Node {
    fn join(relay: &TestRelay, scheme: &str) -> Self {
        let url: RelayUrl = format!("{scheme}://{}", relay.address()).parse().expect("a URL");
        let tls = url.secure.then(|| client_config(&trust(relay), true).expect("a configuration"));
        let settings = Settings { url, tls, info: ClientInfo::current(), ideal_node: None, fast_start: true };
        let key: NodePrivateKey = new_key();
        let public = key.public();
        let connection = Connection::new(&Arc::new(settings), &Arc::new(key), random())
            .expect("TLS for a URL that wants it");
        let socket = TcpStream::connect(relay.address()).expect("a relay that listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        let mut node = Self { connection, socket, key: public, heard: VecDeque::new() };
        let mut server = None;
        while node.connection.stage() != Stage::Established {
            node.flush();
            assert!(node.read(&mut server), "{scheme}: closed during the handshake");
        }
        assert_eq!(server, Some(*relay.key()));
        node
    }

    fn send(&mut self, dst: &NodePublicKey, packet: &[u8]) {
        self.queue(dst, packet);
        self.flush();
    }

    fn queue(&mut self, dst: &NodePublicKey, packet: &[u8]) {
        let frame = [&send_packet_header(dst, packet.len())[..], packet].concat();
        self.connection.send_frame(&frame).expect("an established connection");
    }

    fn flush(&mut self) {
        let sent = self.connection.outgoing().len();
        self.socket.write_all(self.connection.outgoing()).expect("a relay that reads");
        self.connection.written(sent);
    }

    fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            if !self.read(&mut None) {
                return Heard::End;
            }
        }
    }

    fn leave(mut self) {
        self.connection.close();
        self.flush();
    }

    /// Reads once; false at the end of the TCP stream.
    fn read(&mut self, server_key: &mut Option<NodePublicKey>) -> bool {
        let mut buffer = vec![0; READ_BYTES];
        let len = self.socket.read(&mut buffer).expect("something within the time");
        let heard = &mut self.heard;
        let mut event = |event: Event<'_>| match event {
            Event::Established { server, .. } => *server_key = Some(server),
            Event::Frame(ServerFrame::RecvPacket { src, packet }) => {
                heard.push_back(Heard::Packet(src, packet.to_vec()));
            }
            Event::Frame(ServerFrame::PeerGone { key, reason }) => {
                heard.push_back(Heard::PeerGone(key, reason));
            }
            Event::Frame(ServerFrame::Pong(data)) => heard.push_back(Heard::Pong(data)),
            Event::Frame(ServerFrame::KeepAlive) => {}
            Event::Frame(other) => panic!("an unexpected frame: {other:?}"),
            Event::Closed => heard.push_back(Heard::Goodbye),
        };
        self.connection.receive(&mut buffer[..len], &mut event).expect("what a relay says");
        len > 0
    }
}

fn trust(relay: &TestRelay) -> Trust {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(&relay.certificate_pem()).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    Trust::Roots(Arc::new(roots))
}
