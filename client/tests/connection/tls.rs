//! What is TLS' own: records, keys, tickets, whom to believe.

use std::sync::Arc;

use ferry_client::{ConnectionError, Stage, Trust, client_config};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, HandshakeKind, ServerConnection, SupportedProtocolVersion};

use crate::support::{HOST, Identity, Seen, Wire, feed, run, take};
use crate::{BOB, recv_packet, send_packet};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn a_frame_is_a_record_of_its_own() {
    for version in VERSIONS {
        let (mut client, _) = Wire::tls(version).established();
        for (len, records) in [(0, 1), (1400, 1), (16_384 - 37, 1), (16_384, 2), (65_536, 5)] {
            client.send_frame(&send_packet(&vec![1; len])).unwrap();
            client.send_frame(&send_packet(&vec![2; len])).unwrap();
            assert_eq!(count_records(&take(&mut client)), 2 * records, "{version:?}, {len} bytes");
        }
    }
}

#[test]
fn keys_are_updated_at_any_time_and_the_answer_goes_before_our_next_data() {
    let wire = Wire::tls(&TLS13);
    let (mut client, mut peer) = wire.established();
    for round in 0..40_u8 {
        // Twice without a word from us in between, then data under the new keys, in one piece.
        tls(&mut peer.tls).refresh_traffic_keys().unwrap();
        tls(&mut peer.tls).refresh_traffic_keys().unwrap();
        peer.send(&recv_packet(&[round]));
        let seen = feed(&mut client, &peer.take()).unwrap();
        assert_eq!(seen, [Seen::Packet(BOB, vec![round])]);
        client.send_frame(&send_packet(&[round])).unwrap();
        peer.receive(&take(&mut client));
        assert_eq!(peer.received.len(), usize::from(round) + 1);
    }
}

#[test]
fn a_key_update_right_behind_the_handshake_is_no_surprise() {
    let wire = Wire::tls(&TLS13);
    let (mut client, mut peer) = (wire.client(), wire.peer());
    // The ClientHello, then Finished and the request, which the relay answers with new keys first.
    peer.receive(&take(&mut client));
    feed(&mut client, &peer.take()).unwrap();
    let flight = take(&mut client);
    let finished = flight.len() - last_record(&flight);
    peer.receive(&flight[..finished]);
    tls(&mut peer.tls).refresh_traffic_keys().unwrap();
    peer.receive(&flight[finished..]);
    assert_eq!(run(&mut client, &mut peer).unwrap(), [Seen::established()]);
}

#[test]
fn a_client_that_says_nothing_owes_one_answer_to_all_key_updates() {
    let (mut client, mut peer) = Wire::tls(&TLS13).established();
    for round in 0..5_u8 {
        tls(&mut peer.tls).refresh_traffic_keys().unwrap();
        peer.send(&recv_packet(&[round]));
        assert_eq!(feed(&mut client, &peer.take()).unwrap(), [Seen::Packet(BOB, vec![round])]);
        assert_eq!(take(&mut client), b"", "until it has something to say");
    }
    for records in [2, 1] {
        client.send_frame(&send_packet(b"data")).unwrap();
        let wire = take(&mut client);
        assert_eq!(count_records(&wire), records, "a KeyUpdate before the next data, and no other");
        peer.receive(&wire);
    }
    assert_eq!(peer.received.len(), 2);
}

#[test]
fn a_record_may_be_cut_anywhere_with_others_in_front_and_behind() {
    for version in VERSIONS {
        let (mut client, mut peer) = Wire::tls(version).established();
        for cut in 0.. {
            for packet in [&b"one"[..], b"two", b"three"] {
                peer.send(&recv_packet(packet));
            }
            let wire = peer.take();
            let Some((front, back)) = wire.split_at_checked(cut) else { break };
            let mut seen = feed(&mut client, front).unwrap();
            seen.extend(feed(&mut client, back).unwrap());
            let packets = ["one", "two", "three"].map(|packet| Seen::Packet(BOB, packet.into()));
            assert_eq!(seen, packets, "{version:?}, cut at {cut}");
        }
    }
}

#[test]
fn a_goodbye_may_be_cut_anywhere_and_what_follows_it_is_ignored() {
    for version in VERSIONS {
        for cut in 0..19 {
            let (mut client, mut peer) = Wire::tls(version).established();
            peer.send(&recv_packet(b"last"));
            peer.close();
            let mut wire = peer.take();
            let goodbye = wire.len() - last_record(&wire);
            wire.extend_from_slice(&[0xff; 100]);
            let (front, back) = wire.split_at(goodbye + cut);
            let mut seen = feed(&mut client, front).unwrap();
            seen.extend(feed(&mut client, back).unwrap());
            assert_eq!(
                seen,
                [Seen::Packet(BOB, b"last".to_vec()), Seen::Closed],
                "{version:?}, cut at {cut}"
            );
            client.close();
            peer.receive(&take(&mut client));
            assert!(peer.closed, "and answered");
        }
    }
}

#[test]
fn an_alert_of_the_relay_ends_the_connection_and_is_not_answered() {
    for version in VERSIONS {
        let (mut client, mut peer) = Wire::tls(version).established();
        let mut nonsense = [23, 3, 3, 0, 40].to_vec();
        nonsense.resize(45, 0xee);
        peer_error(&mut peer.tls, &nonsense);
        let error = feed(&mut client, &peer.take()).unwrap_err();
        let told = AlertDescription::BadRecordMac;
        assert!(
            matches!(error, ConnectionError::Tls(rustls::Error::AlertReceived(got)) if got == told),
            "{error}"
        );
        client.close();
        assert_eq!((client.stage(), client.outgoing()), (Stage::Closed, &b""[..]));
    }
}

#[test]
fn a_configuration_of_the_callers_own_does_as_well() {
    let identity = Identity::new(HOST);
    for version in VERSIONS {
        let mut config = rustls::ClientConfig::clone(&client_config(&identity.roots(), true).unwrap());
        config.enable_secret_extraction = false;
        Wire::configured("https", Some(Arc::new(config)), Some(identity.server(version))).established();
    }
}

#[test]
fn tickets_are_used_by_the_next_connection_if_wanted() {
    for version in VERSIONS {
        let identity = Identity::new(HOST);
        for (resumption, then) in [(true, HandshakeKind::Resumed), (false, HandshakeKind::Full)] {
            let config = client_config(&identity.roots(), resumption).unwrap();
            let wire = Wire::configured("https", Some(config), Some(identity.server(version)));
            let (_, peer) = wire.established();
            assert_eq!(kind(peer.tls), HandshakeKind::Full);
            let (_, peer) = wire.established();
            assert_eq!(kind(peer.tls), then, "{version:?}, resumption {resumption}");
        }
    }
}

#[test]
fn only_the_pinned_certificate_is_believed_for_its_name_and_any_address() {
    let (identity, another) = (Identity::new(HOST), Identity::new("another.example.net"));
    for version in VERSIONS {
        Wire::trusting("https", &identity, &identity.pin(), version).established();
        refused_with(
            &Wire::trusting("https", &identity, &another.pin(), version),
            &CertificateError::ApplicationVerificationFailure,
        );
        let pinned = Wire::trusting("https", &another, &another.pin(), version);
        let (mut client, mut peer) = (pinned.client(), pinned.peer());
        let error = run(&mut client, &mut peer).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
        pinned.with_host("192.0.2.1").established();
    }
}

#[test]
fn the_holder_of_a_certificate_that_was_seen_before_is_known_by_nothing_else() {
    let (another, authority) = (Identity::new("another.example.net"), Identity::new("ca.example.net"));
    let in_company = another.clone().and(authority.certificate);
    for version in VERSIONS {
        Wire::trusting("https", &in_company, &Trust::SameAs(another.sha256()), version).established();
        refused_with(
            &Wire::trusting("https", &in_company, &Trust::SameAs(Identity::new(HOST).sha256()), version),
            &CertificateError::ApplicationVerificationFailure,
        );
    }
}

#[test]
fn roots_are_believed_for_their_names_and_addresses_only() {
    for (certificate, host) in [(HOST, HOST), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let identity = Identity::new(certificate);
        let wire = Wire::trusting("https", &identity, &identity.roots(), &TLS13);
        wire.clone().with_host(host).established();
        let (mut client, mut peer) = {
            let wire = wire.with_host("192.0.2.1");
            (wire.client(), wire.peer())
        };
        let error = run(&mut client, &mut peer).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    let stranger = Identity::new(HOST);
    let wire = Wire::trusting("https", &stranger, &Identity::new(HOST).roots(), &TLS13);
    // Made by the same tool, they have the same issuer's name.
    refused_with(&wire, &CertificateError::BadSignature);
    Wire::trusting("https", &stranger, &Trust::Unverified, &TLS13).established();
}

#[test]
fn a_host_that_no_certificate_can_name_is_refused_before_a_byte_is_sent() {
    let wire = Wire::tls(&TLS13).with_host("-.-");
    let key = Arc::new(crate::client_key());
    let error = ferry_client::Connection::new(&wire.settings, &key, [0; 40]).unwrap_err();
    assert!(matches!(&error, ConnectionError::Host { host } if host == "-.-"), "{error}");
}

#[test]
fn a_record_that_does_not_open_ends_the_connection_with_an_alert() {
    for version in VERSIONS {
        let (mut client, mut peer) = Wire::tls(version).established();
        peer.send(&recv_packet(b"spoilt"));
        let mut bytes = peer.take();
        *bytes.last_mut().unwrap() ^= 1;
        let error = feed(&mut client, &bytes).unwrap_err();
        assert!(matches!(error, ConnectionError::Tls(rustls::Error::DecryptError)), "{error}");
        assert_eq!(client.stage(), Stage::Closed);
        client.close();
        let alert = take(&mut client);
        assert_eq!(count_records(&alert), 1, "the alert, and no goodbye after it");
        let error = peer_error(&mut peer.tls, &alert);
        assert!(error.contains("BadRecordMac"), "{error}");
    }
}

/// The client gives up because of the certificate, and tells the relay.
fn refused_with(wire: &Wire, why: &CertificateError) {
    let (mut client, mut peer) = (wire.client(), wire.peer());
    peer.receive(&take(&mut client));
    let error = feed(&mut client, &peer.take()).unwrap_err();
    let ConnectionError::Tls(rustls::Error::InvalidCertificate(got)) = error else { panic!("{error}") };
    assert_eq!(got, *why);
    let alert = peer_error(&mut peer.tls, client.outgoing());
    assert!(alert.contains("received fatal alert"), "{alert}");
}

fn peer_error(tls: &mut Option<ServerConnection>, mut bytes: &[u8]) -> String {
    let tls = tls.as_mut().unwrap();
    tls.read_tls(&mut bytes).unwrap();
    tls.process_new_packets().unwrap_err().to_string()
}

fn tls(tls: &mut Option<ServerConnection>) -> &mut ServerConnection {
    tls.as_mut().unwrap()
}

fn kind(tls: Option<ServerConnection>) -> HandshakeKind {
    tls.unwrap().handshake_kind().unwrap()
}

fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = *bytes {
        let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
        records.push(record);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole records");
    records
}

fn count_records(bytes: &[u8]) -> usize {
    records(bytes).len()
}

fn last_record(bytes: &[u8]) -> usize {
    records(bytes).last().unwrap().len()
}
