//! Clients of before 2008: no cookie, 16 bytes of transaction ID, addresses in the clear.

mod common;

use std::time::Instant;

use common::{address, ask, hex, one_address, two_addresses};
use ferry_stun::{
    Alternates, Arrival, Budgets, Limits, Options, Origin, Outcome, Profile, RefusalReason, Responder,
};

const LET_IN: Options = Options { profile: Profile::Open, rfc3489: true };

/// Two transaction IDs; the second begins as a cookie does, but for a bit.
const TRANSACTIONS: [&str; 2] = ["00112233445566778899aabbccddeeff", "2112a4430102030405060708090a0b0c"];

/// A Binding request of RFC 3489 with these attributes, in hex.
fn request(transaction: &str, attributes: &str) -> Vec<u8> {
    hex(&format!("0001{:04x}{transaction}{attributes}", attributes.len() / 2))
}

fn arrival(alternates: Option<Alternates>) -> Arrival {
    Arrival { source: address("203.0.113.7:41641"), alternates }
}

#[test]
fn they_are_let_in_only_by_the_flag() {
    for options in [Options::default(), Options { profile: Profile::Tailscale, rfc3489: true }] {
        let (outcome, _) = ask(options, &request(TRANSACTIONS[0], ""), &arrival(None), Limits::default());
        let reason = if options.rfc3489 { RefusalReason::NotTailscale } else { RefusalReason::NoCookie };
        assert_eq!(outcome, Outcome::Silence(reason));
    }
}

#[test]
fn they_are_told_their_address_in_the_clear() {
    for transaction in TRANSACTIONS {
        let (outcome, out) = ask(LET_IN, &request(transaction, ""), &arrival(None), Limits::default());
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
        assert_eq!(out, hex(&format!("0101000c{transaction}000100080001a2a9cb007107")));
    }
}

#[test]
fn they_are_told_of_the_servers_addresses() {
    let alternates = two_addresses(address("203.0.113.7:41641"));
    for (bits, from, source) in [
        ("00000000", Origin::ASKED, "00010d96c0000201"),
        ("00000002", Origin { other_ip: false, other_port: true }, "00010d97c0000201"),
        ("00000004", Origin { other_ip: true, other_port: false }, "00010d96c0000202"),
        ("00000006", Origin { other_ip: true, other_port: true }, "00010d97c0000202"),
    ] {
        let change = request(TRANSACTIONS[0], &format!("00030004{bits}"));
        let (outcome, out) = ask(LET_IN, &change, &arrival(Some(alternates)), Limits::default());
        assert!(matches!(outcome, Outcome::Answer(reply) if reply.from == from), "{outcome:?}");
        let mapped = "000100080001a2a9cb007107";
        let told = format!("{mapped}00040008{source}0005000800010d97c0000202");
        assert_eq!(out, hex(&format!("01010024{}{told}", TRANSACTIONS[0])), "{bits}");
    }
}

#[test]
fn one_address_is_told_of_without_another() {
    let alternates = one_address(address("203.0.113.7:41641"));
    let (_, out) = ask(LET_IN, &request(TRANSACTIONS[0], ""), &arrival(Some(alternates)), Limits::default());
    assert_eq!(out[32..], hex("0004000800010d96c0000201"));
}

/// It made servers send to whomever a client named.
#[test]
fn response_address_is_never_honoured() {
    let alternates = two_addresses(address("203.0.113.7:41641"));
    let elsewhere = request(TRANSACTIONS[0], "000200080001100050000001");
    for alternates in [None, Some(alternates)] {
        let (outcome, out) = ask(LET_IN, &elsewhere, &arrival(alternates), Limits::default());
        let Outcome::Error(reply, RefusalReason::UnknownAttribute) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reply.from, reply.to), (Origin::ASKED, address("203.0.113.7:41641")));
        assert_eq!(out[4..20], hex(TRANSACTIONS[0]));
        // RFC 3489 section 11.2.10: an odd list names one of its types twice.
        assert_eq!(out[20..], hex("0009000400000414000a000400020002"));
    }
}

/// Those came later, and with a cookie.
#[test]
fn later_wishes_are_not_understood() {
    let alternates = two_addresses(address("203.0.113.7:41641"));
    let wishes = request(TRANSACTIONS[0], "002600000027000210000000");
    let (outcome, out) = ask(LET_IN, &wishes, &arrival(Some(alternates)), Limits::default());
    assert!(matches!(outcome, Outcome::Error(_, RefusalReason::UnknownAttribute)), "{outcome:?}");
    assert_eq!(out[20..], hex("0009000400000414000a000400260027"));
}

#[test]
fn changes_are_refused_where_there_is_nothing_to_change_to() {
    let change = request(TRANSACTIONS[0], "0003000400000004");
    for alternates in [None, Some(one_address(address("203.0.113.7:41641")))] {
        let (outcome, out) = ask(LET_IN, &change, &arrival(alternates), Limits::default());
        assert!(matches!(outcome, Outcome::Error(_, RefusalReason::UnknownAttribute)), "{outcome:?}");
        assert_eq!(out[28..], hex("000a000400030003"));
    }
}

/// FINGERPRINT came later: its number is one of many optional ones, and no answer has it.
#[test]
fn fingerprints_mean_nothing_to_them() {
    let (outcome, out) =
        ask(LET_IN, &request(TRANSACTIONS[0], "8028000400000000"), &arrival(None), Limits::default());
    assert!(matches!(outcome, Outcome::Answer(reply) if reply.len == 32), "{outcome:?}");
    assert_eq!(out[20..22], hex("0001"));
}

#[test]
fn their_answers_shrink_and_are_withheld_as_others_are() {
    let alternates = Some(two_addresses(address("203.0.113.7:41641")));
    // 20 bytes may get 22; the full answer has 56, the short one 32.
    for (budget, bytes) in [(34, 56), (33, 32), (10, 32), (9, 0)] {
        let limits = Limits { surplus_bytes_per_second: Some(budget), ..Limits::NONE };
        let (outcome, out) = ask(LET_IN, &request(TRANSACTIONS[0], ""), &arrival(alternates), limits);
        match bytes {
            0 => assert_eq!(outcome, Outcome::Silence(RefusalReason::Surplus)),
            _ => assert_eq!(out.len(), bytes, "{budget}"),
        }
    }
}

/// Over IPv6, 20 bytes would get 92; over IPv4, 56 are less than 3 times as many.
#[test]
fn their_large_answers_are_as_few_as_others() {
    for (source, expected) in [("203.0.113.7:41641", [56; 12]), ("[2001:db8::7]:41641", [92; 12])] {
        let alternates = Some(two_addresses(address(source)));
        let arrival = Arrival { source: address(source), alternates };
        let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
        let sizes = expected.map(|_| {
            let mut out = Vec::new();
            let bytes = request(TRANSACTIONS[0], "");
            Responder::new(LET_IN).answer(&bytes, &arrival, &mut budgets, &mut out);
            out.len()
        });
        assert_eq!(sizes[..10], expected[..10], "{source}");
        assert_eq!(sizes[10..], if source.starts_with('[') { [44, 44] } else { [56, 56] }, "{source}");
    }
}

#[test]
fn answers_and_other_methods_are_silenced_as_ever() {
    for (message_type, reason) in [
        ("0101", RefusalReason::NotRequest),
        ("0111", RefusalReason::NotRequest),
        ("0002", RefusalReason::NotBinding),
    ] {
        let bytes = hex(&format!("{message_type}0000{}", TRANSACTIONS[0]));
        let (outcome, _) = ask(LET_IN, &bytes, &arrival(None), Limits::default());
        assert_eq!(outcome, Outcome::Silence(reason));
    }
}
