//! A connection whose relay is a stranger: any bytes, cut anywhere, at each stage, bare and in WebSocket messages. Nothing
//! panics, cuts change nothing, and nobody makes us hold more than a frame or two. Certificates are looked through for the relay's key.
#![no_main]

use std::sync::{Arc, LazyLock};

use ferry_client::{Connection, Event, FastStart, Settings, Stage, is_relay_mark};
use ferry_protocol::{ClientInfo, NodePrivateKey, ServerHandshake, encode_server_info, encode_server_key};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

static KEY: LazyLock<Arc<NodePrivateKey>> = LazyLock::new(|| Arc::new(NodePrivateKey::from_random([6; 32])));
static PLAIN: LazyLock<Arc<Settings>> = LazyLock::new(|| settings("http://relay.example.net"));
static WEBSOCKET: LazyLock<Arc<Settings>> = LazyLock::new(|| settings("ws://relay.example.net"));

/// The backlog at which Pings go unanswered, and what one call can add to it.
const OUTGOING_BYTES_MAX: usize = 64 * 1024 + 4 * 1024 * 1024;

fuzz_target!(|input: (bool, u8, Vec<u16>, &[u8])| {
    let (websocket, stages, cuts, bytes) = input;
    offer(&cuts, bytes);
    let settings = if websocket { &*WEBSOCKET } else { &*PLAIN };
    let prelude = prelude(websocket, stages % 4);

    let whole = converse(settings, &prelude, &[bytes]);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain(std::iter::repeat(1)) {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(converse(settings, &prelude, &pieces), whole);
});

fn settings(url: &str) -> Arc<Settings> {
    let url = url.parse().expect("a URL");
    Arc::new(Settings { url, tls: None, info: ClientInfo::current(), ideal_node: None, fast_start: true })
}

/// A certificate in which a relay tells its key.
static MARK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("derpkey{}", "ab".repeat(32)));
    params.serial_number = Some(SerialNumber::from(vec![2]));
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").der().to_vec()
});

/// Any bytes as a certificate, and a good one with some of its bytes changed: only a relay's mark ever offers a key.
fn offer(at: &[u16], bytes: &[u8]) {
    let mut spoilt = MARK.clone();
    for (at, byte) in at.iter().zip(bytes) {
        let at = usize::from(*at) % spoilt.len();
        spoilt[at] ^= byte;
    }
    let tls13 = Some(ProtocolVersion::TLSv1_3);
    for certificate in [CertificateDer::from(bytes), CertificateDer::from(spoilt)] {
        if let FastStart::Offered(key) = FastStart::of(tls13, std::slice::from_ref(&certificate)) {
            assert!(is_relay_mark(&certificate) && !key.is_zero());
        }
    }
}

/// ServerKey and ServerInfo of a good relay. No fuzzer would ever hit upon them.
static FRAMES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let relay = NodePrivateKey::from_random([5; 32]);
    let mut greeting = Vec::new();
    encode_server_key(&mut greeting, &relay.public());
    assert_eq!(greeting, ServerHandshake::new(&relay).output());
    let mut info = Vec::new();
    let shared = relay.shared(&KEY.public()).expect("no zero key");
    encode_server_info(&mut info, &shared.seal([3; 24], b"{\"version\":2}"));
    [greeting, info]
});

/// What a good relay says in the first `stages` stages.
fn prelude(websocket: bool, stages: u8) -> Vec<u8> {
    let head: &[u8] = match websocket {
        // The answer to a key of zeros.
        true => {
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
        }
        false => b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    };
    let [greeting, info] = &*FRAMES;
    let mut prelude = Vec::new();
    for (stage, said) in [head, greeting, info].into_iter().enumerate().take(stages.into()) {
        if websocket && stage > 0 {
            prelude.extend_from_slice(&[0x82, u8::try_from(said.len()).expect("a short message")]);
        }
        prelude.extend_from_slice(said);
    }
    prelude
}

/// All that the connection says to these bytes, its error last.
fn converse(settings: &Arc<Settings>, prelude: &[u8], pieces: &[&[u8]]) -> Vec<String> {
    let mut connection = Connection::new(settings, &KEY, [0; 40]).expect("no TLS to fail");
    let mut said = Vec::new();
    connection
        .receive(&mut prelude.to_vec(), &mut |event| said.push(format!("{event:?}")))
        .expect("what a good relay says");
    for piece in pieces {
        let received = connection.receive(&mut piece.to_vec(), &mut |event| {
            said.push(format!("{event:?}"));
            if let Event::Closed = event {
                assert!(settings.url.websocket, "a bare stream has no goodbye");
            }
        });
        if let Err(error) = received {
            assert_eq!(connection.stage(), Stage::Closed);
            said.push(error.to_string());
            break;
        }
        assert!(connection.outgoing().len() <= OUTGOING_BYTES_MAX);
    }
    said
}
