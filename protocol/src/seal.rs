//! The NaCl box between two node keys.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use crypto_secretbox::aead::AeadInPlace;
use crypto_secretbox::{Key, KeyInit, Tag, XSalsa20Poly1305};
use salsa20::cipher::consts::U10;
use zeroize::Zeroize;

use crate::key::{KEY_LEN, NodePublicKey};

/// Bytes of a box's nonce.
pub const NONCE_LEN: usize = 24;
/// Bytes of a box's Poly1305 tag.
pub const TAG_LEN: usize = 16;
/// Bytes that sealing adds: nonce and tag.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// A precomputed box: X25519, HSalsa20, XSalsa20-Poly1305.
///
/// Made by [`NodePrivateKey::shared`](crate::NodePrivateKey::shared); both ends get the same one.
/// The scalar multiplication is paid there, once, and not for each message.
pub struct SharedBox(XSalsa20Poly1305);

impl SharedBox {
    pub(crate) fn new(private: &PrivateKey, peer: &NodePublicKey) -> Self {
        let peer = UnparsedPublicKey::new(&X25519, peer.as_bytes());
        let agreed = agree(private, peer, (), |point| Ok(secret_box(Key::from_slice(point))));
        // Refused is nothing but the result of a point of low order, which is zero with any key, and which derper takes.
        Self(agreed.unwrap_or_else(|()| secret_box(&[0; KEY_LEN].into())))
    }

    /// Nonce, tag and ciphertext of `plain`, in the order of libsodium's `crypto_box_easy` with the
    /// nonce before it. A nonce must never be used twice with the same pair of keys.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], plain: &[u8]) -> Vec<u8> {
        let mut cipher = plain.to_vec();
        let tag = self
            .0
            .encrypt_in_place_detached(&nonce.into(), b"", &mut cipher)
            .expect("XSalsa20 has room for any message in memory");
        [&nonce[..], &tag[..], &cipher[..]].concat()
    }

    /// The plaintext of what [`seal`](Self::seal) made on the other end.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let short = OpenError::TooShort { len: sealed.len() };
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(short)?;
        let (tag, cipher) = rest.split_first_chunk::<TAG_LEN>().ok_or(short)?;
        let mut plain = cipher.to_vec();
        self.0
            .decrypt_in_place_detached(&(*nonce).into(), b"", &mut plain, &Tag::from(*tag))
            .map_err(|_| OpenError::Forged { len: sealed.len() })?;
        Ok(plain)
    }
}

impl fmt::Debug for SharedBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedBox(..)")
    }
}

/// The cipher of the point that both ends have agreed on.
fn secret_box(point: &Key) -> XSalsa20Poly1305 {
    let mut key = salsa20::hsalsa::<U10>(point, &[0; 16].into());
    let cipher = XSalsa20Poly1305::new(&key);
    key.zeroize();
    cipher
}

/// Why a box could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no room for nonce and tag.
    #[error("sealed box has {len} bytes, want at least {SEAL_OVERHEAD}")]
    TooShort {
        /// The bytes there were.
        len: usize,
    },
    /// The tag does not fit: other keys, or damaged on the way.
    #[error("sealed box of {len} bytes was not made for this pair of keys, or was altered")]
    Forged {
        /// The bytes there were.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodePrivateKey;

    fn pair() -> (SharedBox, SharedBox) {
        let (a, b) = (NodePrivateKey::from_random([1; 32]), NodePrivateKey::from_random([2; 32]));
        (a.shared(&b.public()).unwrap(), b.shared(&a.public()).unwrap())
    }

    #[test]
    fn what_one_end_seals_the_other_opens() {
        let (ours, theirs) = pair();
        for plain in [&b""[..], b"x", &[7; 5000]] {
            let sealed = ours.seal([9; 24], plain);
            assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
            assert_eq!(theirs.open(&sealed).unwrap(), plain);
        }
    }

    #[test]
    fn any_altered_byte_is_refused() {
        let (ours, theirs) = pair();
        let sealed = ours.seal([9; 24], b"hello");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(theirs.open(&altered), Err(OpenError::Forged { len: sealed.len() }), "byte {at}");
        }
    }

    #[test]
    fn shorter_than_nonce_and_tag_is_named() {
        let (ours, _) = pair();
        for len in 0..SEAL_OVERHEAD {
            assert_eq!(ours.open(&vec![0; len]), Err(OpenError::TooShort { len }));
        }
    }
}
