//! The name in the extra certificate that tells a TLS client the relay's key.
//!
//! Last in every chain a relay serves, self-signed, serial number the protocol version. A client
//! that finds it in TLS 1.3 can start fast: all of its handshake in one flight, nothing read before.

use crate::key::NodePublicKey;

/// What the common name starts with; 64 hex digits of the relay's key follow.
pub const COMMON_NAME_PREFIX: &str = "derpkey";

/// Subject and issuer of the certificate: 71 characters, above X.520's bound of 64.
pub fn common_name(key: &NodePublicKey) -> String {
    format!("{COMMON_NAME_PREFIX}{}", key.untyped_hex())
}

/// The relay's key in a certificate's common name; None for other certificates, and for the zero
/// key, which allows no fast start.
pub fn key_in_common_name(name: &str) -> Option<NodePublicKey> {
    let hex = name.strip_prefix(COMMON_NAME_PREFIX)?;
    let key = NodePublicKey::from_untyped_hex(hex).ok()?;
    Some(key).filter(|key| !key.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_its_own_name_only() {
        let key = NodePublicKey::from_bytes([0xab; 32]);
        let name = common_name(&key);
        assert_eq!(name.len(), 71);
        assert_eq!(key_in_common_name(&name), Some(key));
        assert_eq!(key_in_common_name(&name.replace("ab", "AB")), Some(key), "either case");
        assert_eq!(key_in_common_name(&name[..70]), None);
        assert_eq!(key_in_common_name("relay.example.net"), None);
        assert_eq!(key_in_common_name(&format!("derpkey{}", "0".repeat(64))), None);
    }
}
