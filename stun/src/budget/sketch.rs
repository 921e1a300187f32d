//! A count-min sketch of leaky buckets: many sources' rates held to one limit in fixed memory.
//!
//! Each source has a cell in each row, chosen by a keyed hash, and shares it with whoever else falls there.
//! A plain count-min sketch counts in windows and starts again with each, so that a source gets twice the
//! limit around the seam. Here a cell holds when its bucket will have leaked empty, on a clock that ticks
//! once for each unit that leaks (GCRA): nothing is ever cleared, the rate is exact, and cells of sources
//! long gone are simply in the past.

use std::fmt;
use std::hash::Hasher;
use std::time::Instant;

use siphasher::sip::SipHasher13;

/// Cells that one source has. A source is refused wrongly only if others have spent all of them.
const ROWS: usize = 4;
/// Cells in a row; a power of two. The rows are 128 KiB, which a core's second-level cache holds.
const COLUMNS: usize = 8192;
const _: () = assert!(COLUMNS.is_power_of_two() && ROWS as u32 * COLUMNS.ilog2() <= u64::BITS);

/// Where the clock is set back, so that cells of 32 bits never overflow: clock and bucket stay below half.
const CLOCK_MAX: u32 = 1 << 31;

/// What a bucket lets through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Units that leak each second.
    pub(super) per_second: u32,
    /// How many seconds' worth of units a bucket holds (2^31 units at most).
    pub(super) burst_secs: u32,
}

impl Rate {
    fn bucket(self) -> u32 {
        self.per_second.saturating_mul(self.burst_secs).min(CLOCK_MAX - 1)
    }
}

/// One bucket for every source there is.
#[derive(Clone)]
pub(super) struct Sketch {
    rate: Rate,
    seed: u64,
    /// When the clock stood at 0.
    epoch: Instant,
    /// Units leaked since then.
    clock: u32,
    /// When, on the clock, each bucket is empty.
    rows: Box<[[u32; COLUMNS]; ROWS]>,
}

impl Sketch {
    /// Empty buckets.
    pub(super) fn new(rate: Rate, seed: u64, now: Instant) -> Self {
        // On the heap from the start: as an array it would pass over a thread's stack.
        let rows = vec![[0; COLUMNS]; ROWS].try_into().expect("as many rows as the type says");
        Self { rate, seed, epoch: now, clock: 0, rows }
    }

    /// Moves the clock, never back.
    pub(super) fn advance(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let clock = micros.saturating_mul(u64::from(self.rate.per_second)) / 1_000_000;
        match u32::try_from(clock) {
            Ok(clock) if clock < CLOCK_MAX => self.clock = self.clock.max(clock),
            // Once in hours or days: every cell moves with the clock, all in a few microseconds.
            long => {
                let back = long.unwrap_or(u32::MAX);
                self.rows.as_flattened_mut().iter_mut().for_each(|cell| *cell = cell.saturating_sub(back));
                (self.epoch, self.clock) = (now, 0);
            }
        }
    }

    /// Pours `units` into the source's bucket; false, and nothing poured, if they do not fit.
    #[inline]
    pub(super) fn take(&mut self, source: u64, units: usize) -> bool {
        self.pour(source, units, self.rate.bucket())
    }

    /// The same, as if the bucket held half as much: the other half is left for [`take`](Self::take).
    pub(super) fn take_of_half(&mut self, source: u64, units: usize) -> bool {
        self.pour(source, units, self.rate.bucket() / 2)
    }

    fn pour(&mut self, source: u64, units: usize, bucket: u32) -> bool {
        let mut hash = self.hash(source);
        let mut cells = self.rows.each_mut().map(|row| {
            let column = hash as usize % COLUMNS;
            hash >>= COLUMNS.ilog2();
            row.get_mut(column).expect("a remainder of the columns is one of them")
        });
        // Others can only have raised a cell, so the lowest is nearest to the truth.
        let empty_at = cells.iter().map(|cell| **cell).min().unwrap_or_default().max(self.clock);
        let Some(after) = u32::try_from(units).ok().and_then(|units| empty_at.checked_add(units)) else {
            return false;
        };
        if after - self.clock > bucket {
            return false;
        }
        // Conservative update: cells that others raised higher stay, which keeps the error small.
        cells.iter_mut().for_each(|cell| **cell = after.max(**cell));
        true
    }

    fn hash(&self, source: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0);
        hasher.write_u64(source);
        hasher.finish()
    }
}

impl fmt::Debug for Sketch {
    /// Without the cells: 32,768 numbers tell nobody anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch").field("rate", &self.rate).field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sketch(per_second: u32, burst_secs: u32, now: Instant) -> Sketch {
        Sketch::new(Rate { per_second, burst_secs }, 0x5EED, now)
    }

    /// How many of `sources` are refused one unit.
    fn refused(sketch: &mut Sketch, sources: impl Iterator<Item = u64>) -> usize {
        sources.filter(|source| !sketch.take(*source, 1)).count()
    }

    #[test]
    fn a_thousand_abusers_cost_hardly_any_other_source_its_budget() {
        let mut sketch = sketch(100, 1, Instant::now());
        for abuser in 0..1000 {
            assert!((0..200).filter(|_| sketch.take(abuser, 1)).count() <= 100);
        }
        // One in 5,700 is expected.
        let refused = refused(&mut sketch, 1000..101_000);
        assert!(refused < 60, "{refused} of 100,000");
    }

    #[test]
    fn a_hundred_thousand_modest_sources_leave_each_other_alone() {
        // Twelve share a cell; each asks four times at once, of a budget of 100.
        let mut sketch = sketch(100, 1, Instant::now());
        for _ in 0..4 {
            assert_eq!(refused(&mut sketch, 0..100_000), 0);
        }
    }

    /// Whoever shares its cells, and whenever it asks.
    #[test]
    fn no_source_ever_gets_more_than_its_rate() {
        let start = Instant::now();
        let mut sketch = sketch(10, 2, start);
        let mut random = 1_u64;
        let mut granted = vec![0_u32; 20_000];
        for tenth in 0..50_u32 {
            sketch.advance(start + SECOND / 10 * tenth);
            for _ in 0..4000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // To the fourth power, so that some ask far more often than others.
                let at = ((random >> 33) as f64 / f64::from(1_u32 << 31)).powi(4);
                let source = (at * granted.len() as f64) as usize;
                granted[source] += u32::from(sketch.take(source as u64, 1));
                assert!(granted[source] <= 20 + tenth, "source {source} at {tenth}");
            }
        }
        assert!(granted[0] > 20, "the busiest source lived off the refill");
    }

    #[test]
    fn the_clock_is_set_back_without_forgiving_anybody() {
        let start = Instant::now();
        // The clock would overflow within two hours.
        let mut sketch = sketch(1_000_000, 1, start);
        let mut now = start;
        for _ in 0..10 {
            now += SECOND * 1500;
            sketch.advance(now);
            assert!(sketch.take(7, 1_000_000) && !sketch.take(7, 1));
            now += SECOND * 1500;
            sketch.advance(now - SECOND);
            assert!(sketch.take(7, 1_000_000));
            sketch.advance(now - SECOND / 2);
            assert!(sketch.take(7, 500_000) && !sketch.take(7, 1));
        }
    }

    #[test]
    fn a_clock_that_jumps_harms_nobody() {
        let start = Instant::now();
        let day = SECOND * 86_400;
        let mut sketch = sketch(u32::MAX, 4, start);
        for now in [start + day * 36_500, start, start + day, start + day * 36_501] {
            sketch.advance(now);
            assert!(sketch.take(7, 1));
        }
        // Back in time nothing leaks, and nothing is lost.
        let mut sketch = self::sketch(5, 1, start + day);
        assert!(sketch.take(7, 5));
        sketch.advance(start);
        assert!(!sketch.take(7, 1));
        sketch.advance(start + day + SECOND);
        assert!(sketch.take(7, 5) && !sketch.take(7, 1));
    }

    #[test]
    fn who_shares_cells_is_decided_by_the_seed() {
        let now = Instant::now();
        let refused = |seed| {
            let mut sketch = Sketch::new(Rate { per_second: 1, burst_secs: 1 }, seed, now);
            (0..20_000).filter(|source| !sketch.take(*source, 1)).collect::<Vec<_>>()
        };
        assert!(!refused(1).is_empty());
        assert_ne!(refused(1), refused(2));
        assert_eq!(refused(1), refused(1));
    }
}
