//! DERP over WebSocket: binary messages carry one byte stream, their boundaries mean nothing (derp.md 6.4).
//!
//! tungstenite does the framing over memory; reading and writing sockets stays with whoever owns them, the front
//! while the client shakes hands and a data thread afterwards.

use std::io::{self, Read, Write};

use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Largest message accepted, derper's limit: clients split what is longer.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// One WebSocket connection's framing.
#[derive(Debug)]
pub(crate) struct WebSocketCodec {
    inner: WebSocket<Memory>,
}

/// The wire in memory: what came in and what is to go out.
#[derive(Debug, Default)]
struct Memory {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Yes.
    Open,
    /// A close frame is among the outgoing bytes, or the peer's framing is beyond repair: send those and end.
    Closing,
}

impl WebSocketCodec {
    pub(crate) fn new() -> Self {
        let mut config = WebSocketConfig::default();
        // Nothing is held back on either side: an idle connection holds no buffers to speak of.
        config.read_buffer_size = 4 * 1024;
        config.write_buffer_size = 0;
        config.max_message_size = Some(MESSAGE_BYTES_MAX);
        config.max_frame_size = Some(MESSAGE_BYTES_MAX);
        Self { inner: WebSocket::from_raw_socket(Memory::default(), Role::Server, Some(config)) }
    }

    /// Takes bytes off the wire and appends what they carry of the stream to `stream`. Answers to pings and closes
    /// are left in [`take_outgoing`](Self::take_outgoing).
    pub(crate) fn receive(&mut self, wire: &[u8], stream: &mut Vec<u8>) -> Flow {
        self.inner.get_mut().incoming.extend_from_slice(wire);
        loop {
            match self.inner.read() {
                Ok(Message::Binary(bytes)) => stream.extend_from_slice(&bytes),
                Ok(Message::Text(_)) => return self.close(CloseCode::Unsupported, ""),
                Ok(Message::Ping(_) | Message::Pong(_)) => {
                    // The pong is queued by reading the ping.
                    if self.inner.flush().is_err() {
                        return Flow::Closing;
                    }
                }
                Ok(Message::Close(_)) => {
                    let _ = self.inner.flush();
                    return Flow::Closing;
                }
                Ok(Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Open,
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    return self.close(CloseCode::Size, "message too big");
                }
                Err(Error::Protocol(_)) => return self.close(CloseCode::Protocol, ""),
                Err(_) => return Flow::Closing,
            }
        }
    }

    /// Wraps a piece of the stream, cutting it into messages that any peer accepts.
    pub(crate) fn send(&mut self, stream: &[u8]) -> Flow {
        for piece in stream.chunks(MESSAGE_BYTES_MAX) {
            if self.inner.write(Message::Binary(piece.to_vec().into())).is_err() {
                return Flow::Closing;
            }
        }
        match self.inner.flush() {
            Ok(()) => Flow::Open,
            Err(_) => Flow::Closing,
        }
    }

    /// Ends the connection with `code`.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &'static str) -> Flow {
        let _ = self.inner.close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = self.inner.flush();
        Flow::Closing
    }

    /// Bytes for the wire.
    pub(crate) fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inner.get_mut().outgoing)
    }
}

impl Read for Memory {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = out.len().min(self.incoming.len());
        out[..len].copy_from_slice(&self.incoming[..len]);
        if len == self.incoming.len() {
            self.incoming = Vec::new();
        } else {
            self.incoming.drain(..len);
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
