//! Latency histograms in the format that HDR tools read.

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Decoder, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// The longest time that is told apart, in nanoseconds: 60 s.
const MOST_NS: u64 = 60_000_000_000;
/// The shortest time that has to be told apart from none, in nanoseconds. It sets the resolution below 131 µs: the power of
/// two below it, 64 ns. Loopback relays answer in tens of microseconds.
const LEAST_NS: u64 = 100;
/// Significant digits: above 131 µs, a value is known to a thousandth.
const DIGITS: u8 = 3;

/// A histogram of durations: up to 60 s, known to a thousandth of themselves or to 64 ns, whichever is more.
///
/// It grows as longer ones come: 16 KiB up to 131 µs, and 8 KiB for every doubling beyond; 168 KiB at 60 s.
///
/// As text it is the compressed V2 format in base64, as other HDR tools read it from their logs; its unit is 1 ns.
#[derive(Clone)]
pub struct Durations(Histogram<u64>);

impl Durations {
    /// An empty one.
    pub fn new() -> Self {
        let mut empty = Histogram::new_with_bounds(LEAST_NS, 2 * LEAST_NS, DIGITS)
            .expect("the bounds are constants that suit");
        empty.auto(true);
        Self(empty)
    }

    /// Counts one; what is longer than 60 s counts as that.
    pub fn record(&mut self, length: Duration) {
        let nanoseconds = u64::try_from(length.as_nanos()).unwrap_or(MOST_NS).min(MOST_NS);
        self.0.record(nanoseconds).expect("it grows to 60 s and further");
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("it grows as far as the other did");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that a share `quantile` (0 to 1) does not exceed; None if nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(quantile)))
    }

    /// The longest; None if nothing was counted.
    pub fn longest(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.max()))
    }

    /// The mean; None if nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.mean() as u64))
    }

    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

/// The same counts, however far each has grown.
impl PartialEq for Durations {
    fn eq(&self, other: &Self) -> bool {
        let counts = |all: &Self| -> Vec<_> {
            all.0.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
        };
        self.count() == other.count() && counts(self) == counts(other)
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Durations({} counted, p50 {:?}, p99 {:?})",
            self.count(),
            self.quantile(0.5),
            self.quantile(0.99)
        )
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_str(&BASE64.encode(&bytes))
    }
}

impl<'de> Deserialize<'de> for Durations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let read: Histogram<u64> =
            Decoder::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        let mut own = Self::new();
        own.0.add(&read).map_err(D::Error::custom)?;
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_counted_has_no_values() {
        let empty = Durations::new();
        assert_eq!(
            (empty.count(), empty.quantile(0.5), empty.longest(), empty.mean()),
            (0, None, None, None)
        );
    }

    #[test]
    fn what_is_longer_than_a_minute_counts_as_a_minute() {
        let all = of(&[MOST_NS, 2 * MOST_NS, u64::MAX]);
        assert_eq!(all.count(), 3);
        assert!((all.longest().unwrap().as_secs_f64() - 60.0).abs() < 0.06);
        let mut zero = Durations::new();
        zero.record(Duration::ZERO);
        assert_eq!(zero.count(), 1);
        zero.record(Duration::MAX);
        assert_eq!(zero.count(), 2);
    }

    #[test]
    fn cleared_is_empty() {
        let mut all = of(&[5, 5_000_000]);
        all.clear();
        assert_eq!(all, Durations::new());
        all.record(Duration::from_nanos(1000));
        assert_eq!(all, of(&[1000]));
    }

    #[test]
    fn the_text_is_what_other_tools_know() {
        let text = serde_json::to_string(&of(&[1000, 2000])).unwrap();
        // The compressed V2 format's cookie in base64, by which all tools know it.
        assert!(text.starts_with("\"HISTFA"), "{text}");
    }

    #[test]
    fn another_tools_text_is_read() {
        // Of microseconds, with two digits.
        let mut other = Histogram::<u64>::new_with_bounds(1, 1_000_000, 2).unwrap();
        other.record(70_000).unwrap();
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&other, &mut bytes).unwrap();
        let text = serde_json::to_string(&BASE64.encode(&bytes)).unwrap();
        let read: Durations = serde_json::from_str(&text).unwrap();
        assert_eq!(read.count(), 1);
        assert!(serde_json::from_str::<Durations>("\"HISTFAAA\"").is_err());
        assert!(serde_json::from_str::<Durations>("\"no base64\"").is_err());
    }

    #[test]
    fn memory_is_in_proportion_to_the_longest() {
        let bytes = |longest: u64| of(&[longest]).0.distinct_values() * size_of::<u64>();
        assert_eq!(bytes(100_000), 16 * 1024);
        assert_eq!(bytes(10_000_000), 72 * 1024);
        assert_eq!(bytes(1_000_000_000), 120 * 1024);
        assert_eq!(bytes(MOST_NS), 168 * 1024);
    }

    proptest! {
        #[test]
        fn quantiles_are_known_to_a_thousandth(
            lengths in prop::collection::vec(0..MOST_NS, 1..300), quantile in 0.001..1.0_f64,
        ) {
            let all = of(&lengths);
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            let rank = (quantile * lengths.len() as f64).ceil() as usize;
            let want = sorted[rank - 1] as f64;
            let is = all.quantile(quantile).unwrap().as_nanos() as f64;
            prop_assert!((is - want).abs() <= (want / 1000.0).max(64.0), "{is}, want {want}");
        }

        #[test]
        fn what_is_written_is_read(lengths in prop::collection::vec(0..MOST_NS, 0..300)) {
            let all = of(&lengths);
            let text = serde_json::to_string(&all).unwrap();
            let read: Durations = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &all);
            prop_assert_eq!(read.longest(), all.longest());
        }

        #[test]
        fn merged_is_as_if_counted_in_one(
            ours in prop::collection::vec(0..MOST_NS, 0..100), theirs in prop::collection::vec(0..1_000_000_u64, 0..100),
        ) {
            let together = of(&[ours.as_slice(), &theirs].concat());
            for (first, second) in [(&ours, &theirs), (&theirs, &ours)] {
                let mut merged = of(first);
                merged.merge(&of(second));
                prop_assert_eq!(&merged, &together);
                prop_assert_eq!(merged.longest(), together.longest());
            }
        }
    }

    fn of(nanoseconds: &[u64]) -> Durations {
        let mut all = Durations::new();
        nanoseconds.iter().for_each(|&length| all.record(Duration::from_nanos(length)));
        all
    }
}
