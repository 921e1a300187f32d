//! DERP in WebSocket messages, for targets whose rivals are measured that way.

use std::io::{self, Read, Write};

use ferry_protocol::RequestHead;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::connection::Hangup;

/// Longest message either way, derper's limit.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// The framing of one connection.
#[derive(Debug)]
pub(super) struct Framing(WebSocket<Memory>);

/// What came in, and what is to go out.
#[derive(Debug, Default)]
struct Memory {
    incoming: Vec<u8>,
    read: usize,
    outgoing: Vec<u8>,
}

impl Framing {
    /// The framing behind a request that asks for it, with the answer to the request to be written first.
    pub(super) fn accept(head: &RequestHead) -> Result<Self, Hangup> {
        let accept = derive_accept_key(head.header("Sec-WebSocket-Key").ok_or(Hangup)?);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: derp\r\n\r\n"
        );
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .read_buffer_size(4 * 1024)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let memory = Memory { outgoing: answer.into_bytes(), ..Memory::default() };
        Ok(Self(WebSocket::from_raw_socket(memory, Role::Server, Some(config))))
    }

    /// Takes bytes off the wire and appends what they carry to `stream`.
    pub(super) fn receive(&mut self, wire: &[u8], stream: &mut Vec<u8>) -> Result<(), Hangup> {
        self.0.get_mut().incoming.extend_from_slice(wire);
        loop {
            match self.0.read() {
                Ok(Message::Binary(bytes)) => stream.extend_from_slice(&bytes),
                // A pong is made by reading its ping.
                Ok(Message::Ping(_) | Message::Pong(_)) => self.0.flush().map_err(|_| Hangup)?,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) | Err(_) => return Err(Hangup),
            }
        }
    }

    /// Whether something waits that is no part of the stream: a pong, or the answer to the request.
    pub(super) fn has_output(&self) -> bool {
        !self.0.get_ref().outgoing.is_empty()
    }

    /// Wraps a piece of the stream, and hands it on with whatever else is to be written.
    pub(super) fn send(&mut self, stream: &[u8], out: &mut Vec<u8>) -> Result<(), Hangup> {
        for piece in stream.chunks(MESSAGE_BYTES_MAX) {
            self.0.write(Message::Binary(piece.to_vec().into())).map_err(|_| Hangup)?;
        }
        self.0.flush().map_err(|_| Hangup)?;
        out.append(&mut self.0.get_mut().outgoing);
        Ok(())
    }
}

impl Read for Memory {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = &self.incoming[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = out.len().min(rest.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.read += len;
        if self.read == self.incoming.len() {
            self.incoming = Vec::new();
            self.read = 0;
        }
        Ok(len)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
