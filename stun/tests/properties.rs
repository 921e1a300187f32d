//! What holds for every datagram.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use common::{TRANSACTION, hex, message, one_address, two_addresses};
use ferry_stun::client::BindingResponse;
use ferry_stun::{
    ANSWER_BYTES_MAX, Arrival, AttributeType, Budgets, Class, Limits, Message, MessageWriter, Options,
    Origin, Outcome, Profile, RefusalReason, Reply, Responder,
};
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
        // CHANGE-REQUEST and RESPONSE-PORT.
        1 => (0..8_u8).prop_map(|bits| vec![0, 0, 0, bits]),
        1 => any::<[u8; 2]>().prop_map(Vec::from),
        1 => prop::collection::vec(Just(0), 0..1600),
    ];
    let attributes = prop::collection::vec((kind, value), 0..12);
    (message_type, attributes, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(message_type, attributes, fingerprint, rfc3489)| {
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
            if rfc3489 {
                bytes[4] ^= 0xFF;
            }
            bytes
        },
    )
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

/// From anywhere, to a server that has no alternate, another port, or another address too.
fn arrival() -> impl Strategy<Value = Arrival> {
    let source = (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    (source, 0..3).prop_map(|(source, addresses)| {
        let alternates = match addresses {
            0 => None,
            1 => Some(one_address(source)),
            _ => Some(two_addresses(source)),
        };
        Arrival { source, alternates }
    })
}

fn options() -> impl Strategy<Value = Options> {
    let profile = prop_oneof![4 => Just(Profile::Open), 1 => Just(Profile::Tailscale)];
    (profile, any::<bool>()).prop_map(|(profile, rfc3489)| Options { profile, rfc3489 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The rule, exact: without a surplus budget nothing that anybody sends gets more than 1.1 times itself,
    /// whatever the server has and does.
    #[test]
    fn without_surplus_no_answer_exceeds_its_request_by_more_than_a_tenth(
        datagram in datagram(), arrival in arrival(), options in options(),
    ) {
        let limits = Limits { surplus_bytes_per_second: Some(0), ..Limits::default() };
        let (outcome, answer) = common::ask(options, &datagram, &arrival, limits);
        if let Outcome::Answer(reply) | Outcome::Error(reply, _) = outcome {
            prop_assert_eq!(reply.len, answer.len());
            prop_assert!(answer.len() * 10 <= datagram.len() * 11, "{} for {}", answer.len(), datagram.len());
        }
    }

    /// Nor without a budget of redirected answers more than 3 times itself, however large its surplus may be:
    /// nobody can be flooded with what others ask in his name.
    #[test]
    fn without_redirects_no_answer_exceeds_three_times_its_request(
        datagram in datagram(), arrival in arrival(), options in options(),
    ) {
        let limits = Limits { redirects_per_second: Some(0), ..Limits::NONE };
        let (outcome, answer) = common::ask(options, &datagram, &arrival, limits);
        if let Outcome::Answer(reply) | Outcome::Error(reply, _) = outcome {
            prop_assert_eq!(reply.len, answer.len());
            prop_assert!(answer.len() <= datagram.len() * 3, "{} for {}", answer.len(), datagram.len());
        }
    }

    /// With one, exactly what exceeds is taken from it: what is left is enough for that much less.
    #[test]
    fn the_surplus_budget_pays_for_what_exceeds(
        datagram in datagram(), arrival in arrival(), options in options(),
    ) {
        let budget = 10_000;
        let limits = Limits { surplus_bytes_per_second: Some(budget), ..Limits::NONE };
        let mut budgets = Budgets::new(limits, 1, Instant::now());
        let mut answer = Vec::new();
        let outcome = Responder::new(options).answer(&datagram, &arrival, &mut budgets, &mut answer);
        let exceeding = match outcome {
            Outcome::Answer(reply) | Outcome::Error(reply, _) => reply.len.saturating_sub(datagram.len() * 11 / 10),
            Outcome::Silence(_) => 0,
        };
        let left = budget as usize - exceeding;
        prop_assert!(!budgets.take_surplus(arrival.source.ip(), left + 1));
        prop_assert!(budgets.take_surplus(arrival.source.ip(), left));
    }

    /// The strict profile needs no budget: at most 44 bytes for 40.
    #[test]
    fn the_tailscale_profile_answers_with_at_most_a_tenth_more(datagram in datagram(), arrival in arrival()) {
        let options = Options { profile: Profile::Tailscale, rfc3489: true };
        match common::ask(options, &datagram, &arrival, Limits::NONE).0 {
            Outcome::Answer(reply) => prop_assert!(reply.len * 10 <= datagram.len() * 11),
            Outcome::Error(..) => prop_assert!(false, "derper sends no errors"),
            Outcome::Silence(_) => {}
        }
    }

    /// Whatever is told and padded: never larger than the request, or than what has to be told.
    #[test]
    fn every_answer_is_bounded(datagram in datagram(), arrival in arrival(), options in options()) {
        let (outcome, answer) = common::ask(options, &datagram, &arrival, Limits::NONE);
        if let Outcome::Answer(_) | Outcome::Error(..) = outcome {
            // Header, four IPv6 addresses, FINGERPRINT.
            let told_bytes_max = 20 + 4 * 24 + 8;
            prop_assert!(answer.len() <= datagram.len().max(told_bytes_max));
            prop_assert!(answer.len() <= ANSWER_BYTES_MAX);
        }
        if arrival.alternates.is_none() {
            prop_assert!(answer.len() <= 56);
        }
    }

    /// Nobody can aim: an answer goes back to the source's address and leaves from where it was asked,
    /// unless the server has alternates, and there is a budget for the detour.
    #[test]
    fn answers_take_no_detour_without_alternates_or_budget(
        datagram in datagram(), arrival in arrival(), options in options(), limited in any::<bool>(),
    ) {
        let redirects_per_second = limited.then_some(0);
        let (outcome, _) =
            common::ask(options, &datagram, &arrival, Limits { redirects_per_second, ..Limits::NONE });
        let (Outcome::Answer(reply) | Outcome::Error(reply, _)) = outcome else { return Ok(()) };
        prop_assert_eq!(reply.to.ip(), arrival.source.ip());
        prop_assert!(!(reply.from.other_ip && arrival.alternates.is_none_or(|all| all.other_ip.is_none())));
        if limited || arrival.alternates.is_none() || matches!(outcome, Outcome::Error(..)) {
            prop_assert_eq!((reply.from, reply.to), (Origin::ASKED, arrival.source));
        }
    }

    /// Two servers cannot loop.
    #[test]
    fn an_answer_is_never_answered(datagram in datagram(), arrival in arrival(), options in options()) {
        let (outcome, answer) = common::ask(options, &datagram, &arrival, Limits::NONE);
        if let Outcome::Silence(_) = outcome {
            return Ok(());
        }
        let (outcome, _) = common::ask(options, &answer, &arrival, Limits::NONE);
        let expected = Outcome::Silence(RefusalReason::NotRequest);
        // A server that lets no RFC 3489 clients in does not get as far as the class.
        prop_assert!(outcome == expected || outcome == Outcome::Silence(RefusalReason::NoCookie), "{:?}", outcome);
        prop_assert!(outcome == expected || !options.rfc3489);
    }

    /// Whatever is answered with success tells the client where it is.
    #[test]
    fn a_success_carries_the_source(datagram in datagram(), arrival in arrival(), options in options()) {
        let (outcome, answer) = common::ask(options, &datagram, &arrival, Limits::NONE);
        let Outcome::Answer(_) = outcome else { return Ok(()) };
        let response = Message::parse_rfc3489(&answer).expect("an answer");
        prop_assert_eq!(&answer[4..20], &datagram[4..20]);
        let xored = response.attribute(AttributeType::XOR_MAPPED_ADDRESS);
        let plain = response.attribute(AttributeType::MAPPED_ADDRESS);
        let told = xored
            .map(|attribute| response.xor_address(attribute))
            .or_else(|| plain.map(|attribute| response.plain_address(attribute)));
        let canonical = SocketAddr::new(arrival.source.ip().to_canonical(), arrival.source.port());
        prop_assert_eq!(told, Some(Some(canonical)));
        prop_assert_eq!(xored.is_none(), response.is_rfc3489());
    }

    /// Over a stream: no more panics than over UDP, and never a detour.
    #[test]
    fn a_stream_is_answered_where_it_came_from(datagram in datagram(), arrival in arrival(), options in options()) {
        let mut out = Vec::new();
        let outcome =
            Responder::new(options).answer_stream(&datagram, arrival.source, arrival.alternates, &mut out);
        if let Outcome::Answer(reply) | Outcome::Error(reply, _) = outcome {
            prop_assert_eq!(reply, Reply { len: out.len(), from: Origin::ASKED, to: arrival.source });
            prop_assert!(Message::parse(&out).is_ok_and(|answer| !answer.is_rfc3489()));
        }
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
    let (_, out) =
        common::answer(Profile::Open, &message(0x0001, &attributes), common::address("192.0.2.1:1"));
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
