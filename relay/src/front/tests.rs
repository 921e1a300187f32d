//! Peers that are there and say nothing, or too little: each stage of becoming a client has its deadline.

use std::io::Write;

use tokio::time::Instant;

use super::*;
use crate::pages::tests::{config, pages};
use crate::switch::registry::Registry;
use crate::tls::tests::{config as tls, connected};

pub(super) fn front() -> Arc<Front> {
    let key = NodePrivateKey::from_random([7; 32]);
    let shared = Shared {
        registry: Registry::new(),
        front: Arc::default(),
        public_key: key.public(),
        shards: Vec::new(),
        write_timeout: None,
        queue_depth: 1,
    };
    Arc::new(Front::new(FrontParts {
        shared: Arc::new(shared),
        key,
        mesh_key: None,
        derp_enabled: true,
        ace: false,
        pages: pages(config()),
    }))
}

/// How long a peer that says this, and no more, is listened to.
async fn patience_with(said: &[u8], config: Option<Arc<ServerConfig>>) -> Duration {
    let (socket, mut peer) = connected();
    peer.write_all(said).unwrap();
    let (addr, start) = (peer.local_addr().unwrap(), Instant::now());
    let ended = front().serve_inner(socket, addr, config).await;
    assert_eq!(ended, Err(HandshakeFailure::Deadline), "{said:?}");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_or_stops_in_the_middle_is_left_at_the_deadline() {
    let head = "GET /derp HTTP/1.1\r\nHost: relay.test\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n";
    for (said, config, patience) in [
        ("", Some(tls()), HEAD_TIMEOUT),
        ("\x16\x03\x01\x02\x00\x01", Some(tls()), HEAD_TIMEOUT),
        ("", None, HEAD_TIMEOUT),
        (head, None, HEAD_TIMEOUT),
        (&format!("{head}\r\n"), None, handshake::CLIENT_INFO_TIMEOUT),
    ] {
        let waited = patience_with(said.as_bytes(), config).await;
        assert!((patience..patience * 2).contains(&waited), "{said:?}: {waited:?}");
    }
}
