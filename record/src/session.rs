//! An established connection: two keys, and what is left of its handshake.

use std::ops::Range;

use rustls::kernel::KernelConnection;
use rustls::{AlertDescription, ExtractedSecrets, ProtocolVersion};

use crate::keys::{Format, Keys, OVERHEAD_BYTES};
use crate::messages::{HELLO_REQUEST_MESSAGE, KEY_UPDATE_MESSAGE, Messages};
use crate::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER_BYTES, PLAINTEXT_BYTES_MAX,
    RECORD_BYTES_MAX, RecordError, Side,
};

/// Records sealed under one key before it is changed, or is exhausted where TLS 1.2 knows no change; RFC 8446
/// section 5.5 allows 2^24.5 for AES-GCM.
const RECORDS_PER_KEY_MAX: u64 = 1 << 24;
/// Records without application data in a row before the peer is taken for an attacker: empty ones, key updates and
/// tickets are legal but cost us more than them. rustls draws the same line at 32.
pub(crate) const FRUITLESS_RECORDS_MAX: u8 = 32;

/// AlertLevel warning and fatal (RFC 8446 section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// An established TLS connection.
///
/// A record that is refused ends it: the caller may still send an [`alert`](Self::alert), and opens nothing more.
pub struct TlsSession<S: Side> {
    receive: Keys,
    send: Keys,
    /// For TLS 1.3 alone, which has something to say after the handshake.
    messages: Option<Box<Messages<S>>>,
    /// Records in a row that carried no data; at most [`FRUITLESS_RECORDS_MAX`].
    fruitless: u8,
}

/// What the front of the receive buffer held.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not a whole record yet; at least this many bytes are needed in all.
    Incomplete {
        /// Bytes of the whole record, or of its header while that is incomplete.
        needed: usize,
    },
    /// Application data, decrypted in place.
    Data {
        /// Where in the buffer the plaintext is; never empty.
        plain: Range<usize>,
        /// Bytes of the record, to drop from the front.
        consumed: usize,
    },
    /// A record for the TLS layer itself, dealt with.
    Control {
        /// Bytes of the record, to drop from the front.
        consumed: usize,
        /// The peer updated its keys and asks for ours (RFC 8446 section 4.6.3): send [`TlsSession::key_update`], before
        /// the next data; one answer does for all that came in between.
        update_ours: bool,
    },
    /// close_notify: nothing follows.
    Closed,
}

/// Where a record begins in the send buffer: from [`TlsSession::begin`] to [`TlsSession::finish`].
#[derive(Debug)]
#[must_use]
pub struct RecordStart(usize);

impl<S: Side> std::fmt::Debug for TlsSession<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("format", &self.send.format).finish_non_exhaustive()
    }
}

impl<S: Side> TlsSession<S> {
    /// Takes over from a finished handshake; [`Handshake::into_session`](crate::Handshake::into_session) does it.
    pub fn new(secrets: &ExtractedSecrets, schedule: KernelConnection<S>) -> Result<Self, RecordError> {
        let is_tls13 = schedule.protocol_version() == ProtocolVersion::TLSv1_3;
        Ok(Self {
            receive: Keys::new(secrets.rx.0, &secrets.rx.1, is_tls13)?,
            send: Keys::new(secrets.tx.0, &secrets.tx.1, is_tls13)?,
            messages: is_tls13.then(|| Box::new(Messages::new(schedule))),
            fruitless: 0,
        })
    }

    /// Opens the record at the front of `buffer`, in place.
    pub fn open(&mut self, buffer: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((header, body)) = buffer.split_first_chunk_mut::<HEADER_BYTES>() else {
            return Ok(Opened::Incomplete { needed: HEADER_BYTES });
        };
        let header = *header;
        let [outer_type, _, _, high, low] = header;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if HEADER_BYTES + len > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { len, max: RECORD_BYTES_MAX - HEADER_BYTES });
        }
        let consumed = HEADER_BYTES + len;
        let Some(body) = body.get_mut(..len) else {
            return Ok(Opened::Incomplete { needed: consumed });
        };
        if outer_type == CHANGE_CIPHER_SPEC {
            return Err(RecordError::Unexpected { content_type: CHANGE_CIPHER_SPEC });
        }
        let (content_type, plain) = self.receive.open(header, body)?;
        if plain.len() > PLAINTEXT_BYTES_MAX {
            return Err(RecordError::TooLong { len: plain.len(), max: PLAINTEXT_BYTES_MAX });
        }
        if content_type == APPLICATION_DATA && !plain.is_empty() && self.fruitless == 0 {
            let plain = HEADER_BYTES + plain.start..HEADER_BYTES + plain.end;
            return Ok(Opened::Data { plain, consumed });
        }
        self.opened_seldom(content_type, body, plain, consumed)
    }

    /// What is no data, or the first data after it.
    #[cold]
    fn opened_seldom(
        &mut self,
        content_type: u8,
        body: &[u8],
        plain: Range<usize>,
        consumed: usize,
    ) -> Result<Opened, RecordError> {
        let is_amid_message = self.messages.as_ref().is_some_and(|messages| messages.is_amid());
        if is_amid_message && content_type != HANDSHAKE {
            return Err(RecordError::Unexpected { content_type });
        }
        if content_type == APPLICATION_DATA && !plain.is_empty() {
            self.fruitless = 0;
            let plain = HEADER_BYTES + plain.start..HEADER_BYTES + plain.end;
            return Ok(Opened::Data { plain, consumed });
        }
        if self.fruitless == FRUITLESS_RECORDS_MAX {
            return Err(RecordError::Fruitless);
        }
        self.fruitless += 1;
        let plain = body.get(plain).unwrap_or_default();
        match (content_type, plain) {
            (APPLICATION_DATA, _) => Ok(Opened::Control { consumed, update_ours: false }),
            (ALERT, [_, CLOSE_NOTIFY]) => Ok(Opened::Closed),
            // TLS 1.2 has warnings that may be ignored; TLS 1.3 has none left.
            (ALERT, [WARNING, _]) if self.messages.is_none() => {
                Ok(Opened::Control { consumed, update_ours: false })
            }
            (ALERT, [_, description]) => Err(RecordError::Alert { description: *description }),
            (HANDSHAKE, [_, ..]) => {
                let update_ours = self.handshake_messages(plain)?;
                Ok(Opened::Control { consumed, update_ours })
            }
            _ => Err(RecordError::Unexpected { content_type }),
        }
    }

    /// Deals with handshake messages; answers whether the peer wants our key updated.
    fn handshake_messages(&mut self, plain: &[u8]) -> Result<bool, RecordError> {
        let Some(messages) = &mut self.messages else {
            // Clients may ignore it (RFC 5246 section 7.4.1.1), and nobody renegotiates any more.
            let is_ignored = S::IS_CLIENT && plain == HELLO_REQUEST_MESSAGE;
            return if is_ignored {
                Ok(false)
            } else {
                Err(RecordError::Unexpected { content_type: HANDSHAKE })
            };
        };
        let Some(update) = messages.receive(plain)? else { return Ok(false) };
        self.receive = messages.next_receive_keys()?;
        Ok(update.is_requested)
    }

    /// Appends `data` to `out` in as few records as it takes.
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let records = data.len().div_ceil(PLAINTEXT_BYTES_MAX);
        out.reserve(data.len() + records * OVERHEAD_BYTES);
        for piece in data.chunks(PLAINTEXT_BYTES_MAX) {
            let start = self.begin(out);
            out.extend_from_slice(piece);
            self.finish(out, start)?;
        }
        Ok(())
    }

    /// Starts a record at the end of `out`: at most [`PLAINTEXT_BYTES_MAX`] bytes are appended by the caller, then
    /// [`finish`](Self::finish) seals them where they are.
    pub fn begin(&self, out: &mut Vec<u8>) -> RecordStart {
        let start = out.len();
        out.resize(start + self.send.format.prefix_bytes(), 0);
        RecordStart(start)
    }

    /// Seals the application data appended since `begin`, which was the same session's, on the same buffer.
    pub fn finish(&mut self, out: &mut Vec<u8>, start: RecordStart) -> Result<(), RecordError> {
        self.send.seal(out, start.0, APPLICATION_DATA)?;
        if self.send.sequence >= RECORDS_PER_KEY_MAX && self.messages.is_some() {
            return self.key_update(out);
        }
        Ok(())
    }

    /// A TLS 1.2 connection has sealed so much under its only AES-GCM key that it should end (RFC 9325 section 4.4);
    /// those of TLS 1.3 go on to the next key by themselves.
    pub fn is_exhausted(&self) -> bool {
        self.send.format == Format::Tls12Gcm && self.send.sequence >= RECORDS_PER_KEY_MAX
    }

    /// Appends a KeyUpdate and goes on with the next key (RFC 8446 section 4.6.3).
    pub fn key_update(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let messages = self.messages.as_mut().ok_or(RecordError::Keys)?;
        let next = messages.next_send_keys()?;
        self.seal_as(HANDSHAKE, &KEY_UPDATE_MESSAGE, out)?;
        self.send = next;
        Ok(())
    }

    /// Appends a close_notify alert: the end of our direction.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.seal_as(ALERT, &[WARNING, CLOSE_NOTIFY], out)
    }

    /// Appends a fatal alert: why the connection ends, as [`RecordError::alert`] has it.
    pub fn alert(&mut self, description: AlertDescription, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.seal_as(ALERT, &[FATAL, description.into()], out)
    }

    /// Appends a record of any content type, as only a peer with the keys could.
    #[cfg(fuzzing)]
    pub fn seal_any(&mut self, content_type: u8, plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.seal_as(content_type, plain, out)
    }

    fn seal_as(&mut self, content_type: u8, plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let RecordStart(start) = self.begin(out);
        out.extend_from_slice(plain);
        self.send.seal(out, start, content_type)
    }
}

#[cfg(test)]
mod tests;
