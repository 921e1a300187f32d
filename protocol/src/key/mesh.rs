//! The secret that relays of one region share.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{KEY_LEN, KeyError, key_from_hex};

/// The pre-shared key of a mesh: who presents it may watch, forward and close.
///
/// Text form is exactly 64 hex digits. Compared in constant time, wiped when dropped, never shown
/// by `Debug`. The all-zero value means "no key" and must never be given a privilege.
#[derive(Clone)]
pub struct MeshKey(Zeroizing<[u8; KEY_LEN]>);

impl MeshKey {
    /// The key with these raw bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Whether this is the value that means "no key".
    pub fn is_zero(&self) -> bool {
        *self == Self::from_bytes([0; KEY_LEN])
    }

    /// 64 lower-case hex digits, as ClientInfo carries them; wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&*self.0))
    }
}

impl PartialEq for MeshKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for MeshKey {}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(..)")
    }
}

impl FromStr for MeshKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_bytes(key_from_hex(text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_64_hex_digits_of_either_case() {
        let key: MeshKey = "A1".repeat(32).parse().unwrap();
        assert_eq!(*key.to_hex(), "a1".repeat(32));
        for refused in ["", "a1", &"a1".repeat(33), &"zz".repeat(32), &format!(" {}", "a1".repeat(32))] {
            assert!(refused.parse::<MeshKey>().is_err(), "{refused:?}");
        }
    }

    #[test]
    fn equal_only_when_every_byte_is() {
        let key = MeshKey::from_bytes([1; 32]);
        let mut other = [1; 32];
        assert_eq!(key, MeshKey::from_bytes(other));
        other[31] = 2;
        assert_ne!(key, MeshKey::from_bytes(other));
    }

    #[test]
    fn zero_means_no_key_and_debug_shows_nothing() {
        assert!(MeshKey::from_bytes([0; 32]).is_zero());
        assert!(!MeshKey::from_bytes([1; 32]).is_zero());
        assert_eq!(format!("{:?}", MeshKey::from_bytes([1; 32])), "MeshKey(..)");
    }
}
