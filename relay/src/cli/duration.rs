//! Go's durations: `15s`, `10m`, `1h2m3.5s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time as Go writes and bounds it: signed nanoseconds, ±292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

impl GoDuration {
    /// The signed nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The duration, or `None` if it is negative.
    pub fn to_duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let too_long = || DurationError::TooLong(text.to_owned());
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        // The only number that needs no unit.
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut nanos: i128 = 0;
        while !rest.is_empty() {
            let (whole, after) = split_digits(rest);
            let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let scale = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(DurationError::NoUnit { text: text.to_owned(), number: whole.to_owned() }),
                _ => return Err(DurationError::Unit { text: text.to_owned(), unit: unit.to_owned() }),
            };
            if !whole.is_empty() {
                nanos += i128::from(whole.parse::<i64>().map_err(|_| too_long())?) * scale;
            }
            // Below a nanosecond nothing counts, so digits past the fifteenth never do: an hour has 3.6e12.
            let fraction = &fraction[..fraction.len().min(15)];
            if !fraction.is_empty() {
                let digits = fraction.parse::<i128>().map_err(|_| invalid())?;
                nanos += digits * scale / 10_i128.pow(fraction.len() as u32);
            }
            if nanos > i128::from(i64::MAX) {
                return Err(too_long());
            }
            rest = after;
        }
        let nanos = i64::try_from(nanos).map_err(|_| too_long())?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:?}", Duration::from_nanos(self.0.unsigned_abs()))
    }
}

/// A text that is no duration of Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not numbers with units.
    #[error("'{0}' is no duration; write for example 15s, 10m or 1h30m")]
    Invalid(String),
    /// A number without its unit.
    #[error("'{text}' has no unit; write {number}s, {number}m or {number}h")]
    NoUnit {
        /// The whole text.
        text: String,
        /// The bare number.
        number: String,
    },
    /// A unit Go does not know.
    #[error("'{text}' has the unknown unit '{unit}'; write ns, us, ms, s, m or h")]
    Unit {
        /// The whole text.
        text: String,
        /// What stands where the unit should.
        unit: String,
    },
    /// More than 64 bits of nanoseconds.
    #[error("'{0}' is longer than 292 years")]
    TooLong(String),
}

/// The leading digits and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_forms_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("15s", 15_000_000_000),
            ("10m", 600_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("+5s", 5_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("3us4ns", 3_004),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_with_the_fix() {
        for (text, part) in [
            ("", "is no duration"),
            ("-", "is no duration"),
            ("s", "is no duration"),
            (".s", "is no duration"),
            ("15", "'15' has no unit; write 15s, 15m or 15h"),
            ("1h30", "'1h30' has no unit; write 30s"),
            ("1d", "unknown unit 'd'"),
            ("1 s", "unknown unit ' s'"),
            ("2562047h47m16.854775808s", "longer than 292 years"),
            ("9223372036854775808s", "longer than 292 years"),
            ("1s-1s", "unknown unit 's-'"),
        ] {
            let error = text.parse::<GoDuration>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_negative_one_is_no_std_duration() {
        assert_eq!(GoDuration(-1).to_duration(), None);
        assert_eq!(GoDuration(5).to_duration(), Some(Duration::from_nanos(5)));
    }
}
