//! Prometheus' text format, as far as a sum of one counter needs it.
//!
//! By hand: the crates that parse it bring a regular-expression engine and a calendar for what is one loop.

/// The largest integer up to which a float holds every integer.
const EXACT_MOST: f64 = 9_007_199_254_740_992.0;

/// Why a page does not say a counter's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// Not on the page.
    #[error("the page has no counter {name:?}")]
    Missing {
        /// The counter.
        name: String,
    },
    /// No count.
    #[error("{line:?} is no count")]
    Value {
        /// The line.
        line: String,
    },
}

/// The sum of all series of the counter `name`. A counter that is announced (`# TYPE`) and has no series yet is 0.
pub(super) fn sum(page: &str, name: &str) -> Result<u64, ExpositionError> {
    let mut found = false;
    let mut sum = 0u64;
    for line in page.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            found |= words.next() == Some("TYPE") && words.next() == Some(name);
            continue;
        }
        let Some(rest) = line.strip_prefix(name) else { continue };
        // Neither a value nor a time holds a brace; a label's value may.
        let values = match (rest.chars().next(), rest.rfind('}')) {
            (Some('{'), Some(end)) => &rest[end + 1..],
            (Some(' ' | '\t'), _) => rest,
            _ => continue,
        };
        let value = values.split_whitespace().next().and_then(|value| value.parse().ok()).and_then(count);
        let Some(value) = value else { return Err(ExpositionError::Value { line: line.to_owned() }) };
        found = true;
        sum = sum.saturating_add(value);
    }
    if !found {
        return Err(ExpositionError::Missing { name: name.to_owned() });
    }
    Ok(sum)
}

fn count(value: f64) -> Option<u64> {
    let whole = (0.0..=EXACT_MOST).contains(&value) && value.fract() == 0.0;
    whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As derper writes it, with a label value that holds what it may.
    const PAGE: &str = "\
# HELP derp_packets_received packets\n\
# TYPE derp_packets_received counter\n\
derp_packets_received 61100\n\
derp_packets_received_kind{kind=\"other\"} 7\n\
derp_packets_dropped{reason=\"queue_head\",kind=\"other\"} 57029\n\
derp_packets_dropped{reason=\"a } b \\\" 9\",kind=\"disco\"} 1.5e2 1700000000000\n\
# TYPE derp_packets_sent counter\n\
broken{a=\"b\"} NaN\n\
half 0.5\n\
less -1\n";

    #[test]
    fn a_counter_without_labels_is_its_value() {
        assert_eq!(sum(PAGE, "derp_packets_received"), Ok(61_100));
    }

    #[test]
    fn series_are_summed_and_times_are_not() {
        assert_eq!(sum(PAGE, "derp_packets_dropped"), Ok(57_179));
    }

    #[test]
    fn a_counter_without_series_is_zero_if_it_is_announced() {
        assert_eq!(sum(PAGE, "derp_packets_sent"), Ok(0));
        assert_eq!(
            sum(PAGE, "derp_packets"),
            Err(ExpositionError::Missing { name: "derp_packets".to_owned() })
        );
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for name in ["broken", "half", "less"] {
            assert!(matches!(sum(PAGE, name), Err(ExpositionError::Value { .. })), "{name}");
        }
    }
}
