//! The DERP handshake of one client: ServerKey out, ClientInfo in, admission, ServerInfo ready to go.

use std::net::SocketAddr;
use std::time::Duration;

use ferry_protocol::frame::PeerPresentFlags;
use ferry_protocol::handshake::{AcceptedClient, ServerHandshake, ServerInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{Front, LARGE_HEAD_BYTES, Stream};
use crate::metrics::HandshakeFailure;
use crate::shard::NewSession;
use crate::switch::registry::Presence;
use crate::websocket::{Flow, WebSocketCodec};

/// Time for ClientInfo to arrive, derper's.
pub(super) const CLIENT_INFO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once while waiting for ClientInfo, which is 109 bytes long, with the first packets behind it.
const READ_BYTES: usize = 2 * 1024;

/// A connection whose upgrade has been understood.
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) peer: SocketAddr,
    /// What came behind the request head.
    pub(super) received: Vec<u8>,
    /// HTTP answer to the upgrade; empty for a fast start.
    pub(super) answer: String,
    pub(super) websocket: bool,
    /// Whether a WebSocket client named the `derp` subprotocol itself.
    pub(super) subprotocol: bool,
    pub(super) not_ideal: bool,
}

/// Shakes hands; the result is ready for a data thread.
pub(super) async fn shake(front: &Front, arrival: Arrival) -> Result<NewSession, HandshakeFailure> {
    let mut exchange = Exchange {
        stream: arrival.stream,
        websocket: arrival.websocket.then(|| Box::new(WebSocketCodec::new())),
        derp: Vec::new(),
    };
    let mut first = arrival.answer.into_bytes();
    if let Some(codec) = &mut exchange.websocket
        && !arrival.subprotocol
    {
        codec.close(CloseCode::Policy, "client must speak the derp subprotocol");
        first.extend_from_slice(&codec.take_outgoing());
        exchange.stream.close_with(&first).await;
        return Err(HandshakeFailure::Head);
    }
    let mut handshake = ServerHandshake::new(&front.parts.key);
    exchange.frame(&handshake.output(), &mut first);
    let greeted = async {
        // After a fast start ClientInfo is here already, and the greeting goes out with ServerInfo.
        exchange.stream.write_later(&first).await.map_err(|_| HandshakeFailure::Derp)?;
        exchange.take(&arrival.received).await?;
        let mut large = None;
        loop {
            match handshake.read(&exchange.derp) {
                Ok(None) => {}
                Ok(Some((consumed, client))) => {
                    exchange.derp.drain(..consumed);
                    return Ok(client);
                }
                Err(error) => {
                    debug!(peer = %arrival.peer, %error, "DERP handshake refused");
                    // Who took us for another relay, as a fast start may, finds it out by our key.
                    let _ = exchange.stream.flush().await;
                    return Err(HandshakeFailure::Derp);
                }
            }
            if exchange.derp.len() > LARGE_HEAD_BYTES && large.is_none() {
                large = Some(front.large_heads.try_acquire().map_err(|_| HandshakeFailure::Derp)?);
            }
            exchange.read().await?;
        }
    };
    let client = timeout(CLIENT_INFO_TIMEOUT, greeted).await.map_err(|_| HandshakeFailure::Deadline)??;
    let mesh = is_mesh(front, &client);
    let mut nonce = [0; 24];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| HandshakeFailure::Derp)?;
    let server_info = client.server_info(nonce, &ServerInfo::current());
    let flags = flags(&client, mesh, arrival.not_ideal);
    let (socket, tls, unsent, sealed) = match exchange.stream {
        Stream::Plain(socket) => (socket, None, Vec::new(), Vec::new()),
        Stream::Tls(tls) => {
            let version = tls.version();
            let mut parts = tls.into_parts();
            exchange.derp = match &mut exchange.websocket {
                None => [exchange.derp, parts.plain].concat(),
                // What the codec has not seen yet: it goes through it like everything later.
                Some(codec) => {
                    let mut derp = exchange.derp;
                    if codec.receive(&parts.plain, &mut derp) == Flow::Closing {
                        return Err(HandshakeFailure::Derp);
                    }
                    derp
                }
            };
            parts.plain = Vec::new();
            (parts.io, Some((parts.session, version)), parts.unsent, parts.sealed)
        }
    };
    Ok(NewSession {
        socket: socket.into_std().map_err(|_| HandshakeFailure::Derp)?,
        tls,
        websocket: exchange.websocket,
        key: client.key,
        presence: Presence { addr: arrival.peer, flags },
        mesh,
        not_ideal: arrival.not_ideal,
        unsent,
        server_info,
        sealed,
        stream: exchange.derp,
    })
}

/// The client's bytes on their way from the socket to the handshake.
struct Exchange {
    stream: Stream,
    websocket: Option<Box<WebSocketCodec>>,
    /// The client's DERP stream, as far as it has come.
    derp: Vec<u8>,
}

impl Exchange {
    /// Appends a frame as it has to look on the wire.
    fn frame(&mut self, frame: &[u8], wire: &mut Vec<u8>) {
        match &mut self.websocket {
            None => wire.extend_from_slice(frame),
            Some(codec) => {
                codec.send(frame);
                wire.extend_from_slice(&codec.take_outgoing());
            }
        }
    }

    async fn read(&mut self) -> Result<(), HandshakeFailure> {
        let mut wire = Vec::with_capacity(READ_BYTES);
        match self.stream.read_buf(&mut wire).await {
            Ok(1..) => self.take(&wire).await,
            _ => Err(HandshakeFailure::Derp),
        }
    }

    async fn take(&mut self, wire: &[u8]) -> Result<(), HandshakeFailure> {
        let Some(codec) = &mut self.websocket else {
            self.derp.extend_from_slice(wire);
            return Ok(());
        };
        let flow = codec.receive(wire, &mut self.derp);
        let answers = codec.take_outgoing();
        if flow == Flow::Closing {
            self.stream.close_with(&answers).await;
            return Err(HandshakeFailure::Derp);
        }
        if answers.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&answers).await.map_err(|_| HandshakeFailure::Derp)?;
        self.stream.flush().await.map_err(|_| HandshakeFailure::Derp)
    }
}

/// A wrong mesh key makes an ordinary client, as at derper: it is not a login.
fn is_mesh(front: &Front, client: &AcceptedClient) -> bool {
    match (&front.parts.mesh_key, &client.info.mesh_key) {
        (Some(ours), Some(theirs)) => ours == theirs && !ours.is_zero(),
        _ => false,
    }
}

/// PeerPresent's flags; `REGULAR` only stands alone (derp.md 4).
fn flags(client: &AcceptedClient, mesh: bool, not_ideal: bool) -> PeerPresentFlags {
    let mut flags = PeerPresentFlags::default();
    if mesh {
        flags |= PeerPresentFlags::MESH_PEER;
    }
    if client.info.is_prober {
        flags |= PeerPresentFlags::PROBER;
    }
    if not_ideal {
        flags |= PeerPresentFlags::NOT_IDEAL;
    }
    if flags == PeerPresentFlags::default() { PeerPresentFlags::REGULAR } else { flags }
}

#[cfg(test)]
mod tests;
