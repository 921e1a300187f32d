//! Any datagram from any source, to either profile: bounded answers that are never answered. The FINGERPRINT
//! is made right half of the time, or the fuzzer would seldom get past it.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ferry_stun::client::BindingResponse;
use ferry_stun::{AttributeType, Message, MessageWriter, Outcome, Profile, RefusalReason, Responder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, u128, u16, &[u8])| {
    let (ipv4, fingerprinted, ip, port, datagram) = input;
    let source = if ipv4 {
        SocketAddr::from((Ipv4Addr::from_bits(ip as u32), port))
    } else {
        SocketAddr::from((Ipv6Addr::from_bits(ip), port))
    };
    let mut with_fingerprint = Vec::new();
    let datagram = match Message::parse(datagram) {
        Ok(message) if fingerprinted && datagram.len() < 2048 => {
            let request = ferry_stun::MessageType::BINDING_REQUEST;
            let writer = MessageWriter::new(&mut with_fingerprint, request, message.transaction_id());
            message
                .attributes()
                .filter(|attribute| attribute.kind != AttributeType::FINGERPRINT)
                .fold(writer, |writer, attribute| writer.attribute(attribute.kind, attribute.value))
                .finish_with_fingerprint()
        }
        _ => datagram,
    };

    let (mut answer, mut second) = (Vec::new(), Vec::new());
    for profile in [Profile::Open, Profile::Tailscale] {
        let responder = Responder::new(profile);
        let outcome = responder.answer(datagram, source, &mut answer);
        let (len, extra) = match outcome {
            Outcome::Silence(_) => continue,
            Outcome::Answer { len } => {
                let canonical = SocketAddr::new(source.ip().to_canonical(), port);
                let response = BindingResponse::parse(&answer).expect("clients read our answers");
                assert_eq!(response.mapped_address, canonical);
                (len, if canonical.is_ipv4() { 12 } else { 24 })
            }
            Outcome::Error { len, .. } => (len, 12),
        };
        assert_eq!(len, answer.len());
        assert!(len <= datagram.len() + extra && len <= 56);
        let again = responder.answer(&answer, source, &mut second);
        assert_eq!(again, Outcome::Silence(RefusalReason::NotRequest));
    }
});
