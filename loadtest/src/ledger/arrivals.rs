//! Which sequence numbers have arrived: exactly, for the latest ones.

use std::collections::VecDeque;

/// So far behind the latest sequence number it is known of every one whether it has arrived.
pub const WINDOW: u64 = 8192;

/// The words of bits that takes; one more, for the latest number may be the first of its word.
const WORDS: u64 = WINDOW / WORD + 1;
/// Numbers per word.
const WORD: u64 = u64::BITS as u64;

/// What the arrival of a sequence number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first time, and nothing later has arrived before.
    New,
    /// The first time, but after a later one: so many numbers behind the latest.
    Late {
        /// Numbers.
        by: u64,
    },
    /// Not the first time.
    Again,
    /// Nobody knows any more.
    Ancient,
}

/// The sequence numbers that have arrived. Grows to [`WINDOW`] bits while there are gaps.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Numbers below left the window while some of them had not arrived.
    known_from: u64,
    /// The number of the first bit, a multiple of [`WORD`]; all from `known_from` to here have arrived.
    base: u64,
    /// One more than the latest number.
    end: u64,
    /// A bit for each number from `base`, set if it has arrived. At most [`WORDS`].
    words: VecDeque<u64>,
}

impl Window {
    /// All below `end` have arrived and nothing else.
    pub(super) fn all_below(end: u64) -> Self {
        let mut words = VecDeque::new();
        if !end.is_multiple_of(WORD) {
            words.push_back((1 << (end % WORD)) - 1);
        }
        Self { known_from: 0, base: end - end % WORD, end, words }
    }

    /// One more than the latest number that has arrived.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Notes a number, and says what its arrival is.
    pub(super) fn arrive(&mut self, number: u64) -> Arrival {
        if number < self.known_from {
            return Arrival::Ancient;
        }
        if number < self.base {
            return Arrival::Again;
        }
        self.make_room(number);
        let word = &mut self.words[((number - self.base) / WORD) as usize];
        let bit = 1 << (number % WORD);
        if *word & bit != 0 {
            return Arrival::Again;
        }
        *word |= bit;
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base += WORD;
        }
        if let Some(by) = self.end.checked_sub(number + 1) {
            return Arrival::Late { by };
        }
        self.end = number + 1;
        Arrival::New
    }

    /// Has a word for `number`, and gives up on what is too far behind it.
    fn make_room(&mut self, number: u64) {
        let words = (number - self.base) / WORD + 1;
        let leaving = words.saturating_sub(WORDS);
        if leaving > 0 {
            // The first word is never complete: something is given up.
            self.words.drain(..self.words.len().min(usize::try_from(leaving).unwrap_or(usize::MAX)));
            self.base += leaving * WORD;
            self.known_from = self.base;
        }
        let words = (words - leaving) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }
}

/// The whole number of which `sequence` is the lower half: the one closest to `near`.
pub(super) fn expand(sequence: u32, near: u64) -> u64 {
    let ahead = sequence.wrapping_sub(near as u32);
    near.checked_add_signed(i64::from(ahead as i32)).unwrap_or_else(|| near + u64::from(ahead))
}
