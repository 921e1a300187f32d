//! The record layer, whose peer is a stranger: any bytes, good records cut anywhere and tampered with, and what only one who
//! holds the keys could seal. Nothing panics, cuts change nothing, and tampering is always refused.
#![no_main]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use ferry_record::{
    ClientHandshake, ClientSession, Handshake, Opened, Proceeded, Progress, RECORD_BYTES_MAX,
    ServerHandshake, ServerSession, Side, TlsSession,
};
use libfuzzer_sys::fuzz_target;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};

const HOST: &str = "relay.example.net";
/// One suite for each way that a record may look.
const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
static CONFIGS: LazyLock<[Configs; 3]> = LazyLock::new(|| SUITES.map(Configs::new));

thread_local! {
    /// Connections that outlive an input: nothing but a good record, once, is ever to change them.
    static LASTING: RefCell<[Ends; 3]> = RefCell::new(CONFIGS.each_ref().map(Configs::connected));
}

fuzz_target!(|input: (u8, bool, &[u8], u8, (u16, u8), Vec<u16>, Vec<(u8, &[u8])>)| {
    let (suite, to_client, bytes, repeats, tamper, cuts, sealed) = input;
    let suite = usize::from(suite) % SUITES.len();
    let data = bytes.repeat(usize::from(repeats) % 20 + 1);
    LASTING.with_borrow_mut(|lasting| {
        let Ends { client, server } = &mut lasting[suite];
        if to_client {
            strange_bytes(client, bytes);
            good_records(server, client, &data, tamper, &cuts);
        } else {
            strange_bytes(server, bytes);
            good_records(client, server, &data, tamper, &cuts);
        }
    });
    if !sealed.is_empty() {
        let Ends { mut client, mut server } = CONFIGS[suite].connected();
        if to_client {
            strange_records(&mut server, &mut client, &sealed);
        } else {
            strange_records(&mut client, &mut server, &sealed);
        }
    }
});

/// Bytes of somebody who holds no key.
fn strange_bytes<S: Side>(receiver: &mut TlsSession<S>, bytes: &[u8]) {
    let opened = receiver.open(&mut bytes.to_vec());
    assert!(matches!(opened, Err(_) | Ok(Opened::Incomplete { .. })), "{opened:?}");
}

/// What one end seals, the other opens, however it arrives; but not if it is changed.
fn good_records<A: Side, B: Side>(
    sender: &mut TlsSession<A>,
    receiver: &mut TlsSession<B>,
    data: &[u8],
    (at, flip): (u16, u8),
    cuts: &[u16],
) {
    let mut wire = Vec::new();
    sender.seal(data, &mut wire).expect("a key that lasts");
    let Some(&[_, _, _, high, low]) = wire.first_chunk() else { return };

    let mut tampered = wire.clone();
    let record = 5 + usize::from(u16::from_be_bytes([high, low]));
    tampered[usize::from(at) % record] ^= flip.max(1);
    // Whatever its length claims to be now, there is enough of it.
    tampered.resize(wire.len() + RECORD_BYTES_MAX, 0);
    assert!(receiver.open(&mut tampered).is_err());

    let (mut waiting, mut plain) = (Vec::new(), Vec::new());
    let mut rest = &wire[..];
    let mut cuts = cuts.iter().copied();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| usize::from(cut).min(rest.len()));
        let (piece, after) = rest.split_at(cut);
        waiting.extend_from_slice(piece);
        rest = after;
        let needed = loop {
            match receiver.open(&mut waiting).expect("a good record") {
                Opened::Data { plain: range, consumed } => {
                    plain.extend_from_slice(&waiting[range]);
                    waiting.drain(..consumed);
                }
                // The sender's keys change by themselves at times.
                Opened::Control { consumed, update_ours: false } => drop(waiting.drain(..consumed)),
                Opened::Incomplete { needed } => break needed,
                other @ (Opened::Control { .. } | Opened::Closed) => panic!("{other:?}"),
            }
        };
        assert!(needed > waiting.len());
    }
    assert!(waiting.is_empty() && plain == data);
}

/// Records of any content by one who holds the keys, as a peer does that is broken or up to something.
fn strange_records<A: Side, B: Side>(
    sender: &mut TlsSession<A>,
    receiver: &mut TlsSession<B>,
    records: &[(u8, &[u8])],
) {
    for (content_type, plain) in records {
        // Those that there are, and one that is none.
        let content_type = 20 + content_type % 5;
        let mut wire = Vec::new();
        sender.seal_any(content_type, plain, &mut wire).expect("a record that is not too long");
        let len = wire.len();
        match receiver.open(&mut wire) {
            Ok(Opened::Data { plain: range, consumed }) => {
                assert!(content_type == 23 && consumed == len && wire[range] == **plain);
            }
            Ok(Opened::Control { consumed, .. }) => {
                assert!(consumed == len && (content_type != 23 || plain.is_empty()));
            }
            Ok(Opened::Closed) => {
                assert!(content_type == 21 && plain.get(1) == Some(&0));
                return;
            }
            Ok(Opened::Incomplete { .. }) => panic!("a whole record"),
            Err(error) => {
                if let Some(alert) = error.alert() {
                    receiver.alert(alert, &mut wire).expect("an alert");
                }
                return;
            }
        }
    }
}

/// Both ends' configurations, which trust each other.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Both ends of a connection.
struct Ends {
    client: ClientSession,
    server: ServerSession,
}

impl Configs {
    fn new(suite: SupportedCipherSuite) -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
        let provider = Arc::new(rustls::crypto::CryptoProvider {
            cipher_suites: vec![suite],
            ..aws_lc_rs::default_provider()
        });
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[suite.version()])
            .expect("a suite of its version")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key for its certificate");
        server.enable_secret_extraction = true;
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[suite.version()])
            .expect("a suite of its version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Self { client: Arc::new(client), server: Arc::new(server) }
    }

    fn connected(&self) -> Ends {
        let name = ServerName::try_from(HOST).expect("a name");
        let client = UnbufferedClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let server = UnbufferedServerConnection::new(Arc::clone(&self.server)).expect("a server");
        let (mut client, mut server) = (ClientHandshake::new(client), ServerHandshake::new(server));
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let (mut client_is_done, mut server_is_done) = (false, false);
        while !client_is_done || !server_is_done {
            client_is_done = client_is_done || proceed(&mut client, &mut to_client, &mut to_server);
            server_is_done = server_is_done || proceed(&mut server, &mut to_server, &mut to_client);
        }
        Ends {
            client: client.into_session().expect("secrets"),
            server: server.into_session().expect("secrets"),
        }
    }
}

fn proceed<S: Side>(end: &mut Handshake<S>, received: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let Proceeded { consumed, progress } = end.proceed(received, out).expect("a good handshake");
    received.drain(..consumed);
    progress == Progress::Done
}
