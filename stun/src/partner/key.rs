//! The secret of the channel.

use std::fmt;
use std::str::FromStr;

/// Bytes of a [`PartnerKey`].
pub const KEY_BYTES: usize = 32;

/// The secret that both machines know. Who has it can have each of them send STUN answers, within the limits of
/// [`Node`](super::Node); it opens nothing else.
///
/// Text form is exactly 64 hex digits of either case, as that of a mesh key (`openssl rand -hex 32` makes one).
/// All zeros is refused: it is what a forgotten placeholder looks like. Never shown by `Debug`.
#[derive(Clone)]
pub struct PartnerKey([u8; KEY_BYTES]);

impl PartnerKey {
    /// The key with these raw bytes.
    ///
    /// # Errors
    ///
    /// When all of them are zero.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Result<Self, PartnerKeyError> {
        if bytes == [0; KEY_BYTES] {
            return Err(PartnerKeyError::Zero);
        }
        Ok(Self(bytes))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for PartnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartnerKey(..)")
    }
}

impl FromStr for PartnerKey {
    type Err = PartnerKeyError;

    fn from_str(text: &str) -> Result<Self, PartnerKeyError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != KEY_BYTES || !rest.is_empty() {
            return Err(PartnerKeyError::Length { characters: text.chars().count() });
        }
        let mut bytes = [0; KEY_BYTES];
        for (position, (byte, &[high, low])) in bytes.iter_mut().zip(pairs).enumerate() {
            let (high, low) = (hex_digit(high), hex_digit(low));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(PartnerKeyError::Hex {
                    position: 2 * position + usize::from(high.is_some()) + 1,
                });
            };
            *byte = high << 4 | low;
        }
        Self::from_bytes(bytes)
    }
}

fn hex_digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).map(|digit| digit as u8)
}

/// Why a text is no key. It never quotes the text, which may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartnerKeyError {
    /// Not 64 characters.
    #[error(
        "partner key has {characters} characters instead of 64 hex digits; make one with: openssl rand -hex 32"
    )]
    Length {
        /// How many there are.
        characters: usize,
    },
    /// A character is no hex digit.
    #[error("character {position} of the partner key is no hex digit; make one with: openssl rand -hex 32")]
    Hex {
        /// Which, counted from 1.
        position: usize,
    },
    /// A placeholder, not a secret.
    #[error("partner key is all zeros; make one with: openssl rand -hex 32")]
    Zero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_64_hex_digits_of_either_case() {
        let key: PartnerKey = "aB".repeat(32).parse().unwrap();
        assert_eq!(key.as_bytes(), &[0xab; 32]);
        let refusal = |text: &str| text.parse::<PartnerKey>().unwrap_err();
        for characters in [0, 2, 63, 65, 66] {
            assert_eq!(refusal(&"a".repeat(characters)), PartnerKeyError::Length { characters });
        }
        assert_eq!(refusal(&format!("{}g1", "11".repeat(31))), PartnerKeyError::Hex { position: 63 });
        assert_eq!(refusal(&format!("{}1g", "11".repeat(31))), PartnerKeyError::Hex { position: 64 });
        assert_eq!(refusal(&"é".repeat(32)), PartnerKeyError::Hex { position: 1 });
        assert_eq!(refusal(&"0".repeat(64)), PartnerKeyError::Zero);
    }

    #[test]
    fn debug_shows_nothing() {
        let key = PartnerKey::from_bytes([1; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "PartnerKey(..)");
    }
}
