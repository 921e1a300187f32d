//! From the socket to whole frames.

use std::io::{self, Read};

use ferry_protocol::frame::{DecodeError, Step};
use ferry_record::Opened;
use tracing::debug;

use super::connection::Connection;
use super::{READ_BYTES, Shard};
use crate::metrics::End;
use crate::websocket::Flow;

/// Reads of one client before others get their turn.
const READS_PER_TURN: usize = 4;

impl Shard {
    /// Reads what is ready; answers how many bytes that were.
    pub(super) fn readable(&mut self, slot: usize, ends: bool) -> usize {
        if self.drain_until.is_some() && !ends {
            return 0;
        }
        let Some(mut connection) = self.slots.get_mut(slot).and_then(|it| it.connection.take()) else {
            return 0;
        };
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let (read, result) = self.read(&mut connection, &mut buffer, ends);
        self.read_buffer = buffer;
        self.slots[slot].connection = Some(connection);
        if let Err(end) = result {
            self.part(slot, end);
        }
        read
    }

    pub(super) fn read(
        &mut self,
        connection: &mut Connection,
        buffer: &mut [u8],
        ends: bool,
    ) -> (usize, Result<(), End>) {
        let mut total = 0;
        for _ in 0..READS_PER_TURN {
            if connection.closing.is_some() {
                return (total, Ok(()));
            }
            let start = connection.sealed_rest.len();
            buffer[..start].copy_from_slice(&connection.sealed_rest);
            let read = match connection.socket.read(&mut buffer[start..start + READ_BYTES]) {
                Ok(0) => return (total, Err(End::Closed)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (total, Ok(())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return (total, Err(End::Network)),
            };
            total += read;
            connection.received_bytes += read as u64;
            connection.sealed_rest = Vec::new();
            if let Err(end) = self.received(connection, &mut buffer[..start + read]) {
                return (total, Err(end));
            }
            // Less than was asked for: the socket is empty, and more will be announced; unless the end, which has
            // been announced already, is still to be read.
            if read < READ_BYTES && !ends {
                return (total, Ok(()));
            }
        }
        if !connection.unread {
            connection.unread = true;
            self.unread.push(connection.id.slot());
        }
        (total, Ok(()))
    }

    /// Takes in bytes as they came from the socket.
    pub(super) fn received(&mut self, connection: &mut Connection, bytes: &mut [u8]) -> Result<(), End> {
        connection.entry.spoke(connection.id);
        let Some(mut tls) = connection.tls.take() else { return self.opened(connection, bytes) };
        let mut at = 0;
        let result = loop {
            match tls.open(&mut bytes[at..]) {
                Ok(Opened::Incomplete { .. }) => break Ok(false),
                Ok(Opened::Data { plain, consumed }) => {
                    let plain = at + plain.start..at + plain.end;
                    at += consumed;
                    if let Err(end) = self.opened(connection, &bytes[plain]) {
                        break Err(end);
                    }
                }
                Ok(Opened::Control { consumed, update_ours }) => {
                    at += consumed;
                    if update_ours {
                        break Ok(true);
                    }
                }
                Ok(Opened::Closed) => break Err(End::Closed),
                Err(error) => {
                    debug!(%error, "record refused");
                    break Err(End::Transport);
                }
            }
        };
        connection.tls = Some(tls);
        if result? {
            connection.update_keys().map_err(|_| End::Transport)?;
            self.desk.mark(connection);
            return self.received(connection, &mut bytes[at..]);
        }
        if at < bytes.len() {
            connection.sealed_rest = bytes[at..].to_vec();
        }
        Ok(())
    }

    /// Takes in plaintext: the DERP stream, or WebSocket frames around it.
    pub(super) fn opened(&mut self, connection: &mut Connection, plain: &[u8]) -> Result<(), End> {
        // What comes behind the record that ended it, in the same read, is nothing to us, and nothing that framing which is beyond repair
        // could take.
        if connection.closing.is_some() {
            return Ok(());
        }
        let Some(mut codec) = connection.websocket.take() else { return self.stream(connection, plain) };
        let mut stream = std::mem::take(&mut self.stream_buffer);
        stream.clear();
        let flow = codec.receive(plain, &mut stream);
        let wire = codec.take_outgoing();
        connection.websocket = Some(codec);
        let result = self.stream(connection, &stream);
        self.stream_buffer = stream;
        result?;
        if !wire.is_empty() {
            connection.answer(&wire);
            self.desk.mark(connection);
        }
        if flow == Flow::Closing {
            connection.closing = Some(End::Closed);
            self.desk.mark(connection);
        }
        Ok(())
    }

    /// Takes in a piece of the DERP stream, and acts on every frame that is whole.
    pub(super) fn stream(&mut self, connection: &mut Connection, mut input: &[u8]) -> Result<(), End> {
        // A frame that began earlier is completed in a buffer of its own; all others are used where they are.
        while !connection.partial.is_empty() {
            let missing = connection.partial_needed - connection.partial.len();
            if input.len() < missing {
                connection.partial.extend_from_slice(input);
                return Ok(());
            }
            connection.partial.extend_from_slice(&input[..missing]);
            input = &input[missing..];
            let whole = std::mem::take(&mut connection.partial);
            self.frames(connection, &whole)?;
        }
        self.frames(connection, input)
    }

    pub(super) fn frames(&mut self, connection: &mut Connection, mut input: &[u8]) -> Result<(), End> {
        loop {
            match connection.decoder.next(input).map_err(refused)? {
                Step::Frame { frame, consumed } => {
                    self.frame(connection, frame)?;
                    input = &input[consumed..];
                }
                Step::Incomplete { consumed, needed } => {
                    let rest = &input[consumed..];
                    if !rest.is_empty() {
                        connection.partial = rest.to_vec();
                        connection.partial_needed = needed;
                    }
                    return Ok(());
                }
            }
        }
    }
}

fn refused(error: DecodeError) -> End {
    debug!(%error, "frame refused");
    End::Protocol
}
