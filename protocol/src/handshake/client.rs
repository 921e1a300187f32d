//! The client's end of the handshake.

use crate::frame::{
    FrameType, SERVER_KEY_LEN_MAX, SERVER_KEY_LEN_MIN, ServerFrame, ServerFrameDecoder, Step, greeting,
    put_header,
};
use crate::handshake::{ClientInfo, HandshakeError, ServerInfo, expect_frame, frame_len};
use crate::key::{KEY_LEN, KeyError, NodePrivateKey, NodePublicKey};
use crate::seal::{NONCE_LEN, SEAL_OVERHEAD, SharedBox};

/// The relay's key in the ServerKey frame at the front of `input`, and how many bytes that took;
/// None while they are not all there.
///
/// The first step of an ordinary start; a fast start has the key from the meta certificate.
pub fn read_server_key(input: &[u8]) -> Result<Option<(usize, NodePublicKey)>, HandshakeError> {
    let Some(body) = expect_frame(input, FrameType::ServerKey, SERVER_KEY_LEN_MIN, SERVER_KEY_LEN_MAX)?
    else {
        return Ok(None);
    };
    let key = greeting(body).ok_or(HandshakeError::Magic)?;
    Ok(Some((frame_len(body), key)))
}

/// A client that has introduced itself and waits for ServerInfo.
///
/// It need not wait: packets may follow the ClientInfo at once.
#[derive(Debug)]
pub struct ClientHandshake {
    server: NodePublicKey,
    shared: SharedBox,
    decoder: ServerFrameDecoder,
}

impl ClientHandshake {
    /// The handshake with a relay whose key is known, and the ClientInfo frame to be sent.
    pub fn start(
        private: &NodePrivateKey,
        server: &NodePublicKey,
        info: &ClientInfo,
        nonce: [u8; NONCE_LEN],
    ) -> Result<(Self, Vec<u8>), KeyError> {
        let shared = private.shared(server)?;
        let json = info.to_json();
        let mut frame = Vec::new();
        put_header(&mut frame, FrameType::ClientInfo, KEY_LEN + SEAL_OVERHEAD + json.len());
        frame.extend_from_slice(private.public().as_bytes());
        frame.extend_from_slice(&shared.seal(nonce, json.as_bytes()));
        Ok((Self { server: *server, shared, decoder: ServerFrameDecoder::new() }, frame))
    }

    /// The relay we talk to.
    pub fn server(&self) -> &NodePublicKey {
        &self.server
    }

    /// Reads on to the ServerInfo. A ServerKey before it, as after a fast start, must have the key that is
    /// known already; unknown frames are passed over, and any other frame before it is refused.
    pub fn read(&mut self, input: &[u8]) -> Result<Step<ServerInfo>, HandshakeError> {
        let mut done = 0;
        loop {
            let rest = input.get(done..).unwrap_or_default();
            let (frame, consumed) = match self.decoder.next(rest)? {
                Step::Frame { frame, consumed } => (frame, consumed),
                Step::Incomplete { consumed, needed } => {
                    return Ok(Step::Incomplete { consumed: done + consumed, needed });
                }
            };
            done += consumed;
            let got = match frame {
                ServerFrame::ServerInfo(sealed) => {
                    return Ok(Step::Frame { frame: self.open(sealed)?, consumed: done });
                }
                ServerFrame::ServerKey(got) if got != self.server => {
                    return Err(HandshakeError::OtherServerKey { want: self.server, got });
                }
                ServerFrame::ServerKey(_) | ServerFrame::Ignored { .. } | ServerFrame::Unknown { .. } => {
                    continue;
                }
                ServerFrame::RecvPacket { .. } => FrameType::RecvPacket,
                ServerFrame::KeepAlive => FrameType::KeepAlive,
                ServerFrame::PeerGone { .. } => FrameType::PeerGone,
                ServerFrame::PeerPresent { .. } => FrameType::PeerPresent,
                ServerFrame::Ping(_) => FrameType::Ping,
                ServerFrame::Pong(_) => FrameType::Pong,
                ServerFrame::Health(_) => FrameType::Health,
                ServerFrame::Restarting { .. } => FrameType::Restarting,
            };
            return Err(HandshakeError::UnexpectedFrame { want: FrameType::ServerInfo, got: got as u8 });
        }
    }

    /// The info in a ServerInfo frame's body, for a caller that reads frames itself.
    pub fn open(&self, sealed: &[u8]) -> Result<ServerInfo, HandshakeError> {
        let json = self.shared.open(sealed)?;
        let frame = FrameType::ServerInfo;
        ServerInfo::from_json(&json).map_err(|source| HandshakeError::Json { frame, source })
    }
}
