//! What can be wrong with a workload.

use super::Kind;
use crate::workload::{CLIENTS_MOST, EXPONENT_MOST, RATE_MOST, TIME_MOST, WINDOW_MOST};

/// Why keys make no workload.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A key that this kind cannot do without.
    #[error("a load of kind {:?} needs `{key}`", kind.name())]
    Missing {
        /// The kind.
        kind: Kind,
        /// The key.
        key: &'static str,
    },
    /// A key that means nothing here.
    #[error("`{key}` means nothing to a load of kind {:?}; it belongs to {}", kind.name(), names(takers))]
    Unwanted {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: Kind,
        /// The kinds that take it.
        takers: &'static [Kind],
    },
    /// Nothing says when packets are due.
    #[error("a load of kind {:?} needs one of `rate`, `window` and `unlimited`", .0.name())]
    NoPace(Kind),
    /// Two keys of which only one may be there.
    #[error("`{0}` and `{1}` exclude each other")]
    Both(&'static str, &'static str),
    /// A key without another one that it needs.
    #[error("`{key}` needs `{other}`")]
    Needs {
        /// The key.
        key: &'static str,
        /// What is not there.
        other: &'static str,
    },
    /// A count of clients, pairs and so on.
    #[error("`{key}` is {count}, want {least} to {most} (no more than {CLIENTS_MOST} clients in all)")]
    Count {
        /// The key.
        key: &'static str,
        /// What it is.
        count: u32,
        /// The least it may be.
        least: u32,
        /// The most.
        most: u32,
    },
    /// Partners come in twos.
    #[error("`clients` is {0}, want an even number: each has a partner")]
    Odd(u32),
    /// A burst by a schedule of its own.
    #[error("a burst is sent evenly, by `rate` and `size` alone")]
    Uneven,
    /// A rate.
    #[error("`{key}` is {value} a second, want more than 0 and at most {RATE_MOST}")]
    Rate {
        /// The key.
        key: &'static str,
        /// What it is.
        value: f64,
    },
    /// A time.
    #[error("`{key}` is {value} s, want {} and at most {} s", if *zero { "0 or more" } else { "more than 0" }, TIME_MOST.as_secs())]
    Seconds {
        /// The key.
        key: &'static str,
        /// What it is.
        value: f64,
        /// It may be 0.
        zero: bool,
    },
    /// A share.
    #[error("`slow-share` is {0}, want more than 0 and at most 1")]
    Share(f64),
    /// An exponent.
    #[error("`exponent` is {0}, want 0 to {EXPONENT_MOST}")]
    Exponent(f64),
    /// A closed loop's window.
    #[error("`window` is {0} packets, want 1 to {WINDOW_MOST}")]
    Window(u32),
    /// A storm that goes on for too long.
    #[error(
        "{per_second} connections a second for {seconds} s are more than {CLIENTS_MOST}; shorten the window or lower the rate"
    )]
    Storm {
        /// The rate.
        per_second: f64,
        /// Warm-up and window.
        seconds: f64,
    },
}

fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
