//! One question to one server: when it is asked, and what answers it.

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{TRANSACTION, address, message};
use ferry_stun::client::{
    ANSWER_BYTES_MAX, Answer, BindingRequest, BindingResponse, Identity, Schedule, Step, Transaction,
};
use ferry_stun::{Message, MessageType, MessageWriter, TransactionId};

const SERVER: &str = "192.0.2.1:3478";
const MAPPED: &str = "203.0.113.7:41641";

/// 1, 2, 3...
fn ids() -> impl FnMut() -> TransactionId {
    let mut next = 0;
    move || {
        next += 1;
        TransactionId::new([next; 12])
    }
}

fn id(number: u8) -> TransactionId {
    TransactionId::new([number; 12])
}

fn success(id: TransactionId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = MessageWriter::new(&mut bytes, MessageType::BINDING_SUCCESS, id);
    writer.xor_mapped_address(address(MAPPED)).finish();
    bytes
}

/// An error response with this code.
fn refusal(id: TransactionId, hundreds: u8, rest: u8) -> Vec<u8> {
    let mut bytes = message(0x0111, &[(0x0009, &[0, 0, hundreds, rest])]);
    bytes[8..20].copy_from_slice(id.as_bytes());
    bytes
}

fn asked(identity: Identity) -> (Transaction, Instant) {
    let start = Instant::now();
    let mut transaction = Transaction::new(address(SERVER), Schedule::UDP, identity);
    assert_eq!(transaction.poll(start, &mut ids()), Step::Send(id(1)));
    (transaction, start)
}

/// Polls as told to until it fails; when each send was, and when the end was.
fn unanswered(schedule: Schedule) -> (Vec<u128>, u128) {
    let start = Instant::now();
    let (mut now, mut sends, mut ids) = (start, Vec::new(), ids());
    let mut transaction = Transaction::new(address(SERVER), schedule, Identity::PerTransaction);
    loop {
        match transaction.poll(now, &mut ids) {
            Step::Send(sent) => {
                assert_eq!(sent, id(1), "a retransmission is the same request");
                sends.push((now - start).as_millis());
            }
            Step::Wait(until) => now = until,
            Step::Failed => return (sends, (now - start).as_millis()),
            Step::Answered => panic!("nobody answered"),
        }
    }
}

#[test]
fn requests_are_sent_again_when_the_rfc_says() {
    assert_eq!(unanswered(Schedule::UDP), (vec![0, 500, 1500, 3500, 7500, 15_500, 31_500], 39_500));
    assert_eq!(unanswered(Schedule::TCP), (vec![0], 39_500));
    assert_eq!(unanswered(Schedule::NETCHECK), (vec![0, 100, 200], 3000));
    assert_eq!(unanswered(Schedule::DISCOVERY), (vec![0, 300, 900], 1500));
}

#[test]
fn a_late_poll_sends_one_request_and_not_all_that_were_missed() {
    let (mut transaction, start) = asked(Identity::PerSend);
    let mut ids = ids();
    let late = start + Duration::from_secs(2);
    assert_eq!(transaction.poll(late, &mut ids), Step::Send(id(1)));
    // That of 1.5 s is due as well; that of 3.5 s is not.
    assert_eq!(transaction.poll(late, &mut ids), Step::Send(id(2)));
    assert_eq!(transaction.poll(late, &mut ids), Step::Wait(start + Duration::from_millis(3500)));
}

#[test]
fn an_answer_ends_it_and_a_second_one_is_not_looked_at() {
    let (mut transaction, start) = asked(Identity::PerTransaction);
    let now = start + Duration::from_millis(40);
    let answer = transaction.handle(&success(id(1)), address(SERVER), now).expect("the answer");
    assert_eq!(answer.outcome.map(|response| response.mapped_address), Ok(address(MAPPED)));
    assert_eq!((answer.round_trip.elapsed, answer.round_trip.ambiguous), (Duration::from_millis(40), false));
    assert_eq!(transaction.handle(&success(id(1)), address(SERVER), now), None);
    assert_eq!(transaction.poll(now, &mut ids()), Step::Answered);
}

/// Karn: which of two equal requests was answered cannot be told.
#[test]
fn a_round_trip_after_a_retransmission_is_ambiguous_unless_sends_have_their_own_ids() {
    for (identity, answered, elapsed, ambiguous) in [
        (Identity::PerTransaction, 1, 30, true),
        (Identity::PerSend, 1, 530, false),
        (Identity::PerSend, 2, 30, false),
    ] {
        let start = Instant::now();
        let mut ids = ids();
        let mut transaction = Transaction::new(address(SERVER), Schedule::UDP, identity);
        assert_eq!(transaction.poll(start, &mut ids), Step::Send(id(1)));
        let again = start + Duration::from_millis(500);
        let second = if identity == Identity::PerSend { id(2) } else { id(1) };
        assert_eq!(transaction.poll(again, &mut ids), Step::Send(second));
        let now = again + Duration::from_millis(30);
        let answer = transaction.handle(&success(id(answered)), address(SERVER), now).expect("an answer");
        assert_eq!(answer.round_trip.elapsed, Duration::from_millis(elapsed), "{identity:?}");
        assert_eq!(answer.round_trip.ambiguous, ambiguous, "{identity:?}");
    }
}

#[test]
fn what_is_not_the_answer_changes_nothing() {
    let (mut transaction, now) = asked(Identity::PerTransaction);
    let server = address(SERVER);
    let oversized = [&success(id(1))[..], &vec![0; ANSWER_BYTES_MAX]].concat();
    for (what, datagram, from) in [
        ("another transaction", success(id(9)), server),
        ("another address", success(id(1)), address("192.0.2.9:3478")),
        ("another port", success(id(1)), address("192.0.2.1:3479")),
        ("an error from another address", refusal(id(1), 4, 20), address("192.0.2.9:3478")),
        ("300, which leads elsewhere", refusal(id(1), 3, 0), server),
        ("no code", message(0x0111, &[]), server),
        ("a request", message(0x0001, &[]), server),
        ("noise", vec![0xFF; 32], server),
        ("nothing", Vec::new(), server),
        ("too many bytes", oversized, server),
    ] {
        assert_eq!(transaction.handle(&datagram, from, now), None, "{what}");
    }
    assert!(transaction.handle(&success(id(1)), server, now).is_some());
}

#[test]
fn a_refusal_is_an_answer_with_its_code() {
    let (mut transaction, now) = asked(Identity::PerTransaction);
    let answer = transaction.handle(&refusal(id(1), 4, 20), address(SERVER), now).expect("an answer");
    assert_eq!(answer.outcome.map_err(|code| code.code()), Err(420));
}

#[test]
fn only_an_answer_that_was_asked_for_from_elsewhere_may_come_from_there() {
    let elsewhere = address("198.51.100.2:3479");
    let (transaction, now) = asked(Identity::PerTransaction);
    let mut changed = transaction.answered_from_elsewhere();
    assert_eq!(
        changed.handle(&refusal(id(1), 4, 20), elsewhere, now),
        None,
        "errors come from who was asked"
    );
    let answer = changed.handle(&success(id(1)), elsewhere, now);
    assert!(matches!(answer, Some(Answer { from, outcome: Ok(_), .. }) if from == elsewhere));
}

#[test]
fn a_dual_stack_sockets_view_of_the_server_is_the_server() {
    let (mut transaction, now) = asked(Identity::PerTransaction);
    assert!(transaction.handle(&success(id(1)), address("[::ffff:192.0.2.1]:3478"), now).is_some());
}

#[test]
fn an_answer_after_the_end_is_still_one() {
    let (mut transaction, start) = asked(Identity::PerTransaction);
    let late = start + Duration::from_secs(100);
    let mut ids = ids();
    while !matches!(transaction.poll(late, &mut ids), Step::Failed) {}
    let answer = transaction.handle(&success(id(1)), address(SERVER), late);
    assert!(answer.is_some_and(|answer| answer.round_trip.ambiguous));
}

#[test]
fn the_addresses_of_rfc_5780_are_read() {
    let plain = |text: &str| {
        let SocketAddr::V4(address) = address(text) else { panic!("IPv4") };
        [&[0, 1], &address.port().to_be_bytes()[..], &address.ip().octets()[..]].concat()
    };
    let bytes = message(
        0x0101,
        &[(0x0001, &plain("192.0.2.77:7")), (0x802B, &plain(SERVER)), (0x802C, &plain("198.51.100.2:3479"))],
    );
    let response = BindingResponse::parse_for(&bytes, TRANSACTION).expect("a success");
    assert_eq!(response.mapped_address, address("192.0.2.77:7"), "the only one there is");
    assert_eq!(response.plain_mapped_address, Some(address("192.0.2.77:7")));
    assert_eq!(response.response_origin, Some(address(SERVER)));
    assert_eq!(response.other_address, Some(address("198.51.100.2:3479")));
}

#[test]
fn requests_have_the_sizes_that_are_known() {
    let mut out = Vec::new();
    assert_eq!(BindingRequest::BARE.write(TRANSACTION, &mut out).len(), 20);
    assert_eq!(
        BindingRequest::TAILSCALE.write(TRANSACTION, &mut out),
        common::hex(common::TAILSCALE_REQUEST)
    );
    let request = BindingRequest { fingerprint: true, ..BindingRequest::BARE };
    assert!(Message::parse(request.write(TRANSACTION, &mut out)).is_ok_and(|it| it.has_fingerprint()));
}
