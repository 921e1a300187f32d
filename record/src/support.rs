//! Both ends of a connection in memory: ours, and rustls' to hold it against.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use crate::{
    ClientHandshake, ClientSession, Handshake, Proceeded, Progress, ServerHandshake, ServerSession, Side,
    TlsSession,
};

pub(crate) const SUITES: [SupportedCipherSuite; 6] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
pub(crate) const TLS13: usize = 0;
pub(crate) const TLS13_SUITES: std::ops::Range<usize> = 0..3;
pub(crate) const TLS12_GCM: usize = 3;

const HOST: &str = "relay.example.net";

/// Configurations of both ends that trust each other.
pub(crate) struct Identity {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl Identity {
    pub(crate) fn new(suites: &[SupportedCipherSuite]) -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let provider = CryptoProvider { cipher_suites: suites.to_vec(), ..aws_lc_rs::default_provider() };
        let provider = Arc::new(provider);
        let versions = [suites[0].version()];
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        server.enable_secret_extraction = true;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Self { client: Arc::new(client), server: Arc::new(server) }
    }

    pub(crate) fn client_handshake(&self) -> ClientHandshake {
        let name = ServerName::try_from(HOST).unwrap();
        Handshake::new(UnbufferedClientConnection::new(Arc::clone(&self.client), name).unwrap())
    }

    pub(crate) fn server_handshake(&self) -> ServerHandshake {
        Handshake::new(UnbufferedServerConnection::new(Arc::clone(&self.server)).unwrap())
    }

    pub(crate) fn server_peer(&self) -> Peer {
        Peer::new(ServerConnection::new(Arc::clone(&self.server)).unwrap().into())
    }

    pub(crate) fn client_peer(&self) -> Peer {
        let name = ServerName::try_from(HOST).unwrap();
        Peer::new(ClientConnection::new(Arc::clone(&self.client), name).unwrap().into())
    }
}

/// Our server, and rustls' client.
pub(crate) fn server(identity: &Identity) -> (ServerSession, Peer) {
    connect(identity.server_handshake(), identity.client_peer())
}

/// Our client, and rustls' server, whose session tickets are not received yet.
pub(crate) fn client(identity: &Identity) -> (ClientSession, Peer) {
    connect(identity.client_handshake(), identity.server_peer())
}

fn connect<S: Side>(mut ours: Handshake<S>, mut peer: Peer) -> (TlsSession<S>, Peer) {
    let mut received = Vec::new();
    loop {
        let mut out = Vec::new();
        let Proceeded { consumed, progress } = ours.proceed(&mut received, &mut out).unwrap();
        received.drain(..consumed);
        peer.feed(&out);
        match progress {
            Progress::Waiting { .. } => received.extend(peer.take()),
            Progress::Done => return (ours.into_session().unwrap(), peer),
        }
    }
}

/// Both ends ours, without session tickets.
pub(crate) fn pair(identity: &Identity) -> (ClientSession, ServerSession) {
    let mut without_tickets = ServerConfig::clone(&identity.server);
    without_tickets.send_tls13_tickets = 0;
    let identity = Identity { client: Arc::clone(&identity.client), server: Arc::new(without_tickets) };
    let (mut client, mut server) = (identity.client_handshake(), identity.server_handshake());
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let (mut client_is_done, mut server_is_done) = (false, false);
    while !client_is_done || !server_is_done {
        if !client_is_done {
            client_is_done = step(&mut client, &mut to_client, &mut to_server);
        }
        if !server_is_done {
            server_is_done = step(&mut server, &mut to_server, &mut to_client);
        }
    }
    assert!(to_client.is_empty() && to_server.is_empty(), "nothing behind the handshake");
    (client.into_session().unwrap(), server.into_session().unwrap())
}

fn step<S: Side>(ours: &mut Handshake<S>, received: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let Proceeded { consumed, progress } = ours.proceed(received, out).unwrap();
    received.drain(..consumed);
    progress == Progress::Done
}

/// rustls' end.
pub(crate) struct Peer {
    pub(crate) tls: Connection,
    received: Vec<u8>,
    pub(crate) has_closed: bool,
}

impl Peer {
    fn new(mut tls: Connection) -> Self {
        tls.set_buffer_limit(None);
        Self { tls, received: Vec::new(), has_closed: false }
    }

    pub(crate) fn feed(&mut self, wire: &[u8]) {
        self.try_feed(wire).unwrap();
    }

    /// Why these bytes are refused.
    pub(crate) fn error(&mut self, wire: &[u8]) -> rustls::Error {
        self.try_feed(wire).unwrap_err()
    }

    fn try_feed(&mut self, mut wire: &[u8]) -> Result<(), rustls::Error> {
        while !wire.is_empty() {
            self.tls.read_tls(&mut wire).map_err(|error| rustls::Error::General(error.to_string()))?;
            self.has_closed |= self.tls.process_new_packets()?.peer_has_closed();
            let mut buffer = [0; 65_536];
            while let Ok(len @ 1..) = self.tls.reader().read(&mut buffer) {
                self.received.extend_from_slice(&buffer[..len]);
            }
        }
        Ok(())
    }

    /// What was received and not read yet.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        self.tls.writer().write_all(data).unwrap();
    }

    pub(crate) fn refresh_keys(&mut self) {
        self.tls.refresh_traffic_keys().unwrap();
    }

    /// Bytes for our end.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        wire
    }
}
