//! The null server is a relay, with whatever client comes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ferry_client::{FastStart, Trust, client_config};
use ferry_loadtest::null_server::{NullHandle, NullOptions, spawn_splice_thread, spawn_thread};
use ferry_protocol::handshake::read_server_key;
use ferry_protocol::{
    ClientHandshake, ClientInfo, NodePrivateKey, NodePublicKey, ServerFrame, ServerFrameDecoder, Step,
    encode_ping, send_packet_header, upgrade_request,
};
use ferry_stun::TransactionId;
use ferry_stun::client::{BindingResponse, write_bare_request};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const LOOPBACK: NullOptions =
    NullOptions { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), secure: false };
/// A test that would wait longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn packets_reach_the_key_they_are_for_and_say_who_sent_them() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut alice = Client::join(plain(&server), 1);
    let mut bob = Client::join(plain(&server), 2);
    alice.send(&bob.key, b"to bob");
    bob.send(&alice.key, b"to alice");
    bob.send(&{ bob.key }, b"to himself");
    assert_eq!(bob.receive(), Said::Packet(alice.key, b"to bob".to_vec()));
    assert_eq!(bob.receive(), Said::Packet(bob.key, b"to himself".to_vec()));
    assert_eq!(alice.receive(), Said::Packet(bob.key, b"to alice".to_vec()));
}

#[test]
fn a_client_may_start_fast() {
    let options = NullOptions { secure: true, ..LOOPBACK };
    for server in [spawn_thread(options).unwrap(), spawn_splice_thread(options).unwrap()] {
        let mut stream = tls(&server);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        let version = stream.conn.protocol_version();
        let FastStart::Offered(relay) = FastStart::of(version, stream.conn.peer_certificates().unwrap())
        else {
            panic!("no relay's key in the chain")
        };
        let private = NodePrivateKey::from_random([1; 32]);
        let (mut handshake, info) =
            ClientHandshake::start(&private, &relay, &ClientInfo::current(), [1; 24]).unwrap();
        stream.write_all(upgrade_request("localhost", true, None).as_bytes()).unwrap();
        stream.write_all(&info).unwrap();
        let mut received = Vec::new();
        // The first bytes are the greeting's, and it has the key that was told.
        while let Step::Incomplete { .. } = handshake.read(&received).unwrap() {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            received.extend(byte);
        }
        assert_eq!(read_server_key(&received).unwrap().unwrap().1, relay);
    }
}

#[test]
fn packets_of_every_size_stay_whole_and_in_order_over_every_transport() {
    let [open, sealed] =
        [false, true].map(|secure| spawn_thread(NullOptions { secure, ..LOOPBACK }).unwrap());
    carries_every_size(plain(&open), plain(&open));
    carries_every_size(secure(&sealed), secure(&sealed));
    carries_every_size(websocket(&open), websocket(&open));
}

#[test]
fn a_splice_moves_packets_of_every_size_whole_and_in_order() {
    let [open, sealed] =
        [false, true].map(|secure| spawn_splice_thread(NullOptions { secure, ..LOOPBACK }).unwrap());
    carries_every_size(plain(&open), plain(&open));
    carries_every_size(secure(&sealed), secure(&sealed));
}

#[test]
fn a_splice_moves_packets_to_whom_they_are_for() {
    let server = spawn_splice_thread(LOOPBACK).unwrap();
    let [mut alice, mut bob, mut carol] = [1, 2, 3].map(|seed| Client::join(plain(&server), seed));
    alice.send(&bob.key, b"to bob");
    alice.send(&NodePublicKey::from_bytes([9; 32]), b"to nobody");
    alice.send(&carol.key, b"to carol");
    alice.send(&bob.key, b"to bob again");
    assert_eq!(carol.receive(), Said::Packet(alice.key, b"to carol".to_vec()));
    assert_eq!(bob.receive(), Said::Packet(alice.key, b"to bob".to_vec()));
    assert_eq!(bob.receive(), Said::Packet(alice.key, b"to bob again".to_vec()));
}

#[test]
fn a_splice_finds_a_receiver_that_came_back() {
    let server = spawn_splice_thread(LOOPBACK).unwrap();
    let mut alice = Client::join(plain(&server), 1);
    let mut bob = Client::join(plain(&server), 2);
    alice.send(&bob.key, b"first");
    assert_eq!(bob.receive(), Said::Packet(alice.key, b"first".to_vec()));
    bob.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bob.stream.read(&mut [0]).unwrap(), 0, "hung up in return");
    // Takes the place that is free now.
    let mut carol = Client::join(plain(&server), 3);
    let mut bob = Client::join(plain(&server), 2);
    alice.send(&bob.key, b"second");
    alice.send(&carol.key, b"third");
    assert_eq!(bob.receive(), Said::Packet(alice.key, b"second".to_vec()));
    assert_eq!(carol.receive(), Said::Packet(alice.key, b"third".to_vec()));
}

fn carries_every_size(one: impl Read + Write, other: impl Read + Write) {
    let (mut alice, mut bob) = (Client::join(one, 1), Client::join(other, 2));
    // From nothing to the most that DERP carries, across records, messages and reads.
    let sizes = [0, 1, 1_400, 16_346, 16_347, 16_348, 40_000, 65_536];
    let packets: Vec<Vec<u8>> =
        sizes.iter().map(|size| (0..*size).map(|at| (at % 251) as u8).collect()).collect();
    for packet in &packets {
        alice.send(&bob.key, packet);
    }
    for packet in packets {
        assert_eq!(bob.receive(), Said::Packet(alice.key, packet));
    }
}

#[test]
fn a_fast_start_is_answered_without_http() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut socket = connect(&server);
    socket.write_all(upgrade_request("localhost", true, None).as_bytes()).unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(first[0], ferry_protocol::FrameType::ServerKey as u8);
}

#[test]
fn pings_are_answered() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut client = Client::join(plain(&server), 1);
    let mut ping = Vec::new();
    encode_ping(&mut ping, *b"12345678");
    client.stream.write_all(&ping).unwrap();
    assert_eq!(client.receive(), Said::Pong(*b"12345678"));
}

#[test]
fn the_newest_connection_of_a_key_gets_its_packets() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut sender = Client::join(plain(&server), 1);
    let older = Client::join(plain(&server), 2);
    let mut newer = Client::join(plain(&server), 2);
    sender.send(&older.key, b"first");
    assert_eq!(newer.receive(), Said::Packet(sender.key, b"first".to_vec()));
    // The older one's end takes nothing from the newer.
    older.stream.shutdown(Shutdown::Write).unwrap();
    let mut older = older;
    assert_eq!(older.stream.read(&mut [0]).unwrap(), 0, "hung up in return");
    sender.send(&newer.key, b"second");
    assert_eq!(newer.receive(), Said::Packet(sender.key, b"second".to_vec()));
}

#[test]
fn packets_for_nobody_and_nonsense_end_nothing_but_the_connection_that_sent_it() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut alice = Client::join(plain(&server), 1);
    alice.send(&NodePublicKey::from_bytes([9; 32]), b"to nobody");
    let mut stranger = connect(&server);
    stranger.write_all(b"\x16\x03\x01 TLS on a plain port\r\n\r\n").unwrap();
    assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    let mut bob = Client::join(plain(&server), 2);
    bob.send(&alice.key, b"still there");
    assert_eq!(alice.receive(), Said::Packet(bob.key, b"still there".to_vec()));
}

#[test]
fn a_receiver_that_does_not_read_loses_packets_and_delays_nobody() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut sender = Client::join(plain(&server), 1);
    let mut stalled = Client::join(plain(&server), 2);
    let mut prompt = Client::join(plain(&server), 3);
    // More than a loopback connection's buffers and what may wait in the server.
    const PACKETS: u32 = 800;
    let packet = [7; 65_536];
    for number in 0..PACKETS {
        sender.send(&stalled.key, &packet);
        sender.send(&prompt.key, &number.to_be_bytes());
    }
    for number in 0..PACKETS {
        assert_eq!(prompt.receive(), Said::Packet(sender.key, number.to_be_bytes().to_vec()));
    }
    let mut arrived = 0;
    stalled.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while stalled.try_receive().is_some() {
        arrived += 1;
    }
    assert!((1..PACKETS).contains(&arrived), "{arrived} of {PACKETS} arrived");
}

#[test]
fn stun_is_answered_on_the_same_port() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    write_bare_request(TransactionId::new([7; 12]), &mut request);
    socket.send_to(b"no STUN", server.address()).unwrap();
    socket.send_to(&request, server.address()).unwrap();
    let mut answer = [0; 100];
    let length = socket.recv(&mut answer).unwrap();
    let response = BindingResponse::parse_for(&answer[..length], TransactionId::new([7; 12])).unwrap();
    assert_eq!(response.mapped_address, socket.local_addr().unwrap());
}

#[test]
fn dropping_the_handle_ends_everything() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let mut client = Client::join(plain(&server), 1);
    let address = server.address();
    drop(server);
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn an_address_in_use_is_named() {
    let server = spawn_thread(LOOPBACK).unwrap();
    let again = NullOptions { listen: server.address(), ..LOOPBACK };
    let error = spawn_thread(again).unwrap_err();
    assert_eq!(error.to_string(), format!("listening on TCP {}", server.address()));
}

fn plain(server: &NullHandle) -> TcpStream {
    upgraded(connect(server))
}

fn connect(server: &NullHandle) -> TcpStream {
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn secure(server: &NullHandle) -> impl Read + Write {
    upgraded(tls(server))
}

fn tls(server: &NullHandle) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let config = client_config(&Trust::Unverified, false).unwrap();
    let name = "localhost".try_into().unwrap();
    rustls::StreamOwned::new(rustls::ClientConnection::new(config, name).unwrap(), connect(server))
}

/// Asks for DERP, and reads the answer up to where DERP begins.
fn upgraded<S: Read + Write>(mut stream: S) -> S {
    stream.write_all(upgrade_request("localhost", false, None).as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

fn websocket(server: &NullHandle) -> Messages {
    let mut request = format!("ws://{}/derp", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "derp".parse().unwrap());
    let (socket, response) = tungstenite::client(request, connect(server)).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "derp");
    Messages { socket, rest: Vec::new() }
}

/// WebSocket messages as a stream of bytes; each write is a message of at most derper's length.
struct Messages {
    socket: WebSocket<TcpStream>,
    rest: Vec<u8>,
}

impl Read for Messages {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let message = self.socket.read().map_err(io::Error::other)?;
            self.rest = message.into_data().to_vec();
        }
        let length = out.len().min(self.rest.len());
        out[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

impl Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(32_768)];
        self.socket.send(Message::Binary(piece.to_vec().into())).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the server says to a client.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Packet(NodePublicKey, Vec<u8>),
    Pong([u8; 8]),
}

impl Said {
    fn read(frame: &ServerFrame<'_>) -> Self {
        if let ServerFrame::RecvPacket { src, packet } = frame {
            return Self::Packet(*src, packet.to_vec());
        }
        let ServerFrame::Pong(data) = frame else { panic!("{frame:?} from a null server") };
        Self::Pong(*data)
    }
}

/// A client over any stream.
struct Client<S> {
    stream: S,
    key: NodePublicKey,
    input: Vec<u8>,
    decoder: ServerFrameDecoder,
}

impl<S: Read + Write> Client<S> {
    /// Connects with the key that `seed` makes.
    fn join(mut stream: S, seed: u8) -> Self {
        let private = NodePrivateKey::from_random([seed; 32]);
        let mut input = Vec::new();
        let server = loop {
            if let Some((length, server)) = read_server_key(&input).unwrap() {
                input.drain(..length);
                break server;
            }
            read_more(&mut stream, &mut input).unwrap();
        };
        let info = ClientInfo::default();
        let (mut handshake, hello) = ClientHandshake::start(&private, &server, &info, [3; 24]).unwrap();
        stream.write_all(&hello).unwrap();
        loop {
            match handshake.read(&input).unwrap() {
                Step::Frame { consumed, .. } => {
                    input.drain(..consumed);
                    return Self { stream, key: private.public(), input, decoder: ServerFrameDecoder::new() };
                }
                Step::Incomplete { consumed, .. } => {
                    input.drain(..consumed);
                    read_more(&mut stream, &mut input).unwrap();
                }
            }
        }
    }

    fn send(&mut self, to: &NodePublicKey, packet: &[u8]) {
        let frame = [&send_packet_header(to, packet.len()), packet].concat();
        self.stream.write_all(&frame).unwrap();
        self.stream.flush().unwrap();
    }

    fn receive(&mut self) -> Said {
        self.try_receive().unwrap()
    }

    /// None if nothing comes in time.
    fn try_receive(&mut self) -> Option<Said> {
        loop {
            match self.decoder.next(&self.input).unwrap() {
                Step::Frame { frame, consumed } => {
                    let said = Said::read(&frame);
                    self.input.drain(..consumed);
                    return Some(said);
                }
                Step::Incomplete { consumed, .. } => {
                    self.input.drain(..consumed);
                    read_more(&mut self.stream, &mut self.input).ok()?;
                }
            }
        }
    }
}

/// Appends what there is to read; the end is an error.
fn read_more(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    let length = stream.read(&mut chunk)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    input.extend_from_slice(&chunk[..length]);
    Ok(())
}
