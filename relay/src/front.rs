//! From a TCP connection to either a relay client, handed to a data thread, or an ordinary HTTP request.
//!
//! The request head is read here and not by hyper: a fast-starting client must be answered without any HTTP bytes, and
//! what it sent behind the head belongs to the relay. Ordinary requests go on to hyper with the bytes put back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferry_protocol::upgrade::{RequestHead, UpgradeKind, head_ends, switching_protocols};
use ferry_protocol::{MeshKey, NodePrivateKey, NodePublicKey};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use crate::connect_proxy;
use crate::metrics::{FrontCounters, HandshakeFailure, TlsVersion};
use crate::pages::{Listener, Pages};
use crate::shard::{NewSession, Shared};
use crate::tls::TlsStream;

pub(crate) mod accept;
mod handshake;
mod head;
mod stream;
mod websocket_upgrade;

use head::{HeadRefused, is_derp_path, is_proper};
use stream::{Rewound, Stream};

/// Time for the TLS handshake, and again for the request head: derper's.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request head, derper's. The longest that a stock client sends is some 400 bytes; browsers bring cookies.
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// Heads, and ClientInfos, over this size are [`LARGE_HEADS_MAX`] at a time, so that silent senders of large ones cost
/// 32 MiB and no more.
const LARGE_HEAD_BYTES: usize = 16 * 1024;
/// Large heads that may be under way at once.
const LARGE_HEADS_MAX: usize = 32;
/// Time for one ordinary exchange; derper's write timeout. A CONNECT tunnel is not one.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// What connections of a listener are served with.
#[derive(Debug)]
pub(crate) struct Front {
    parts: FrontParts,
    public_key: NodePublicKey,
    large_heads: Semaphore,
}

/// What a [`Front`] is made of.
#[derive(Debug)]
pub(crate) struct FrontParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: NodePrivateKey,
    pub(crate) mesh_key: Option<MeshKey>,
    pub(crate) derp_enabled: bool,
    pub(crate) ace: bool,
    pub(crate) pages: Arc<Pages>,
}

impl Front {
    pub(crate) fn new(parts: FrontParts) -> Self {
        Self { public_key: parts.key.public(), large_heads: Semaphore::new(LARGE_HEADS_MAX), parts }
    }

    /// Serves one connection of the main listener to its end, or until it belongs to a data thread.
    pub(crate) async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) {
        if let Err(stage) = self.serve_inner(socket, peer, tls).await {
            self.parts.shared.front.handshake_failed(stage);
        }
    }

    async fn serve_inner(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<(), HandshakeFailure> {
        let mut stream = match tls {
            None => Stream::Plain(socket),
            Some(config) => {
                FrontCounters::count(&self.parts.shared.front.tls_listener_accepted);
                let accepted = timeout(HEAD_TIMEOUT, Box::pin(TlsStream::accept(socket, config)));
                let accepted = accepted.await.map_err(|_| HandshakeFailure::Deadline)?;
                Stream::Tls(Box::new(accepted.map_err(|error| {
                    debug!(%peer, %error, "TLS handshake failed");
                    HandshakeFailure::Tls
                })?))
            }
        };
        if let Stream::Tls(tls) = &stream
            && tls.alpn_h2()
        {
            return self.pages_h2(stream, peer).await;
        }
        let mut received = Vec::new();
        let head = timeout(HEAD_TIMEOUT, self.read_head(&mut stream, &mut received));
        let head = match head.await.map_err(|_| HandshakeFailure::Deadline)? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(refused) => {
                debug!(%peer, error = %refused, "request head refused");
                stream.close_with(refused.answer().as_bytes()).await;
                return Err(HandshakeFailure::Head);
            }
        };
        if let Some(kind) = self.upgrade_kind(&head) {
            received.drain(..head.len);
            return self.upgrade(stream, peer, Upgrade { kind, head: &head }, received).await;
        }
        if head.method == "CONNECT" && matches!(stream, Stream::Tls(_)) {
            received.drain(..head.len);
            let client = Rewound::new(received, stream);
            connect_proxy::serve(client, &head.target, self.parts.ace).await;
            return Ok(());
        }
        self.pages_h1(Rewound::new(received, stream), peer).await
    }

    /// Whether the request is for the relay itself.
    fn upgrade_kind(&self, head: &RequestHead) -> Option<UpgradeKind> {
        if self.parts.derp_enabled && is_derp_path(head.path()) { head.upgrade() } else { None }
    }

    /// Answers the upgrade, shakes hands, and hands the client over.
    async fn upgrade(
        self: &Arc<Self>,
        mut stream: Stream,
        peer: SocketAddr,
        Upgrade { kind, head }: Upgrade<'_>,
        received: Vec<u8>,
    ) -> Result<(), HandshakeFailure> {
        let answer = match kind {
            UpgradeKind::Derp { fast_start: true } => String::new(),
            UpgradeKind::Derp { fast_start: false } => switching_protocols(&self.public_key),
            UpgradeKind::WebSocket => match websocket_upgrade::answer(head) {
                Ok(answer) => answer,
                Err(refusal) => {
                    stream.close_with(refusal.as_bytes()).await;
                    return Err(HandshakeFailure::Head);
                }
            },
        };
        let websocket = kind == UpgradeKind::WebSocket;
        let version = stream.tls_version();
        if let Some(version) = version {
            self.parts.shared.front.request_began(version);
        }
        if websocket {
            FrontCounters::count(&self.parts.shared.front.websocket_accepts);
        }
        let subprotocol = !websocket || websocket_upgrade::speaks_derp(head);
        let not_ideal = !websocket && head.ideal_node();
        let arrival =
            handshake::Arrival { stream, peer, received, answer, websocket, subprotocol, not_ideal };
        match Box::pin(handshake::shake(self, arrival)).await {
            Ok(session) => {
                self.hand_over(session);
                Ok(())
            }
            Err(stage) => {
                if let Some(version) = version {
                    self.parts.shared.front.request_ended(version);
                }
                Err(stage)
            }
        }
    }

    /// Gives the client to the thread with the fewest.
    fn hand_over(&self, session: NewSession) {
        let shards = &self.parts.shared.shards;
        let Some(shard) = shards.iter().min_by_key(|shard| shard.load.load(Ordering::Relaxed)) else {
            return;
        };
        shard.load.fetch_add(1, Ordering::Relaxed);
        shard.adopt(Box::new(session));
    }

    /// Reads until the head is whole; nothing if the peer sent none.
    async fn read_head(
        &self,
        stream: &mut Stream,
        received: &mut Vec<u8>,
    ) -> Result<Option<RequestHead>, HeadRefused> {
        let mut searched = 0;
        let mut large = None;
        loop {
            if received.len() > HEAD_BYTES_MAX {
                return Err(HeadRefused::TooLong);
            }
            if received.len() > LARGE_HEAD_BYTES && large.is_none() {
                large = Some(self.large_heads.try_acquire().map_err(|_| HeadRefused::TooLong)?);
            }
            received.reserve(1_024);
            let read = stream.read_buf(received).await.map_err(HeadRefused::Io)?;
            if read == 0 {
                return Ok(None);
            }
            let ended = head_ends(received, searched);
            searched = received.len();
            if ended && let Some(head) = RequestHead::parse(received).map_err(HeadRefused::Malformed)? {
                return if is_proper(&head) { Ok(Some(head)) } else { Err(HeadRefused::Improper) };
            }
        }
    }

    /// Answers one ordinary request.
    async fn page(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        listener: Listener,
        version: Option<TlsVersion>,
    ) -> hyper::Response<Full<Bytes>> {
        if let Some(version) = version {
            self.parts.shared.front.request_began(version);
        }
        let response = Arc::clone(&self.parts.pages).serve(request, peer, listener).await;
        if let Some(version) = version {
            self.parts.shared.front.request_ended(version);
        }
        response
    }

    async fn pages_h1(self: &Arc<Self>, stream: Rewound, peer: SocketAddr) -> Result<(), HandshakeFailure> {
        let (listener, version) = stream.listener();
        let upgrading = Mutex::new(None);
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            let upgrade = self.later_upgrade(&mut request);
            let upgrading = &upgrading;
            async move {
                let Some((upgrade, answer)) = upgrade else {
                    return Ok::<_, Infallible>(self.page(request, peer, listener, version).await);
                };
                *upgrading.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
                Ok(answer)
            }
        });
        if let Err(error) = http1().serve_connection(TokioIo::new(stream), service).with_upgrades().await {
            debug!(%peer, %error, "page connection ended");
        }
        let upgrading = upgrading.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(LaterUpgrade { head, stream }) = upgrading else { return Ok(()) };
        let upgraded = stream.await.map_err(|_| HandshakeFailure::Head)?;
        let parts = upgraded.downcast::<TokioIo<Rewound>>().map_err(|_| HandshakeFailure::Head)?;
        let stream = parts.io.into_inner().into_inner();
        // Answered already, so nothing more is sent, as for a fast start.
        let upgrade = Upgrade { kind: UpgradeKind::Derp { fast_start: true }, head: &head };
        self.upgrade(stream, peer, upgrade, parts.read_buf.to_vec()).await
    }

    /// A client that asked for pages first and becomes a relay client on the same connection. By then hyper has it, so
    /// hyper writes the answer, and a fast start, which must see no answer, is none; no known client does either.
    fn later_upgrade(
        &self,
        request: &mut hyper::Request<Incoming>,
    ) -> Option<(LaterUpgrade, hyper::Response<Full<Bytes>>)> {
        let headers = request.headers().iter();
        let head = RequestHead {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            version_minor: 1,
            headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
            len: 0,
        };
        let Some(UpgradeKind::Derp { .. }) = self.upgrade_kind(&head) else { return None };
        let answer = hyper::Response::builder()
            .status(hyper::StatusCode::SWITCHING_PROTOCOLS)
            .header(hyper::header::UPGRADE, "DERP")
            .header(hyper::header::CONNECTION, "Upgrade")
            .header("derp-version", u16::from(ferry_protocol::frame::PROTOCOL_VERSION))
            .header("derp-public-key", self.public_key.untyped_hex())
            .body(Full::default())
            .ok()?;
        Some((LaterUpgrade { head, stream: hyper::upgrade::on(request) }, answer))
    }

    async fn pages_h2(self: &Arc<Self>, stream: Stream, peer: SocketAddr) -> Result<(), HandshakeFailure> {
        let (listener, version) = stream.listener();
        let this = Arc::clone(self);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let this = Arc::clone(&this);
            async move { Ok::<_, Infallible>(this.page(request, peer, listener, version).await) }
        });
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(16)
            .keep_alive_interval(EXCHANGE_TIMEOUT)
            .keep_alive_timeout(EXCHANGE_TIMEOUT);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            debug!(%peer, %error, "page connection ended");
        }
        Ok(())
    }

    /// Serves one connection of the port-80 listener.
    pub(crate) async fn serve_port80(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let service = service_fn(|request: hyper::Request<Incoming>| async {
            Ok::<_, Infallible>(self.page(request, peer, Listener::Port80, None).await)
        });
        let http = http1();
        if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
            debug!(%peer, %error, "page connection ended");
        }
    }
}

/// A request to become a relay client.
struct Upgrade<'a> {
    /// How it is answered; nothing is sent for a fast start.
    kind: UpgradeKind,
    head: &'a RequestHead,
}

/// An upgrade that comes after ordinary requests: its head, and the connection once hyper lets go of it.
struct LaterUpgrade {
    head: RequestHead,
    stream: hyper::upgrade::OnUpgrade,
}

/// hyper's settings for every HTTP/1 listener.
fn http1() -> hyper::server::conn::http1::Builder {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .title_case_headers(true);
    http
}

#[cfg(test)]
mod tests;
