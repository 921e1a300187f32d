//! Datagrams of a partner channel: arbitrary ones, and nonsense sealed with the right key, which only a stolen
//! one could make. What is taken can be written again, and only answers to clients are ever to be sent.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Instant;

use ferry_stun::Message;
use ferry_stun::partner::{
    ANSWER_BYTES_MAX, Content, DATAGRAM_BYTES_MAX, Envelope, Forward, Here, Node, Now, PartnerKey,
    PartnerLimits, PartnerState, Reply, Sealer, Seeds, Service, Services,
};
use libfuzzer_sys::fuzz_target;

const TIME: u64 = 1_700_000_000_000;
const PORTS: [u16; 2] = [3478, 3479];
const HERE: u64 = 1;
const PARTNER: u64 = 2;

static KEY: LazyLock<PartnerKey> = LazyLock::new(|| PartnerKey::from_bytes([1; 32]).expect("not zero"));

fuzz_target!(|input: (bool, u32, u8, u16, &[u8])| {
    let (sealed, ip, port_choice, client_port, bytes) = input;
    let (now, mut node) = up();
    let sealer = Sealer::new(&KEY);

    // As it came, and behind the seal: the bytes as they are, or as the answer of a well-formed forward.
    let datagram = if !sealed {
        bytes.to_vec()
    } else if port_choice == 0 {
        sealer.seal_bytes(bytes)
    } else {
        let to = SocketAddr::from((Ipv4Addr::from_bits(ip), client_port));
        let from_port = PORTS.get(usize::from(port_choice % 3)).copied().unwrap_or(client_port);
        let answer = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
        let envelope = Envelope { unix_millis: TIME, from: PARTNER, to: HERE, number: 1 };
        let mut out = Vec::new();
        sealer.seal(&envelope, &Content::Forward(Forward { to, from_port, answer }), &mut out);
        out
    };

    if let Ok((envelope, content)) = sealer.open(&datagram) {
        let mut again = Vec::new();
        sealer.seal(&envelope, &content, &mut again);
        assert_eq!(again, datagram, "one form for each datagram");
    }
    let mut sent = 0;
    let taken = node.receive(&datagram, now, &mut |reply| {
        assert!(reply.len() < 128 && sealer.open(reply).is_ok());
        sent += 1;
    });
    assert!(sent <= 2);
    if let Ok(Some(forward)) = taken {
        assert!(sealed && datagram.len() <= DATAGRAM_BYTES_MAX);
        assert!(PORTS.contains(&forward.from_port) && forward.answer.len() <= ANSWER_BYTES_MAX);
        let ip = forward.to.ip();
        assert!(forward.to.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback());
        // An RFC 3489 answer has another cookie.
        let mut answer = forward.answer.to_vec();
        answer[4..8].copy_from_slice(&ferry_stun::MAGIC_COOKIE.to_be_bytes());
        let class = (answer[0], answer[1]);
        assert!(class == (1, 1) || class == (1, 0x11));
        assert!(answer == forward.answer || Message::parse(&answer).is_ok());
        assert!(node.receive(&datagram, now, &mut |_| ()).is_err(), "taken twice");
    }
});

/// A node whose partner is up.
fn up() -> (Now, Node) {
    let now = Now { instant: Instant::now(), unix_millis: TIME };
    let seeds = Seeds { epoch: HERE, budgets: 0 };
    // Budgets take memory, and time to set up.
    let limits = PartnerLimits { redirects_per_second: None, ..PartnerLimits::default() };
    let mut node = Node::new(&KEY, limits, seeds, now.instant);
    let services = |ip: [u8; 4]| Services { ipv4: Some(Service::new(IpAddr::from(ip), PORTS)), ipv6: None };
    node.set_here(Here { services: services([192, 0, 2, 1]), bound: [None; 2] }, now, &mut |_| ());
    let sealer = Sealer::new(&KEY);
    let mut number = 0;
    node.poll(now, &mut |probe| number = sealer.open(probe).expect("its own").0.number);
    let reply = Reply { hears_you: true, services: services([192, 0, 2, 2]) };
    let envelope = Envelope { unix_millis: TIME, from: PARTNER, to: HERE, number };
    let mut out = Vec::new();
    sealer.seal(&envelope, &Content::Reply(reply), &mut out);
    node.receive(&out, now, &mut |_| ()).expect("a reply to its probe");
    assert_eq!(*node.state(), PartnerState::Up);
    (now, node)
}
