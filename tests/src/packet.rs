//! Packets whose content can be checked.

use ferry_protocol::disco::DISCO_MAGIC;

/// `len` bytes that differ from place to place and from seed to seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64: no quality is asked of it, only that a misplaced byte shows.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// A packet of `len` bytes that counts as disco if it is long enough.
pub fn disco_packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0; len.max(DISCO_MAGIC.len())];
    packet[..DISCO_MAGIC.len()].copy_from_slice(&DISCO_MAGIC);
    packet
}

/// A packet that carries its number and a pattern made from it, so that a receiver can tell what it misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbered(pub u64);

impl Numbered {
    /// The packet, of at least 8 bytes.
    pub fn packet(self, len: usize) -> Vec<u8> {
        let mut packet = self.0.to_be_bytes().to_vec();
        packet.extend(pattern(self.0, len - packet.len()));
        packet
    }

    /// The number of a packet, all of whose bytes must be right.
    pub fn of(packet: &[u8]) -> Self {
        let number = packet.first_chunk().expect("a numbered packet starts with its number");
        let number = Self(u64::from_be_bytes(*number));
        assert!(packet == number.packet(packet.len()), "packet {} arrived altered", number.0);
        number
    }
}
