//! Telling NAT-traversal packets from the rest.
//!
//! A relay looks at nothing but the length and six bytes: disco packets have their own lane, and
//! only they are answered with PeerGone when nobody is there.

/// What a disco packet starts with: `TS` and U+1F4AC.
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];

/// The shortest disco packet: magic, the sender's 32-byte disco key and a 24-byte nonce.
pub const DISCO_LEN_MIN: usize = 6 + 32 + 24;

/// Whether a relayed packet counts as disco; 61 bytes with the right magic do not.
pub fn looks_like_disco(packet: &[u8]) -> bool {
    packet.len() >= DISCO_LEN_MIN && packet.starts_with(&DISCO_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_and_62_bytes_are_both_needed() {
        let mut packet = DISCO_MAGIC.to_vec();
        packet.resize(62, 0);
        assert!(looks_like_disco(&packet));
        assert!(!looks_like_disco(&packet[..61]));
        packet[5] ^= 1;
        assert!(!looks_like_disco(&packet));
        assert!(!looks_like_disco(b""));
    }
}
