//! What is in a packet: enough to know afterwards what became of every single one.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `FLD1`: no disco packet starts so, and no WireGuard message |
//! | 4..8 | CRC-32C of the whole packet with these four bytes as zero |
//! | 8..16 | the run |
//! | 16..20 | the sender |
//! | 20..24 | the receiver |
//! | 24..28 | the sequence number |
//! | 28 | the class |
//! | 29 | the purpose: 0 one way, 1 request, 2 answer |
//! | 30..32 | zero |
//! | 32..40 | due, in nanoseconds of the machine's monotonic clock |
//! | 40..48 | sent, the same |
//! | 48.. | a pattern that differs between neighbouring sequence numbers |
//!
//! Numbers are big-endian.

use crate::clock::Moment;
use crate::plan::ClientIndex;

/// The header's length, and so the shortest packet.
pub const HEADER_BYTES: usize = 48;

/// What every packet starts with.
const MAGIC: [u8; 4] = *b"FLD1";

/// The header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose packet this is: [`Plan::run`](crate::plan::Plan::run).
    pub run: u64,
    /// The sender.
    pub from: ClientIndex,
    /// Who should get it.
    pub to: ClientIndex,
    /// Its number among those from this sender to this receiver, from 0; the lower 32 bits of it.
    pub sequence: u32,
    /// Index into the plan's classes.
    pub class: u8,
    /// Whether it asks, answers, or neither.
    pub purpose: Purpose,
    /// When it should have been sent; of an answer, when its request should have been.
    pub due: Moment,
    /// When it was handed to the connection; of an answer, when its request was.
    pub sent: Moment,
}

/// Whether a packet wants to be sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing is expected.
    OneWay = 0,
    /// Wants an answer.
    Request = 1,
    /// Is one.
    Answer = 2,
}

/// Why bytes are no packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Shorter than a header.
    #[error("packet of {0} bytes, want at least {HEADER_BYTES}")]
    Short(usize),
    /// The checksum says that something was changed on the way.
    #[error("checksum {found:08x}, want {want:08x}")]
    Checksum {
        /// In the packet.
        found: u32,
        /// Of what is there.
        want: u32,
    },
    /// Intact, but it does not start as ours do: another version's, perhaps.
    #[error("starts with {0:02x?}, want {MAGIC:02x?}")]
    Magic([u8; 4]),
    /// Intact, but no purpose of ours.
    #[error("purpose {0}, want 0, 1 or 2")]
    Purpose(u8),
}

/// Writes a packet that fills `packet` (at least [`HEADER_BYTES`], else it panics): header, pattern, checksum.
pub fn write(packet: &mut [u8], header: &Header) {
    let (head, body) = packet.split_at_mut(HEADER_BYTES);
    head[0..4].copy_from_slice(&MAGIC);
    head[4..8].fill(0);
    head[8..16].copy_from_slice(&header.run.to_be_bytes());
    head[16..20].copy_from_slice(&header.from.to_be_bytes());
    head[20..24].copy_from_slice(&header.to.to_be_bytes());
    head[24..28].copy_from_slice(&header.sequence.to_be_bytes());
    head[28] = header.class;
    head[29] = header.purpose as u8;
    head[30..32].fill(0);
    head[32..40].copy_from_slice(&header.due.0.to_be_bytes());
    head[40..48].copy_from_slice(&header.sent.0.to_be_bytes());
    fill(body, header.sequence);
    let checksum = crc32c::crc32c(packet);
    packet[4..8].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads and checks a whole packet.
pub fn read(packet: &[u8]) -> Result<Header, PayloadError> {
    let Some((head, body)) = packet.split_first_chunk::<HEADER_BYTES>() else {
        return Err(PayloadError::Short(packet.len()));
    };
    let found = u32::from_be_bytes(part(head, 4));
    let mut unsigned = *head;
    unsigned[4..8].fill(0);
    let want = crc32c::crc32c_append(crc32c::crc32c(&unsigned), body);
    if found != want {
        return Err(PayloadError::Checksum { found, want });
    }
    let magic = part(head, 0);
    if magic != MAGIC {
        return Err(PayloadError::Magic(magic));
    }
    let purpose = match head[29] {
        0 => Purpose::OneWay,
        1 => Purpose::Request,
        2 => Purpose::Answer,
        other => return Err(PayloadError::Purpose(other)),
    };
    Ok(Header {
        run: u64::from_be_bytes(part(head, 8)),
        from: u32::from_be_bytes(part(head, 16)),
        to: u32::from_be_bytes(part(head, 20)),
        sequence: u32::from_be_bytes(part(head, 24)),
        class: head[28],
        purpose,
        due: Moment(u64::from_be_bytes(part(head, 32))),
        sent: Moment(u64::from_be_bytes(part(head, 40))),
    })
}

/// The `N` bytes from `at`.
fn part<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

/// The pattern's length, before it comes again.
const PATTERN_BYTES: usize = 4096;
/// Twice the pattern, so that it can be copied from any place in one piece. It stays in the processor's nearest cache.
static PATTERN: [u8; 2 * PATTERN_BYTES] = pattern();

/// Fills the bytes after the header. A copy and no more: composing a packet must cost as little as sending it.
fn fill(body: &mut [u8], sequence: u32) {
    // An odd step visits every place before one comes again.
    let start = (sequence as usize).wrapping_mul(67) % PATTERN_BYTES;
    for piece in body.chunks_mut(PATTERN_BYTES) {
        piece.copy_from_slice(&PATTERN[start..start + piece.len()]);
    }
}

/// Bytes without a rhythm (xorshift64), so that pieces of packets that were exchanged are noticed.
const fn pattern() -> [u8; 2 * PATTERN_BYTES] {
    let mut bytes = [0; 2 * PATTERN_BYTES];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut at = 0;
    while at < PATTERN_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[at] = (state >> 32) as u8;
        bytes[at + PATTERN_BYTES] = bytes[at];
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_lies_as_the_table_says() {
        let mut packet = [0xff; HEADER_BYTES];
        write(&mut packet, &header());
        assert_eq!(&packet[0..4], b"FLD1");
        assert_eq!(packet[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(packet[16..20], [0, 0, 0, 9]);
        assert_eq!(packet[20..24], [0, 0, 0, 10]);
        assert_eq!(packet[24..28], [0, 0, 0, 11]);
        assert_eq!(packet[28..32], [12, 1, 0, 0]);
        assert_eq!(packet[32..40], [0, 0, 0, 0, 0, 0, 0, 13]);
        assert_eq!(packet[40..48], [0, 0, 0, 0, 0, 0, 0, 14]);
    }

    #[test]
    fn neighbours_differ_in_their_pattern() {
        let (mut one, mut other) = ([0; 1400], [0; 1400]);
        write(&mut one, &header());
        write(&mut other, &Header { sequence: 12, ..header() });
        let same = one[HEADER_BYTES..].iter().zip(&other[HEADER_BYTES..]).filter(|(a, b)| a == b).count();
        assert!(same < 30, "{same} of 1352 bytes are the same");
    }

    #[test]
    fn no_packet_looks_like_disco() {
        let mut packet = [0; 100];
        write(&mut packet, &header());
        assert!(!ferry_protocol::looks_like_disco(&packet));
        // WireGuard's messages start with 1 to 4 and three zeros.
        assert_ne!(packet[1..4], [0; 3]);
    }

    #[test]
    fn what_is_too_short_is_refused() {
        assert_eq!(read(&[0; 47]), Err(PayloadError::Short(47)));
        assert_eq!(read(&[]), Err(PayloadError::Short(0)));
    }

    #[test]
    fn intact_but_strange_packets_are_named() {
        let mut packet = [0; 64];
        write(&mut packet, &header());
        packet[29] = 3;
        sign(&mut packet);
        assert_eq!(read(&packet), Err(PayloadError::Purpose(3)));
        packet[0] = b'X';
        sign(&mut packet);
        assert_eq!(read(&packet), Err(PayloadError::Magic(*b"XLD1")));
    }

    #[test]
    fn a_packet_that_lost_its_end_is_corrupt() {
        let mut packet = [0; 1400];
        write(&mut packet, &header());
        assert!(matches!(read(&packet[..1399]), Err(PayloadError::Checksum { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            run: u64, from: u32, to: u32, sequence: u32, class: u8, purpose in 0_u8..3, due: u64, sent: u64,
            length in HEADER_BYTES..=ferry_protocol::PACKET_LEN_MAX,
        ) {
            let purpose = [Purpose::OneWay, Purpose::Request, Purpose::Answer][usize::from(purpose)];
            let header = Header { run, from, to, sequence, class, purpose, due: Moment(due), sent: Moment(sent) };
            let mut packet = vec![0; length];
            write(&mut packet, &header);
            prop_assert_eq!(read(&packet), Ok(header));
        }

        #[test]
        fn every_changed_bit_is_noticed(length in HEADER_BYTES..2000, place: prop::sample::Index, bit in 0..8) {
            let mut packet = vec![0; length];
            write(&mut packet, &header());
            packet[place.index(length)] ^= 1_u8 << bit;
            let noticed = matches!(read(&packet), Err(PayloadError::Checksum { .. }));
            prop_assert!(noticed);
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    fn header() -> Header {
        Header {
            run: 0x0102_0304_0506_0708,
            from: 9,
            to: 10,
            sequence: 11,
            class: 12,
            purpose: Purpose::Request,
            due: Moment(13),
            sent: Moment(14),
        }
    }

    fn sign(packet: &mut [u8]) {
        packet[4..8].fill(0);
        let checksum = crc32c::crc32c(packet);
        packet[4..8].copy_from_slice(&checksum.to_be_bytes());
    }
}
