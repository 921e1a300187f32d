//! DERP over WebSocket: binary messages carry one byte stream, their boundaries mean nothing.
//!
//! tungstenite does the framing over memory.

use std::io::{self, Read, Write};
use std::mem;

use ferry_protocol::frame::{HEADER_LEN, SERVER_FRAME_LEN_MAX};
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

use super::ConnectionError;

/// Largest message that is accepted: no frame is longer.
pub(super) const MESSAGE_BYTES_MAX: usize = HEADER_LEN + SERVER_FRAME_LEN_MAX;
/// Largest message that is sent, for derper takes none that is longer.
const SENT_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// What tungstenite allocates for reading, for as long as the connection lives.
const READ_BUFFER_BYTES: usize = 1024;

/// One WebSocket connection's framing.
#[derive(Debug)]
pub(super) struct WebSocketCodec {
    tungstenite: WebSocket<Memory>,
}

/// What the wire had to say.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A piece of the stream.
    Stream(Bytes),
    /// Nothing more for now.
    Blocked,
    /// A close frame; ours is among the outgoing bytes.
    Closed,
}

/// The wire in memory.
#[derive(Debug, Default)]
struct Memory {
    incoming: Vec<u8>,
    /// How much of `incoming` has been read.
    read: usize,
    outgoing: Vec<u8>,
    /// Answers to pings are dropped: too many bytes wait for the peer already. RFC 6455 section 5.5.3 asks for an answer to
    /// the last of several pings only, and the peer may ping again.
    mute: bool,
}

impl WebSocketCodec {
    pub(super) fn new() -> Self {
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = READ_BUFFER_BYTES;
        config.write_buffer_size = 0;
        config.max_message_size = Some(MESSAGE_BYTES_MAX);
        config.max_frame_size = Some(MESSAGE_BYTES_MAX);
        Self { tungstenite: WebSocket::from_raw_socket(Memory::default(), Role::Client, Some(config)) }
    }

    /// Takes bytes off the wire, for [`next`](Self::next). Pings are answered if `pongs` says so.
    pub(super) fn receive(&mut self, wire: &[u8], pongs: bool) {
        let memory = self.tungstenite.get_mut();
        memory.mute = !pongs;
        memory.incoming.extend_from_slice(wire);
    }

    /// What comes next in the bytes taken.
    pub(super) fn next(&mut self) -> Result<Incoming, ConnectionError> {
        loop {
            match self.tungstenite.read() {
                Ok(Message::Binary(bytes)) => return Ok(Incoming::Stream(bytes)),
                Ok(Message::Text(text)) => return Err(ConnectionError::Text { bytes: text.len() }),
                // The answer to a ping goes out with the next read.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) => {
                    // The peer has said goodbye: whether it takes ours changes nothing.
                    let _ = self.tungstenite.flush();
                    return Ok(Incoming::Closed);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tungstenite.get_mut().mute = false;
                    return Ok(Incoming::Blocked);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(Incoming::Closed),
                Err(Error::Capacity(CapacityError::MessageTooLong { size, .. })) => {
                    return Err(ConnectionError::MessageTooLong { bytes: size });
                }
                Err(error) => return Err(ConnectionError::WebSocket(Box::new(error))),
            }
        }
    }

    /// Appends `stream` to the outgoing bytes as one message, or more where no message may be so long.
    pub(super) fn send(&mut self, stream: &[u8]) -> Result<(), ConnectionError> {
        for message in stream.chunks(SENT_MESSAGE_BYTES_MAX) {
            let message = Message::Binary(Bytes::copy_from_slice(message));
            self.tungstenite.send(message).map_err(|error| ConnectionError::WebSocket(Box::new(error)))?;
        }
        Ok(())
    }

    /// Appends a close frame to the outgoing bytes.
    pub(super) fn close(&mut self) -> Result<(), ConnectionError> {
        let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let closed = self.tungstenite.close(Some(normal)).and_then(|()| self.tungstenite.flush());
        match closed {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            Err(error) => Err(ConnectionError::WebSocket(Box::new(error))),
        }
    }

    /// Bytes for the wire.
    pub(super) fn take_outgoing(&mut self) -> Vec<u8> {
        mem::take(&mut self.tungstenite.get_mut().outgoing)
    }
}

impl Read for Memory {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut waiting = self.incoming.get(self.read..).unwrap_or_default();
        if waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = waiting.read(out)?;
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
        if !self.mute {
            self.outgoing.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
