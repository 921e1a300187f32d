//! A client's byte stream, with or without TLS, that never waits for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ferry_protocol::{NodePublicKey, meta_cert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use socket2::{Domain, Socket, Type};

use crate::{LOCALHOST, PATIENCE, TestRelay};

/// A connection to a relay.
#[derive(Debug)]
pub enum Stream {
    /// Bare TCP.
    Plain(TcpStream),
    /// TLS by rustls, whose certificate has been verified.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What a TLS client has learned of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsPeer {
    /// The version agreed on.
    pub version: ProtocolVersion,
    /// The relay's key, by the meta certificate at the end of the chain.
    pub meta_key: Option<NodePublicKey>,
}

impl Stream {
    /// Connects as the relay wants it: with TLS 1.3, or without.
    pub fn connect(relay: &TestRelay) -> Self {
        Self::connect_over(relay, tcp(relay, None))
    }

    /// The same, with so many bytes of receive buffer in the kernel.
    pub fn connect_narrow(relay: &TestRelay, receive_buffer: usize) -> Self {
        Self::connect_over(relay, tcp(relay, Some(receive_buffer)))
    }

    fn connect_over(relay: &TestRelay, socket: TcpStream) -> Self {
        if relay.is_tls() { Self::tls_over(relay, socket, &TLS13).0 } else { Self::Plain(socket) }
    }

    /// Bare TCP, whatever the relay speaks.
    pub fn tcp(relay: &TestRelay) -> Self {
        Self::Plain(tcp(relay, None))
    }

    /// TLS of this version.
    pub fn tls(relay: &TestRelay, version: &'static SupportedProtocolVersion) -> (Self, TlsPeer) {
        Self::tls_over(relay, tcp(relay, None), version)
    }

    fn tls_over(
        relay: &TestRelay,
        socket: TcpStream,
        version: &'static SupportedProtocolVersion,
    ) -> (Self, TlsPeer) {
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_slice(&relay.certificate_pem()).expect("a certificate in PEM");
        roots.add(certificate).expect("a certificate that can be trusted");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version that the provider has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(LOCALHOST).expect("an address is a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("a TLS handshake");
        }
        let peer = TlsPeer {
            version: stream.conn.protocol_version().expect("known after the handshake"),
            meta_key: stream.conn.peer_certificates().and_then(<[_]>::last).and_then(meta_key),
        };
        (Self::Tls(Box::new(stream)), peer)
    }

    /// Another handle of the same plain connection, for a thread that only writes.
    pub fn try_clone(&self) -> Self {
        match self {
            Self::Plain(socket) => Self::Plain(socket.try_clone().expect("a second handle")),
            Self::Tls(_) => panic!("a TLS connection has one owner"),
        }
    }

    /// How long a read may wait from now on.
    pub fn set_read_timeout(&self, limit: Duration) {
        // Zero would mean for ever.
        let limit = limit.max(Duration::from_millis(1));
        self.socket().set_read_timeout(Some(limit)).expect("a socket takes a timeout");
    }

    /// Says that nothing more will be written: FIN, after close_notify if there is TLS.
    pub fn finish(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            // The relay may be gone already, which is as good.
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// All that still comes until the relay closes; a reset after it counts as closing.
    pub fn read_to_close(&mut self) -> Vec<u8> {
        self.set_read_timeout(PATIENCE);
        let mut all = Vec::new();
        match self.read_to_end(&mut all) {
            Err(error) if is_timeout(&error) => panic!("still open after {} bytes", all.len()),
            Ok(_) | Err(_) => all,
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(out),
            Self::Tls(stream) => stream.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Whether a read ended because its time was up.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn tcp(relay: &TestRelay, receive_buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    if let Some(bytes) = receive_buffer {
        // Before connecting: the window's scale is agreed on then.
        socket.set_recv_buffer_size(bytes).expect("a socket takes a buffer size");
    }
    socket.connect(&relay.address().into()).expect("the relay listens");
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).expect("a socket takes nodelay");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    socket
}

fn meta_key(certificate: &CertificateDer<'_>) -> Option<NodePublicKey> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    meta_cert::key_in_common_name(name)
}
