//! TLS below a connection, over the caller's buffers.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::connection::Hangup;

/// A record's header, its authentication tag and what TLS 1.2 adds, at most.
const RECORD_OVERHEAD: usize = 64;
/// Plaintext of one record.
const RECORD_PLAIN_BYTES: usize = 16 * 1024;

/// A certificate that nobody need believe, and session tickets for those who come back.
pub(super) fn config() -> anyhow::Result<Arc<ServerConfig>> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    // ECDSA with P-256, as derper's own.
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // As Go's server does; the second one of rustls' default would be sealed for nobody.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// One connection's TLS.
pub(super) struct Tls(UnbufferedServerConnection);

/// Bytes for a socket, in memory that is cleared by nobody: only the first `len` mean anything.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
    len: usize,
}

impl Wire {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        self.room(more.len())[..more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    /// At least so many bytes behind what is there.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = self.len + bytes;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.len..]
    }

    /// Appends a handshake record that rustls has ready.
    fn encode(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    ) -> Result<(), Hangup> {
        let mut room = 1_024;
        loop {
            match write(self.room(room)) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
                Err(EncodeError::AlreadyEncoded) => return Err(Hangup),
            }
        }
    }
}

impl Tls {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self, Hangup> {
        UnbufferedServerConnection::new(Arc::clone(config)).map(Self).map_err(|_| Hangup)
    }

    /// Opens the whole records in `sealed`, hands their plaintext on, and appends what the handshake says to `wire`. Answers
    /// how many bytes are done with.
    pub(super) fn open(
        &mut self,
        sealed: &mut [u8],
        wire: &mut Wire,
        mut plain: impl FnMut(&[u8]) -> Result<(), Hangup>,
    ) -> Result<usize, Hangup> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.0.process_tls_records(&mut sealed[at..]);
            let mut is_waiting = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain(record.map_err(|_| Hangup)?.payload)?;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => wire.encode(|out| data.encode(out))?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => is_waiting = true,
                // Goodbye, early data, or an error: a null server has nothing to say to any of them.
                Ok(_) | Err(_) => return Err(Hangup),
            }
            at += discard;
            if is_waiting {
                return Ok(at);
            }
        }
    }

    /// Appends `plain` to `wire` in records as large as they may be.
    pub(super) fn seal(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), Hangup> {
        loop {
            match self.0.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let records = plain.len().div_ceil(RECORD_PLAIN_BYTES);
                    let mut room = plain.len() + records * RECORD_OVERHEAD;
                    loop {
                        match traffic.encrypt(plain, wire.room(room)) {
                            Ok(written) => {
                                wire.len += written;
                                return Ok(());
                            }
                            Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
                            Err(EncryptError::EncryptExhausted) => return Err(Hangup),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => wire.encode(|out| data.encode(out))?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => return Err(Hangup),
            }
        }
    }
}
