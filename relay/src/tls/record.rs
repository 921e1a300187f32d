//! The TLS record layer after the handshake: opens records where they were received, seals them where they are sent.
//!
//! rustls does the handshake and then hands out the traffic secrets (`rustls::kernel`, the seam that kernel TLS needs
//! too). It stays behind for what must not be reimplemented: the key schedule of KeyUpdate. What is here is RFC 8446
//! section 5.2 and RFC 5288 / RFC 7905 for TLS 1.2, over the AEADs of aws-lc-rs, so that a packet is neither copied
//! nor allocated for the sake of encryption, and an idle connection holds two keys instead of a TLS stack.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

/// Most plaintext bytes in one record (RFC 8446 section 5.1).
pub(crate) const PLAINTEXT_BYTES_MAX: usize = 16_384;
/// Most bytes of a whole record on the wire: header, TLS 1.2's allowance of 2,048 over the plaintext limit.
pub(crate) const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAINTEXT_BYTES_MAX + 2_048;

const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// TLS 1.2 AES-GCM sends half of the nonce with every record (RFC 5288 section 3).
const EXPLICIT_NONCE_BYTES: usize = 8;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: u8 = 0;

/// Records sealed under one TLS 1.3 key before we update it; RFC 8446 section 5.5 allows 2^24.5 for AES-GCM.
const RECORDS_PER_KEY_MAX: u64 = 1 << 24;
/// Records without application data in a row before the peer is taken for an attacker: empty ones and key updates are
/// legal but cost us more than them. rustls draws the same line at 32.
const FRUITLESS_RECORDS_MAX: u8 = 32;

/// Why a record was refused; the connection ends with it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// The record does not open under the current key.
    #[error("record number {sequence} does not decrypt")]
    Decrypt {
        /// The record's number under its key.
        sequence: u64,
    },
    /// A length field over what RFC 8446 section 5.2 allows.
    #[error("record of {len} bytes exceeds the limit of {max}")]
    TooLong {
        /// Length that the header claims.
        len: usize,
        /// Largest one allowed.
        max: usize,
    },
    /// Too short to hold nonce, tag and content type.
    #[error("record of {len} bytes is too short to be sealed")]
    TooShort {
        /// Length that the header claims.
        len: usize,
    },
    /// A message that has no place after the handshake, such as a renegotiation.
    #[error("content type {content_type} is not expected after the handshake")]
    Unexpected {
        /// The record's content type.
        content_type: u8,
    },
    /// The peer gave up with an alert other than close_notify.
    #[error("peer sent alert {description}")]
    Alert {
        /// AlertDescription of RFC 8446 section 6.
        description: u8,
    },
    /// A stream of records that carry nothing.
    #[error("more than {FRUITLESS_RECORDS_MAX} records in a row without data")]
    Fruitless,
    /// The key schedule or the AEAD refused, which no peer can cause.
    #[error("keys could not be derived")]
    Keys,
}

/// What the front of the receive buffer held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Not a whole record yet; at least this many bytes are needed in all.
    Incomplete {
        /// Bytes of the whole record, or of its header while that is incomplete.
        needed: usize,
    },
    /// Application data, decrypted in place.
    Data {
        /// Where in the buffer the plaintext is.
        plain: Range<usize>,
        /// Bytes of the record, to drop from the front.
        consumed: usize,
    },
    /// A record for the TLS layer itself, dealt with.
    Control {
        /// Bytes of the record, to drop from the front.
        consumed: usize,
        /// The peer updated its keys and asks for ours (RFC 8446 section 4.6.3): send [`TlsSession::key_update`].
        update_ours: bool,
    },
    /// close_notify: nothing follows.
    Closed,
}

/// How nonces and additional data are formed, and what is on the wire beside the ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// TLS 1.3, any suite.
    Tls13,
    /// TLS 1.2 AES-GCM: half of the nonce travels with the record.
    Tls12Gcm,
    /// TLS 1.2 ChaCha20-Poly1305 (RFC 7905): the nonce is implicit as in TLS 1.3.
    Tls12ChaCha,
}

impl Format {
    const fn prefix_bytes(self) -> usize {
        match self {
            Self::Tls12Gcm => HEADER_BYTES + EXPLICIT_NONCE_BYTES,
            Self::Tls13 | Self::Tls12ChaCha => HEADER_BYTES,
        }
    }
}

/// One direction's key.
struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Keys {
    fn new(sequence: u64, secrets: &ConnectionTrafficSecrets) -> Result<(Self, bool), RecordError> {
        let (algorithm, key, iv, gcm) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, true),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, true),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv, false),
            _ => return Err(RecordError::Keys),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Keys)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Keys)?;
        let keys = Self { key: LessSafeKey::new(key), iv, sequence };
        Ok((keys, gcm))
    }

    /// The sequence number xored into the end of the IV: TLS 1.3, RFC 7905, and rustls' choice of the explicit part
    /// in TLS 1.2 AES-GCM.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// Additional data of TLS 1.2 (RFC 5246 section 6.2.3.3).
    fn aad12(&self, content_type: u8, plain_len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8] = content_type;
        aad[9..11].copy_from_slice(&[3, 3]);
        aad[11..].copy_from_slice(&(plain_len as u16).to_be_bytes());
        aad
    }
}

/// An established TLS connection: two keys, and rustls' key schedule for updating them.
pub(crate) struct TlsSession {
    format: Format,
    receive: Keys,
    send: Keys,
    /// Kept only for TLS 1.3, which alone can update keys.
    schedule: Option<Box<KernelConnection<ServerConnectionData>>>,
    fruitless: u8,
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("format", &self.format).finish_non_exhaustive()
    }
}

impl TlsSession {
    /// Takes over from a finished handshake.
    pub(crate) fn new(
        secrets: &rustls::ExtractedSecrets,
        schedule: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, RecordError> {
        let (receive, gcm) = Keys::new(secrets.rx.0, &secrets.rx.1)?;
        let (send, _) = Keys::new(secrets.tx.0, &secrets.tx.1)?;
        let tls13 = schedule.protocol_version() == rustls::ProtocolVersion::TLSv1_3;
        let format = match (tls13, gcm) {
            (true, _) => Format::Tls13,
            (false, true) => Format::Tls12Gcm,
            (false, false) => Format::Tls12ChaCha,
        };
        let schedule = tls13.then(|| Box::new(schedule));
        Ok(Self { format, receive, send, schedule, fruitless: 0 })
    }

    /// Opens the record at the front of `buffer`, in place.
    pub(crate) fn open(&mut self, buffer: &mut [u8]) -> Result<Opened, RecordError> {
        let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(Opened::Incomplete { needed: HEADER_BYTES });
        };
        let header = *header;
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if HEADER_BYTES + len > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { len, max: RECORD_BYTES_MAX - HEADER_BYTES });
        }
        let consumed = HEADER_BYTES + len;
        let Some(record) = buffer.get_mut(HEADER_BYTES..consumed) else {
            return Ok(Opened::Incomplete { needed: consumed });
        };
        if header[0] == CHANGE_CIPHER_SPEC {
            return Err(RecordError::Unexpected { content_type: CHANGE_CIPHER_SPEC });
        }
        let (content_type, plain) = self.open_record(header, record)?;
        let plain = HEADER_BYTES + plain.start..HEADER_BYTES + plain.end;
        if plain.len() > PLAINTEXT_BYTES_MAX {
            return Err(RecordError::TooLong { len: plain.len(), max: PLAINTEXT_BYTES_MAX });
        }
        if content_type == APPLICATION_DATA && !plain.is_empty() {
            self.fruitless = 0;
            return Ok(Opened::Data { plain, consumed });
        }
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_RECORDS_MAX {
            return Err(RecordError::Fruitless);
        }
        match content_type {
            APPLICATION_DATA => Ok(Opened::Control { consumed, update_ours: false }),
            ALERT => match buffer[plain] {
                [_, CLOSE_NOTIFY] => Ok(Opened::Closed),
                // TLS 1.2 has warnings that may be ignored; TLS 1.3 has none left.
                [1, _] if self.format != Format::Tls13 => {
                    Ok(Opened::Control { consumed, update_ours: false })
                }
                [_, description] => Err(RecordError::Alert { description }),
                _ => Err(RecordError::Unexpected { content_type }),
            },
            HANDSHAKE => match (buffer[plain].as_ref(), self.schedule.as_mut()) {
                (&[KEY_UPDATE, 0, 0, 1, request @ (0 | 1)], Some(schedule)) => {
                    let (sequence, secrets) = schedule.update_rx_secret().map_err(|_| RecordError::Keys)?;
                    (self.receive, _) = Keys::new(sequence, &secrets)?;
                    Ok(Opened::Control { consumed, update_ours: request == 1 })
                }
                _ => Err(RecordError::Unexpected { content_type }),
            },
            _ => Err(RecordError::Unexpected { content_type }),
        }
    }

    /// Decrypts one record's body; answers its content type and where in the body the plaintext is.
    fn open_record(
        &mut self,
        header: [u8; HEADER_BYTES],
        record: &mut [u8],
    ) -> Result<(u8, Range<usize>), RecordError> {
        let keys = &mut self.receive;
        let failed = RecordError::Decrypt { sequence: keys.sequence };
        let nonce_bytes = self.format.prefix_bytes() - HEADER_BYTES;
        let Some(plain_len) = record.len().checked_sub(nonce_bytes + TAG_BYTES) else {
            return Err(RecordError::TooShort { len: record.len() });
        };
        let mut nonce = keys.nonce();
        if self.format == Format::Tls12Gcm {
            nonce[..4].copy_from_slice(&keys.iv[..4]);
            nonce[4..].copy_from_slice(&record[..EXPLICIT_NONCE_BYTES]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = &mut record[nonce_bytes..];
        let opened = match self.format {
            Format::Tls13 => keys.key.open_in_place(nonce, Aad::from(header), body),
            Format::Tls12Gcm | Format::Tls12ChaCha => {
                let aad = keys.aad12(header[0], plain_len);
                keys.key.open_in_place(nonce, Aad::from(aad), body)
            }
        };
        let plain = opened.map_err(|_| failed)?;
        keys.sequence += 1;
        if self.format != Format::Tls13 {
            return Ok((header[0], nonce_bytes..nonce_bytes + plain_len));
        }
        // The content type is the last byte that is not padding (RFC 8446 section 5.4).
        let Some(end) = plain.iter().rposition(|byte| *byte != 0) else {
            return Err(RecordError::Unexpected { content_type: 0 });
        };
        Ok((plain[end], 0..end))
    }

    /// Starts a record at the end of `out`: at most [`PLAINTEXT_BYTES_MAX`] bytes are appended by the caller, then
    /// [`finish`](Self::finish) seals them where they are.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) -> RecordStart {
        let start = out.len();
        out.resize(start + self.format.prefix_bytes(), 0);
        RecordStart(start)
    }

    /// Seals the application data appended since `begin`.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>, start: RecordStart) -> Result<(), RecordError> {
        self.seal(out, start, APPLICATION_DATA)?;
        if self.send.sequence >= RECORDS_PER_KEY_MAX && self.schedule.is_some() {
            return self.key_update(out);
        }
        Ok(())
    }

    /// Appends a KeyUpdate and goes on with the next key (RFC 8446 section 4.6.3).
    pub(crate) fn key_update(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let start = self.begin(out);
        out.extend_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]);
        self.seal(out, start, HANDSHAKE)?;
        let schedule = self.schedule.as_mut().ok_or(RecordError::Keys)?;
        let (sequence, secrets) = schedule.update_tx_secret().map_err(|_| RecordError::Keys)?;
        (self.send, _) = Keys::new(sequence, &secrets)?;
        Ok(())
    }

    /// Appends a close_notify alert: the end of our direction.
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let start = self.begin(out);
        out.extend_from_slice(&[1, CLOSE_NOTIFY]);
        self.seal(out, start, ALERT)
    }

    fn seal(
        &mut self,
        out: &mut Vec<u8>,
        RecordStart(start): RecordStart,
        content_type: u8,
    ) -> Result<(), RecordError> {
        let keys = &mut self.send;
        let prefix = self.format.prefix_bytes();
        let plain_len = out.len() - start - prefix;
        debug_assert!(plain_len <= PLAINTEXT_BYTES_MAX, "the caller fills at most one record");
        let nonce = keys.nonce();
        let sealed = match self.format {
            Format::Tls13 => {
                out.push(content_type);
                let len = (plain_len + 1 + TAG_BYTES) as u16;
                let [high, low] = len.to_be_bytes();
                let header = [APPLICATION_DATA, 3, 3, high, low];
                let (head, plain) = out[start..].split_at_mut(prefix);
                head.copy_from_slice(&header);
                let nonce = Nonce::assume_unique_for_key(nonce);
                keys.key.seal_in_place_separate_tag(nonce, Aad::from(header), plain)
            }
            Format::Tls12Gcm | Format::Tls12ChaCha => {
                let len = (prefix - HEADER_BYTES + plain_len + TAG_BYTES) as u16;
                let [high, low] = len.to_be_bytes();
                let (head, plain) = out[start..].split_at_mut(prefix);
                head[..HEADER_BYTES].copy_from_slice(&[content_type, 3, 3, high, low]);
                head[HEADER_BYTES..].copy_from_slice(&nonce[12 - (prefix - HEADER_BYTES)..]);
                let aad = keys.aad12(content_type, plain_len);
                let nonce = Nonce::assume_unique_for_key(nonce);
                keys.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain)
            }
        };
        let tag = sealed.map_err(|_| RecordError::Keys)?;
        out.extend_from_slice(tag.as_ref());
        keys.sequence += 1;
        Ok(())
    }
}

/// Where a record begins in the send buffer: from [`TlsSession::begin`] to [`TlsSession::finish`].
#[derive(Debug)]
#[must_use]
pub(crate) struct RecordStart(usize);

#[cfg(test)]
mod tests;
