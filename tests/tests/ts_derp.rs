//! The official Rust client (`ts_derp`), with nothing of ours in it: its own dialler, TLS, upgrade and codec.
#![forbid(unsafe_code)]

use std::time::Duration;

use ferry_protocol::NodePublicKey;
use ferry_tests::{Client, LOCALHOST, PATIENCE, TestRelay, pattern};
use tokio::runtime::Runtime;
use ts_derp::{DefaultClient, IpUsage, ServerConnInfo, TlsValidationConfig};
use ts_keys::NodeKeyPair;

/// The longest packet that it takes: its limit of 64 KiB for a frame counts the key.
const PACKET_MAX: usize = 65_536 - 32;

#[test]
fn two_official_clients_talk_both_ways() {
    let relay = TestRelay::tls();
    within_patience(async {
        let (alice, bob) = (Official::join(&relay).await, Official::join(&relay).await);
        for len in [0, 1, 62, 1400, PACKET_MAX] {
            let packet = pattern(len as u64, len);
            alice.send(&bob.key(), &packet).await;
            assert!(bob.next_packet().await == (alice.key(), packet.clone()), "{len} bytes one way");
            bob.send(&alice.key(), &packet).await;
            assert!(alice.next_packet().await == (bob.key(), packet), "{len} bytes back");
        }
    });
}

#[test]
fn the_official_client_talks_with_ours_and_hears_nothing_it_would_die_of() {
    let relay = TestRelay::tls();
    within_patience(async {
        let official = Official::join(&relay).await;
        let mut ours = Client::join(&relay);
        official.send(&ours.key(), b"over").await;
        ours.expect_packet(&official.key(), b"over");
        ours.send(&official.key(), b"and back");
        assert_eq!(official.next_packet().await, (ours.key(), b"and back".to_vec()));

        // A PeerGone of either reason comes between: it panics on one without reason and gives up on others.
        let left = ours.key();
        ours.leave();
        official.send(&left, &ferry_tests::disco_packet(62)).await;
        let mut other = Client::join(&relay);
        other.send(&official.key(), b"still there?");
        assert_eq!(official.next_packet().await, (other.key(), b"still there?".to_vec()));
    });
}

#[test]
fn a_departure_of_the_official_client_is_noticed() {
    let relay = TestRelay::tls();
    within_patience(async {
        let official = Official::join(&relay).await;
        let mut ours = Client::join(&relay);
        official.send(&ours.key(), b"bye").await;
        ours.expect_packet(&official.key(), b"bye");
        let left = official.key();
        drop(official);
        ours.expect_peer_gone(&left, ferry_protocol::frame::PeerGoneReason::Disconnected);
    });
}

/// One of Tailscale's clients.
struct Official {
    keys: NodeKeyPair,
    client: DefaultClient,
}

impl Official {
    async fn join(relay: &TestRelay) -> Self {
        let node = ServerConnInfo {
            hostname: LOCALHOST.to_owned(),
            ipv4: IpUsage::FixedAddr(relay.ipv4()),
            ipv6: IpUsage::Disable,
            // It knows no certificate but those of public authorities: its own way around that, for tests.
            tls_validation_config: TlsValidationConfig::InsecureForTests,
            https_port: relay.address().port(),
            stun_port: None,
            stun_only: false,
            supports_port_80: false,
        };
        let keys = NodeKeyPair::random();
        let client = DefaultClient::connect([&node], &keys).await.expect("the official client joins");
        Self { keys, client }
    }

    fn key(&self) -> NodePublicKey {
        our_key(self.keys.public)
    }

    async fn send(&self, dst: &NodePublicKey, packet: &[u8]) {
        let dst = ts_keys::NodePublicKey::from_bytes(*dst.as_bytes());
        self.client.send_one(dst, packet).await.expect("the official client sends");
    }

    async fn next_packet(&self) -> (NodePublicKey, Vec<u8>) {
        let (src, packet) = self.client.recv_one().await.expect("the official client lives");
        (our_key(src), packet.as_ref().to_vec())
    }
}

fn our_key(key: ts_keys::NodePublicKey) -> NodePublicKey {
    NodePublicKey::from_bytes(*key.to_crypto_box().as_bytes())
}

/// Runs a test that must not hang.
fn within_patience(test: impl Future<Output = ()>) {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("done in time") });
    runtime.shutdown_timeout(Duration::ZERO);
}
