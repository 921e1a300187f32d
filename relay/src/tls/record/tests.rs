//! The record layer against rustls' client, for every suite that an ECDSA certificate serves.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};

use super::*;

const SUITES: [SupportedCipherSuite; 6] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
const TLS13: SupportedCipherSuite = SUITES[0];

/// A finished handshake: rustls on the client's side, our record layer on the server's.
fn connected(suite: SupportedCipherSuite) -> (ClientConnection, TlsSession) {
    let made = rcgen::generate_simple_self_signed(["relay.example.net".to_owned()]).unwrap();
    let provider = Arc::new(CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() });
    let versions = [suite.version()];
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut server_config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server_config.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("relay.example.net").unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name).unwrap();
    let mut server = UnbufferedServerConnection::new(Arc::new(server_config)).unwrap();

    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    loop {
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        let UnbufferedStatus { discard, state } = server.process_tls_records(&mut to_server);
        let mut done = false;
        match state.unwrap() {
            ConnectionState::EncodeTlsData(mut data) => {
                super::super::encode(&mut to_client, |out| data.encode(out)).unwrap();
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(_) => done = true,
            ConnectionState::BlockedHandshake => {}
            other @ (ConnectionState::ReadTraffic(_)
            | ConnectionState::ReadEarlyData(_)
            | ConnectionState::PeerClosed
            | ConnectionState::Closed
            | _) => panic!("{other:?} during a handshake"),
        }
        to_server.drain(..discard);
        feed(&mut client, &std::mem::take(&mut to_client));
        if done && !client.is_handshaking() {
            let (secrets, schedule) = server.dangerous_into_kernel_connection().unwrap();
            return (client, TlsSession::new(&secrets, schedule).unwrap());
        }
    }
}

fn feed(client: &mut ClientConnection, mut wire: &[u8]) {
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets().unwrap();
    }
}

fn sent_by(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    client.writer().write_all(plain).unwrap();
    written(client)
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

fn sealed(session: &mut TlsSession, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in plain.chunks(PLAINTEXT_BYTES_MAX) {
        let start = session.begin(&mut out);
        out.extend_from_slice(piece);
        session.finish(&mut out, start).unwrap();
    }
    out
}

fn received_by(client: &mut ClientConnection, wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    for piece in wire.chunks(4_000) {
        feed(client, piece);
        let mut buffer = [0; 65_536];
        while let Ok(len @ 1..) = client.reader().read(&mut buffer) {
            plain.extend_from_slice(&buffer[..len]);
        }
    }
    plain
}

/// Opens everything in `wire`; says whether the peer asked for our keys to be updated.
fn opened(session: &mut TlsSession, wire: &mut [u8]) -> (Vec<u8>, bool) {
    let (mut at, mut plain, mut asked) = (0, Vec::new(), false);
    loop {
        match session.open(&mut wire[at..]).unwrap() {
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

#[test]
fn every_suite_carries_data_both_ways() {
    let message: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
    for suite in SUITES {
        let (mut client, mut session) = connected(suite);
        for round in 0..3 {
            let (plain, _) = opened(&mut session, &mut sent_by(&mut client, &message[round..]));
            assert_eq!(plain, &message[round..], "{suite:?} to us");
            let wire = sealed(&mut session, &message[round..]);
            assert_eq!(received_by(&mut client, &wire), &message[round..], "{suite:?} from us");
        }
    }
}

#[test]
fn both_sides_update_their_keys_when_asked() {
    for suite in &SUITES[..3] {
        let (mut client, mut session) = connected(*suite);
        for _ in 0..3 {
            client.refresh_traffic_keys().unwrap();
            let mut wire = sent_by(&mut client, b"under the next key");
            let (plain, asked) = opened(&mut session, &mut wire);
            assert_eq!((plain.as_slice(), asked), (b"under the next key".as_slice(), true));
            let mut answer = Vec::new();
            session.key_update(&mut answer).unwrap();
            answer.extend_from_slice(&sealed(&mut session, b"and so do we"));
            assert_eq!(received_by(&mut client, &answer), b"and so do we");
        }
    }
}

#[test]
fn tls12_has_no_keys_to_update() {
    let (_, mut session) = connected(SUITES[3]);
    assert_eq!(session.key_update(&mut Vec::new()), Err(RecordError::Keys));
}

#[test]
fn a_record_in_pieces_waits_for_its_end() {
    let (mut client, mut session) = connected(TLS13);
    let wire = sent_by(&mut client, b"hello");
    for len in 0..wire.len() {
        let mut piece = wire[..len].to_vec();
        let needed = if len < HEADER_BYTES { HEADER_BYTES } else { wire.len() };
        assert_eq!(session.open(&mut piece), Ok(Opened::Incomplete { needed }));
    }
    let mut wire = wire;
    assert_eq!(opened(&mut session, &mut wire).0, b"hello");
}

#[test]
fn goodbyes_are_understood() {
    for suite in SUITES {
        let (mut client, mut session) = connected(suite);
        client.send_close_notify();
        assert_eq!(session.open(&mut written(&mut client)), Ok(Opened::Closed));
        let mut wire = Vec::new();
        session.close_notify(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn a_changed_bit_is_refused() {
    for suite in SUITES {
        let (mut client, mut session) = connected(suite);
        let mut wire = sent_by(&mut client, b"hello");
        *wire.last_mut().unwrap() ^= 1;
        assert!(matches!(session.open(&mut wire), Err(RecordError::Decrypt { .. })), "{suite:?}");
    }
}

#[test]
fn a_replayed_record_is_refused() {
    let (mut client, mut session) = connected(TLS13);
    let mut wire = sent_by(&mut client, b"hello");
    opened(&mut session, &mut wire.clone());
    assert!(matches!(session.open(&mut wire), Err(RecordError::Decrypt { .. })));
}

#[test]
fn impossible_lengths_are_refused_by_their_header() {
    let (_, mut session) = connected(TLS13);
    let mut huge = [23, 3, 3, 0xff, 0xff];
    assert!(matches!(session.open(&mut huge), Err(RecordError::TooLong { len: 65_535, .. })));
    let mut tiny = [23, 3, 3, 0, 3, 1, 2, 3];
    assert_eq!(session.open(&mut tiny), Err(RecordError::TooShort { len: 3 }));
    let mut plain = [20, 3, 3, 0, 1, 1];
    assert_eq!(session.open(&mut plain), Err(RecordError::Unexpected { content_type: 20 }));
}

#[test]
fn records_without_data_are_not_taken_for_ever() {
    let (mut client, mut session) = connected(TLS13);
    let mut asked = 0;
    let refused = loop {
        client.refresh_traffic_keys().unwrap();
        match session.open(&mut written(&mut client)) {
            Ok(_) => asked += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((asked, refused), (usize::from(FRUITLESS_RECORDS_MAX), RecordError::Fruitless));
}

proptest::proptest! {
    #[test]
    fn garbage_is_refused_by_name_and_never_panics(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), content_type in 19_u8..25) {
        thread_local! {
            static SESSIONS: std::cell::RefCell<[TlsSession; 2]> =
                std::cell::RefCell::new([connected(SUITES[0]).1, connected(SUITES[3]).1]);
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
