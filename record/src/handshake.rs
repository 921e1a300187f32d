//! The handshake: rustls' unbuffered state machine, given one record at a time.

use rustls::Error;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

use crate::{HEADER_BYTES, RECORD_BYTES_MAX, Side, TlsSession};

/// At first offered to rustls for a record; it says what it needs if that is more.
const ROOM_BYTES: usize = 512;

/// A handshake under way.
///
/// rustls is given one record more at a time, and none behind the last of the handshake: the peer may send tickets, a
/// KeyUpdate or data close behind it, and a KeyUpdate would have rustls change our keys without a word to the peer, for
/// its answer stays behind when [`TlsSession`] takes over.
pub struct Handshake<S: Side> {
    connection: S::Connection,
    /// Bytes at the front of what was received that rustls knows: messages of which not all has come.
    given: usize,
}

/// What became of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Proceeded {
    /// So many bytes are done with, to drop from the front; the others are to be shown again.
    pub consumed: usize,
    /// How far the handshake is.
    pub progress: Progress,
}

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It goes on with more bytes from the peer.
    Waiting {
        /// So many in all, the unconsumed ones included.
        needed: usize,
    },
    /// [`Handshake::into_session`] takes over. What is not consumed is the session's to open.
    Done,
}

impl<S: Side> std::fmt::Debug for Handshake<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("given", &self.given).finish_non_exhaustive()
    }
}

impl<S: Side> Handshake<S> {
    /// A handshake that has not begun; a client's [`proceed`](Self::proceed) without bytes makes its ClientHello.
    pub const fn new(connection: S::Connection) -> Self {
        Self { connection, given: 0 }
    }

    /// rustls' connection, for what was agreed on.
    pub const fn connection(&self) -> &S::Connection {
        &self.connection
    }

    /// Goes on with all that was received and not consumed yet, and appends what there is to say to `out`; after an
    /// error, that is the alert that rustls chose.
    pub fn proceed(&mut self, received: &mut [u8], out: &mut Vec<u8>) -> Result<Proceeded, Error> {
        let mut consumed = 0;
        loop {
            let known = received.get_mut(consumed..consumed + self.given).unwrap_or_default();
            let UnbufferedStatus { discard, state } = S::process(&mut self.connection, known);
            let is_blocked = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, out)?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                // A server may be allowed to send before the client's last word.
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                // There is no data, for no record behind the handshake was given and early data is not asked for; and to a
                // close_notify that nobody vouches for rustls pays no heed.
                Ok(
                    ConnectionState::PeerClosed
                    | ConnectionState::Closed
                    | ConnectionState::ReadTraffic(_)
                    | ConnectionState::ReadEarlyData(_)
                    | _,
                ) => return Err(Error::HandshakeNotComplete),
                Err(error) => {
                    self.encode_alert(out)?;
                    return Err(error);
                }
            };
            consumed += discard;
            self.given = self.given.saturating_sub(discard);
            if !is_blocked {
                continue;
            }
            if !self.connection.is_handshaking() {
                return Ok(Proceeded { consumed, progress: Progress::Done });
            }
            let unknown = received.get(consumed + self.given..).unwrap_or_default();
            match first_record(unknown) {
                Ok(record) => self.given += record,
                Err(needed) => {
                    let progress = Progress::Waiting { needed: self.given + needed };
                    return Ok(Proceeded { consumed, progress });
                }
            }
        }
    }

    /// The record layer, once the handshake is [`Done`](Progress::Done).
    pub fn into_session(self) -> Result<TlsSession<S>, Error> {
        let (secrets, schedule) = S::secrets(self.connection)?;
        TlsSession::new(&secrets, schedule).map_err(|error| Error::General(error.to_string()))
    }

    /// The alert that says what was wrong.
    fn encode_alert(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        // Asked once more than it has to say, rustls would look for the rest of a handshake message in the empty slice,
        // and panic.
        while self.connection.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(data)), .. } =
                S::process(&mut self.connection, &mut [])
            else {
                return Ok(());
            };
            encode(data, out)?;
        }
        Ok(())
    }
}

/// Length of the record at the front, or else how many bytes it takes to say more. What is no record counts as one, for
/// rustls to refuse at once.
fn first_record(bytes: &[u8]) -> Result<usize, usize> {
    let is_garbage = bytes.first().is_some_and(|content_type| !(20..=23).contains(content_type));
    if is_garbage {
        return Ok(bytes.len());
    }
    let Some([_, major, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(HEADER_BYTES);
    };
    let len = HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
    if *major != 3 || len > RECORD_BYTES_MAX {
        return Ok(bytes.len());
    }
    if bytes.len() < len { Err(len) } else { Ok(len) }
}

/// Appends a record that rustls has made.
fn encode<S>(mut data: EncodeTlsData<'_, S>, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    let mut room = ROOM_BYTES;
    loop {
        out.resize(start + room, 0);
        let (_, end) = out.split_at_mut(start);
        match data.encode(end) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
            Err(EncodeError::AlreadyEncoded) => {
                out.truncate(start);
                return Err(Error::General("handshake record encoded twice".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
