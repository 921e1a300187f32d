//! Where the truth lies that a figure tells only a bound of.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::report::Run;
use crate::validity::Standing;

/// A figure, and between what the truth surely lies: the tool's own part in it is not known, but its sign is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Surely {
    /// What was measured.
    pub measured: f64,
    /// The truth is this at least.
    pub low: f64,
    /// And this at most; infinity (null in JSON) if there is no telling.
    #[serde(with = "finite")]
    pub high: f64,
}

impl Surely {
    /// What is as it was measured.
    pub fn exactly(measured: f64) -> Self {
        Self { measured, low: measured, high: measured }
    }

    /// Only if the truth may be another than what was measured.
    pub fn doubtful(self) -> Option<Self> {
        (self.low < self.high).then_some(self)
    }

    /// The median, wherever each of the values lies; None without values.
    pub fn median(values: &[Self]) -> Option<Self> {
        Some(Self {
            measured: middle(values.iter().map(|value| value.measured))?,
            low: middle(values.iter().map(|value| value.low))?,
            high: middle(values.iter().map(|value| value.high))?,
        })
    }

    /// None where there is nothing to hold it against. Neither is below 0, as no figure is.
    pub fn ratio_to(self, other: Self) -> Option<Self> {
        if other.measured <= 0.0 {
            return None;
        }
        let high = if other.low > 0.0 { self.high / other.low } else { f64::INFINITY };
        // To an infinity it is 0.
        Some(Self { measured: self.measured / other.measured, low: self.low / other.high, high })
    }
}

impl Run {
    /// One of its figures; None if it has none or a doubt spoils it.
    pub fn surely(&self, metric: Metric) -> Option<Surely> {
        let measured = self.figure(metric)?;
        match self.standing(metric) {
            Standing::Counts => Some(Surely::exactly(measured)),
            Standing::AtLeast => Some(Surely { measured, low: measured, high: f64::INFINITY }),
            // No figure of which there are bounds is below 0.
            Standing::AtMost => Some(Surely { measured, low: 0.0, high: measured }),
            Standing::Spoilt => None,
        }
    }
}

/// The middle value, or the middle between the two middle ones; infinities are values too.
fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(values.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper))
}

/// JSON has no infinity.
mod finite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MOST_8: Surely = Surely { measured: 8.0, low: 0.0, high: 8.0 };
    const AT_LEAST_8: Surely = Surely { measured: 8.0, low: 8.0, high: f64::INFINITY };

    #[test]
    fn a_median_lies_between_the_medians_of_the_ends() {
        let of = |values: &[Surely]| {
            Surely::median(values).map(|median| (median.measured, median.low, median.high))
        };
        let exactly = Surely::exactly;
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[exactly(3.0)]), Some((3.0, 3.0, 3.0)));
        assert_eq!(of(&[AT_MOST_8, exactly(5.0), exactly(9.0)]), Some((8.0, 5.0, 8.0)));
        assert_eq!(of(&[AT_LEAST_8, exactly(5.0), exactly(9.0)]), Some((8.0, 8.0, 9.0)));
        assert_eq!(of(&[AT_LEAST_8, AT_LEAST_8]), Some((8.0, 8.0, f64::INFINITY)));
        assert_eq!(of(&[exactly(1.0), exactly(2.0)]), Some((1.5, 1.5, 1.5)));
    }

    #[test]
    fn a_ratio_is_least_to_the_most_and_most_to_the_least() {
        let of =
            |ours: Surely, theirs| ours.ratio_to(theirs).map(|ratio| (ratio.measured, ratio.low, ratio.high));
        let exactly = Surely::exactly;
        assert_eq!(of(exactly(4.0), exactly(2.0)), Some((2.0, 2.0, 2.0)));
        assert_eq!(of(AT_MOST_8, exactly(4.0)), Some((2.0, 0.0, 2.0)));
        assert_eq!(of(exactly(4.0), AT_MOST_8), Some((0.5, 0.5, f64::INFINITY)));
        assert_eq!(of(exactly(4.0), AT_LEAST_8), Some((0.5, 0.0, 0.5)));
        assert_eq!(of(AT_LEAST_8, AT_MOST_8), Some((1.0, 1.0, f64::INFINITY)));
        assert_eq!(of(exactly(4.0), exactly(0.0)), None);
    }

    #[test]
    fn what_has_no_end_is_null_in_json() {
        let text = serde_json::to_string(&AT_LEAST_8).unwrap();
        assert_eq!(text, r#"{"measured":8.0,"low":8.0,"high":null}"#);
        assert_eq!(serde_json::from_str::<Surely>(&text).unwrap(), AT_LEAST_8);
    }
}
