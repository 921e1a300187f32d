//! Bytes for the socket.

/// How much may have been written before what follows is moved to the front.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

/// Bytes that wait for the socket. Taking them moves a cursor; the buffer goes when the last has been taken.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// At most `bytes.len()`.
    written: usize,
}

impl Outgoing {
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.written = self.bytes.len().min(self.written + bytes);
        if self.written == self.bytes.len() {
            *self = Self::default();
        }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.end().extend_from_slice(bytes);
    }

    /// Where to append what the socket should take.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.bytes
    }

    /// Moves what waits to the front once more has been written than waits: a byte moves once at most, on average.
    fn compact(&mut self) {
        if self.written > WRITTEN_BYTES_MAX && self.written >= self.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_gone_and_the_last_byte_takes_the_buffer_with_it() {
        let mut outgoing = Outgoing::default();
        outgoing.extend(b"abcdef");
        outgoing.written(2);
        assert_eq!((outgoing.waiting(), outgoing.len()), (&b"cdef"[..], 4));
        outgoing.written(4);
        assert_eq!((outgoing.len(), outgoing.bytes.capacity()), (0, 0));
        outgoing.written(1);
        assert_eq!(outgoing.len(), 0);
    }

    #[test]
    fn a_buffer_that_is_never_quite_empty_stays_small() {
        let mut outgoing = Outgoing::default();
        outgoing.extend(&[1; 1000]);
        for round in 0..1000_u32 {
            outgoing.extend(&[round as u8; 1000]);
            outgoing.written(1000);
            assert_eq!(outgoing.len(), 1000);
            assert_eq!(outgoing.waiting()[999], round as u8);
        }
        assert!(outgoing.bytes.capacity() < 4 * WRITTEN_BYTES_MAX, "{} bytes", outgoing.bytes.capacity());
    }
}
