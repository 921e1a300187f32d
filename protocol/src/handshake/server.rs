//! The relay's end of the handshake.

use crate::frame::{
    CLIENT_INFO_LEN_MAX, CLIENT_INFO_LEN_MIN, FrameType, HEADER_LEN, SERVER_KEY_LEN_MIN, encode_server_info,
    encode_server_key, split_key,
};
use crate::handshake::{ClientInfo, HandshakeError, ServerInfo, expect_frame, frame_len};
use crate::key::{NodePrivateKey, NodePublicKey};
use crate::seal::{NONCE_LEN, SharedBox};

/// A relay waiting for a client to say who it is.
#[derive(Debug)]
pub struct ServerHandshake {
    private: NodePrivateKey,
}

impl ServerHandshake {
    /// A handshake as the relay with this key.
    pub fn new(private: &NodePrivateKey) -> Self {
        Self { private: private.clone() }
    }

    /// The ServerKey frame, to be sent at once, also to a client that knew the key.
    pub fn output(&self) -> [u8; HEADER_LEN + SERVER_KEY_LEN_MIN] {
        let mut frame = Vec::new();
        encode_server_key(&mut frame, &self.private.public());
        frame.try_into().expect("a ServerKey has the length of its parts")
    }

    /// The client at the front of `input` and how many bytes it took; None while they are not all
    /// there. A wrong type or length is refused as soon as the five bytes of header are.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(usize, AcceptedClient)>, HandshakeError> {
        let frame = FrameType::ClientInfo;
        let Some(body) = expect_frame(input, frame, CLIENT_INFO_LEN_MIN, CLIENT_INFO_LEN_MAX)? else {
            return Ok(None);
        };
        let Some((key, sealed)) = split_key(body) else { return Ok(None) };
        let shared = self.private.shared(&key)?;
        let json = shared.open(sealed)?;
        let info = ClientInfo::from_json(&json).map_err(|source| HandshakeError::Json { frame, source })?;
        Ok(Some((frame_len(body), AcceptedClient { key, info, shared })))
    }
}

/// A client that has shown it holds the private half of its key; whether it may stay is another
/// question.
#[derive(Debug)]
pub struct AcceptedClient {
    /// Who it is.
    pub key: NodePublicKey,
    /// What it says about itself.
    pub info: ClientInfo,
    shared: SharedBox,
}

impl AcceptedClient {
    /// The whole ServerInfo frame, the first that the client must get after ServerKey.
    pub fn server_info(&self, nonce: [u8; NONCE_LEN], info: &ServerInfo) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_server_info(&mut frame, &self.shared.seal(nonce, info.to_json().as_bytes()));
        frame
    }
}
