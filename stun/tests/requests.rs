//! The table of requests, through the responder alone; `server.rs` asks the same over loopback.

mod common;

use std::net::SocketAddr;

use common::requests::{Case, Expected, cases, cases_with, check_answer, check_told};
use common::{address, ask, one_address, request, two_addresses};
use ferry_stun::{
    Alternates, Arrival, Class, Limits, Message, Options, Origin, Outcome, Profile, RefusalReason, Reply,
    Responder,
};

const SOURCES: [&str; 3] = ["203.0.113.7:41641", "[2001:db8::7]:41641", "[::ffff:203.0.113.7]:41641"];

#[test]
fn the_responder_answers_each_request_as_it_must() {
    assert_eq!(cases().len(), 26);
    for source in SOURCES.map(address) {
        for case in cases() {
            check(&case, Options::default(), &Arrival::from(source));
        }
    }
}

#[test]
fn a_server_with_alternates_answers_each_request_as_it_must() {
    for source in SOURCES.map(address) {
        for alternates in [two_addresses(source), one_address(source)] {
            let cases = cases_with(&alternates);
            assert_eq!(cases.len(), 26);
            for case in cases {
                check(&case, Options::default(), &Arrival { source, alternates: Some(alternates) });
            }
        }
    }
}

/// The flag lets old clients in and changes nothing for others.
#[test]
fn rfc3489_changes_one_line_of_the_table() {
    let options = Options { rfc3489: true, ..Options::default() };
    for source in SOURCES.map(address) {
        for alternates in [None, Some(two_addresses(source)), Some(one_address(source))] {
            let arrival = Arrival { source, alternates };
            for case in alternates.as_ref().map_or_else(cases, cases_with) {
                if case.name != "no cookie (RFC 3489)" {
                    check(&case, options, &arrival);
                    continue;
                }
                let (outcome, out) = ask(options, &case.request, &arrival, Limits::default());
                assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
                assert_eq!(out[4..20], case.request[4..20]);
            }
        }
    }
}

/// derper's half of the table: one line is answered, whatever else the server could do.
#[test]
fn the_tailscale_profile_answers_one_line_of_the_table() {
    for source in SOURCES.map(address) {
        for alternates in [None, Some(two_addresses(source))] {
            let options = Options { profile: Profile::Tailscale, rfc3489: true };
            let answered: Vec<_> = cases()
                .into_iter()
                .filter(|case| {
                    let (outcome, _) =
                        ask(options, &case.request, &Arrival { source, alternates }, Limits::default());
                    !matches!(outcome, Outcome::Silence(_))
                })
                .map(|case| case.name)
                .collect();
            assert_eq!(answered, ["tailnode and FINGERPRINT"]);
        }
    }
}

/// Over TCP the same requests get the same, but for what only datagrams can do.
#[test]
fn a_stream_is_answered_as_it_must_be() {
    for source in SOURCES.map(address) {
        for alternates in [None, Some(two_addresses(source)), Some(one_address(source))] {
            for mut case in alternates.as_ref().map_or_else(cases, cases_with) {
                let is_for_datagrams = ["CHANGE-REQUEST", "RESPONSE-PORT", "PADDING"]
                    .iter()
                    .any(|word| case.name.contains(word));
                if alternates.is_some() && is_for_datagrams && case.name != "CHANGE-REQUEST nothing" {
                    case.expected = Expected::BadRequest;
                }
                let mut out = Vec::new();
                let responder = Responder::new(Options { rfc3489: true, ..Options::default() });
                let outcome = responder.answer_stream(&case.request, source, alternates, &mut out);
                check_outcome(&case, outcome, &out, source, alternates);
            }
        }
    }
}

#[test]
fn the_tailscale_profile_holds_for_streams() {
    let responder = Responder::new(Options { profile: Profile::Tailscale, rfc3489: false });
    let source = address("203.0.113.7:41641");
    let mut answered = Vec::new();
    for case in cases() {
        let outcome = responder.answer_stream(&case.request, source, None, &mut Vec::new());
        if !matches!(outcome, Outcome::Silence(_)) {
            answered.push(case.name);
        }
    }
    assert_eq!(answered, ["tailnode and FINGERPRINT"]);
}

/// Whoever has shaken hands is where it says, so it may have any port and any number of answers.
#[test]
fn a_stream_needs_no_budget_and_no_believable_port() {
    let mut out = Vec::new();
    for _ in 0..10_000 {
        let source = address("203.0.113.7:53");
        let outcome =
            Responder::default().answer_stream(&request(&[]), source, Some(two_addresses(source)), &mut out);
        assert!(
            matches!(outcome, Outcome::Answer(Reply { len: 68, from: Origin::ASKED, .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(Message::parse(&out).expect("an answer").class(), Class::Success);
}

fn check(case: &Case, options: Options, arrival: &Arrival) {
    let (outcome, out) = ask(options, &case.request, arrival, Limits::default());
    check_outcome(case, outcome, &out, arrival.source, arrival.alternates);
}

fn check_outcome(
    case: &Case,
    outcome: Outcome,
    out: &[u8],
    source: SocketAddr,
    alternates: Option<Alternates>,
) {
    let name = case.name;
    let reply = match (outcome, &case.expected) {
        (Outcome::Silence(reason), expected) => {
            return assert_eq!(*expected, Expected::Silence(reason), "{name}");
        }
        (Outcome::Error(reply, RefusalReason::UnknownAttribute), Expected::Unknown(_))
        | (Outcome::Error(reply, RefusalReason::BadRequest), Expected::BadRequest)
        | (Outcome::Answer(reply), _) => reply,
        (Outcome::Error(_, reason), expected) => panic!("{name}: {reason:?} instead of {expected:?}"),
    };
    assert_eq!(reply.len, out.len(), "{name}");
    check_answer(name, &case.expected, out, source);
    let (from, port) = match (&case.expected, alternates) {
        (Expected::Told(told), Some(alternates)) => {
            check_told(name, told, out, &alternates);
            (told.from, told.port.unwrap_or_else(|| source.port()))
        }
        _ => (Origin::ASKED, source.port()),
    };
    assert_eq!((reply.from, reply.to), (from, SocketAddr::new(source.ip(), port)), "{name}");
}
