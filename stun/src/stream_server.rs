//! A responder on TCP and TLS (RFC 8489 section 6.2.2): messages back to back, the client closes.

mod certificate;
mod connection;
mod counters;
mod places;
mod socket;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use certificate::{Certificate, CertificateError, CertificateFiles};
pub use counters::{ConnectionEnd, StreamCounters, Transport};

use crate::responder::{Alternates, Options, Responder};
use connection::Client;
use places::{Place, Places};

/// How long accepting rests after an error that will not go away by itself, such as having no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What connections may cost. Each bound is for one thing that a client could otherwise do for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections at one time.
    pub connections_max: usize,
    /// Connections at one time of one IPv4 address or IPv6 /64.
    pub connections_per_source_max: usize,
    /// How long a client may ask nothing between two messages.
    pub idle: Duration,
    /// How long a message may take from its first byte to its last.
    pub message: Duration,
    /// How long the TLS handshake may take.
    pub handshake: Duration,
    /// How long the client may leave answers unread; nothing more is read from it meanwhile.
    pub stall: Duration,
}

impl Default for StreamLimits {
    /// 4,096 connections, 16 of one source, 30 s idle, 10 s for everything else.
    fn default() -> Self {
        let patience = Duration::from_secs(10);
        Self {
            connections_max: 4096,
            connections_per_source_max: 16,
            idle: Duration::from_secs(30),
            message: patience,
            handshake: patience,
            stall: patience,
        }
    }
}

/// What the server's addresses are, as the client of a connection to the given local address sees them:
/// `None` without RFC 5780.
pub type AlternatesAt = Arc<dyn Fn(SocketAddr) -> Option<Alternates> + Send + Sync>;

/// One address to listen on.
#[derive(Clone)]
pub struct StreamListener {
    /// The address and port. `[::]:3478` serves both families.
    pub listen: SocketAddr,
    /// The certificate if it is TLS that is spoken there.
    pub certificate: Option<Arc<Certificate>>,
    /// Where else the client could connect to, which success responses then tell (OTHER-ADDRESS).
    pub alternates: Option<AlternatesAt>,
}

impl fmt::Debug for StreamListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamListener")
            .field("listen", &self.listen)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A server of any number of listeners, whose connections share the limits.
///
/// It lives on the tokio runtime that [`listen`](Self::listen) is called in. Dropping it stops the
/// listening; connections go on until they end, or the runtime does.
#[derive(Debug)]
pub struct StreamServer {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl StreamServer {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(options: Options, limits: StreamLimits) -> Self {
        let shared = Shared {
            responder: Responder::new(options),
            limits,
            places: Places::new(limits.connections_max, limits.connections_per_source_max),
            counters: Arc::default(),
        };
        Self { shared: Arc::new(shared), listeners: Vec::new() }
    }

    /// Binds and starts to serve; says where, with the port that the system chose if it was asked to.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound; the error names it and what to do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen(&mut self, config: StreamListener) -> io::Result<SocketAddr> {
        let tls = config.certificate.map(Tls::new).transpose().map_err(io::Error::other)?;
        let socket = socket::bind(config.listen)?;
        let local_address = socket.local_addr()?;
        let listener = Listener { shared: Arc::clone(&self.shared), tls, alternates: config.alternates };
        let socket = listen_on(socket)?;
        self.listeners.push(tokio::spawn(listener.run(socket)));
        Ok(local_address)
    }

    /// The live counters; they outlast the server.
    #[must_use]
    pub fn counters(&self) -> &Arc<StreamCounters> {
        &self.shared.counters
    }

    /// Closes the listening sockets. Connections that there are go on.
    pub async fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.abort();
            // Aborted is what it should be; a panic has been reported already.
            let _ = listener.await;
        }
    }
}

impl Drop for StreamServer {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

fn listen_on(socket: StdTcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(socket)
}

/// What all connections use.
#[derive(Debug)]
struct Shared {
    responder: Responder,
    limits: StreamLimits,
    places: Arc<Places>,
    counters: Arc<StreamCounters>,
}

/// The TLS of a listener.
struct Tls {
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
}

impl Tls {
    fn new(certificate: Arc<Certificate>) -> Result<Self, rustls::Error> {
        let config = Arc::new(certificate.server_config()?);
        Ok(Self { certificate, config })
    }
}

/// The task of one listening socket.
struct Listener {
    shared: Arc<Shared>,
    tls: Option<Tls>,
    alternates: Option<AlternatesAt>,
}

impl Listener {
    /// Accepts for ever.
    async fn run(self, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((connection, peer)) => self.admit(connection, peer),
                Err(error) if is_peers_fault(&error) => {}
                Err(_) => {
                    self.shared.counters.count_accept_error();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, connection: TcpStream, peer: SocketAddr) {
        let counters = &self.shared.counters;
        counters.count_accepted(if self.tls.is_some() { Transport::Tls } else { Transport::Tcp });
        let place = match self.shared.places.take(peer.ip()) {
            Ok(place) => place,
            Err(end) => return counters.count_ended(end),
        };
        let alternates = match (&self.alternates, connection.local_addr()) {
            (Some(at), Ok(local)) => at(SocketAddr::new(local.ip().to_canonical(), local.port())),
            _ => None,
        };
        let client = Client { source: peer, alternates };
        let shared = Arc::clone(&self.shared);
        let acceptor = self.tls.as_ref().map(|tls| {
            tls.certificate.refresh(Instant::now());
            TlsAcceptor::from(Arc::clone(&tls.config))
        });
        tokio::spawn(serve(shared, connection, client, acceptor, place));
    }
}

/// A connection from its acceptance to its end.
async fn serve(
    shared: Arc<Shared>,
    connection: TcpStream,
    client: Client,
    acceptor: Option<TlsAcceptor>,
    place: Place,
) {
    let end = match acceptor {
        None => connection::serve(connection, client, &shared).await,
        Some(acceptor) => {
            match tokio::time::timeout(shared.limits.handshake, acceptor.accept(connection)).await {
                Ok(Ok(stream)) => connection::serve(stream, client, &shared).await,
                Ok(Err(_)) | Err(_) => ConnectionEnd::Handshake,
            }
        }
    };
    drop(place);
    shared.counters.count_ended(end);
}

fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
