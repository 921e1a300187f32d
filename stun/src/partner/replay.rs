//! Which numbered datagrams have been seen.

/// How far behind the newest a datagram may arrive and still be told from a repeated one.
const WINDOW: u64 = 1024;

/// The numbers seen so far, of a sender that counts up from 1. Reordering within 1,024 numbers is
/// fine; what is older is taken for a replay.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayWindow {
    newest: u64,
    /// Bit `n % 1024` is set if the number n, of the last 1,024, has been seen.
    seen: [u64; (WINDOW / 64) as usize],
}

impl ReplayWindow {
    /// Whether the number is new; it is not the next time.
    pub(super) fn accept(&mut self, number: u64) -> bool {
        if number == 0 || number.saturating_add(WINDOW) <= self.newest {
            return false;
        }
        if number > self.newest {
            self.slide(number);
        }
        let Some(word) = self.seen.get_mut((number % WINDOW / 64) as usize) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Forgets the numbers whose places those up to `newest` take.
    fn slide(&mut self, newest: u64) {
        if newest - self.newest >= WINDOW {
            self.seen = Default::default();
        } else {
            for number in self.newest + 1..=newest {
                if let Some(word) = self.seen.get_mut((number % WINDOW / 64) as usize) {
                    *word &= !(1 << (number % 64));
                }
            }
        }
        self.newest = newest;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_number_is_accepted_once_in_whatever_order() {
        let mut window = ReplayWindow::default();
        for number in [1, 3, 2, 1000, 999, 1024, 2023, 1001] {
            assert!(window.accept(number), "{number}");
            assert!(!window.accept(number), "{number} again");
        }
    }

    #[test]
    fn zero_and_what_fell_out_of_the_window_are_refused() {
        let mut window = ReplayWindow::default();
        assert!(!window.accept(0));
        assert!(window.accept(5000));
        assert!(!window.accept(5000 - WINDOW));
        assert!(window.accept(5001 - WINDOW));
        assert!(window.accept(u64::MAX));
        assert!(!window.accept(u64::MAX));
        assert!(!window.accept(5001));
    }

    /// A plain set as the second opinion, over a walk that jumps, falls back and repeats.
    #[test]
    fn the_window_agrees_with_a_set() {
        let (mut window, mut seen, mut newest, mut random) =
            (ReplayWindow::default(), HashSet::new(), 0, 1u64);
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jump = if random >> 60 == 0 { 3000 } else { 40 };
            let number = (newest + (random >> 33) % jump).saturating_sub(jump / 2).max(1);
            let expected = number + WINDOW > newest && seen.insert(number);
            assert_eq!(window.accept(number), expected, "{number} of {newest}");
            newest = newest.max(number);
        }
    }
}
