//! What holds for every datagram.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::{TRANSACTION, hex, message};
use ferry_stun::client::BindingResponse;
use ferry_stun::{AttributeType, Class, Message, MessageWriter, Outcome, Profile, RefusalReason, Responder};
use proptest::prelude::*;
use stun_types::attribute::Attribute as _;

/// Anything at all; mostly refused at once.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1500)
}

/// A well-formed message, most often a Binding request, with attributes known and unknown.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let message_type =
        prop_oneof![8 => Just(0x0001_u16), 1 => 0..0x4000_u16, 1 => Just(0x0101), 1 => Just(0x0111)];
    let kind = prop_oneof![
        4 => prop::sample::select(vec![
            0x0001_u16, 0x0002, 0x0003, 0x0006, 0x0008, 0x0009, 0x0014, 0x001C, 0x0020, 0x0026, 0x0027, 0x8022, 0x8028,
        ]),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"tailnode".to_vec()),
        1 => Just(vec![0; 4]),
    ];
    let attributes = prop::collection::vec((kind, value), 0..12);
    (message_type, attributes, any::<bool>()).prop_map(|(message_type, attributes, fingerprint)| {
        let message_type = ferry_stun::MessageType::from_bits(message_type).expect("below 0x4000");
        let mut bytes = Vec::new();
        let writer = attributes
            .iter()
            .fold(MessageWriter::new(&mut bytes, message_type, TRANSACTION), |writer, (kind, value)| {
                writer.attribute(AttributeType::new(*kind), value)
            });
        if fingerprint {
            writer.finish_with_fingerprint();
        } else {
            writer.finish();
        }
        bytes
    })
}

/// A well-formed message with a few bytes changed and its end cut or extended.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (well_formed(), changes, 0..8_usize, prop::collection::vec(any::<u8>(), 0..8)).prop_map(
        |(mut bytes, changes, cut, tail)| {
            for (at, to) in changes {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            bytes.truncate(bytes.len() - cut);
            bytes.extend(tail);
            bytes
        },
    )
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => noise(), 3 => well_formed(), 3 => damaged()]
}

fn source() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// The bound on reflection. The worst case over IPv4 is the bare request, 20 bytes for 32 (1.6), and
    /// over IPv6 the same, 20 for 44 (2.2): deliberate, every client in the world sends it.
    #[test]
    fn no_answer_is_much_larger_than_its_request(datagram in datagram(), source in source()) {
        let mut answer = Vec::new();
        let outcome = Responder::new(Profile::Open).answer(&datagram, source, &mut answer);
        let (len, extra) = match outcome {
            Outcome::Answer { len } if source.ip().to_canonical().is_ipv4() => (len, 12),
            Outcome::Answer { len } => (len, 24),
            // A 420 holds no address.
            Outcome::Error { len, .. } => (len, 12),
            Outcome::Silence(_) => return Ok(()),
        };
        prop_assert_eq!(len, answer.len());
        prop_assert!(len <= datagram.len() + extra);
        prop_assert!(len * 5 <= datagram.len() * 11, "factor 2.2");
        prop_assert!(len <= 56);
    }

    /// The strict profile reflects next to nothing: at most 44 bytes for 40.
    #[test]
    fn the_tailscale_profile_answers_with_at_most_a_tenth_more(datagram in datagram(), source in source()) {
        let mut answer = Vec::new();
        match Responder::new(Profile::Tailscale).answer(&datagram, source, &mut answer) {
            Outcome::Answer { len } => prop_assert!(len * 10 <= datagram.len() * 11),
            Outcome::Error { .. } => prop_assert!(false, "derper sends no errors"),
            Outcome::Silence(_) => {}
        }
    }

    /// Two servers cannot loop.
    #[test]
    fn an_answer_is_never_answered(datagram in datagram(), source in source()) {
        let responder = Responder::new(Profile::Open);
        let (mut answer, mut second) = (Vec::new(), Vec::new());
        if let Outcome::Silence(_) = responder.answer(&datagram, source, &mut answer) {
            return Ok(());
        }
        let outcome = responder.answer(&answer, source, &mut second);
        prop_assert_eq!(outcome, Outcome::Silence(RefusalReason::NotRequest));
    }

    /// Whatever is answered with success tells the client where it is.
    #[test]
    fn a_success_carries_the_source(datagram in datagram(), source in source()) {
        let mut answer = Vec::new();
        let outcome = Responder::new(Profile::Open).answer(&datagram, source, &mut answer);
        let Outcome::Answer { .. } = outcome else { return Ok(()) };
        let request = Message::parse(&datagram).expect("it was answered");
        let response = BindingResponse::parse_for(&answer, request.transaction_id());
        let canonical = SocketAddr::new(source.ip().to_canonical(), source.port());
        prop_assert_eq!(response.map(|response| response.mapped_address), Ok(canonical));
    }

    /// A client reads hostile answers without harm.
    #[test]
    fn clients_survive_any_answer(datagram in datagram()) {
        if let Ok(response) = BindingResponse::parse(&datagram) {
            prop_assert!(!matches!(response.mapped_address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()));
            prop_assert_eq!(BindingResponse::parse_for(&datagram, response.transaction_id), Ok(response));
        }
    }

    /// A second opinion: what we take for a message, an independent codec takes for the same message.
    #[test]
    fn an_independent_codec_agrees_on_what_parses(datagram in datagram()) {
        let Ok(ours) = Message::parse(&datagram) else { return Ok(()) };
        let theirs = stun_types::message::Message::from_bytes(&datagram);
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(error) => return Err(TestCaseError::fail(format!("refused: {error}"))),
        };
        prop_assert_eq!(ours.class() == Class::Request, theirs.has_class(stun_types::message::MessageClass::Request));
        prop_assert_eq!(u128::from(theirs.transaction_id()).to_be_bytes()[4..].to_vec(), ours.transaction_id().as_bytes().to_vec());
        let theirs: Vec<_> = theirs.iter_attributes().map(|(_, raw)| (raw.get_type().value(), raw.value.to_vec())).collect();
        let ours: Vec<_> = ours.attributes().map(|attribute| (attribute.kind.number(), attribute.value.to_vec())).collect();
        // After the integrity attributes the two skip differently; up to there they agree.
        let sealed = |attributes: &[(u16, Vec<u8>)]| {
            let end = attributes.iter().position(|(kind, _)| matches!(kind, 0x0008 | 0x001C));
            attributes[..end.unwrap_or(attributes.len())].to_vec()
        };
        prop_assert_eq!(sealed(&ours), sealed(&theirs));
    }
}

#[test]
fn attributes_after_the_integrity_do_not_count() {
    let bytes = message(
        0x0001,
        &[(0x0008, &[0; 20]), (0x7777, b""), (0x001C, &[0; 32]), (0x0008, &[1; 20]), (0x8022, b"late")],
    );
    let parsed = Message::parse(&bytes).expect("valid");
    let kinds: Vec<_> = parsed.attributes().map(|attribute| attribute.kind.number()).collect();
    assert_eq!(kinds, [0x0008, 0x001C]);
}

#[test]
fn the_first_of_duplicates_counts() {
    let bytes = message(0x0001, &[(0x8022, b"first"), (0x8022, b"second")]);
    let parsed = Message::parse(&bytes).expect("valid");
    assert_eq!(parsed.attribute(AttributeType::SOFTWARE).expect("there").value, b"first");
}

#[test]
fn a_420_names_at_most_eight_and_each_once() {
    let kinds: Vec<u16> = (0x7000..0x7014).flat_map(|kind| [kind, kind]).collect();
    let attributes: Vec<(u16, &[u8])> = kinds.iter().map(|kind| (*kind, &b""[..])).collect();
    let mut out = Vec::new();
    let source = common::address("192.0.2.1:1");
    Responder::default().answer(&message(0x0001, &attributes), source, &mut out);
    assert_eq!(out[28..], hex("000a001070007001700270037004700570067007"));
}

#[test]
fn clients_read_every_form_of_the_address() {
    let xored = hex("000183bbea12d545");
    let plain = hex("0001a2a9cb007107");
    let other = hex("0001a2a9cb007108");
    let parse = |attributes: &[(u16, &[u8])]| {
        BindingResponse::parse(&message(0x0101, attributes))
            .map(|response| response.mapped_address.to_string())
    };
    let expected = Ok("203.0.113.7:41641".to_owned());
    assert_eq!(parse(&[(0x0020, &xored)]), expected);
    assert_eq!(parse(&[(0x8020, &xored)]), expected);
    assert_eq!(parse(&[(0x0001, &plain)]), expected);
    // MAPPED-ADDRESS is what a middlebox may have rewritten: it only counts alone.
    assert_eq!(parse(&[(0x0001, &other), (0x0020, &xored)]), expected);
    assert_eq!(parse(&[(0x0001, &other), (0x8020, &xored)]), expected);
    // Bytes after the message, and attributes of no use to a client.
    let mut tail = message(0x0101, &[(0x8022, b"server"), (0x0020, &xored)]);
    tail.push(0);
    assert!(BindingResponse::parse(&tail).is_ok());
    // derper on a dual-stack socket: family 2 with a mapped address.
    let mapped = "000283bb2112a442010203040506f8f7c20a7a0b";
    let mapped = BindingResponse::parse(&message(0x0101, &[(0x0020, &hex(mapped))])).expect("valid");
    assert!(mapped.mapped_address.is_ipv4(), "{}", mapped.mapped_address);
}

#[test]
fn clients_refuse_what_is_no_answer() {
    let xored = hex("000183bbea12d545");
    let refused = |datagram: &[u8]| {
        BindingResponse::parse_for(datagram, TRANSACTION).expect_err("no answer").to_string()
    };
    assert!(refused(&message(0x0001, &[])).contains("class Request"));
    assert!(refused(&message(0x0103, &[(0x0020, &xored)])).contains("not a response to a binding request"));
    assert_eq!(refused(&message(0x0101, &[])), "success response carries no mapped address");
    assert_eq!(
        refused(&message(0x0101, &[(0x0020, &xored[..7])])),
        "success response carries no mapped address"
    );
    assert_eq!(refused(&message(0x0111, &[])), "error response carries no ERROR-CODE");
    assert!(refused(b"junk").contains("not a STUN message"));
    let mut late = message(0x0101, &[(0x0020, &xored)]);
    late[19] ^= 1;
    assert!(refused(&late).contains("answer is to"));
}
