//! FINGERPRINT's checksum (RFC 8489 section 14.7).

/// Header and value.
pub(super) const ATTRIBUTE_BYTES: usize = 8;

/// "STUN" in ASCII, near enough: tells the checksum from that of a protocol which carries a CRC-32 too.
const XOR: u32 = 0x5354_554E;

/// The value of FINGERPRINT over `head` followed by `rest`.
pub(super) fn checksum(head: &[u8], rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(rest);
    crc.finalize() ^ XOR
}
