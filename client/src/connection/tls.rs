//! TLS records on the way in and out.
//!
//! rustls' unbuffered interface opens them in the caller's buffer; only the part of a record whose rest has not come is kept.

use std::fmt;
use std::mem;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::ConnectionError;
use super::outgoing::Outgoing;

/// rustls' leave to send.
type Traffic<'c> = WriteTraffic<'c, ClientConnectionData>;

/// Content type, version and length.
const HEADER_BYTES: usize = 5;
/// The most plaintext in one record (RFC 8446 section 5.1).
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
/// At least what a record is longer than its plaintext: header, nonce of TLS 1.2, content type, tag.
const OVERHEAD_BYTES: usize = 32;
/// At first offered to rustls for a handshake message; it says what it needs if that is more.
const HANDSHAKE_ROOM_BYTES: usize = 512;
/// What may wait for its rest: a handshake message of 64 KiB over several records, and some of the next record.
pub(super) const LEFTOVER_BYTES_MAX: usize = 128 * 1024;

/// The client's end of a TLS connection.
pub(super) struct Tls {
    rustls: UnbufferedClientConnection,
    /// The front of a record whose rest has not come; without allocation while there is none.
    leftover: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    /// Data may be sent.
    Established,
    /// The peer sent close_notify; we still may.
    ClosedByPeer,
    /// A fatal alert was sent or received.
    Failed,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("leftover_bytes", &self.leftover.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// A connection whose ClientHello is in `out`.
    pub(super) fn start(
        config: &Arc<ClientConfig>,
        host: &str,
        out: &mut Outgoing,
    ) -> Result<Self, ConnectionError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ConnectionError::Host { host: host.to_owned() })?;
        let rustls = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        let mut tls = Self { rustls, leftover: Vec::new(), state: State::Handshake };
        tls.process(&mut [], out, &mut |_| Ok(()))?;
        Ok(tls)
    }

    /// The handshake is done: data may be sent.
    pub(super) fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// The peer sent close_notify.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::ClosedByPeer
    }

    /// Opens what the socket gave, in place, and hands the plaintext on, record by record. What TLS itself has to say,
    /// a fatal alert included, is added to `out`.
    pub(super) fn receive(
        &mut self,
        mut input: &mut [u8],
        out: &mut Outgoing,
        plain: &mut impl FnMut(&[u8]) -> Result<(), ConnectionError>,
    ) -> Result<(), ConnectionError> {
        while !self.leftover.is_empty() && !input.is_empty() {
            let (rest_of_record, after) = input.split_at_mut(self.missing().min(input.len()));
            self.leftover.extend_from_slice(rest_of_record);
            input = after;
            let mut leftover = mem::take(&mut self.leftover);
            let opened = self.process(&mut leftover, out, plain)?;
            leftover.drain(..opened);
            self.leftover = leftover;
        }
        if !input.is_empty() {
            let opened = self.process(input, out, plain)?;
            self.leftover.extend_from_slice(input.get(opened..).unwrap_or_default());
        }
        if self.is_closed() || self.leftover.is_empty() {
            // Nothing follows a close_notify; and an idle connection keeps no buffer.
            self.leftover = Vec::new();
        }
        if self.leftover.len() > LEFTOVER_BYTES_MAX {
            return Err(ConnectionError::TlsLeftover { bytes: self.leftover.len() });
        }
        Ok(())
    }

    /// How many bytes the leftover should get before it is worth a look: the rest of its record and no more, so that
    /// the records behind are opened where they are.
    fn missing(&self) -> usize {
        let Some([_, _, _, high, low]) = self.leftover.first_chunk::<HEADER_BYTES>() else {
            return HEADER_BYTES - self.leftover.len();
        };
        let record = HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        match record.checked_sub(self.leftover.len()) {
            Some(missing @ 1..) => missing,
            // A handshake message over several records, which rustls wants in one piece.
            _ => usize::MAX,
        }
    }

    /// Seals `data` as records of their own at the end of `out`: one, unless it is longer than a record may be.
    pub(super) fn send(&mut self, data: &[u8], out: &mut Outgoing) -> Result<(), ConnectionError> {
        let records = data.len().div_ceil(PLAINTEXT_BYTES_MAX);
        let room = data.len() + records * OVERHEAD_BYTES;
        self.write(room, out, |traffic, room| traffic.encrypt(data, room))
    }

    /// Appends close_notify, if the handshake has come far enough for it.
    pub(super) fn close(&mut self, out: &mut Outgoing) -> Result<(), ConnectionError> {
        if matches!(self.state, State::Handshake | State::Failed) {
            return Ok(());
        }
        self.write(OVERHEAD_BYTES, out, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        mut room: usize,
        out: &mut Outgoing,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), ConnectionError> {
        loop {
            // rustls remembers places in what it was shown last: it must be the same leftover again.
            let UnbufferedStatus { state, .. } = self.rustls.process_tls_records(&mut self.leftover);
            let mut traffic = match state? {
                ConnectionState::WriteTraffic(traffic) => traffic,
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, out)?;
                    continue;
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    continue;
                }
                ConnectionState::BlockedHandshake
                | ConnectionState::ReadTraffic(_)
                | ConnectionState::ReadEarlyData(_)
                | ConnectionState::PeerClosed
                | ConnectionState::Closed
                | _ => return Err(ConnectionError::TlsNotReady),
            };
            match out.append(room, |room| write(&mut traffic, room)) {
                Ok(()) => return Ok(()),
                Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
                Err(EncryptError::EncryptExhausted) => return Err(ConnectionError::TlsExhausted),
            }
        }
    }

    /// Lets rustls work through `records`; answers how many bytes of them are done with.
    fn process(
        &mut self,
        records: &mut [u8],
        out: &mut Outgoing,
        plain: &mut impl FnMut(&[u8]) -> Result<(), ConnectionError>,
    ) -> Result<usize, ConnectionError> {
        let mut done = 0;
        loop {
            let rest = records.get_mut(done..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.rustls.process_tls_records(rest);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.state = State::Failed;
                    self.encode_alert(out)?;
                    return Err(error.into());
                }
            };
            done += discard;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        done += record.discard;
                        plain(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, out)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake => return Ok(done),
                ConnectionState::WriteTraffic(_) => {
                    self.state = State::Established;
                    return Ok(done);
                }
                // Early data is for servers to read, and a state that is not known yet is no progress either.
                ConnectionState::PeerClosed
                | ConnectionState::Closed
                | ConnectionState::ReadEarlyData(_)
                | _ => {
                    self.state = State::ClosedByPeer;
                    return Ok(done);
                }
            }
        }
    }

    /// The alert that says what was wrong.
    fn encode_alert(&mut self, out: &mut Outgoing) -> Result<(), ConnectionError> {
        // Asked for no more than it has: without the records that it failed at, rustls would panic in search of the next.
        while self.rustls.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(data)), .. } =
                self.rustls.process_tls_records(&mut [])
            else {
                return Ok(());
            };
            encode(data, out)?;
        }
        Ok(())
    }
}

/// Appends a record that rustls has made.
fn encode(
    mut data: EncodeTlsData<'_, ClientConnectionData>,
    out: &mut Outgoing,
) -> Result<(), ConnectionError> {
    let mut room = HANDSHAKE_ROOM_BYTES;
    loop {
        match out.append(room, |room| data.encode(room)) {
            Ok(()) => return Ok(()),
            Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
            Err(EncodeError::AlreadyEncoded) => return Err(ConnectionError::TlsNotReady),
        }
    }
}
