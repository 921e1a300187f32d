//! The handshake: ServerKey, ClientInfo, ServerInfo, in this order.
//!
//! Both ends show that they hold their private key; freshness comes from TLS alone. No error frame
//! exists: an end that is not content closes the connection. Deadlines are the caller's.

mod client;
mod info;
mod server;

use crate::frame::{DecodeError, FrameType, HEADER_LEN, split_header};
use crate::key::{KeyError, NodePublicKey};
use crate::seal::OpenError;

pub use client::{ClientHandshake, read_server_key};
pub use info::{ClientInfo, ServerInfo};
pub use server::{AcceptedClient, ServerHandshake};

/// Why a handshake failed; the connection must be closed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer sent another frame than the one whose turn it is.
    #[error("expected a {want} frame, got type 0x{got:02x}")]
    UnexpectedFrame {
        /// The frame whose turn it is.
        want: FrameType,
        /// The type's byte that came.
        got: u8,
    },
    /// The frame has a length that its type must not have.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// A ServerKey without the magic: whatever answers there, it does not speak DERP.
    #[error("greeting does not start with the DERP magic")]
    Magic,
    /// The relay greets with another key than the one that the client took it for, as after a fast start with a certificate
    /// that is not this relay's: it cannot open the ClientInfo.
    #[error("the relay greets as {got}, and its certificate said {want}")]
    OtherServerKey {
        /// The key that the ClientInfo was sealed for.
        want: NodePublicKey,
        /// The key of the greeting.
        got: NodePublicKey,
    },
    /// The peer's key is the zero key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sealed info does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sealed info opened, but is not the JSON that it must be.
    #[error("{frame} is not valid JSON")]
    Json {
        /// Whose JSON it is.
        frame: FrameType,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The body of the frame at the front of `input`, which must be a `want` of `min` to `max` bytes;
/// None while it is not all there. Type and length are judged by the header alone.
fn expect_frame(
    input: &[u8],
    want: FrameType,
    min: usize,
    max: usize,
) -> Result<Option<&[u8]>, HandshakeError> {
    let Some((got, len, body)) = split_header(input) else { return Ok(None) };
    if got != want as u8 {
        return Err(HandshakeError::UnexpectedFrame { want, got });
    }
    if !(min..=max).contains(&(len as usize)) {
        let (min, max) = (min as u32, max as u32);
        return Err(DecodeError::Length { frame: want, len, min, max }.into());
    }
    Ok(body.get(..len as usize))
}

/// Bytes of a whole frame with this body.
fn frame_len(body: &[u8]) -> usize {
    HEADER_LEN + body.len()
}
