//! Servers made up to be good and bad, and what is said about them.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::budget::{Budgets, Limits};
use crate::message::{AttributeType, ErrorCode, MessageType, MessageWriter, TransactionId};
use crate::responder::{Alternates, Arrival, Options, Outcome, Responder};

const ID: TransactionId = TransactionId::new([9; 12]);

fn server() -> SocketAddr {
    "192.0.2.1:3478".parse().unwrap()
}

fn sender() -> Sender {
    Sender { transaction_id: ID, witness: "198.51.100.7:40001".parse().unwrap() }
}

fn request(name: &str) -> &'static Request {
    REQUESTS.iter().find(|request| request.name == name).expect("a request of that name")
}

/// What is found when a request is answered with these datagrams.
fn found(name: &str, answers: &[(&[u8], &str, Socket)]) -> Finding {
    let request = request(name);
    let mut exchange = Exchange::new(request, &sender());
    for (bytes, from, at) in answers {
        exchange.record(bytes, from.parse().unwrap(), *at);
    }
    Finding::judge(request, server(), &[exchange])
}

fn remarks(name: &str, answer: &[u8], from: &str, at: Socket) -> Vec<Remark> {
    found(name, &[(answer, from, at)]).remarks
}

fn success() -> Vec<u8> {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, ID)
        .xor_mapped_address("198.51.100.7:40000".parse().unwrap())
        .finish();
    out
}

fn refusal(unknown: &[u16]) -> Vec<u8> {
    let mut out = Vec::new();
    let kinds: Vec<_> = unknown.iter().map(|kind| AttributeType::new(*kind)).collect();
    let writer =
        MessageWriter::new(&mut out, MessageType::BINDING_ERROR, ID).error_code(ErrorCode::UNKNOWN_ATTRIBUTE);
    if kinds.is_empty() { writer } else { writer.unknown_attributes(&kinds) }.finish();
    out
}

#[test]
fn our_own_responder_is_sound() {
    let responder = Responder::new(Options::default());
    let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
    let arrival = Arrival::from("198.51.100.7:40000".parse().unwrap());
    let mut answer = Vec::new();
    let findings = REQUESTS.iter().map(|request| {
        let mut exchange = Exchange::new(request, &sender());
        let outcome = responder.answer(exchange.datagram(), &arrival, &mut budgets, &mut answer);
        if !matches!(outcome, Outcome::Silence(_)) {
            exchange.record(&answer, server(), Socket::Asker);
        }
        Finding::judge(request, server(), &[exchange])
    });
    let report = Report::new(server(), findings.collect());
    assert!(report.findings.iter().all(|finding| finding.remarks.is_empty()), "{report:?}");
    assert_eq!((report.verdict(), report.suspect().map(|request| request.name)), (Verdict::Sound, None));
    assert_eq!(
        report.to_string(),
        "largest answer is 1.6 times its request (20 -> 32 bytes); nothing to report to your CERT"
    );
    let wire = report.worst_on_the_wire().unwrap().wire;
    assert_eq!((wire.sent, wire.received), (48, 60));
}

#[test]
fn a_silent_server_is_not_called_sound() {
    let findings = REQUESTS.iter().map(|request| Finding::judge(request, server(), &[])).collect();
    let report = Report::new(server(), findings);
    assert_eq!(report.verdict(), Verdict::Silent);
    assert!(report.to_string().starts_with("no answer to anything"));
}

#[test]
fn a_padded_answer_to_an_empty_request_is_called_abusable() {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, ID)
        .attribute(AttributeType::PADDING, &[0; 1500])
        .finish();
    let finding = found("PADDING empty", &[(&out, "192.0.2.1:3478", Socket::Asker)]);
    assert_eq!(finding.remarks, [Remark::Amplifies]);
    let mut report = Report::new(server(), vec![finding]);
    let start = "largest answer is 63.5 times its request (24 -> 1524 bytes, PADDING empty; 30.2 times with \
                 IP and UDP headers); strangers can abuse it: it ";
    assert_eq!(report.verdict(), Verdict::Abusable, "until it is known to be limited");
    assert_eq!(report.to_string(), format!("{start}amplifies: of use to those who forge source addresses"));
    report.weigh(&repeated("PADDING empty", 40, 40, &out));
    assert_eq!(report.verdict(), Verdict::Abusable);
    assert_eq!(report.to_string(), format!("{start}answers 24 bytes with 1524, 40 of 40 times"));
}

/// A request that was repeated, and answered so a few times; otherwise with its address alone.
fn repeated(name: &str, asked: usize, large: usize, answer: &[u8]) -> Vec<Exchange> {
    let small = success();
    let repetition = |number| {
        let mut exchange = Exchange::new(request(name), &sender());
        exchange.record(if number < large { answer } else { &small }, server(), Socket::Asker);
        exchange
    };
    (0..asked).map(repetition).collect()
}

/// A success response of this many bytes.
fn success_of(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, ID)
        .attribute(AttributeType::SOFTWARE, &vec![b'x'; bytes - 24])
        .finish();
    out
}

#[test]
fn a_server_that_gives_few_large_answers_is_sound() {
    let large = success_of(92);
    for (asked, times, expected) in [
        (BURST, 40, Verdict::Abusable),
        (BURST, 27, Verdict::Abusable),
        (BURST, 26, Verdict::Sound),
        (BURST, 0, Verdict::Sound),
        (3, 2, Verdict::Sound),
        // Not asked: nothing says that there is a limit.
        (0, 0, Verdict::Abusable),
    ] {
        let findings = ["bare 20 bytes", "CHANGE-REQUEST nothing"]
            .map(|name| found(name, &[(&large, "192.0.2.1:3478", Socket::Asker)]));
        let mut report = Report::new(server(), findings.into());
        assert_eq!(report.suspect().map(|request| request.name), Some("bare 20 bytes"));
        report.weigh(&repeated("bare 20 bytes", asked, times, &large));
        assert_eq!(report.verdict(), expected, "{times} of {asked}");
        let remark = if expected == Verdict::Sound { Remark::LargeAnswer } else { Remark::Amplifies };
        assert!(report.findings.iter().all(|finding| finding.remarks == [remark]), "{report:?}");
    }
}

#[test]
fn a_limit_is_told_of_and_other_faults_stay() {
    let large = success_of(92);
    let from = "192.0.2.1:3478";
    let mut findings = vec![found("bare 20 bytes", &[(&large, from, Socket::Asker)])];
    let start = "largest answer is 4.6 times its request (20 -> 92 bytes, bare 20 bytes; 2.5 times with IP and \
                 UDP headers), but only 20 of 40 times: limited; ";
    for (fault, end) in [
        (None, "nothing to report to your CERT"),
        (
            Some("success response"),
            "strangers can abuse it: it answers an answer: two such servers can be made to talk for ever",
        ),
    ] {
        findings.extend(fault.map(|name| found(name, &[(&success(), from, Socket::Asker)])));
        let mut report = Report::new(server(), findings.clone());
        report.weigh(&repeated("bare 20 bytes", 40, 20, &large));
        assert_eq!(report.to_string(), format!("{start}{end}"));
    }
}

/// Ours, with all that RFC 5780 tells: the judge does not know whose it is.
#[test]
fn our_own_responder_with_alternates_is_limited() {
    for (host, worst) in [("198.51.100.7", (20, 68)), ("2001:db8::7", (20, 116))] {
        let source = SocketAddr::new(host.parse().unwrap(), 40_000);
        let asked = if source.is_ipv4() { "192.0.2.1" } else { "2001:db8:1::1" }.parse().unwrap();
        let other_ip = if source.is_ipv4() { "192.0.2.2" } else { "2001:db8:1::2" }.parse().ok();
        let server = SocketAddr::new(asked, 3478);
        let alternates = Alternates { asked: server, other_port: 3479, other_ip };
        let arrival = Arrival { source, alternates: Some(alternates) };
        let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
        let mut ask = |request: &Request| {
            let mut exchange = Exchange::new(request, &sender());
            let mut answer = Vec::new();
            let outcome =
                Responder::default().answer(exchange.datagram(), &arrival, &mut budgets, &mut answer);
            if let Outcome::Answer(reply) | Outcome::Error(reply, _) = outcome {
                let port = if reply.from.other_port { 3479 } else { 3478 };
                let ip = other_ip.filter(|_| reply.from.other_ip).unwrap_or(asked);
                let at = if reply.to == source { Socket::Asker } else { Socket::Witness };
                exchange.record(&answer, SocketAddr::new(ip, port), at);
            }
            exchange
        };
        let findings = REQUESTS.iter().map(|request| Finding::judge(request, server, &[ask(request)]));
        let mut report = Report::new(server, findings.collect());
        let payload = report.worst().unwrap().payload;
        assert_eq!((payload.sent, payload.received), worst);
        assert_eq!(report.verdict(), Verdict::Abusable, "not weighed yet");
        let suspect = report.suspect().expect("more than 3 times");
        let repetitions: Vec<_> = (0..BURST).map(|_| ask(suspect)).collect();
        report.weigh(&repetitions);
        assert_eq!(report.verdict(), Verdict::Sound, "{report}");
        assert!(report.burst.is_some_and(|burst| burst.large <= 10), "{report}");
    }
}

#[test]
fn the_factor_is_that_of_one_datagram_and_all_its_answers() {
    let request = request("bare 20 bytes");
    let lost = Exchange::new(request, &sender());
    let mut answered = lost.clone();
    for _ in 0..20 {
        answered.record(&success(), server(), Socket::Asker);
    }
    let finding = Finding::judge(request, server(), &[lost, answered]);
    assert_eq!((finding.payload.sent, finding.payload.received), (20, 640));
    assert_eq!(finding.remarks, [Remark::Amplifies, Remark::SeveralAnswers]);
}

/// As CERTs count, who see payload: with headers 64 bytes for 20 are less than twice as much.
#[test]
fn more_than_three_times_the_payload_amplifies() {
    for (bytes, expected) in [(60, vec![]), (64, vec![Remark::Amplifies])] {
        let remarks = remarks("bare 20 bytes", &success_of(bytes), "192.0.2.1:3478", Socket::Asker);
        assert_eq!(remarks, expected, "{bytes} bytes");
    }
}

#[test]
fn what_must_not_be_answered_is_flagged() {
    let (same, asker) = ("192.0.2.1:3478", Socket::Asker);
    for (name, remark) in [
        ("indication", Remark::AnswersIndication),
        ("success response", Remark::AnswersAnswer),
        ("error response", Remark::AnswersAnswer),
        ("trailing bytes", Remark::AnswersMalformed),
        ("attribute overruns", Remark::AnswersMalformed),
        ("19 bytes", Remark::AnswersMalformed),
        ("wrong FINGERPRINT", Remark::AnswersWrongFingerprint),
        ("unknown mandatory attribute", Remark::IgnoresMandatory),
    ] {
        assert_eq!(remarks(name, &success(), same, asker), [remark], "{name}");
    }
    assert_eq!(remarks("bare 20 bytes", &success(), same, asker), []);
    assert_eq!(remarks("bare 20 bytes", b"hello", same, asker), [Remark::NotAnAnswer]);
    assert_eq!(remarks("Allocate (TURN)", &refusal(&[]), same, asker), []);
    assert_eq!(remarks("no cookie (RFC 3489)", &success(), same, asker), []);
}

#[test]
fn a_420_has_to_name_the_attribute() {
    let remarks = |unknown: &[u16]| {
        remarks("unknown mandatory attribute", &refusal(unknown), "192.0.2.1:3478", Socket::Asker)
    };
    assert_eq!(remarks(&[0x7777]), []);
    assert_eq!(remarks(&[0x0003, 0x7777]), []);
    assert_eq!(remarks(&[]), [Remark::NoList]);
    assert_eq!(remarks(&[0x0003]), [Remark::NoList]);
}

#[test]
fn a_changed_answer_comes_from_the_right_socket_or_is_refused() {
    for (name, right) in [
        ("CHANGE-REQUEST port", "192.0.2.1:3479"),
        ("CHANGE-REQUEST IP", "192.0.2.2:3478"),
        ("CHANGE-REQUEST both", "192.0.2.2:3479"),
    ] {
        for from in ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"] {
            let expected = match from {
                _ if from == right => vec![],
                "192.0.2.1:3478" => vec![Remark::IgnoresMandatory],
                _ => vec![Remark::OtherOrigin],
            };
            assert_eq!(remarks(name, &success(), from, Socket::Asker), expected, "{name} from {from}");
        }
        assert_eq!(remarks(name, &refusal(&[3]), "192.0.2.1:3478", Socket::Asker), [], "{name}");
    }
}

#[test]
fn an_answer_at_the_witness_is_a_redirect() {
    let same = "192.0.2.1:3478";
    for name in ["RESPONSE-PORT length 4", "RESPONSE-PORT length 2", "PADDING and RESPONSE-PORT"] {
        assert_eq!(remarks(name, &success(), same, Socket::Witness), [Remark::Redirects], "{name}");
        assert_eq!(remarks(name, &success(), same, Socket::Asker), [Remark::IgnoresMandatory], "{name}");
        assert_eq!(remarks(name, &refusal(&[0x27]), same, Socket::Asker), [], "{name}");
    }
    let anywhere = remarks("RESPONSE-ADDRESS (RFC 3489)", &success(), same, Socket::Witness);
    assert_eq!(anywhere, [Remark::RedirectsAnywhere]);
}

#[test]
fn an_rfc_3489_answer_is_read() {
    let mut answer = success();
    answer[4] = 0x22;
    let said = found("no cookie (RFC 3489)", &[(&answer, "192.0.2.1:3478", Socket::Asker)]).said;
    assert!(matches!(said, Some(Said::Success { .. })), "{said:?}");
}

#[test]
fn answers_are_told_apart_by_the_transaction() {
    let exchange = Exchange::new(request("bare 20 bytes"), &sender());
    assert!(exchange.is_named_by(&success()));
    assert!(!exchange.is_named_by(&[0; 20]) && !exchange.is_named_by(b"short"));
}
