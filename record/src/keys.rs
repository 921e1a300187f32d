//! One direction's key, and how a record looks under it.

use std::ops::Range;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use crate::{APPLICATION_DATA, HEADER_BYTES, PLAINTEXT_BYTES_MAX, RecordError};

/// The tag of every AEAD that TLS has.
const TAG_BYTES: usize = 16;
/// TLS 1.2 AES-GCM sends this much of the nonce with every record (RFC 5288 section 3).
const EXPLICIT_NONCE_BYTES: usize = 8;
/// The most that a record is longer than its plaintext: header, explicit nonce, content type, tag.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES + 1 + TAG_BYTES;

/// How nonces and additional data are formed, and what is on the wire beside the ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// TLS 1.3, any suite.
    Tls13,
    /// TLS 1.2 AES-GCM: most of the nonce travels with the record.
    Tls12Gcm,
    /// TLS 1.2 ChaCha20-Poly1305 (RFC 7905): the nonce is implicit as in TLS 1.3.
    Tls12ChaCha,
}

impl Format {
    const fn explicit_nonce_bytes(self) -> usize {
        match self {
            Self::Tls12Gcm => EXPLICIT_NONCE_BYTES,
            Self::Tls13 | Self::Tls12ChaCha => 0,
        }
    }

    /// What is in front of the plaintext.
    pub(crate) const fn prefix_bytes(self) -> usize {
        HEADER_BYTES + self.explicit_nonce_bytes()
    }
}

/// One direction's key.
pub(crate) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The next record's number.
    pub(crate) sequence: u64,
    pub(crate) format: Format,
}

impl Keys {
    /// A key that begins with record number `sequence`.
    pub(crate) fn new(
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
        is_tls13: bool,
    ) -> Result<Self, RecordError> {
        let (algorithm, key, iv, tls12) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, Format::Tls12Gcm),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, Format::Tls12Gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, Format::Tls12ChaCha)
            }
            _ => return Err(RecordError::Keys),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Keys)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Keys)?;
        let format = if is_tls13 { Format::Tls13 } else { tls12 };
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, format })
    }

    /// Decrypts a record's body in place; answers its content type, and where in the body the plaintext is. A record that
    /// is refused changes nothing.
    pub(crate) fn open(
        &mut self,
        header: [u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(u8, Range<usize>), RecordError> {
        let prefix = self.format.explicit_nonce_bytes();
        let len = body.len();
        let Some(plain_len) = len.checked_sub(prefix + TAG_BYTES) else {
            return Err(RecordError::TooShort { len });
        };
        let (explicit, sealed) = body.split_at_mut(prefix);
        let nonce = Nonce::assume_unique_for_key(match explicit.first_chunk() {
            Some(explicit) => self.explicit_nonce(*explicit),
            None => self.nonce(),
        });
        let [content_type, high, low, ..] = header;
        let opened = match self.format {
            Format::Tls13 => self.key.open_in_place(nonce, Aad::from(header), sealed),
            Format::Tls12Gcm | Format::Tls12ChaCha => {
                let aad = self.aad12(content_type, [high, low], plain_len);
                self.key.open_in_place(nonce, Aad::from(aad), sealed)
            }
        };
        let plain = opened.map_err(|_| RecordError::Decrypt { sequence: self.sequence })?;
        self.sequence += 1;
        if self.format != Format::Tls13 {
            return Ok((content_type, prefix..prefix + plain_len));
        }
        // The content type is the last byte that is not padding (RFC 8446 section 5.4).
        let end = plain.iter().rposition(|byte| *byte != 0);
        let typed = end.and_then(|end| Some((*plain.get(end)?, 0..end)));
        typed.ok_or(RecordError::Unexpected { content_type: 0 })
    }

    /// Seals what `out` holds from `start` on, after the prefix, and appends the tag.
    pub(crate) fn seal(
        &mut self,
        out: &mut Vec<u8>,
        start: usize,
        content_type: u8,
    ) -> Result<(), RecordError> {
        let explicit_bytes = self.format.explicit_nonce_bytes();
        let len = out.len();
        let Some(plain_len) = len.checked_sub(start + self.format.prefix_bytes()) else {
            return Err(RecordError::TooShort { len });
        };
        if plain_len > PLAINTEXT_BYTES_MAX {
            return Err(RecordError::TooLong { len: plain_len, max: PLAINTEXT_BYTES_MAX });
        }
        let nonce = self.nonce();
        let (outer_type, inner_bytes) = match self.format {
            Format::Tls13 => {
                out.push(content_type);
                (APPLICATION_DATA, 1)
            }
            Format::Tls12Gcm | Format::Tls12ChaCha => (content_type, 0),
        };
        let [high, low] = ((explicit_bytes + plain_len + inner_bytes + TAG_BYTES) as u16).to_be_bytes();
        let header = [outer_type, 3, 3, high, low];
        let (_, record) = out.split_at_mut(start);
        let (head, body) = record.split_at_mut(HEADER_BYTES);
        let (explicit, plain) = body.split_at_mut(explicit_bytes);
        head.copy_from_slice(&header);
        if let Some(explicit) = explicit.first_chunk_mut::<EXPLICIT_NONCE_BYTES>() {
            let [_, _, _, _, travels @ ..] = nonce;
            *explicit = travels;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = match self.format {
            Format::Tls13 => self.key.seal_in_place_separate_tag(nonce, Aad::from(header), plain),
            Format::Tls12Gcm | Format::Tls12ChaCha => {
                let aad = self.aad12(content_type, [3, 3], plain_len);
                self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain)
            }
        };
        let tag = sealed.map_err(|_| RecordError::Keys)?;
        out.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// The sequence number xored into the end of the IV: TLS 1.3, RFC 7905, and rustls' choice of the explicit part in
    /// TLS 1.2 AES-GCM.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// The IV's first bytes, and what came with the record (RFC 5288 section 3).
    fn explicit_nonce(&self, explicit: [u8; EXPLICIT_NONCE_BYTES]) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let (_, travels) = nonce.split_at_mut(NONCE_LEN - EXPLICIT_NONCE_BYTES);
        travels.copy_from_slice(&explicit);
        nonce
    }

    /// Additional data of TLS 1.2 (RFC 5246 section 6.2.3.3).
    const fn aad12(&self, content_type: u8, [major, minor]: [u8; 2], plain_len: usize) -> [u8; 13] {
        let [a, b, c, d, e, f, g, h] = self.sequence.to_be_bytes();
        let [high, low] = (plain_len as u16).to_be_bytes();
        [a, b, c, d, e, f, g, h, content_type, major, minor, high, low]
    }
}
