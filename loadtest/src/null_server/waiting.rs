//! Bytes that wait to be taken from the front, and the memory that they wait in.

/// Memory of this many bytes in all is kept for the next who wait.
const SPARE_BYTES_MAX: usize = 64 << 20;

/// Bytes that wait. They are moved to the front seldom enough to cost nothing.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    taken: usize,
}

/// Memory for those who wait: idle connections hold none, and busy ones get what is still in the cache.
#[derive(Debug, Default)]
pub(super) struct Spares {
    free: Vec<Vec<u8>>,
    /// At most [`SPARE_BYTES_MAX`].
    bytes: usize,
}

impl Waiting {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to append.
    pub(super) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The first `bytes` need not wait any longer.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken > self.len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

impl Spares {
    /// Gives memory to one who has none.
    pub(super) fn lend(&mut self, to: &mut Waiting) {
        if to.bytes.capacity() > 0 {
            return;
        }
        let Some(spare) = self.free.pop() else { return };
        self.bytes -= spare.capacity();
        to.bytes = spare;
    }

    /// Takes the memory of one who waits no more; what it holds is forgotten.
    pub(super) fn take_back(&mut self, from: &mut Waiting) {
        let mut spare = std::mem::take(from).bytes;
        spare.clear();
        if spare.capacity() > 0 && self.bytes + spare.capacity() <= SPARE_BYTES_MAX {
            self.bytes += spare.capacity();
            self.free.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_the_rest_stays_in_order() {
        let mut waiting = Waiting::default();
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            waiting.end().extend([round; 7]);
            expected.extend([round; 7]);
            waiting.take(5);
            expected.drain(..5);
            assert_eq!(waiting.as_slice(), expected);
            assert!(waiting.bytes.len() <= 2 * expected.len() + 7, "taken bytes are let go");
        }
        waiting.take(waiting.len());
        assert!(waiting.is_empty());
    }

    #[test]
    fn memory_goes_round_and_comes_back_empty() {
        let mut spares = Spares::default();
        let mut first = Waiting::default();
        first.end().extend([1; 100]);
        spares.take_back(&mut first);
        assert_eq!((first.len(), spares.bytes), (0, 100));
        let mut second = Waiting::default();
        spares.lend(&mut second);
        assert!(second.is_empty());
        assert_eq!((second.bytes.capacity(), spares.bytes), (100, 0));
    }

    #[test]
    fn no_more_memory_is_kept_than_allowed() {
        let mut spares = Spares::default();
        for _ in 0..3 {
            let mut large = Waiting::default();
            large.end().reserve_exact(SPARE_BYTES_MAX / 2);
            spares.take_back(&mut large);
        }
        assert_eq!(spares.free.len(), 2);
    }
}
