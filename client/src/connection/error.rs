//! Why a connection cannot go on.

use ferry_protocol::frame::DecodeError;
use ferry_protocol::{HandshakeError, HeadError, KeyError};

use super::tls::LEFTOVER_BYTES_MAX;
use super::upgrade::HEAD_BYTES_MAX;
use super::{Stage, websocket::MESSAGE_BYTES_MAX};

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The URL asks for TLS, the settings have none.
    #[error("{url} needs a TLS configuration and the settings have none; set `tls`")]
    TlsMissing {
        /// The relay's URL.
        url: String,
    },
    /// The URL's host can be no certificate's.
    #[error("{host:?} is neither a DNS name nor an IP address, so no certificate can be for it")]
    Host {
        /// The host.
        host: String,
    },
    /// The TLS handshake or a record was refused, by us or by the peer.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A handshake message of TLS does not end.
    #[error("{bytes} bytes of TLS wait for the rest of a message, want at most {LEFTOVER_BYTES_MAX}")]
    TlsLeftover {
        /// How many wait.
        bytes: usize,
    },
    /// So much was sent under one key that TLS 1.2 allows no more.
    #[error("the keys of this TLS 1.2 connection are used up; connect again")]
    TlsExhausted,
    /// TLS takes no data: its handshake is not done, or it is closed.
    #[error("TLS takes no data at this stage")]
    TlsNotReady,
    /// What answers the upgrade is no HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The answer's head does not end.
    #[error("the answer to the upgrade has a head of {bytes} bytes or more, want at most {HEAD_BYTES_MAX}")]
    HeadTooLong {
        /// How many came without an end.
        bytes: usize,
    },
    /// The relay answered the upgrade with something else than 101.
    #[error("the relay answered {status} to the upgrade, want 101")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// A WebSocket server that did not read our key: an old answer out of a cache, or no WebSocket at all.
    #[error("the relay's Sec-WebSocket-Accept is {got:?}, want {want:?}")]
    Accept {
        /// What it sent; empty if nothing.
        got: String,
        /// What belongs to our key.
        want: String,
    },
    /// The WebSocket server chose a subprotocol that we did not offer.
    #[error("the relay chose the WebSocket subprotocol {got:?}, want \"derp\"")]
    Subprotocol {
        /// Its choice.
        got: String,
    },
    /// WebSocket framing that is not to be understood.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tungstenite::Error>),
    /// A WebSocket message longer than any frame.
    #[error("WebSocket message of {bytes} bytes, want at most {MESSAGE_BYTES_MAX}")]
    MessageTooLong {
        /// How long it claims to be, or is already.
        bytes: usize,
    },
    /// A text message, where only binary ones carry DERP.
    #[error("WebSocket text message of {bytes} bytes, want binary ones only")]
    Text {
        /// Its length.
        bytes: usize,
    },
    /// DERP's handshake failed.
    #[error("DERP handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The relay's key cannot be used.
    #[error("the relay's key: {0}")]
    ServerKey(KeyError),
    /// The stream of frames can no longer be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A frame was to be sent too early or too late.
    #[error("a connection at stage {stage:?} sends no frames, only one that is Established")]
    NotEstablished {
        /// How far the connection is.
        stage: Stage,
    },
}
