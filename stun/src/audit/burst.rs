//! The worst request again and again: does the server keep on answering it that large?

use std::fmt;

use super::exchange::Exchange;
use super::finding::FACTOR_MAX;

/// How often the request with the largest answer is repeated, from a socket of its own, in about a second: more
/// than a client asks that wants to know something, and nothing to somebody who forges sources.
pub const BURST: usize = 40;

/// What came of the repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// How often it was asked.
    pub asked: usize,
    /// How often more than [`FACTOR_MAX`] times the request came back.
    pub large: usize,
}

impl Burst {
    /// Counts.
    #[must_use]
    pub fn of(repetitions: &[Exchange]) -> Self {
        let large = repetitions.iter().filter(|exchange| exchange.payload().exceeds(FACTOR_MAX)).count();
        Self { asked: repetitions.len(), large }
    }

    /// Whether the server gives few answers that large: at most two of three. If it gave all, a path would have to
    /// lose a third of them for this to be wrong.
    #[must_use]
    pub const fn is_limited(self) -> bool {
        self.asked > 0 && self.large * 3 <= self.asked * 2
    }
}

/// "40 of 40 times".
impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} times", self.large, self.asked)
    }
}
