//! What RFC 5780 adds to a server with alternates, and what it may cost.

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{address, ask, hex, one_address, request, request_with_fingerprint, two_addresses};
use ferry_stun::{
    Arrival, AttributeType, Budgets, Limits, Message, Options, Origin, Outcome, Profile, RefusalReason,
    Responder,
};

const CHANGE_REQUEST: u16 = 0x0003;
const PADDING: u16 = 0x0026;
const RESPONSE_PORT: u16 = 0x0027;

const NO_SURPLUS: Limits =
    Limits { requests_per_second: None, surplus_bytes_per_second: Some(0), redirects_per_second: None };

fn arrival(source: &str) -> Arrival {
    let source = address(source);
    Arrival { source, alternates: Some(two_addresses(source)) }
}

fn answer(request: &[u8]) -> (Outcome, Vec<u8>) {
    ask(Options::default(), request, &arrival("203.0.113.7:41641"), Limits::default())
}

fn kinds(answer: &[u8]) -> Vec<u16> {
    Message::parse(answer).expect("an answer").attributes().map(|attribute| attribute.kind.number()).collect()
}

/// 203.0.113.7:41641 at 192.0.2.1:3478, answered from 192.0.2.2:3479.
#[test]
fn the_bytes_of_a_full_answer() {
    let (outcome, out) = answer(&request(&[(CHANGE_REQUEST, &[0, 0, 0, 6])]));
    assert!(
        matches!(outcome, Outcome::Answer(reply) if reply.from == Origin { other_ip: true, other_port: true })
    );
    let expected = [
        "010100302112a4420102030405060708090a0b0c",
        "00200008000183bbea12d545",
        "000100080001a2a9cb007107",
        "802b000800010d97c0000202",
        "802c000800010d97c0000202",
    ];
    assert_eq!(out, hex(&expected.concat()));
}

#[test]
fn the_other_address_is_only_told_of_if_there_is_one() {
    let source = address("203.0.113.7:41641");
    let arrival = Arrival { source, alternates: Some(one_address(source)) };
    let (_, out) = ask(Options::default(), &request(&[]), &arrival, Limits::default());
    assert_eq!(kinds(&out), [0x0020, 0x0001, 0x802B]);
    // With a second port only, an answer from there is possible, and one from elsewhere is not silence.
    let (outcome, out) =
        ask(Options::default(), &request(&[(CHANGE_REQUEST, &[0, 0, 0, 2])]), &arrival, Limits::default());
    assert!(
        matches!(outcome, Outcome::Answer(reply) if reply.from == Origin { other_ip: false, other_port: true })
    );
    let message = Message::parse(&out).expect("an answer");
    let origin =
        message.attribute(AttributeType::RESPONSE_ORIGIN).and_then(|told| message.plain_address(told));
    assert_eq!(origin, Some(address("192.0.2.1:3479")));
    let (outcome, out) =
        ask(Options::default(), &request(&[(CHANGE_REQUEST, &[0, 0, 0, 6])]), &arrival, Limits::default());
    assert!(
        matches!(outcome, Outcome::Error(reply, RefusalReason::UnknownAttribute) if reply.from == Origin::ASKED)
    );
    assert_eq!(out[20..], hex("0009000400000414000a000200030000"));
}

#[test]
fn unknown_attributes_are_refused_before_wishes_are_looked_at() {
    let (outcome, out) = answer(&request(&[(CHANGE_REQUEST, &[]), (0x7777, b"")]));
    assert!(matches!(outcome, Outcome::Error(_, RefusalReason::UnknownAttribute)), "{outcome:?}");
    assert_eq!(out[28..], hex("000a000277770000"));
}

#[test]
fn wishes_of_a_wrong_form_are_refused() {
    let port = |port: u16| port.to_be_bytes();
    for attributes in [
        &[(CHANGE_REQUEST, &b""[..])][..],
        &[(CHANGE_REQUEST, &[0, 0, 0, 6, 0])],
        &[(RESPONSE_PORT, b"")],
        &[(RESPONSE_PORT, &[16, 0, 0])],
        &[(RESPONSE_PORT, &[16, 0, 0, 0, 0])],
        // No client has these, and what listens there might answer.
        &[(RESPONSE_PORT, &port(0))],
        &[(RESPONSE_PORT, &port(53))],
        &[(RESPONSE_PORT, &port(123))],
    ] {
        let (outcome, out) = answer(&request(attributes));
        assert!(
            matches!(outcome, Outcome::Error(_, RefusalReason::BadRequest)),
            "{attributes:?} {outcome:?}"
        );
        assert_eq!(out[20..], hex("0009000400000400"));
    }
}

/// stuntman sends this 400 to the response port.
#[test]
fn a_refusal_goes_to_the_source_whatever_was_wished() {
    let (outcome, _) =
        answer(&request(&[(CHANGE_REQUEST, &[0, 0, 0, 6]), (PADDING, &[0; 8]), (RESPONSE_PORT, &[16, 0])]));
    let Outcome::Error(reply, RefusalReason::BadRequest) = outcome else { panic!("{outcome:?}") };
    assert_eq!((reply.from, reply.to), (Origin::ASKED, address("203.0.113.7:41641")));
}

#[test]
fn an_answer_can_leave_from_elsewhere_and_go_elsewhere() {
    let (outcome, _) = answer(&request(&[(CHANGE_REQUEST, &[0, 0, 0, 4]), (RESPONSE_PORT, &[16, 0])]));
    let Outcome::Answer(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply.from, Origin { other_ip: true, other_port: false });
    assert_eq!(reply.to, address("203.0.113.7:4096"));
}

#[test]
fn only_the_first_of_two_wishes_counts() {
    let (outcome, _) = answer(&request(&[(RESPONSE_PORT, &[16, 0]), (RESPONSE_PORT, &[32, 0])]));
    assert!(matches!(outcome, Outcome::Answer(reply) if reply.to.port() == 4096), "{outcome:?}");
}

#[test]
fn padding_fills_the_answer_up_to_the_request_and_no_further() {
    for source in ["203.0.113.7:41641", "[2001:db8::7]:41641"] {
        for length in (0..400).chain([1459, 1460, 1500, 1501, 2000, 9000]) {
            let padding = vec![0; length];
            for request in [request(&[(PADDING, &padding)]), request_with_fingerprint(&[(PADDING, &padding)])]
            {
                let (outcome, out) = ask(Options::default(), &request, &arrival(source), Limits::NONE);
                assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
                let addresses = if source.starts_with('[') { 4 * 24 } else { 4 * 12 };
                let told = 20 + addresses + if kinds(&out).contains(&0x8028) { 8 } else { 0 };
                // A multiple of four, so nothing is lost to rounding.
                let expected = request.len().min(told + 4 + 1500);
                assert_eq!(
                    out.len(),
                    if request.len() < told + 4 { told } else { expected },
                    "{length} {source}"
                );
            }
        }
    }
}

/// RFC 5780 section 7.6: with as much as an Ethernet frame holds both ways, both datagrams are fragments.
#[test]
fn padding_of_an_mtu_makes_fragments() {
    let (_, out) = answer(&request(&[(PADDING, &[0; 1500])]));
    assert_eq!(out.len(), 1524);
    assert_eq!(kinds(&out), [0x0020, 0x0001, 0x802B, 0x802C, 0x0026]);
}

#[test]
fn detours_are_limited_by_network_and_others_go_on() {
    let start = Instant::now();
    let mut budgets = Budgets::new(Limits::default(), 1, start);
    let say = |source: &str, attributes: &[(u16, &[u8])], budgets: &mut Budgets| {
        Responder::default().answer(&request(attributes), &arrival(source), budgets, &mut Vec::new())
    };
    let (change, port) = (&[(CHANGE_REQUEST, &[0, 0, 0, 2][..])][..], &[(RESPONSE_PORT, &[16, 0][..])][..]);
    for _ in 0..10 {
        assert!(matches!(say("203.0.113.7:41641", change, &mut budgets), Outcome::Answer(_)));
        assert!(matches!(say("203.0.113.8:41641", port, &mut budgets), Outcome::Answer(_)));
    }
    for detour in [change, port] {
        let outcome = say("203.0.113.9:41641", detour, &mut budgets);
        assert_eq!(outcome, Outcome::Silence(RefusalReason::RedirectRate));
    }
    // What is no detour needs none of it; neither does the port that asked.
    assert!(matches!(say("203.0.113.9:41641", &[], &mut budgets), Outcome::Answer(_)));
    assert!(matches!(say("203.0.113.9:4096", port, &mut budgets), Outcome::Answer(_)));
    assert!(matches!(say("203.0.114.7:41641", change, &mut budgets), Outcome::Answer(_)));
    budgets.advance(start + Duration::from_secs(1));
    assert!(matches!(say("203.0.113.9:41641", change, &mut budgets), Outcome::Answer(_)));
}

#[test]
fn a_detour_is_charged_for_its_surplus_too() {
    let (outcome, _) = ask(
        Options::default(),
        &request(&[(CHANGE_REQUEST, &[0, 0, 0, 2])]),
        &arrival("203.0.113.7:41641"),
        Limits { surplus_bytes_per_second: Some(0), ..Limits::default() },
    );
    // 32 bytes for 28 are too many, too.
    assert_eq!(outcome, Outcome::Silence(RefusalReason::Surplus));
}

/// The address is what everybody came for, so it is the last to go.
#[test]
fn an_answer_shrinks_before_it_is_withheld() {
    let arrival = arrival("203.0.113.7:41641");
    // 20 bytes may get 22: 68 are 46 too many, 32 are 10.
    for (budget, kinds_told) in [
        (46, Some(&[0x0020, 0x0001, 0x802B, 0x802C][..])),
        (45, Some(&[0x0020])),
        (10, Some(&[0x0020])),
        (9, None),
    ] {
        let limits = Limits { surplus_bytes_per_second: Some(budget), ..Limits::NONE };
        let (outcome, out) = ask(Options::default(), &request(&[]), &arrival, limits);
        match kinds_told {
            Some(told) => assert_eq!(kinds(&out), told, "{budget}"),
            None => assert_eq!(outcome, Outcome::Silence(RefusalReason::Surplus), "{budget}"),
        }
    }
    // An answer that shrinks still leaves from where it was wanted from, and keeps its FINGERPRINT.
    let wish = request_with_fingerprint(&[(CHANGE_REQUEST, &[0, 0, 0, 2])]);
    let (outcome, out) = ask(
        Options::default(),
        &wish,
        &arrival,
        Limits { surplus_bytes_per_second: Some(4), ..Limits::NONE },
    );
    assert!(matches!(outcome, Outcome::Answer(reply) if reply.from.other_port), "{outcome:?}");
    assert_eq!((kinds(&out), out.len()), (vec![0x0020, 0x8028], 40));
}

/// Real clients bring 20 bytes and want all there is to tell; so do those who forge a victim's address.
#[test]
fn few_answers_of_more_than_three_times_their_request_go_to_one_network() {
    for (source, neighbour, stranger, full, minimal) in [
        ("203.0.113.7:41641", "203.0.113.8:41641", "203.0.114.7:41641", 68, 32),
        ("[2001:db8::7]:41641", "[2001:db8:0:ff::8]:41641", "[2001:db8:0:100::7]:41641", 116, 44),
    ] {
        let start = Instant::now();
        let mut budgets = Budgets::new(Limits::default(), 1, start);
        let ask = |source: &str, budgets: &mut Budgets| {
            let mut out = Vec::new();
            let outcome = Responder::default().answer(&request(&[]), &arrival(source), budgets, &mut out);
            assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
            out.len()
        };
        for _ in 0..5 {
            assert_eq!([source, neighbour].map(|source| ask(source, &mut budgets)), [full, full]);
        }
        for _ in 0..40 {
            assert_eq!(ask(source, &mut budgets), minimal, "spent");
        }
        assert_eq!(ask(stranger, &mut budgets), full);
        budgets.advance(start + Duration::from_secs(1));
        let sizes: Vec<_> = (0..40).map(|_| ask(neighbour, &mut budgets)).collect();
        assert_eq!(sizes.iter().filter(|size| **size == full).count(), 5, "{sizes:?}");
    }
}

#[test]
fn an_answer_of_three_times_its_request_is_not_large() {
    let none = Limits { redirects_per_second: Some(0), ..Limits::NONE };
    // 68 bytes for 24, over IPv6 116 for 40; a FINGERPRINT makes it 76 for 28, over IPv6 124 for 44.
    for (source, software, expected) in [
        ("203.0.113.7:41641", None, [32, 76]),
        ("203.0.113.7:41641", Some(0), [68, 76]),
        ("[2001:db8::7]:41641", Some(12), [44, 124]),
        ("[2001:db8::7]:41641", Some(16), [116, 124]),
    ] {
        let value = vec![b'x'; software.unwrap_or_default()];
        let attributes: Vec<_> = software.map(|_| (0x8022, &value[..])).into_iter().collect();
        let sizes = [request(&attributes), request_with_fingerprint(&attributes)]
            .map(|request| ask(Options::default(), &request, &arrival(source), none).1.len());
        assert_eq!(sizes, expected, "{source} {software:?}");
    }
}

/// Over IPv6, 28 bytes get 116 from elsewhere: one of the budget, not two.
#[test]
fn a_detour_that_is_large_is_taken_once() {
    let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
    let change = request(&[(CHANGE_REQUEST, &[0, 0, 0, 2])]);
    let mut out = Vec::new();
    for _ in 0..20 {
        let from = arrival("[2001:db8::7]:41641");
        let outcome = Responder::default().answer(&change, &from, &mut budgets, &mut out);
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
        assert_eq!(out.len(), 116);
    }
    let outcome = Responder::default().answer(&change, &arrival("[2001:db8::7]:1"), &mut budgets, &mut out);
    assert_eq!(outcome, Outcome::Silence(RefusalReason::RedirectRate));
}

/// Whose redirected answer is missing believes in a filter; whose large answer is, only knows less.
#[test]
fn large_answers_leave_some_for_detours() {
    let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
    let mut say = |request: &[u8]| {
        let from = arrival("203.0.113.7:41641");
        Responder::default().answer(request, &from, &mut budgets, &mut Vec::new())
    };
    for _ in 0..1000 {
        assert!(matches!(say(&request(&[])), Outcome::Answer(_)), "small or large");
    }
    for _ in 0..10 {
        let outcome = say(&request(&[(CHANGE_REQUEST, &[0, 0, 0, 6])]));
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
    }
}

#[cfg(feature = "partner")]
#[test]
fn the_largest_answer_can_be_forwarded() {
    use ferry_stun::partner::{
        ANSWER_BYTES_MAX, Content, DATAGRAM_BYTES_MAX, Envelope, Forward, PartnerKey, Sealer,
    };

    let wish = request_with_fingerprint(&[(CHANGE_REQUEST, &[0, 0, 0, 6]), (PADDING, &[0; 1600])]);
    let (outcome, answer) =
        ask(Options::default(), &wish, &arrival("[2001:db8::7]:41641"), Limits::default());
    let Outcome::Answer(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!((reply.len, answer.len()), (ANSWER_BYTES_MAX, 1628));

    let sealer = Sealer::new(&PartnerKey::from_bytes([1; 32]).expect("not zero"));
    let envelope = Envelope { unix_millis: 0, from: 1, to: 2, number: 1 };
    let forward = Content::Forward(Forward { to: reply.to, from_port: 3479, answer: &answer });
    let mut datagram = Vec::new();
    sealer.seal(&envelope, &forward, &mut datagram);
    assert_eq!(datagram.len(), DATAGRAM_BYTES_MAX);
    assert_eq!(sealer.open(&datagram), Ok((envelope, forward)));
}

/// A client that brings its own bytes is told everything, by a server that gives none away.
#[test]
fn a_request_that_is_large_enough_needs_no_budget() {
    let padded = request(&[(PADDING, &[0; 64])]);
    let (outcome, out) = ask(Options::default(), &padded, &arrival("203.0.113.7:41641"), NO_SURPLUS);
    assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
    assert_eq!((out.len(), padded.len()), (88, 88));
}

#[test]
fn refusals_are_paid_for_as_answers_are() {
    let unknown = request(&[(0x7777, b"")]);
    let arrival = arrival("203.0.113.7:41641");
    // 24 bytes may get 26; the 420 has 36.
    for (budget, expected) in [(10, None), (9, Some(Outcome::Silence(RefusalReason::Surplus)))] {
        let limits = Limits { surplus_bytes_per_second: Some(budget), ..Limits::NONE };
        let (outcome, _) = ask(Options::default(), &unknown, &arrival, limits);
        match expected {
            Some(expected) => assert_eq!(outcome, expected),
            None => assert!(matches!(outcome, Outcome::Error(..)), "{outcome:?}"),
        }
    }
}

#[test]
fn a_source_beyond_its_requests_is_not_even_read() {
    let limits = Limits { requests_per_second: Some(2), ..Limits::NONE };
    let mut budgets = Budgets::new(limits, 1, Instant::now());
    let mut say = |datagram: &[u8], source: SocketAddr| {
        Responder::default().answer(datagram, &Arrival::from(source), &mut budgets, &mut Vec::new())
    };
    let source = address("203.0.113.7:41641");
    assert_eq!(say(b"junk", source), Outcome::Silence(RefusalReason::Malformed));
    assert!(matches!(say(&request(&[]), source), Outcome::Answer(_)));
    for datagram in [&request(&[])[..], b"junk"] {
        assert_eq!(say(datagram, source), Outcome::Silence(RefusalReason::SourceRate));
    }
    assert!(matches!(say(&request(&[]), address("203.0.113.8:41641")), Outcome::Answer(_)));
}

/// derper's clients are told what derper tells, and nothing that they might misread.
#[test]
fn tailscale_requests_take_no_detour() {
    let wishes = request_with_fingerprint(&[
        (0x8022, b"tailnode"),
        (CHANGE_REQUEST, &[0, 0, 0, 6]),
        (RESPONSE_PORT, &[16, 0]),
    ]);
    for profile in [Profile::Open, Profile::Tailscale] {
        let options = Options { profile, ..Options::default() };
        let (outcome, out) = ask(options, &wishes, &arrival("203.0.113.7:41641"), NO_SURPLUS);
        assert!(matches!(outcome, Outcome::Answer(reply) if reply.from == Origin::ASKED), "{outcome:?}");
        assert_eq!(out, hex("0101000c2112a4420102030405060708090a0b0c00200008000183bbea12d545"));
    }
}
