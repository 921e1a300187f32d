//! A histogram of whole numbers with fixed bounds, written by one thread and read by any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::add;

/// Counts of observations at or below each of `N` bounds; one thread writes, any thread reads.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    /// Upper bounds, inclusive, ascending.
    bounds: &'static [u64; N],
    /// Observations in each bound's own range, not cumulative.
    buckets: [AtomicU64; N],
    /// Observations above the last bound.
    above: AtomicU64,
    /// Sum of all observed values.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram over `bounds`, which must ascend.
    pub(crate) const fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one value. Only the owning thread may call this.
    pub(crate) fn observe(&self, value: u64) {
        let slot = self.bounds.partition_point(|bound| *bound < value);
        add(self.buckets.get(slot).unwrap_or(&self.above), 1);
        add(&self.sum, value);
    }

    /// Adds this histogram's numbers to `totals`.
    pub(super) fn add_to(&self, totals: &mut HistogramTotals) {
        totals.bounds = self.bounds;
        totals.buckets.resize(N + 1, 0);
        for (total, bucket) in totals.buckets.iter_mut().zip(self.buckets.iter().chain([&self.above])) {
            *total += bucket.load(Relaxed);
        }
        totals.sum += self.sum.load(Relaxed);
    }
}

/// The sum of one histogram over all data threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HistogramTotals {
    /// Upper bounds, inclusive, ascending.
    pub bounds: &'static [u64],
    /// Observations in each bound's own range, then one last entry for those above every bound.
    pub buckets: Vec<u64>,
    /// Sum of all observed values.
    pub sum: u64,
}

impl HistogramTotals {
    /// How many values were observed.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Pairs of (bound, observations at or below it), as Prometheus wants them, without `+Inf`.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bounds.iter().zip(&self.buckets).scan(0, |below, (bound, bucket)| {
            *below += bucket;
            Some((*bound, *below))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_equal_to_a_bound_is_counted_at_that_bound() {
        let histogram = Histogram::new(&[0, 1, 5]);
        for value in [0, 1, 1, 2, 5, 6] {
            histogram.observe(value);
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!(totals.buckets, [1, 2, 2, 1]);
        assert_eq!(totals.cumulative().collect::<Vec<_>>(), [(0, 1), (1, 3), (5, 5)]);
        assert_eq!((totals.count(), totals.sum), (6, 15));
    }

    #[test]
    fn totals_add_up_over_threads() {
        let (one, two) = (Histogram::new(&[10]), Histogram::new(&[10]));
        one.observe(3);
        two.observe(30);
        let mut totals = HistogramTotals::default();
        one.add_to(&mut totals);
        two.add_to(&mut totals);
        assert_eq!((totals.buckets.as_slice(), totals.sum), ([1, 1].as_slice(), 33));
    }
}
