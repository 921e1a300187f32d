//! From HTTP to DERP, on the bare stream or in WebSocket messages.

use data_encoding::BASE64;
use ferry_protocol::upgrade::{ResponseHead, head_ends};
use ferry_protocol::upgrade_request;
use tungstenite::handshake::derive_accept_key;

use super::{ConnectionError, Settings};

/// The longest head that a relay may answer with; derper's has some 200 bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The one WebSocket subprotocol that carries DERP.
const SUBPROTOCOL: &str = "derp";

/// An upgrade that was asked for.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What Sec-WebSocket-Accept must say; None for the bare stream.
    accept: Option<String>,
    /// What came of the answer; at most [`HEAD_BYTES_MAX`] and one read.
    head: Vec<u8>,
}

impl Upgrade {
    /// Asks for what the URL says; answers the request too.
    pub(super) fn start(settings: &Settings, websocket_key: [u8; 16]) -> (Self, Vec<u8>) {
        let host = settings.url.authority();
        if !settings.url.websocket {
            let request = upgrade_request(&host, false, settings.ideal_node.as_deref());
            return (Self { accept: None, head: Vec::new() }, request.into_bytes());
        }
        let key = BASE64.encode(&websocket_key);
        let request = format!(
            "GET /derp HTTP/1.1\r\n\
             Host: {host}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        );
        let accept = Some(derive_accept_key(key.as_bytes()));
        (Self { accept, head: Vec::new() }, request.into_bytes())
    }

    /// Reads on in the answer; answers how many bytes of `input` belong to it, once it has ended and says yes.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<Option<usize>, ConnectionError> {
        let before = self.head.len();
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
        if let Some(want) = &self.accept {
            check_websocket(&head, want)?;
        }
        Ok(Some(head.len - before))
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
