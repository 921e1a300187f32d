//! The private half of a node key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{KEY_LEN, KeyError, NodePublicKey, key_from_hex};
use crate::seal::SharedBox;

/// The prefix of a private node key's text form.
const PRIVATE_PREFIX: &str = "privkey:";

/// A Curve25519 private key, wiped from memory when dropped and never shown by `Debug`.
///
/// Text form is `privkey:` and 64 hex digits, as in derper's key file. A clone shares what X25519 made of the key.
#[derive(Clone)]
pub struct NodePrivateKey {
    secret: Zeroizing<[u8; KEY_LEN]>,
    // Kept: a relay uses both at every handshake, and making them is a scalar multiplication.
    agreement: Arc<PrivateKey>,
    public: NodePublicKey,
}

impl NodePrivateKey {
    /// A new key from 32 random bytes of the caller, clamped as X25519 wants (RFC 7748, section 5).
    pub fn from_random(random: [u8; KEY_LEN]) -> Self {
        let mut bytes = random;
        let [first, .., last] = &mut bytes;
        *first &= 0b1111_1000;
        *last = (*last & 0b0111_1111) | 0b0100_0000;
        Self::from_bytes(bytes)
    }

    /// The key with exactly these bytes; X25519 clamps a copy of them at each use.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        let agreement =
            PrivateKey::from_private_key(&X25519, &bytes).expect("any 32 bytes are a private key of X25519");
        let public = agreement.compute_public_key().expect("every private key has a public one");
        let public = public.as_ref().try_into().expect("a public key of X25519 has 32 bytes");
        Self {
            secret: Zeroizing::new(bytes),
            agreement: Arc::new(agreement),
            public: NodePublicKey::from_bytes(public),
        }
    }

    /// Whether all bytes are zero: what a key file without the key would give.
    pub fn is_zero(&self) -> bool {
        *self.secret == [0; KEY_LEN]
    }

    /// The public half.
    pub fn public(&self) -> NodePublicKey {
        self.public
    }

    /// The text form, for a key file; wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        let hex = Zeroizing::new(HEXLOWER.encode(&*self.secret));
        Zeroizing::new(format!("{PRIVATE_PREFIX}{}", *hex))
    }

    /// The box shared with `peer`; the zero key is refused, nothing else is (neither does derper
    /// look for points of low order).
    pub fn shared(&self, peer: &NodePublicKey) -> Result<SharedBox, KeyError> {
        if peer.is_zero() {
            return Err(KeyError::Zero);
        }
        Ok(SharedBox::new(&self.agreement, peer))
    }
}

impl fmt::Debug for NodePrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodePrivateKey(..)")
    }
}

impl FromStr for NodePrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let hex = text.strip_prefix(PRIVATE_PREFIX).ok_or(KeyError::Prefix { want: PRIVATE_PREFIX })?;
        Ok(Self::from_bytes(key_from_hex(hex)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_clamped() {
        let text = NodePrivateKey::from_random([0xff; 32]).to_text();
        assert!(text.starts_with("privkey:f8ff"));
        assert!(text.ends_with("ff7f"));
        let text = NodePrivateKey::from_random([0; 32]).to_text();
        assert!(text.starts_with("privkey:0000"));
        assert!(text.ends_with("0040"));
    }

    #[test]
    fn text_round_trips_and_refuses_a_public_key() {
        let text = format!("privkey:{}", "0a".repeat(32));
        let key: NodePrivateKey = text.parse().unwrap();
        assert_eq!(*key.to_text(), text);
        assert!(!key.is_zero());
        let refused = format!("nodekey:{}", "0a".repeat(32)).parse::<NodePrivateKey>();
        assert_eq!(refused.unwrap_err(), KeyError::Prefix { want: "privkey:" });
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = NodePrivateKey::from_bytes([0x42; 32]);
        assert_eq!(format!("{key:?}"), "NodePrivateKey(..)");
    }

    #[test]
    fn the_zero_peer_is_refused_by_name() {
        let key = NodePrivateKey::from_bytes([0x42; 32]);
        let refused = key.shared(&NodePublicKey::from_bytes([0; 32]));
        assert_eq!(refused.unwrap_err(), KeyError::Zero);
    }

    #[test]
    fn a_point_of_low_order_makes_the_same_box_with_any_key() {
        let mut one = [0; 32];
        one[0] = 1;
        let boxes = [0x42, 0x43].map(|byte| {
            NodePrivateKey::from_bytes([byte; 32]).shared(&NodePublicKey::from_bytes(one)).unwrap()
        });
        let sealed = boxes[0].seal([9; 24], b"hello");
        assert_eq!(boxes[1].open(&sealed).unwrap(), b"hello");
    }
}
