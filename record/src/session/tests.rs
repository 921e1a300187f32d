//! The record layer against rustls at the other end, as either side, for every suite that an ECDSA certificate serves.

mod messages;

use super::*;
use crate::support::{Identity, Peer, SUITES, TLS12_GCM, TLS13, TLS13_SUITES, client, server};
use crate::{ClientSession, ServerSession};

/// Both of our ends against rustls' other, by turns.
fn each_side(suite: usize, act: &mut dyn FnMut(&mut dyn Ours, &mut Peer)) {
    let identity = Identity::new(&SUITES[suite..=suite]);
    let (mut ours, mut peer) = server(&identity);
    act(&mut ours, &mut peer);
    let (mut ours, mut peer) = client(&identity);
    act(&mut ours, &mut peer);
}

/// A session whose side does not matter.
trait Ours {
    fn opens(&mut self, buffer: &mut [u8]) -> Result<Opened, RecordError>;
    fn sealed(&mut self, data: &[u8]) -> Vec<u8>;
    fn says(&mut self, act: Say) -> Result<Vec<u8>, RecordError>;
}

/// What a session says of itself.
enum Say {
    KeyUpdate,
    CloseNotify,
    Alert(AlertDescription),
    Raw(u8, &'static [u8]),
}

impl<S: Side> Ours for TlsSession<S> {
    fn opens(&mut self, buffer: &mut [u8]) -> Result<Opened, RecordError> {
        self.open(buffer)
    }

    fn sealed(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.seal(data, &mut out).unwrap();
        out
    }

    fn says(&mut self, act: Say) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::new();
        match act {
            Say::KeyUpdate => self.key_update(&mut out),
            Say::CloseNotify => self.close_notify(&mut out),
            Say::Alert(description) => self.alert(description, &mut out),
            Say::Raw(content_type, plain) => self.seal_as(content_type, plain, &mut out),
        }
        .map(|()| out)
    }
}

/// Opens everything in `wire`; says whether the peer asked for our keys to be updated.
fn opened(session: &mut (impl Ours + ?Sized), wire: &mut [u8]) -> (Vec<u8>, bool) {
    let (mut at, mut plain, mut asked) = (0, Vec::new(), false);
    loop {
        match session.opens(&mut wire[at..]).unwrap() {
            Opened::Incomplete { .. } => {
                assert_eq!(at, wire.len(), "whole records in, nothing left");
                return (plain, asked);
            }
            Opened::Data { plain: range, consumed } => {
                plain.extend_from_slice(&wire[at + range.start..at + range.end]);
                at += consumed;
            }
            Opened::Control { consumed, update_ours } => {
                asked |= update_ours;
                at += consumed;
            }
            Opened::Closed => panic!("closed"),
        }
    }
}

/// Both ends ours.
fn pair(suite: usize) -> (ClientSession, ServerSession) {
    crate::support::pair(&Identity::new(&SUITES[suite..=suite]))
}

#[test]
fn every_suite_carries_data_both_ways() {
    let message: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
    for suite in 0..SUITES.len() {
        each_side(suite, &mut |ours, peer| {
            for round in 0..3 {
                peer.send(&message[round..]);
                let (plain, _) = opened(ours, &mut peer.take());
                assert_eq!(plain, &message[round..], "suite {suite} to us");
                peer.feed(&ours.sealed(&message[round..]));
                assert_eq!(peer.read(), &message[round..], "suite {suite} from us");
            }
        });
    }
}

#[test]
fn both_sides_update_their_keys_when_asked() {
    for suite in TLS13_SUITES {
        each_side(suite, &mut |ours, peer| {
            for _ in 0..3 {
                peer.refresh_keys();
                peer.send(b"under the next key");
                let (plain, asked) = opened(ours, &mut peer.take());
                assert_eq!((plain.as_slice(), asked), (b"under the next key".as_slice(), true));
                let mut answer = ours.says(Say::KeyUpdate).unwrap();
                answer.extend_from_slice(&ours.sealed(b"and so do we"));
                peer.feed(&answer);
                assert_eq!(peer.read(), b"and so do we");
            }
        });
    }
}

#[test]
fn tls12_has_no_keys_to_update() {
    each_side(TLS12_GCM, &mut |ours, peer| {
        assert_eq!(ours.says(Say::KeyUpdate), Err(RecordError::Keys));
        peer.feed(&ours.sealed(b"goes on"));
        assert_eq!(peer.read(), b"goes on");
    });
}

#[test]
fn a_key_is_changed_after_so_many_records() {
    for suite in TLS13_SUITES {
        let (mut client, mut server) = pair(suite);
        client.send.sequence = RECORDS_PER_KEY_MAX - 2;
        server.receive.sequence = RECORDS_PER_KEY_MAX - 2;
        for (number, records) in [(1_u8, 1), (2, 2), (3, 1)] {
            let mut wire = client.sealed(&[number]);
            assert_eq!(count_records(&wire), records, "a KeyUpdate behind the last record of a key");
            assert_eq!(opened(&mut server, &mut wire), (vec![number], false), "that asks for none");
        }
        assert_eq!(client.send.sequence, 1);
        assert!(!client.is_exhausted());
    }
}

#[test]
fn a_key_of_tls12_is_exhausted_if_it_is_for_aes_gcm() {
    for (suite, is_exhausted) in [(TLS12_GCM, true), (SUITES.len() - 1, false)] {
        let (mut client, mut server) = pair(suite);
        client.send.sequence = RECORDS_PER_KEY_MAX - 1;
        server.receive.sequence = RECORDS_PER_KEY_MAX - 1;
        assert!(!client.is_exhausted());
        assert_eq!(opened(&mut server, &mut client.sealed(b"last")).0, b"last");
        assert_eq!(client.is_exhausted(), is_exhausted, "suite {suite}");
    }
}

#[test]
fn a_record_in_pieces_waits_for_its_end() {
    for suite in 0..SUITES.len() {
        each_side(suite, &mut |ours, peer| {
            peer.send(b"hello");
            let mut wire = peer.take();
            let tickets_bytes = wire.len() - last_record(&wire);
            opened(ours, &mut wire[..tickets_bytes]);
            wire.drain(..tickets_bytes);
            for len in 0..wire.len() {
                let mut piece = wire[..len].to_vec();
                let needed = if len < HEADER_BYTES { HEADER_BYTES } else { wire.len() };
                assert_eq!(ours.opens(&mut piece), Ok(Opened::Incomplete { needed }));
                assert_eq!(piece, wire[..len], "nothing is changed");
            }
            assert_eq!(opened(ours, &mut wire).0, b"hello");
        });
    }
}

#[test]
fn goodbyes_are_understood() {
    for suite in 0..SUITES.len() {
        each_side(suite, &mut |ours, peer| {
            opened(ours, &mut peer.take());
            peer.tls.send_close_notify();
            assert_eq!(ours.opens(&mut peer.take()), Ok(Opened::Closed));
            peer.feed(&ours.says(Say::CloseNotify).unwrap());
            assert!(peer.has_closed);
        });
    }
}

#[test]
fn a_changed_bit_is_refused_and_the_peer_told_why() {
    for suite in 0..SUITES.len() {
        each_side(suite, &mut |ours, peer| {
            opened(ours, &mut peer.take());
            peer.send(b"hello");
            let wire = peer.take();
            // Behind the length, which tells where the record ends.
            for at in (0..3).chain(HEADER_BYTES..wire.len()) {
                let mut wire = wire.clone();
                wire[at] ^= 1;
                let error = ours.opens(&mut wire).unwrap_err();
                let is_type = at == 0 && wire[0] == 22;
                assert!(matches!(error, RecordError::Decrypt { .. }) || is_type, "{suite}, {at}: {error}");
            }
            let error =
                ours.opens(&mut [wire[0], 3, 3, 0, 24].iter().copied().chain([0; 24]).collect::<Vec<_>>());
            let alert = error.unwrap_err().alert().unwrap();
            let told = peer.error(&ours.says(Say::Alert(alert)).unwrap());
            assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
        });
    }
}

#[test]
fn a_refused_record_changes_nothing() {
    let (mut client, mut server) = pair(TLS13);
    let mut wire = client.sealed(b"hello");
    let mut spoilt = wire.clone();
    spoilt[7] ^= 0x80;
    assert_eq!(server.open(&mut spoilt), Err(RecordError::Decrypt { sequence: 0 }));
    assert_eq!(opened(&mut server, &mut wire.clone()).0, b"hello");
    assert_eq!(server.open(&mut wire), Err(RecordError::Decrypt { sequence: 1 }), "but once");
}

#[test]
fn impossible_lengths_are_refused_by_their_header() {
    let (_, mut session) = pair(TLS13);
    let mut huge = [23, 3, 3, 0xff, 0xff];
    assert!(matches!(session.open(&mut huge), Err(RecordError::TooLong { len: 65_535, .. })));
    let mut tiny = [23, 3, 3, 0, 3, 1, 2, 3];
    assert_eq!(session.open(&mut tiny), Err(RecordError::TooShort { len: 3 }));
    let mut plain = [20, 3, 3, 0, 1, 1];
    assert_eq!(session.open(&mut plain), Err(RecordError::Unexpected { content_type: 20 }));
}

#[test]
fn a_record_holds_so_much_and_no_more() {
    for suite in [TLS13, TLS12_GCM] {
        let (mut client, mut server) = pair(suite);
        let mut out = Vec::new();
        let start = client.begin(&mut out);
        out.resize(out.len() + PLAINTEXT_BYTES_MAX + 1, 7);
        let refused = client.finish(&mut out, start);
        assert_eq!(refused, Err(RecordError::TooLong { len: 16_385, max: 16_384 }));
        out.clear();
        let start = client.begin(&mut out);
        out.truncate(3);
        assert_eq!(client.finish(&mut out, start), Err(RecordError::TooShort { len: 3 }));
        out.clear();
        let start = client.begin(&mut out);
        out.resize(out.len() + PLAINTEXT_BYTES_MAX, 7);
        client.finish(&mut out, start).unwrap();
        assert_eq!(opened(&mut server, &mut out).0, [7; PLAINTEXT_BYTES_MAX]);
    }
}

#[test]
fn what_was_in_the_buffer_before_stays_and_room_is_made_once() {
    let (mut client, mut server) = pair(TLS12_GCM);
    let mut out = b"before".to_vec();
    out.reserve_exact(40_000 + 3 * OVERHEAD_BYTES);
    let (address, capacity) = (out.as_ptr(), out.capacity());
    client.seal(&[7; 40_000], &mut out).unwrap();
    assert_eq!((out.as_ptr(), out.capacity()), (address, capacity), "not moved");
    assert_eq!(out[..6], *b"before");
    assert_eq!(count_records(&out[6..]), 3);
    assert_eq!(opened(&mut server, &mut out[6..]).0, [7; 40_000]);
    client.seal(b"", &mut out).unwrap();
    assert_eq!(out.len(), 40_006 + 3 * (HEADER_BYTES + 8 + 16), "nothing is no record");
}

#[test]
fn records_without_data_are_not_taken_for_ever() {
    for suite in TLS13_SUITES {
        each_side(suite, &mut |ours, peer| {
            peer.send(b"data");
            opened(ours, &mut peer.take());
            let mut asked = 0;
            let refused = loop {
                peer.refresh_keys();
                match ours.opens(&mut peer.take()) {
                    Ok(_) => asked += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((asked, refused), (usize::from(FRUITLESS_RECORDS_MAX), RecordError::Fruitless));
        });
    }
    let (mut client, mut server) = pair(TLS12_GCM);
    let empty = Say::Raw(APPLICATION_DATA, b"");
    assert!(matches!(server.open(&mut client.says(empty).unwrap()), Ok(Opened::Control { .. })));
}

#[test]
fn every_alert_but_a_goodbye_ends_the_connection() {
    for (suite, level, taken) in
        [(TLS13, 1, false), (TLS13, 2, false), (TLS12_GCM, 1, true), (TLS12_GCM, 2, false)]
    {
        let (mut client, mut server) = pair(suite);
        let alert: &[u8] = if level == WARNING { &[1, 100] } else { &[2, 40] };
        let seen = server.open(&mut client.says(Say::Raw(ALERT, alert)).unwrap());
        let refused = Err(RecordError::Alert { description: alert[1] });
        assert!(
            if taken { matches!(seen, Ok(Opened::Control { .. })) } else { seen == refused },
            "{suite}: {seen:?}"
        );
    }
    for nonsense in [&[][..], &[1], &[1, 0, 0]] {
        let (mut client, mut server) = pair(TLS13);
        let seen = server.open(&mut client.says(Say::Raw(ALERT, nonsense)).unwrap());
        assert_eq!(seen, Err(RecordError::Unexpected { content_type: ALERT }));
    }
}

#[test]
fn a_renegotiation_is_ignored_by_the_client_and_refused_by_the_server() {
    let (mut client, mut server) = pair(TLS12_GCM);
    let hello_request = || Say::Raw(HANDSHAKE, &HELLO_REQUEST_MESSAGE);
    let mut wire = server.says(hello_request()).unwrap();
    wire.extend(server.sealed(b"never mind"));
    assert_eq!(opened(&mut client, &mut wire).0, b"never mind");
    let seen = server.open(&mut client.says(hello_request()).unwrap());
    assert_eq!(seen, Err(RecordError::Unexpected { content_type: HANDSHAKE }));
}

fn count_records(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, ..] = *wire {
        wire = &wire[HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]))..];
        count += 1;
    }
    count
}

fn last_record(mut wire: &[u8]) -> usize {
    loop {
        let len = HEADER_BYTES + usize::from(u16::from_be_bytes([wire[3], wire[4]]));
        if len == wire.len() {
            return len;
        }
        wire = &wire[len..];
    }
}

proptest::proptest! {
    #[test]
    fn garbage_is_refused_by_name_and_never_panics(
        mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
        content_type in 19_u8..25,
    ) {
        thread_local! {
            static SESSIONS: std::cell::RefCell<[ServerSession; 2]> =
                std::cell::RefCell::new([pair(TLS13).1, pair(TLS12_GCM).1]);
        }
        // A header whose length fits reaches the AEAD; all others stop before.
        if let Ok(len) = u16::try_from(bytes.len()) && let Some(body) = len.checked_sub(5) {
            bytes[..3].copy_from_slice(&[content_type, 3, 3]);
            bytes[3..5].copy_from_slice(&body.to_be_bytes());
        }
        SESSIONS.with_borrow_mut(|sessions| {
            for session in sessions {
                let opened = session.open(&mut bytes.clone());
                proptest::prop_assert!(matches!(opened, Err(_) | Ok(Opened::Incomplete { .. })), "{opened:?}");
            }
            Ok(())
        })?;
    }
}
