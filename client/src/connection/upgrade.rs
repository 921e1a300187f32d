//! From HTTP to DERP, on the bare stream or in WebSocket messages.

use std::sync::Arc;

use data_encoding::BASE64;
use ferry_protocol::upgrade::{ResponseHead, head_ends};
use ferry_protocol::upgrade_request;
use tungstenite::handshake::derive_accept_key;

use super::{ConnectionError, Settings};

/// The longest head that a relay may answer with; derper's has some 200 bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The one WebSocket subprotocol that carries DERP.
const SUBPROTOCOL: &str = "derp";
/// What every HTTP answer begins with, and no frame that a relay may send first.
const HTTP_FIRST_BYTE: u8 = b'H';

/// An upgrade that was asked for, or will be.
#[derive(Debug)]
pub(super) struct Upgrade {
    settings: Arc<Settings>,
    /// What Sec-WebSocket-Key says, where the URL asks for messages.
    websocket_key: [u8; 16],
    /// No answer was asked for, so that DERP may begin at once; but one may come from who does not know that.
    fast: bool,
    /// What came of the answer; at most [`HEAD_BYTES_MAX`] and one read.
    head: Vec<u8>,
}

impl Upgrade {
    pub(super) fn new(settings: &Arc<Settings>, websocket_key: [u8; 16]) -> Self {
        Self { settings: Arc::clone(settings), websocket_key, fast: false, head: Vec::new() }
    }

    /// Whether the answer need not be waited for, if the relay's key is known.
    pub(super) fn may_be_fast(&self) -> bool {
        self.settings.fast_start && !self.settings.url.websocket
    }

    /// The request for what the URL says.
    pub(super) fn ask(&self) -> String {
        let Settings { url, ideal_node, .. } = &*self.settings;
        let host = url.authority();
        if !url.websocket {
            return upgrade_request(&host, self.fast, ideal_node.as_deref());
        }
        let key = self.websocket_key();
        format!(
            "GET /derp HTTP/1.1\r\n\
             Host: {host}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
    }

    /// The request for DERP that wants no answer; not for WebSocket.
    pub(super) fn ask_fast(&mut self) -> String {
        self.fast = true;
        self.ask()
    }

    /// Reads on in the answer; answers how many bytes of `input` belong to it, once it has ended and says yes.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<Option<usize>, ConnectionError> {
        let before = self.head.len();
        if self.fast && before == 0 {
            match input.first() {
                None => return Ok(None),
                Some(&HTTP_FIRST_BYTE) => {}
                Some(_) => return Ok(Some(0)),
            }
        }
        let room = HEAD_BYTES_MAX - before;
        self.head.extend_from_slice(input.get(..room).unwrap_or(input));
        let looks_ended = head_ends(&self.head, before);
        // What can be no head is refused at its first byte, and else looked at when it is all there.
        let head = if before == 0 || looks_ended { ResponseHead::parse(&self.head)? } else { None };
        let Some(head) = head else {
            if self.head.len() >= HEAD_BYTES_MAX {
                return Err(ConnectionError::HeadTooLong { bytes: self.head.len() });
            }
            return Ok(None);
        };
        if head.status != 101 {
            return Err(ConnectionError::Status { status: head.status });
        }
        if self.settings.url.websocket {
            check_websocket(&head, &derive_accept_key(self.websocket_key().as_bytes()))?;
        }
        Ok(Some(head.len - before))
    }

    fn websocket_key(&self) -> String {
        BASE64.encode(&self.websocket_key)
    }
}

fn check_websocket(head: &ResponseHead, want: &str) -> Result<(), ConnectionError> {
    let text = |name| head.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let got = text("Sec-WebSocket-Accept").unwrap_or_default();
    if got != want {
        return Err(ConnectionError::Accept { got, want: want.to_owned() });
    }
    match text("Sec-WebSocket-Protocol") {
        Some(got) if got != SUBPROTOCOL => Err(ConnectionError::Subprotocol { got }),
        _ => Ok(()),
    }
}
