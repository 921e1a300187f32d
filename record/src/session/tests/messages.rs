//! KeyUpdates and session tickets: in one record, in many, and where they have no place.

use rustls::HandshakeKind;

use super::*;
use crate::messages::MESSAGE_BYTES_MAX;

/// A session ticket as a server of rustls sends it: one whole message.
fn ticket() -> Vec<u8> {
    let (mut client, mut peer) = client(&Identity::new(&SUITES[..1]));
    let mut wire = peer.take();
    assert!(matches!(client.open(&mut wire), Ok(Opened::Control { update_ours: false, .. })));
    // What was opened is plaintext where it was.
    let message = &wire[HEADER_BYTES..];
    assert_eq!(message[0], 4, "NewSessionTicket");
    let len = u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
    message[..4 + len].to_vec()
}

/// What the client makes of these records of handshake messages, and then data.
fn told(records: &[&[u8]]) -> Result<Vec<u8>, RecordError> {
    let (mut client, mut server) = pair(TLS13);
    let mut wire = Vec::new();
    for record in records {
        server.seal_as(HANDSHAKE, record, &mut wire)?;
    }
    server.seal(b"data", &mut wire)?;
    let mut rest = &mut wire[..];
    loop {
        match client.open(rest)? {
            Opened::Data { plain, .. } => return Ok(rest[plain].to_vec()),
            Opened::Control { consumed, .. } => rest = &mut rest[consumed..],
            other @ (Opened::Incomplete { .. } | Opened::Closed) => panic!("{other:?}"),
        }
    }
}

#[test]
fn tickets_are_kept_for_the_next_connection() {
    let identity = Identity::new(&SUITES[..1]);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let (mut ours, mut peer) = client(&identity);
        assert_eq!(peer.tls.handshake_kind(), Some(kind));
        peer.send(b"behind the tickets");
        assert_eq!(opened(&mut ours, &mut peer.take()), (b"behind the tickets".to_vec(), false));
    }
}

#[test]
fn a_ticket_may_be_cut_anywhere_and_several_may_come_at_once() {
    let ticket = ticket();
    for cut in 1..ticket.len() {
        let (front, back) = ticket.split_at(cut);
        assert_eq!(told(&[front, back]), Ok(b"data".to_vec()), "cut at {cut}");
    }
    assert_eq!(told(&[&ticket.repeat(3)]), Ok(b"data".to_vec()));
    let two = ticket.repeat(2);
    assert_eq!(told(&[&two[..ticket.len() + 2], &two[ticket.len() + 2..]]), Ok(b"data".to_vec()));
    let bytes: Vec<_> = ticket.chunks(ticket.len().div_ceil(30)).collect();
    assert_eq!(told(&bytes), Ok(b"data".to_vec()), "in {} pieces", bytes.len());
}

#[test]
fn nothing_comes_between_the_pieces_of_a_message() {
    let ticket = ticket();
    assert_eq!(told(&[&ticket[..10]]), Err(RecordError::Unexpected { content_type: APPLICATION_DATA }));
    let (mut client, mut server) = pair(TLS13);
    let mut wire = Vec::new();
    server.seal_as(HANDSHAKE, &ticket[..1], &mut wire).unwrap();
    opened(&mut client, &mut wire);
    let mut goodbye = server.says(Say::CloseNotify).unwrap();
    assert_eq!(client.open(&mut goodbye), Err(RecordError::Unexpected { content_type: ALERT }));
}

#[test]
fn a_ticket_that_makes_no_sense_or_no_end_is_refused() {
    let mut spoilt = ticket();
    spoilt.truncate(20);
    spoilt[3] = 16;
    let refused = told(&[&spoilt]).unwrap_err();
    assert!(matches!(refused, RecordError::Ticket { len: 16, .. }), "{refused}");
    assert_eq!(refused.alert(), Some(AlertDescription::DecodeError));
    assert_eq!(told(&[&[4, 1, 0, 0]]), Err(RecordError::TicketTooLong { len: MESSAGE_BYTES_MAX + 1 }));
    // One that is as long as allowed, and never ends: its bytes are bounded by its length, its records by their number.
    let mut endless = vec![4, 0, 0xff, 0xff];
    endless.resize(1000, 0);
    let rest = [0; 1000];
    let records: Vec<&[u8]> =
        std::iter::once(&endless[..]).chain(std::iter::repeat_n(&rest[..], 40)).collect();
    assert_eq!(told(&records), Err(RecordError::Fruitless));
}

#[test]
fn a_key_update_comes_at_the_end_of_its_record() {
    let (mut client, mut server) = pair(TLS13);
    let ticket = ticket();
    let update = [&ticket[..], &KEY_UPDATE_MESSAGE].concat();
    let mut wire = Vec::new();
    // In two records, the second of which begins with the end of the ticket.
    server.seal_as(HANDSHAKE, &update[..50], &mut wire).unwrap();
    server.seal_as(HANDSHAKE, &update[50..], &mut wire).unwrap();
    server.send = server.messages.as_mut().unwrap().next_send_keys().unwrap();
    server.seal(b"under the next key", &mut wire).unwrap();
    assert_eq!(opened(&mut client, &mut wire), (b"under the next key".to_vec(), false));

    let followed = [&KEY_UPDATE_MESSAGE[..], &ticket].concat();
    assert_eq!(told(&[&followed]), Err(RecordError::Message { kind: 24, len: 1 }));
    assert_eq!(told(&[&[24, 0, 0, 1, 2]]), Err(RecordError::Message { kind: 24, len: 1 }), "no such request");
    assert_eq!(told(&[&[24, 0, 0, 2]]), Err(RecordError::Message { kind: 24, len: 2 }));
}

#[test]
fn no_other_message_is_taken_from_its_first_byte_on() {
    for kind in (0..=255).filter(|kind| ![4, 24].contains(kind)) {
        let refused = told(&[&[kind]]).unwrap_err();
        assert_eq!(refused, RecordError::Message { kind, len: 0 });
        assert_eq!(refused.alert(), Some(AlertDescription::UnexpectedMessage));
    }
    assert_eq!(told(&[&[]]), Err(RecordError::Unexpected { content_type: HANDSHAKE }));
}

#[test]
fn a_server_takes_no_ticket() {
    let (mut client, mut server) = pair(TLS13);
    for piece in [&[4][..], &ticket()] {
        let mut wire = Vec::new();
        client.seal_as(HANDSHAKE, piece, &mut wire).unwrap();
        let refused = server.open(&mut wire).unwrap_err();
        assert!(matches!(refused, RecordError::Message { kind: 4, .. }), "{refused}");
    }
}
