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
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets `fill` write into `room` bytes at the end; it answers how many it used.
    pub(super) fn append<E>(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.compact();
        let end = self.bytes.len();
        self.bytes.resize(end + room, 0);
        let filled = fill(self.bytes.get_mut(end..).unwrap_or_default());
        self.bytes.truncate(end + filled.as_ref().map_or(0, |used| *used));
        filled.map(drop)
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
    fn a_fill_that_fails_leaves_nothing_behind() {
        let mut outgoing = Outgoing::default();
        outgoing.extend(b"ab");
        assert_eq!(outgoing.append(10, |_| Err("no")), Err("no"));
        let filled: Result<(), ()> = outgoing.append(10, |room| {
            room[..2].copy_from_slice(b"cd");
            Ok(2)
        });
        assert_eq!((filled, outgoing.waiting()), (Ok(()), &b"abcd"[..]));
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
