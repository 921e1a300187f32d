//! Two clients of one relay send each other packets: does ferry-client get on with it?
//!
//! `cargo run -p ferry-client --example exchange -- https://127.0.0.1:8443`, or `http://`, `wss://`, `ws://`.
//! The relay's certificate is believed unseen.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write, stdout};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferry_client::{Connection, Event, RelayUrl, Settings, Stage, Trust, client_config};
use ferry_protocol::{
    ClientInfo, NodePrivateKey, NodePublicKey, ServerFrame, encode_ping, send_packet_header,
};

/// How long the relay may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let url: RelayUrl = std::env::args().nth(1).ok_or("which relay? give a URL")?.parse()?;
    let tls = if url.secure { Some(client_config(&Trust::Unverified, true)?) } else { None };
    let settings =
        Arc::new(Settings { url, tls, info: ClientInfo::current(), ideal_node: None, fast_start: true });

    let began = Instant::now();
    let (mut alice, mut bob) = (Node::join(&settings)?, Node::join(&settings)?);
    writeln!(stdout(), "{}: two clients in {:?}", settings.url, began.elapsed())?;
    for len in [0, 1, 1400, 16_384, 32_768, 65_536] {
        let packet = vec![len as u8; len];
        let began = Instant::now();
        alice.send_packet(&bob.key, &packet)?;
        bob.expect(&Heard::Packet(alice.key, packet.clone()))?;
        bob.send_packet(&alice.key, &packet)?;
        alice.expect(&Heard::Packet(bob.key, packet))?;
        writeln!(stdout(), "{len} bytes to and fro in {:?}", began.elapsed())?;
    }

    let mut ping = Vec::new();
    encode_ping(&mut ping, *b"ferryman");
    bob.send(&ping)?;
    bob.expect(&Heard::Pong(*b"ferryman"))?;
    let left = bob.key;
    bob.connection.close();
    bob.flush()?;
    drop(bob);
    alice.expect(&Heard::PeerGone(left))?;
    writeln!(stdout(), "a ping was answered, a departure told")?;
    Ok(())
}

/// A connection on a blocking socket.
struct Node {
    connection: Connection,
    socket: TcpStream,
    key: NodePublicKey,
    heard: Vec<Heard>,
}

/// An event that outlives its buffer.
#[derive(PartialEq, Eq)]
enum Heard {
    Established,
    Packet(NodePublicKey, Vec<u8>),
    PeerGone(NodePublicKey),
    Pong([u8; 8]),
    Closed,
}

impl Node {
    fn join(settings: &Arc<Settings>) -> Result<Self, Box<dyn Error>> {
        let (mut secret, mut random) = ([0; 32], [0; 40]);
        getrandom::fill(&mut secret)?;
        getrandom::fill(&mut random)?;
        let private = NodePrivateKey::from_random(secret);
        let key = private.public();
        let connection = Connection::new(settings, &Arc::new(private), random)?;
        let socket = TcpStream::connect((settings.url.host.as_str(), settings.url.port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut node = Self { connection, socket, key, heard: Vec::new() };
        while node.connection.stage() != Stage::Established {
            node.flush()?;
            node.read()?;
        }
        node.expect(&Heard::Established)?;
        Ok(node)
    }

    fn send_packet(&mut self, to: &NodePublicKey, packet: &[u8]) -> Result<(), Box<dyn Error>> {
        self.send(&[&send_packet_header(to, packet.len())[..], packet].concat())
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Box<dyn Error>> {
        self.connection.send_frame(frame)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        let len = self.connection.outgoing().len();
        self.socket.write_all(self.connection.outgoing())?;
        self.connection.written(len);
        Ok(())
    }

    fn expect(&mut self, wanted: &Heard) -> Result<(), Box<dyn Error>> {
        while self.heard.is_empty() {
            self.read()?;
        }
        if self.heard.remove(0) != *wanted {
            return Err("the relay said something else than what was due".into());
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Box<dyn Error>> {
        let mut buffer = vec![0; 64 * 1024];
        let len = self.socket.read(&mut buffer)?;
        if len == 0 {
            return Err("the relay closed the connection".into());
        }
        let heard = &mut self.heard;
        let input = buffer.get_mut(..len).unwrap_or_default();
        self.connection.receive(input, &mut |event| match event {
            Event::Established { .. } => heard.push(Heard::Established),
            Event::Frame(ServerFrame::RecvPacket { src, packet }) => {
                heard.push(Heard::Packet(src, packet.to_vec()));
            }
            Event::Frame(ServerFrame::PeerGone { key, .. }) => heard.push(Heard::PeerGone(key)),
            Event::Frame(ServerFrame::Pong(data)) => heard.push(Heard::Pong(data)),
            Event::Frame(_) => {}
            Event::Closed => heard.push(Heard::Closed),
        })?;
        Ok(())
    }
}
