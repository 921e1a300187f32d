//! A relay that tells its key in a certificate is not waited for; one that tells it badly is, and none is believed for it.

use std::sync::Arc;
use std::time::Instant;

use ferry_client::derp_map::Identity as Identified;
use ferry_client::dial::{self, Dial, Endpoint, Output, ProxyRules};
use ferry_client::{ConnectionError, PinnedNotAlone, Stage, node_config};
use ferry_protocol::meta_cert::common_name;
use ferry_protocol::{
    ClientInfo, HandshakeError, NodePrivateKey, UpgradeKind, recv_packet_header, switching_protocols,
};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, HandshakeKind, RootCertStore};

use crate::BOB;
use crate::support::{
    HOST, Identity, Peer, Seen, Wire, client_key, feed, mark, relay_key, run, run_split, take,
};

#[test]
fn the_introduction_is_part_of_the_request_and_the_answer_to_it_is_server_info() {
    let wire = marked(good_mark());
    let (mut client, mut peer) = (wire.client(), wire.peer());
    peer.receive(&take(&mut client));
    feed(&mut client, &peer.take()).unwrap();
    assert_eq!(client.stage(), Stage::Upgrade);
    // All in one write, before a word of the relay.
    peer.receive(&take(&mut client));
    assert!(is_fast(&peer));
    assert_eq!(peer.info.as_ref(), Some(&wire.settings.info));
    assert_eq!(feed(&mut client, &peer.take()).unwrap(), [Seen::established()]);
    assert_eq!(take(&mut client), b"", "nothing is left to say");
}

#[test]
fn a_fast_start_takes_one_flight_less() {
    let flights = |wire: &Wire| {
        let (mut client, mut peer) = (wire.client(), wire.peer());
        let mut flights = 0;
        while client.stage() != Stage::Established {
            peer.receive(&take(&mut client));
            feed(&mut client, &peer.take()).unwrap();
            flights += 1;
        }
        flights
    };
    let fast = marked(good_mark());
    assert_eq!((flights(&fast), flights(&fast.clone().ordinary())), (2, 3));
}

#[test]
fn bytes_may_be_cut_anywhere_and_packets_follow() {
    for pieces in [1, 2, 3, 7, 100] {
        let wire = marked(good_mark());
        let (mut client, mut peer) = (wire.client(), wire.peer());
        peer.right_behind = [&recv_packet_header(&BOB, 5)[..], b"first"].concat();
        let seen = run_split(&mut client, &mut peer, &mut |_| pieces).unwrap();
        assert_eq!(seen, [Seen::established(), Seen::Packet(BOB, b"first".to_vec())]);
        assert!(is_fast(&peer));
    }
}

#[test]
fn without_a_mark_that_can_be_used_the_start_is_ordinary() {
    let name = common_name(&relay_key().public());
    for (what, mark) in [
        ("no key", mark("derpkey", 2)),
        ("no hex", mark(&name.replace(|c: char| c.is_ascii_digit(), "x"), 2)),
        ("zero key", mark(&format!("derpkey{}", "0".repeat(64)), 2)),
        ("too long", mark(&format!("{name}00"), 2)),
        ("version 0", mark(&name, 0)),
        ("version 3", mark(&name, 3)),
        ("no mark", mark("relay", 2)),
        ("no certificate", CertificateDer::from(b"derpkey".to_vec())),
        ("nothing", CertificateDer::from(Vec::new())),
    ] {
        let (_, peer) = marked(mark).established();
        assert!(!is_fast(&peer), "{what}");
    }
}

#[test]
fn it_is_not_for_tls_12_nor_websocket_nor_whoever_does_not_want_it() {
    let identity = Identity::new(HOST).and(good_mark());
    for wire in [
        Wire::trusting("https", &identity, &identity.roots(), &TLS12),
        Wire::trusting("wss", &identity, &identity.roots(), &TLS13),
        marked(good_mark()).ordinary(),
        Wire::plain(),
    ] {
        let (_, peer) = wire.established();
        assert!(!is_fast(&peer));
    }
}

#[test]
fn a_session_that_is_resumed_starts_as_fast() {
    let wire = marked(good_mark());
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (_, peer) = wire.established();
        assert!(is_fast(&peer), "{kind:?}");
        assert_eq!(peer.tls.unwrap().handshake_kind(), Some(kind));
    }
}

#[test]
fn a_relay_that_is_another_than_its_certificate_says_is_refused_by_name() {
    let other = NodePrivateKey::from_random([7; 32]).public();
    let wire = marked(mark(&common_name(&other), 2));
    let (mut client, mut peer) = (wire.client(), wire.peer());
    let error = run(&mut client, &mut peer).unwrap_err();
    assert!(
        matches!(error, ConnectionError::Handshake(HandshakeError::OtherServerKey { want, got })
            if want == other && got == relay_key().public()),
        "{error}"
    );
    assert_eq!(client.stage(), Stage::Closed);
    assert!(peer.refused, "it cannot open what was meant for another");
}

#[test]
fn a_dial_that_was_told_a_wrong_key_waits_for_the_right_one() {
    let wire = marked(mark(&common_name(&NodePrivateKey::from_random([7; 32]).public()), 2));
    let url = "https://192.0.2.1".parse().unwrap();
    let endpoint = Endpoint::of_url(&url, Identified::Unchecked, &Arc::new(RootCertStore::empty()));
    let settings = dial::Settings {
        key: Arc::new(client_key()),
        info: ClientInfo::current(),
        proxies: ProxyRules::none(),
        prefer_ipv6: false,
        fast_start: true,
    };
    let now = Instant::now();
    let mut dial = Dial::new(now, 1, &Arc::new(settings), &[endpoint].into(), |_| false);
    let starts = [(); 2].map(|()| {
        let Output::Connect { ticket, .. } = dial.poll(now) else { panic!("nothing is tried") };
        dial.connected(now, ticket, Ok(()), [9; 40]);
        let mut peer = wire.peer();
        // Until it is done or has been given up.
        while dial.socket() == Some(ticket) && !dial.is_established() {
            let bytes = dial.outgoing().to_vec();
            dial.written(bytes.len());
            peer.receive(&bytes);
            dial.receive(now, ticket, &mut peer.take(), &mut |_| {});
        }
        if !dial.is_established() {
            assert!(matches!(dial.poll(now), Output::Cancel(closed) if closed == ticket));
        }
        is_fast(&peer)
    });
    assert!(matches!(dial.poll(now), Output::Done));
    assert_eq!(starts, [true, false]);
}

#[test]
fn a_relay_that_does_not_greet_is_none_the_less_one() {
    let wire = marked(good_mark());
    let (mut client, mut peer) = (wire.client(), wire.peer());
    peer.greets = false;
    assert_eq!(run(&mut client, &mut peer).unwrap(), [Seen::established()]);
}

#[test]
fn an_http_answer_that_nobody_wanted_is_read_all_the_same() {
    let wire = marked(good_mark());
    let answer = |answer: String, piece: usize| {
        let (mut client, mut peer) = (wire.client(), wire.peer());
        peer.answer = Some(answer.into_bytes());
        let seen = run_split(&mut client, &mut peer, &mut |_| piece);
        assert!(is_fast(&peer));
        seen
    };
    for piece in [1, 2, 1000] {
        let seen = answer(switching_protocols(&relay_key().public()), piece);
        assert_eq!(seen.unwrap(), [Seen::established()]);
        let error = answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(), piece).unwrap_err();
        assert_eq!(error.to_string(), "the relay answered 404 to the upgrade, want 101");
        let error = answer("HTTQ/1.1 101\r\n\r\n".into(), piece).unwrap_err();
        assert!(matches!(error, ConnectionError::Head(_)), "{error}");
        let error = answer(format!("HTTP/1.1 101 {}", "x".repeat(70_000)), 1000).unwrap_err();
        assert!(matches!(error, ConnectionError::HeadTooLong { .. }), "{error}");
    }
}

#[test]
fn what_is_neither_http_nor_derp_has_a_name() {
    for (bytes, name) in [
        (&b"220 mail.example.net ESMTP\r\n\r\n"[..], "frame"),
        (&crate::recv_packet(b"too early"), "expected a ServerInfo"),
        (&[0x03, 0, 0, 0, 1, 0], "frame"),
        (&[&[0x03, 0, 0, 0, 60][..], &[7; 60]].concat(), "DERP handshake"),
    ] {
        let error = say(bytes, 1000).0.unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_mark_helps_nobody_to_be_believed_and_hinders_nobody() {
    let authority = authority("an authority", &["ca.example.net"]);
    let leaf = KeyPair::generate().unwrap();
    let issued = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&leaf, &authority).unwrap();
    let issued = Identity::with(issued.der().clone(), &leaf);
    let own = Identity::new(HOST);
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let malformed = mark("derpkey and no key", 2);
    for (extra, is_offer) in [(good_mark(), true), (malformed, false)] {
        for (identity, identified) in [
            (&issued, Identified::HostName),
            (&issued, Identified::CertName(HOST.to_owned())),
            (&own, Identified::Pinned(own.sha256())),
            (&own, Identified::Unchecked),
        ] {
            let config = node_config(&identified, &roots, true).unwrap();
            let server = identity.clone().and(extra.clone()).server(&TLS13);
            let (_, peer) = Wire::configured("https", Some(config), Some(server)).established();
            assert_eq!(is_fast(&peer), is_offer, "{identified:?}");
        }
        // Whoever would not be believed without it.
        let config = node_config(&Identified::HostName, &roots, true).unwrap();
        let server = own.clone().and(extra).server(&TLS13);
        assert_eq!(
            refusal(&Wire::configured("https", Some(config), Some(server))),
            CertificateError::UnknownIssuer
        );
    }
}

#[test]
fn a_mark_that_is_an_authority_itself_is_none_that_is_believed() {
    let name = common_name(&relay_key().public());
    let mark = authority(&name, &[]);
    let leaf = KeyPair::generate().unwrap();
    let issued = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&leaf, &mark).unwrap();
    let stranger = Identity::with(issued.der().clone(), &leaf).and(mark.der().clone());
    let trust = Identity::new(HOST).roots();
    assert_eq!(refusal(&Wire::trusting("https", &stranger, &trust, &TLS13)), CertificateError::UnknownIssuer);
}

#[test]
fn a_pinned_certificate_comes_alone_or_with_the_mark() {
    let own = Identity::new(HOST);
    let with_another = own.clone().and(good_mark()).and(Identity::new("ca.example.net").certificate);
    let CertificateError::Other(why) = refusal(&Wire::trusting("https", &with_another, &own.pin(), &TLS13))
    else {
        panic!("another kind of error")
    };
    assert_eq!(why.0.downcast_ref(), Some(&PinnedNotAlone { others: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_after_a_fast_start_means_the_same_in_any_pieces(
        garbage in proptest::collection::vec(any::<u8>(), 0..200),
        first in proptest::sample::select(vec![b'H', 1, 2, 3, 0x12]),
        piece in 1..300_usize,
    ) {
        let garbage = [&[first, 0, 0, 0, 40][..], &garbage].concat();
        prop_assert_eq!(say(&garbage, piece), say(&garbage, 1000));
    }
}

/// What the client makes of a relay that greets with this, and answers the introduction like any other.
fn say(greeting: &[u8], piece: usize) -> (Result<Vec<Seen>, String>, Stage) {
    let wire = marked(good_mark());
    let (mut client, mut peer) = (wire.client(), wire.peer());
    (peer.answer, peer.greets) = (Some(greeting.to_vec()), false);
    let seen = run_split(&mut client, &mut peer, &mut |_| piece);
    assert!(is_fast(&peer));
    (seen.map_err(|error| error.to_string()), client.stage())
}

/// A wire to a relay with TLS 1.3 that shows this behind its certificate.
fn marked(mark: CertificateDer<'static>) -> Wire {
    let identity = Identity::new(HOST).and(mark);
    Wire::trusting("https", &identity, &identity.roots(), &TLS13)
}

fn good_mark() -> CertificateDer<'static> {
    mark(&common_name(&relay_key().public()), 2)
}

fn is_fast(peer: &Peer) -> bool {
    let upgrade = peer.request.as_ref().unwrap().upgrade();
    upgrade == Some(UpgradeKind::Derp { fast_start: true })
}

fn authority(name: &str, names: &[&str]) -> CertifiedIssuer<'static, KeyPair> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Why the relay's certificate is not believed.
fn refusal(wire: &Wire) -> CertificateError {
    let (mut client, mut peer) = (wire.client(), wire.peer());
    peer.receive(&take(&mut client));
    let error = feed(&mut client, &peer.take()).unwrap_err();
    let ConnectionError::Tls(rustls::Error::InvalidCertificate(why)) = error else { panic!("{error}") };
    why
}
