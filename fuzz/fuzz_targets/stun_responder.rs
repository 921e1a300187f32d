//! Any datagram from any source, to any server: no answer exceeds 1.1 times its request unless a budget pays
//! for it, nor 3 times unless another one does, answers are bounded, are never answered, and take no detour that the server has not. FINGERPRINT is
//! made right half of the time, or the fuzzer would seldom get past it.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use ferry_stun::{
    Alternates, Arrival, AttributeType, Budgets, Limits, Message, MessageType, MessageWriter, Options,
    Origin, Outcome, Profile, RefusalReason, Reply, Responder,
};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Gives nothing away. What a budget of 0 refuses changes nothing, so one serves for all inputs.
    static STRICT: RefCell<Budgets> = RefCell::new({
        let limits = Limits { surplus_bytes_per_second: Some(0), ..Limits::NONE };
        Budgets::new(limits, 1, Instant::now())
    });
    /// Gives nothing away to be aimed with.
    static AIMLESS: RefCell<Budgets> = RefCell::new({
        let limits = Limits { redirects_per_second: Some(0), ..Limits::NONE };
        Budgets::new(limits, 1, Instant::now())
    });
}

/// Header, four IPv6 addresses, FINGERPRINT: the largest answer that is not filled up.
const TOLD_BYTES_MAX: usize = 20 + 4 * 24 + 8;

fuzz_target!(|input: (bool, bool, u8, u128, u16, &[u8])| {
    let (ipv4, fingerprinted, addresses, ip, port, datagram) = input;
    let source = if ipv4 {
        SocketAddr::from((Ipv4Addr::from_bits(ip as u32), port))
    } else {
        SocketAddr::from((Ipv6Addr::from_bits(ip), port))
    };
    let arrival = Arrival { source, alternates: alternates(addresses, source) };
    let mut with_fingerprint = Vec::new();
    let datagram = match Message::parse(datagram) {
        Ok(message) if fingerprinted && datagram.len() < 4096 => {
            let request = MessageType::BINDING_REQUEST;
            let writer = MessageWriter::new(&mut with_fingerprint, request, message.transaction_id());
            message
                .attributes()
                .filter(|attribute| attribute.kind != AttributeType::FINGERPRINT)
                .fold(writer, |writer, attribute| writer.attribute(attribute.kind, attribute.value))
                .finish_with_fingerprint()
        }
        _ => datagram,
    };

    for profile in [Profile::Open, Profile::Tailscale] {
        for rfc3489 in [false, true] {
            check(&Responder::new(Options { profile, rfc3489 }), datagram, &arrival);
        }
    }
});

fn alternates(addresses: u8, source: SocketAddr) -> Option<Alternates> {
    let [first, second] = if source.ip().to_canonical().is_ipv4() {
        [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]
    } else {
        [IpAddr::from([0x2001, 0xDB8, 0, 0, 0, 0, 0, 1]), IpAddr::from([0x2001, 0xDB8, 0, 0, 0, 0, 0, 2])]
    };
    let asked = SocketAddr::new(first, 3478);
    match addresses % 3 {
        0 => None,
        1 => Some(Alternates { asked, other_port: 3479, other_ip: None }),
        _ => Some(Alternates { asked, other_port: 3479, other_ip: Some(second) }),
    }
}

fn check(responder: &Responder, datagram: &[u8], arrival: &Arrival) {
    let (mut answer, mut second) = (Vec::new(), Vec::new());
    let strict = STRICT.with_borrow_mut(|strict| responder.answer(datagram, arrival, strict, &mut answer));
    if let Some(reply) = reply(strict) {
        assert_eq!(reply.len, answer.len());
        assert!(answer.len() * 10 <= datagram.len() * 11, "{} bytes for {}", answer.len(), datagram.len());
    }

    let aimless = AIMLESS.with_borrow_mut(|aimless| responder.answer(datagram, arrival, aimless, &mut answer));
    if let Some(reply) = reply(aimless) {
        assert_eq!((reply.len, reply.from, reply.to), (answer.len(), Origin::ASKED, arrival.source));
        assert!(answer.len() <= datagram.len() * 3, "{} bytes for {}", answer.len(), datagram.len());
    }

    let mut open = Budgets::new(Limits::NONE, 1, Instant::now());
    let outcome = responder.answer(datagram, arrival, &mut open, &mut answer);
    if let Some(reply) = reply(outcome) {
        assert_eq!(reply.len, answer.len());
        assert!(answer.len() <= datagram.len().max(TOLD_BYTES_MAX));
        assert_eq!(answer[4..20], datagram[4..20]);
        assert_eq!(reply.to.ip(), arrival.source.ip());
        let is_detour = reply.from != Origin::ASKED || reply.to != arrival.source;
        match arrival.alternates {
            None => assert!(!is_detour && answer.len() <= 56),
            Some(alternates) => assert!(!reply.from.other_ip || alternates.other_ip.is_some()),
        }
        match outcome {
            Outcome::Answer(_) => check_success(&answer, arrival.source),
            _ => assert!(!is_detour, "an error goes back the way the request came"),
        }
        let again = responder.answer(&answer, arrival, &mut open, &mut second);
        assert!(matches!(again, Outcome::Silence(RefusalReason::NotRequest | RefusalReason::NoCookie)));
    }

    let over_tcp = responder.answer_stream(datagram, arrival.source, arrival.alternates, &mut answer);
    if let Some(reply) = reply(over_tcp) {
        assert_eq!(reply, Reply { len: answer.len(), from: Origin::ASKED, to: arrival.source });
        assert!(answer.len() <= TOLD_BYTES_MAX);
    }
}

fn reply(outcome: Outcome) -> Option<Reply> {
    match outcome {
        Outcome::Answer(reply) | Outcome::Error(reply, _) => Some(reply),
        Outcome::Silence(_) => None,
    }
}

/// Whoever is answered learns where it is.
fn check_success(answer: &[u8], source: SocketAddr) {
    let message = Message::parse_rfc3489(answer).expect("clients read our answers");
    let xored = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(xored.is_none(), message.is_rfc3489());
    let mapped = match xored {
        Some(attribute) => message.xor_address(attribute),
        None => message.attribute(AttributeType::MAPPED_ADDRESS).and_then(|told| message.plain_address(told)),
    };
    assert_eq!(mapped, Some(SocketAddr::new(source.ip().to_canonical(), source.port())));
}
