//! Two ends of a partner channel on loopback, as their owners and clients see them.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ferry_stun::partner::{
    ANSWER_BYTES_MAX, Content, DATAGRAM_BYTES_MAX, DownReason, Envelope, PartnerRefusal, PartnerState,
    RegisterError, Sealer,
};
use ferry_stun::{
    AttributeType, ErrorCode, Message, MessageType, MessageWriter, PartnerAddress, PartnerChannel,
    PartnerConfig, PartnerKey, PartnerRegistration, TransactionId, UdpConfig, UdpServer,
};

const IP_A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const IP_B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_client_gets_its_answer_from_the_partners_socket() {
    for listen in ["127.0.0.1:0", "[::]:0"] {
        let pair = Pair::open(listen.parse().expect("test address"));
        assert_eq!((pair.a.address(true), pair.b.address(true)), (Some(IP_B), Some(IP_A)), "{listen}");
        assert_eq!((pair.a.address(false), pair.b.address(false)), (None, None));

        let client = client();
        let to = client.local_addr().expect("bound");
        for (channel, other) in [(&pair.a, IP_B), (&pair.b, IP_A)] {
            for port in pair.ports {
                let answer = answer(to);
                assert!(channel.send(port, to, &answer));
                let mut buffer = [0; 100];
                let (bytes, from) = client.recv_from(&mut buffer).expect("an answer within 20 s");
                assert_eq!((&buffer[..bytes], from), (&answer[..], SocketAddr::new(other, port)));
            }
        }
        // A dual-stack server knows its IPv4 clients by mapped addresses.
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), to.port()));
        assert!(pair.a.send(pair.ports[0], mapped, &answer(to)));
        client.recv_from(&mut [0; 100]).expect("an answer within 20 s");
        // Counted after it is sent.
        until(|| pair.b.status().sent == 3 && pair.a.status().sent == 2);

        let status = pair.a.status();
        assert_eq!((status.state, status.forwarded, status.sent), (PartnerState::Up, 3, 2));
        assert_eq!((status.not_forwarded, status.send_error, status.read_error), (0, 0, 0));
        assert!(PartnerRefusal::ALL.into_iter().all(|reason| pair.a.status().refused(reason) == 0));
        assert!(status.round_trip.is_some_and(|round_trip| round_trip < Duration::from_secs(1)));
        assert!(status.ahead_millis.is_some_and(|ahead| ahead.abs() < 1000));
        assert_eq!(status.partner_services.ipv4.map(|service| service.ip), Some(IP_B));
    }
}

/// RFC 5780 sections 6.1 and 7.5, over two servers of one address each.
#[test]
fn two_servers_answer_for_each_other() {
    let pair = Pair::open(LOOPBACK);
    let Pair { a, b, a_sockets, b_sockets, ports } = pair;
    drop((a_sockets, b_sockets));
    let [a, b] = [a, b].map(Arc::new);
    let start = |ip, partner: &Arc<PartnerChannel>| {
        UdpServer::start(UdpConfig {
            alternate: Some(SocketAddr::new(ip, ports[1])),
            partner: Some(Arc::clone(partner)),
            ..UdpConfig::new(SocketAddr::new(ip, ports[0]))
        })
        .expect("loopback binds")
    };
    let (server_a, server_b) = (start(IP_A, &a), start(IP_B, &b));
    until(|| a.status().partner_services.ipv4.is_some() && a.address(true).is_some());
    until(|| b.status().partner_services.ipv4.is_some() && b.address(true).is_some());

    for (asked_ip, other_ip) in [(IP_A, IP_B), (IP_B, IP_A)] {
        for (asked_port, other_port) in [(ports[0], ports[1]), (ports[1], ports[0])] {
            for (change, ip, port) in [
                (0, asked_ip, asked_port),
                (2, asked_ip, other_port),
                (4, other_ip, asked_port),
                (6, other_ip, other_port),
            ] {
                // A source port of its own each time: nothing of an earlier answer can be taken for this one.
                let client = client();
                let (answer, from) = ask(&client, SocketAddr::new(asked_ip, asked_port), change);
                let message = Message::parse(&answer).expect("a message");
                let told = |kind| message.plain_address(message.attribute(kind)?);
                assert_eq!(from, SocketAddr::new(ip, port), "change {change}");
                assert_eq!(told(AttributeType::RESPONSE_ORIGIN), Some(from));
                assert_eq!(told(AttributeType::OTHER_ADDRESS), Some(SocketAddr::new(other_ip, other_port)));
            }
        }
    }
    // Counted after it is sent.
    until(|| [&a, &b].iter().all(|channel| (channel.status().forwarded, channel.status().sent) == (4, 4)));

    // Drained: silent itself, and its partner promises it no more.
    server_b.quiet();
    until(|| a.address(true).is_none());
    let (refusal, _) = ask(&client(), SocketAddr::new(IP_A, ports[0]), 4);
    let message = Message::parse(&refusal).expect("a message");
    let code = message.attribute(AttributeType::ERROR_CODE).and_then(|code| ErrorCode::decode(code.value));
    assert_eq!(code, Some(ErrorCode::UNKNOWN_ATTRIBUTE));
    drop((server_a, server_b));
}

/// Sends a request with CHANGE-REQUEST; the answer, and where it came from.
fn ask(client: &UdpSocket, server: SocketAddr, change: u8) -> (Vec<u8>, SocketAddr) {
    let mut request = Vec::new();
    MessageWriter::new(&mut request, MessageType::BINDING_REQUEST, TransactionId::new([7; 12]))
        .attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, change])
        .finish();
    client.send_to(&request, server).expect("loopback sends");
    let mut buffer = [0; 200];
    let (bytes, from) = client.recv_from(&mut buffer).expect("an answer within 20 s");
    (buffer[..bytes].to_vec(), from)
}

#[test]
fn what_cannot_be_handed_over_is_said_and_counted() {
    let pair = Pair::open(LOOPBACK);
    let client: SocketAddr = "127.0.0.9:9999".parse().expect("test address");
    let answer = answer(client);
    assert!(!pair.a.send(1, client, &answer), "no such port");
    assert!(!pair.a.send(pair.ports[0], "[2001:db8::1]:9999".parse().expect("test address"), &answer));
    assert!(!pair.a.send(pair.ports[0], client, &[0; ANSWER_BYTES_MAX + 1]), "too large");
    assert_eq!((pair.a.status().not_forwarded, pair.a.status().forwarded), (3, 0));
    // What is handed over and is no answer is refused by the partner.
    assert!(pair.a.send(pair.ports[0], client, b"anything"));
    until(|| pair.b.status().refused(PartnerRefusal::NotAnswer) == 1);
    assert_eq!(pair.b.status().sent, 0);
}

#[test]
fn a_partner_that_leaves_says_so_and_one_that_returns_is_found_at_once() {
    let pair = Pair::open(LOOPBACK);
    pair.b.shutdown();
    assert_eq!(pair.b.address(true), None);
    assert!(!pair.b.send(pair.ports[0], client().local_addr().expect("bound"), b"too late"));
    // Nothing else can have told: a machine that has stopped replies to no probe.
    until(|| pair.a.status().state == PartnerState::Down(DownReason::PartnerNotServing));
    assert_eq!(pair.a.address(true), None);
    until(|| pair.a.status().state == PartnerState::Down(DownReason::NoReply));
    assert!(!pair.a.send(pair.ports[0], client().local_addr().expect("bound"), b"too late"));

    let config = config(pair.b.local_address(), pair.a.local_address().into(), KEY);
    drop(pair.b_sockets);
    drop(pair.b);
    let back = PartnerChannel::open(config).expect("the port is free again");
    let (_sockets, _) = register(&back, IP_B, pair.ports);
    until(|| pair.a.address(true).is_some() && back.address(true).is_some());
}

#[test]
fn sockets_are_taken_back_when_the_registration_ends() {
    let pair = Pair::open(LOOPBACK);
    let at = SocketAddr::new(IP_B, pair.ports[0]);
    assert_eq!(UdpSocket::bind(at).expect_err("in use").kind(), ErrorKind::AddrInUse);
    drop(pair.b_sockets);
    UdpSocket::bind(at).expect("the port is free at once");
    until(|| pair.a.address(true).is_none() && pair.b.address(true).is_none());
    until(|| pair.a.status().state == PartnerState::Down(DownReason::PartnerNotServing));
    assert_eq!(pair.b.status().state, PartnerState::Down(DownReason::NotServing));

    let (_sockets, twice) = register(&pair.b, IP_B, pair.ports);
    assert!(matches!(twice, Err(RegisterError::Taken { .. })));
    until(|| pair.a.address(true).is_some() && pair.b.address(true).is_some());
}

#[test]
fn ports_that_differ_are_named() {
    let pair = Pair::open(LOOPBACK);
    drop(pair.b_sockets);
    let others = free_ports();
    let (_sockets, _) = register(&pair.b, IP_B, others);
    let [mut here, mut partner] = [pair.ports, others];
    here.sort_unstable();
    partner.sort_unstable();
    until(|| pair.a.status().state == PartnerState::Down(DownReason::PortsDiffer { here, partner }));
    until(|| {
        pair.b.status().state == PartnerState::Down(DownReason::PortsDiffer { here: partner, partner: here })
    });
    assert_eq!((pair.a.address(true), pair.b.address(true)), (None, None));
    let PartnerState::Down(reason) = pair.a.status().state else { panic!("it is down") };
    let text = reason.to_string();
    for port in here.into_iter().chain(partner) {
        assert!(text.contains(&port.to_string()), "{text}");
    }
}

#[test]
fn hostile_datagrams_are_counted_by_reason_and_change_nothing() {
    let pair = Pair::open(LOOPBACK);
    let stranger = client();
    let seal = |key, envelope: &Envelope, content: &Content<'_>| {
        let mut out = Vec::new();
        Sealer::new(&key).seal(envelope, content, &mut out);
        out
    };
    let envelope = Envelope { unix_millis: 0, from: 5, to: 6, number: 1 };
    let forged = seal(key(9), &envelope, &Content::Probe);
    let mut version = forged.clone();
    version[0] = 2;
    // Of somebody with the key who knows neither machine's epoch.
    let forward = ferry_stun::partner::Forward {
        to: stranger.local_addr().expect("bound"),
        from_port: pair.ports[0],
        answer: &[],
    };
    let misdirected = seal(key(KEY), &envelope, &Content::Forward(forward));
    for datagram in
        [&b""[..], b"junk", &[1; DATAGRAM_BYTES_MAX + 1], &version, &forged, &forged, &misdirected]
    {
        stranger.send_to(datagram, pair.a.local_address()).expect("loopback sends");
    }
    let counts = |reason| pair.a.status().refused(reason);
    until(|| counts(PartnerRefusal::Misdirected) == 1);
    assert_eq!(counts(PartnerRefusal::Malformed), 3);
    assert_eq!(counts(PartnerRefusal::Version), 1);
    assert_eq!(counts(PartnerRefusal::Forged), 2);
    let all: u64 = PartnerRefusal::ALL.into_iter().map(counts).sum();
    assert_eq!(all, 7);
    assert_eq!((pair.a.address(true), pair.b.address(true)), (Some(IP_B), Some(IP_A)));
}

#[test]
fn two_keys_are_no_channel() {
    let [listen_a, listen_b] = free_addresses();
    let a = PartnerChannel::open(config(listen_a, listen_b.into(), KEY)).expect("loopback binds");
    let b = PartnerChannel::open(config(listen_b, listen_a.into(), KEY + 1)).expect("loopback binds");
    let (ports, [_a, _b]) = serve([&a, &b]);
    until(|| {
        a.status().refused(PartnerRefusal::Forged) > 0 && b.status().refused(PartnerRefusal::Forged) > 0
    });
    assert_eq!((a.address(true), b.address(true)), (None, None));
    until(|| a.status().state == PartnerState::Down(DownReason::NoReply));
    assert!(!a.send(ports[0], "127.0.0.9:9".parse().expect("test address"), b""));
}

/// An operator who gives each machine its own address as the partner's.
#[test]
fn a_machine_is_not_its_own_partner() {
    let [listen, _] = free_addresses();
    let channel = PartnerChannel::open(config(listen, listen.into(), KEY)).expect("loopback binds");
    let _sockets = register(&channel, IP_A, free_ports());
    until(|| channel.status().refused(PartnerRefusal::Misdirected) > 0);
    assert_eq!(channel.address(true), None);
}

#[test]
fn a_partner_is_found_by_its_name() {
    let [listen_a, listen_b] = free_addresses();
    let name = PartnerAddress::Name { host: "localhost".to_owned(), port: listen_b.port() };
    let a = PartnerChannel::open(config(listen_a, name, KEY)).expect("loopback binds");
    let b = PartnerChannel::open(config(listen_b, listen_a.into(), KEY)).expect("loopback binds");
    let _serving = serve([&a, &b]);
    until(|| a.address(true).is_some() && b.address(true).is_some());
}

#[test]
fn a_name_without_a_usable_address_is_a_state_that_says_so() {
    let name = PartnerAddress::Name { host: "127.0.0.1".to_owned(), port: 9 };
    let channel = PartnerChannel::open(config("[::1]:0".parse().expect("test address"), name, KEY))
        .expect("loopback binds");
    until(|| matches!(channel.status().state, PartnerState::Down(DownReason::Unresolved { .. })));
    let PartnerState::Down(reason) = channel.status().state else { panic!("it is down") };
    assert!(reason.to_string().contains("127.0.0.1 has 1 addresses"), "{reason}");
}

#[test]
fn addresses_that_cannot_work_are_errors_that_name_them() {
    let other_version =
        config("[::1]:0".parse().expect("test address"), PartnerAddress::Literal(LOOPBACK), KEY);
    let error = PartnerChannel::open(other_version).expect_err("no way there");
    assert!(error.to_string().contains("cannot reach 127.0.0.1:0"), "{error}");

    let [taken, other] = free_addresses();
    let _first = PartnerChannel::open(config(taken, other.into(), KEY)).expect("loopback binds");
    let error = PartnerChannel::open(config(taken, other.into(), KEY)).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[test]
fn shutdown_is_quick_and_a_second_one_harmless() {
    let pair = Pair::open(LOOPBACK);
    let begin = Instant::now();
    pair.a.shutdown();
    pair.a.shutdown();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    UdpSocket::bind(pair.a.local_address()).expect_err("the socket lives as long as the channel");
    let at = pair.a.local_address();
    drop((pair.a_sockets, pair.a));
    UdpSocket::bind(at).expect("the port is free");
}

const LOOPBACK: SocketAddr = SocketAddr::new(IP_A, 0);

const KEY: u8 = 1;

/// Two machines that are up.
struct Pair {
    a: PartnerChannel,
    b: PartnerChannel,
    a_sockets: PartnerRegistration,
    b_sockets: PartnerRegistration,
    ports: [u16; 2],
}

impl Pair {
    fn open(listen_a: SocketAddr) -> Self {
        let [free_a, listen_b] = free_addresses();
        let listen_a = SocketAddr::new(listen_a.ip(), free_a.port());
        let a = PartnerChannel::open(config(listen_a, listen_b.into(), KEY)).expect("loopback binds");
        let b = PartnerChannel::open(config(listen_b, free_a.into(), KEY)).expect("loopback binds");
        let (ports, [a_sockets, b_sockets]) = serve([&a, &b]);
        until(|| a.address(true).is_some() && b.address(true).is_some());
        Self { a, b, a_sockets, b_sockets, ports }
    }
}

fn config(listen: SocketAddr, partner: PartnerAddress, secret: u8) -> PartnerConfig {
    PartnerConfig::new(listen, partner, key(secret))
}

fn key(secret: u8) -> PartnerKey {
    PartnerKey::from_bytes([secret; 32]).expect("not zero")
}

/// Registers sockets for both, on the same two ports.
fn serve(channels: [&PartnerChannel; 2]) -> ([u16; 2], [PartnerRegistration; 2]) {
    let ports = free_ports();
    let [a, b] = channels;
    (ports, [register(a, IP_A, ports).0, register(b, IP_B, ports).0])
}

/// And what comes of a second attempt.
fn register(
    channel: &PartnerChannel,
    ip: IpAddr,
    ports: [u16; 2],
) -> (PartnerRegistration, Result<PartnerRegistration, RegisterError>) {
    let sockets = ports.map(|port| UdpSocket::bind((ip, port)).expect("a free port"));
    let clones = sockets.each_ref().map(|socket| socket.try_clone().expect("clones"));
    (channel.register(None, sockets).expect("good sockets"), channel.register(None, clones))
}

/// Two ports that are free on both machines. Below the range that the system gives others.
fn free_ports() -> [u16; 2] {
    let pick = || loop {
        let seed = UdpSocket::bind((IP_A, 0)).expect("loopback binds").local_addr().expect("bound").port();
        let port = 10_000 + seed % 20_000;
        if [IP_A, IP_B].iter().all(|ip| UdpSocket::bind((*ip, port)).is_ok()) {
            return port;
        }
    };
    let first = pick();
    loop {
        let second = pick();
        if second != first {
            return [first, second];
        }
    }
}

fn free_addresses() -> [SocketAddr; 2] {
    free_ports().map(|port| SocketAddr::new(IP_A, port))
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client
}

/// What a client is to be told.
fn answer(client: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, TransactionId::new([7; 12]))
        .xor_mapped_address(client)
        .finish();
    out
}

/// The channel tells its state to those who ask.
fn until(reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "not within 20 s");
        thread::sleep(Duration::from_millis(1));
    }
}
