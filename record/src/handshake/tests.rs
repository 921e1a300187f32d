//! Handshakes cut and spoilt in every way, and what comes right behind them.

use std::sync::Arc;

use rustls::HandshakeKind;

use super::*;
use crate::Opened;
use crate::support::{Identity, Peer, SUITES, TLS12_GCM, TLS13};

const VERSIONS: [usize; 2] = [TLS13, TLS12_GCM];

/// A connection that is given `piece` bytes at a time, and shown what it did not consume again.
struct Driven<S: Side> {
    ours: Handshake<S>,
    received: Vec<u8>,
    is_done: bool,
}

impl<S: Side> Driven<S> {
    fn new(ours: Handshake<S>) -> Self {
        Self { ours, received: Vec::new(), is_done: false }
    }

    fn feed(&mut self, wire: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in wire.chunks(piece.max(1)) {
            self.received.extend_from_slice(piece);
            self.proceed(&mut out);
        }
        out
    }

    fn proceed(&mut self, out: &mut Vec<u8>) {
        if self.is_done {
            return;
        }
        let Proceeded { consumed, progress } = self.ours.proceed(&mut self.received, out).unwrap();
        self.received.drain(..consumed);
        match progress {
            Progress::Waiting { needed } => assert!(needed > self.received.len(), "{needed}"),
            Progress::Done => self.is_done = true,
        }
    }

    /// What the session opens, once the peer has said hello.
    fn answer(self, peer: &mut Peer) -> Vec<u8> {
        peer.send(b"hello");
        let mut ours = self;
        ours.received.extend(peer.take());
        ours.open_rest().0
    }

    /// What the session opens of what came behind the handshake.
    fn open_rest(mut self) -> (Vec<u8>, bool) {
        assert!(self.is_done);
        let mut session = self.ours.into_session().unwrap();
        let (mut plain, mut asked) = (Vec::new(), false);
        while !self.received.is_empty() {
            match session.open(&mut self.received).unwrap() {
                Opened::Data { plain: range, consumed } => {
                    plain.extend_from_slice(&self.received[range]);
                    self.received.drain(..consumed);
                }
                Opened::Control { consumed, update_ours } => {
                    asked |= update_ours;
                    self.received.drain(..consumed);
                }
                other @ (Opened::Incomplete { .. } | Opened::Closed) => panic!("{other:?}"),
            }
        }
        (plain, asked)
    }
}

fn shake_hands<S: Side>(ours: Handshake<S>, peer: &mut Peer, piece: usize) -> Driven<S> {
    let mut ours = Driven::new(ours);
    let mut out = Vec::new();
    ours.proceed(&mut out);
    while !ours.is_done || peer.tls.is_handshaking() {
        peer.feed(&out);
        out = ours.feed(&peer.take(), piece);
    }
    peer.feed(&out);
    ours
}

#[test]
fn a_handshake_may_be_cut_anywhere() {
    for version in VERSIONS {
        for piece in [1, 2, 3, 7, 100, 1000, 100_000] {
            let identity = Identity::new(&SUITES[version..=version]);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut peer = identity.server_peer();
                let ours = shake_hands(identity.client_handshake(), &mut peer, piece);
                assert_eq!(ours.answer(&mut peer), b"hello");
                kinds.extend(peer.tls.handshake_kind());

                let mut peer = identity.client_peer();
                let ours = shake_hands(identity.server_handshake(), &mut peer, piece);
                assert_eq!(ours.answer(&mut peer), b"hello");
                kinds.extend(peer.tls.handshake_kind());
            }
            use HandshakeKind::{Full, Resumed};
            assert_eq!(
                kinds,
                [Full, Resumed, Resumed, Resumed],
                "what was learned from one is used by the next"
            );
        }
    }
}

#[test]
fn data_right_behind_the_handshake_is_the_sessions() {
    for version in VERSIONS {
        let identity = Identity::new(&SUITES[version..=version]);
        let mut peer = identity.client_peer();
        let mut ours = Driven::new(identity.server_handshake());
        // Queued by rustls until it may be sent: with TLS 1.3 that is right behind its Finished.
        peer.send(b"early");
        while !ours.is_done || peer.tls.is_handshaking() {
            let flight = peer.take();
            peer.feed(&ours.feed(&flight, usize::MAX));
        }
        ours.received.extend(peer.take());
        assert_eq!(ours.open_rest(), (b"early".to_vec(), false));
    }
}

#[test]
fn a_key_update_behind_the_handshake_is_the_sessions_to_answer() {
    let identity = Identity::new(&SUITES[..1]);
    let mut peer = identity.client_peer();
    let mut ours = Driven::new(identity.server_handshake());
    let hello = peer.take();
    peer.feed(&ours.feed(&hello, usize::MAX));
    peer.refresh_keys();
    peer.send(b"under the next key");
    ours.feed(&peer.take(), usize::MAX);
    assert_eq!(ours.open_rest(), (b"under the next key".to_vec(), true));
}

#[test]
fn tickets_behind_the_handshake_are_the_sessions_to_keep() {
    let identity = Identity::new(&SUITES[..1]);
    let (mut peer, mut ours) = (identity.server_peer(), Driven::new(identity.client_handshake()));
    let mut hello = Vec::new();
    ours.proceed(&mut hello);
    peer.feed(&hello);
    let flight = ours.feed(&peer.take(), usize::MAX);
    assert!(ours.is_done, "before any ticket came");
    peer.feed(&flight);
    peer.send(b"data");
    ours.received.extend(peer.take());
    assert_eq!(ours.open_rest(), (b"data".to_vec(), false));
    let next = shake_hands(identity.client_handshake(), &mut identity.server_peer(), usize::MAX);
    assert_eq!(next.ours.connection().handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_message_that_makes_no_sense_is_an_error_and_a_record_that_is_none_an_alert() {
    for (what, record, is_told) in [
        ("a ClientHello of 16 MiB", &[0x16, 3, 1, 0, 6, 1, 0xff, 0xff, 0xff, 0, 0][..], false),
        ("a ClientHello without anything", &[0x16, 3, 1, 0, 4, 1, 0, 0, 0], true),
        ("a ClientHello that is cut short, and more", &[0x16, 3, 1, 0, 8, 1, 0, 0, 2, 3, 3, 1, 0], true),
        ("a ServerHello", &[0x16, 3, 1, 0, 4, 2, 0, 0, 0], true),
        ("no record", b"GET / HTTP/1.1\r\n\r\n", true),
        ("one byte", b"G", true),
        ("a record of a version that never was", &[0x16, 9, 9, 0, 4, 1, 0, 0, 0], true),
        ("a record of 64 KiB", &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0], true),
    ] {
        let mut out = Vec::new();
        let refused = Identity::new(&SUITES[..1]).server_handshake().proceed(&mut record.to_vec(), &mut out);
        assert!(refused.is_err(), "{what}");
        assert_eq!(out.first() == Some(&0x15), is_told, "{what}: {out:?}");
    }
}

#[test]
fn a_goodbye_that_nobody_vouches_for_ends_nothing() {
    for version in VERSIONS {
        let identity = Identity::new(&SUITES[version..=version]);
        let mut client = identity.client_handshake();
        let mut hello = Vec::new();
        let waiting = Progress::Waiting { needed: HEADER_BYTES };
        let proceeded = client.proceed(&mut [], &mut hello).unwrap();
        assert_eq!(proceeded, Proceeded { consumed: 0, progress: waiting });
        let proceeded = client.proceed(&mut [0x15, 3, 3, 0, 2, 1, 0], &mut hello).unwrap();
        assert_eq!(proceeded, Proceeded { consumed: 7, progress: waiting });

        let mut peer = identity.server_peer();
        peer.feed(&hello);
        assert_eq!(shake_hands(client, &mut peer, 100).answer(&mut peer), b"hello");
    }
}

#[test]
fn secrets_are_not_given_without_leave() {
    let mut identity = Identity::new(&SUITES[..1]);
    Arc::make_mut(&mut identity.client).enable_secret_extraction = false;
    let ours = shake_hands(identity.client_handshake(), &mut identity.server_peer(), usize::MAX).ours;
    assert_eq!(ours.into_session().unwrap_err(), Error::General("Secret extraction is disabled".into()));
}
