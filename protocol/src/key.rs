//! Node keys, mesh keys and their text forms.

mod mesh;
mod private;

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use mesh::MeshKey;
pub use private::NodePrivateKey;

/// Bytes of a key, public, private or mesh.
pub const KEY_LEN: usize = 32;

/// The prefix of a public node key's text form.
const PUBLIC_PREFIX: &str = "nodekey:";

/// A Curve25519 public key: the address of a client, or the identity of a relay.
///
/// Text form is `nodekey:` and 64 hex digits, written in lower case and read in either; `Debug` is
/// the short form used in logs, `[j0DFr]`, and nothing at all for the zero key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodePublicKey([u8; KEY_LEN]);

impl NodePublicKey {
    /// The key with these raw bytes; every value is accepted, as on the wire.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, as frames carry them.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether all bytes are zero, the key that nobody has.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; KEY_LEN]
    }

    /// The key in 64 hex digits without prefix, of either case.
    pub fn from_untyped_hex(hex: &str) -> Result<Self, KeyError> {
        Ok(Self(key_from_hex(hex)?))
    }

    /// 64 lower-case hex digits without prefix: `Derp-Public-Key`, the meta certificate's name.
    pub fn untyped_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", HEXLOWER.encode_display(&self.0))
    }
}

impl fmt::Debug for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return Ok(());
        }
        let text = BASE64.encode(&self.0);
        write!(f, "[{}]", text.get(..5).unwrap_or_default())
    }
}

impl FromStr for NodePublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let hex = text.strip_prefix(PUBLIC_PREFIX).ok_or(KeyError::Prefix { want: PUBLIC_PREFIX })?;
        Self::from_untyped_hex(hex)
    }
}

impl Serialize for NodePublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodePublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text does not start with the prefix of this kind of key.
    #[error("key does not start with {want:?}")]
    Prefix {
        /// The prefix that was expected.
        want: &'static str,
    },
    /// The hex part has the wrong number of digits.
    #[error("key has {digits} hex digits, want 64")]
    Length {
        /// The number of bytes found where the digits should be.
        digits: usize,
    },
    /// A character is not a hex digit.
    #[error("key has a character that is no hex digit at position {position}")]
    Hex {
        /// Where in the hex part the character stands.
        position: usize,
    },
    /// The all-zero public key: derper panics on it, we refuse it by name.
    #[error("the all-zero public key cannot be sealed to or opened from")]
    Zero,
}

/// Exactly 64 hex digits of either case.
fn key_from_hex(hex: &str) -> Result<[u8; KEY_LEN], KeyError> {
    if hex.len() != KEY_LEN * 2 {
        return Err(KeyError::Length { digits: hex.len() });
    }
    let mut key = [0; KEY_LEN];
    match HEXLOWER_PERMISSIVE.decode_mut(hex.as_bytes(), &mut key) {
        Ok(_) => Ok(key),
        Err(partial) => Err(KeyError::Hex { position: partial.error.position }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";

    #[test]
    fn text_is_lower_case_out_and_either_case_in() {
        let upper = format!("nodekey:{}", SERVER.to_uppercase());
        let key: NodePublicKey = upper.parse().unwrap();
        assert_eq!(key.to_string(), format!("nodekey:{SERVER}"));
        assert_eq!(key.untyped_hex(), SERVER);
    }

    #[test]
    fn debug_is_the_short_form_and_empty_for_zero() {
        let key: NodePublicKey = format!("nodekey:{SERVER}").parse().unwrap();
        assert_eq!(format!("{key:?}"), "[j0DFr]");
        assert_eq!(format!("{:?}", NodePublicKey::from_bytes([0; 32])), "");
    }

    #[test]
    fn wrong_prefix_length_or_digit_is_named() {
        let parse = |text: &str| text.parse::<NodePublicKey>().unwrap_err();
        assert_eq!(parse(SERVER), KeyError::Prefix { want: "nodekey:" });
        assert_eq!(parse(&format!("NodeKey:{SERVER}")), KeyError::Prefix { want: "nodekey:" });
        assert_eq!(parse("nodekey:00"), KeyError::Length { digits: 2 });
        assert_eq!(parse(&format!("nodekey:{}", "0g".repeat(32))), KeyError::Hex { position: 1 });
        assert_eq!(parse(&format!("nodekey:{}", "é".repeat(32))), KeyError::Hex { position: 0 });
        assert_eq!(
            parse("nodekey:00").to_string(),
            "key has 2 hex digits, want 64",
            "the message has the numbers"
        );
    }

    #[test]
    fn json_is_the_text_form() {
        let key: NodePublicKey = format!("nodekey:{SERVER}").parse().unwrap();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"nodekey:{SERVER}\""));
        assert_eq!(serde_json::from_str::<NodePublicKey>(&json).unwrap(), key);
        assert!(serde_json::from_str::<NodePublicKey>("\"nodekey:1\"").is_err());
    }
}
