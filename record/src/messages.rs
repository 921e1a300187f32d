//! Handshake messages after the handshake: KeyUpdate, and session tickets.

use std::mem;

use rustls::kernel::KernelConnection;

use crate::keys::Keys;
use crate::{RecordError, Side};

/// The longest message taken, rustls' own limit; a ticket could be twice as long.
pub(crate) const MESSAGE_BYTES_MAX: usize = 0xffff;

/// Handshake types (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// A KeyUpdate that asks for none in return.
pub(crate) const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
/// TLS 1.2's wish for a renegotiation (RFC 5246 section 7.4.1.1).
pub(crate) const HELLO_REQUEST_MESSAGE: [u8; 4] = [0, 0, 0, 0];
/// Type and length.
const MESSAGE_HEADER_BYTES: usize = 4;

/// What remains of a TLS 1.3 handshake: rustls' key schedule, and a message of which not all has come.
pub(crate) struct Messages<S: Side> {
    schedule: KernelConnection<S>,
    /// The front of a message that ends in another record; at most [`MESSAGE_BYTES_MAX`], and 4 bytes at a server.
    partial: Vec<u8>,
}

/// The peer goes on with its next key from here.
pub(crate) struct KeyUpdate {
    /// It wants us to do the same.
    pub(crate) is_requested: bool,
}

impl<S: Side> Messages<S> {
    pub(crate) const fn new(schedule: KernelConnection<S>) -> Self {
        Self { schedule, partial: Vec::new() }
    }

    /// A message has begun and not ended: no record of another type may come in between.
    pub(crate) const fn is_amid(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes what a record of content type handshake carried: messages, or a piece of one.
    pub(crate) fn receive(&mut self, piece: &[u8]) -> Result<Option<KeyUpdate>, RecordError> {
        let mut joined = mem::take(&mut self.partial);
        let mut rest = piece;
        if !joined.is_empty() {
            joined.extend_from_slice(piece);
            rest = &joined;
        }
        while let Some((kind, body, after)) = first_message::<S>(rest)? {
            match (kind, body) {
                // A change of keys comes at a record's end (RFC 8446 section 5.1).
                (KEY_UPDATE, [request @ (0 | 1)]) if after.is_empty() => {
                    return Ok(Some(KeyUpdate { is_requested: *request == 1 }));
                }
                (NEW_SESSION_TICKET, body) => S::keep_ticket(&mut self.schedule, body)
                    .map_err(|error| RecordError::Ticket { len: body.len(), error })?,
                (kind, body) => return Err(RecordError::Message { kind, len: body.len() }),
            }
            rest = after;
        }
        self.partial = rest.to_vec();
        Ok(None)
    }

    /// The peer's next key.
    pub(crate) fn next_receive_keys(&mut self) -> Result<Keys, RecordError> {
        let (sequence, secrets) = self.schedule.update_rx_secret().map_err(|_| RecordError::Keys)?;
        Keys::new(sequence, &secrets, true)
    }

    /// Our next key.
    pub(crate) fn next_send_keys(&mut self) -> Result<Keys, RecordError> {
        let (sequence, secrets) = self.schedule.update_tx_secret().map_err(|_| RecordError::Keys)?;
        Keys::new(sequence, &secrets, true)
    }
}

/// A message, split off what follows it.
type Message<'m> = (u8, &'m [u8], &'m [u8]);

/// The message at the front, if all of it is there; one that this side does not take is refused by its first bytes.
fn first_message<S: Side>(bytes: &[u8]) -> Result<Option<Message<'_>>, RecordError> {
    let Some((header, rest)) = bytes.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
        return match bytes.first() {
            Some(kind) => length_taken::<S>(*kind, None).map(|()| None),
            None => Ok(None),
        };
    };
    let [kind, a, b, c] = *header;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    length_taken::<S>(kind, Some(len))?;
    Ok(rest.split_at_checked(len).map(|(body, after)| (kind, body, after)))
}

/// Whether a message of this type is taken at all, and of this length as far as that is known.
fn length_taken<S: Side>(kind: u8, len: Option<usize>) -> Result<(), RecordError> {
    match (kind, len) {
        (KEY_UPDATE, None | Some(1)) => Ok(()),
        (NEW_SESSION_TICKET, Some(len)) if S::IS_CLIENT && len > MESSAGE_BYTES_MAX => {
            Err(RecordError::TicketTooLong { len })
        }
        (NEW_SESSION_TICKET, _) if S::IS_CLIENT => Ok(()),
        (kind, len) => Err(RecordError::Message { kind, len: len.unwrap_or_default() }),
    }
}
