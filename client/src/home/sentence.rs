//! Explanations in words.

use std::fmt;

use super::{Decision, Explanation, Reason, Standing};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.decision, &self.home, &self.other) {
            (_, None, _) => f.write_str("There is no home region yet: ")?,
            (Decision::Moves, Some(home), None) => write!(f, "Home is {home}: ")?,
            (Decision::Moves, Some(home), Some(old)) => {
                write!(f, "Home moves from {} to {home}: ", old.name)?;
            }
            (Decision::Stays | Decision::Searches, Some(home), _) => write!(f, "Home stays {home}: ")?,
        }
        let name = |standing: &Option<Standing>| standing.as_ref().map(|standing| standing.name.clone());
        let home = name(&self.home).unwrap_or_default();
        let other = name(&self.other).unwrap_or_else(|| "another region".to_owned());
        if self.decision == Decision::Moves {
            self.because_moving(f, &other)
        } else {
            self.because(f, &home, &other)
        }
    }
}

impl Explanation {
    /// Reasons that read otherwise when home moves.
    fn because_moving(&self, f: &mut fmt::Formatter<'_>, old: &str) -> fmt::Result {
        if let Reason::Dead { connected: true } = self.reason {
            write!(f, "{old} did not answer two pings in a row.")
        } else if let Reason::Dead { connected: false } = self.reason {
            write!(f, "the connection to {old} was lost and could not be had again.")
        } else if let Reason::NotAllowed { gone: true } = self.reason {
            write!(f, "{old} is not in the relay map any more.")
        } else if let Reason::NotAllowed { gone: false } = self.reason {
            write!(f, "the relay map no longer wants {old} to be a home.")
        } else {
            self.because(f, "", old)
        }
    }

    fn because(&self, f: &mut fmt::Formatter<'_>, home: &str, other: &str) -> fmt::Result {
        match self.reason {
            Reason::NoRegion => f.write_str("there is no relay map yet with a region that may be one."),
            Reason::NoReport => f.write_str("the regions are being measured for the first time."),
            Reason::NotConnected => f.write_str("no relay could be connected so far."),
            Reason::Nearest => f.write_str("no other region is faster."),
            Reason::SmallGain { gain_ms } => {
                let needed = if gain_ms < 10.0 { "10 ms and a third" } else { "third" };
                let gain = Millis(gain_ms);
                write!(f, "{other} is only {gain} faster, less than the {needed} that a move needs.")
            }
            Reason::Swing { gain_ms, swing_ms } => write!(
                f,
                "{other} is {} faster, but measurements differ by {} anyway, so that may be chance.",
                Millis(gain_ms),
                Millis(swing_ms)
            ),
            Reason::Passing { gain_ms, best_gain_ms } => {
                write!(f, "{other} was mostly {} faster of late, but ", Millis(gain_ms))?;
                if best_gain_ms < 0.5 {
                    write!(f, "{home} was as fast at its best, so that may pass.")
                } else {
                    write!(f, "only {} if the best of both is compared, so that may pass.", Millis(best_gain_ms))
                }
            }
            Reason::OneReport { gain_ms } => write!(
                f,
                "{other} is {} faster. Home moves there when two full measurements in a row say so.",
                Millis(gain_ms)
            ),
            Reason::FasterNotConnected { gain_ms } => {
                write!(f, "{other} is {} faster, but its relay cannot be connected.", Millis(gain_ms))
            }
            Reason::HeldDown { gain_ms, deaths, left_seconds } => {
                write!(f, "{other} is {} faster, but failed {} as home lately. ", Millis(gain_ms), Times(deaths))?;
                write!(f, "It may be home again in {} min.", left_seconds.div_ceil(60))
            }
            Reason::NothingMeasured => f.write_str("no other region answered in the last 5 minutes."),
            Reason::HomeNotMeasured => {
                f.write_str("its relay answers, though the last measurements did not reach it.")
            }
            Reason::NoControl => {
                f.write_str("there is no connection to the control server, so peers could not learn of a move.")
            }
            Reason::Forced => f.write_str("you asked for it."),
            Reason::ForcedNotConnected => {
                write!(f, "you asked for {other}, but its relay could not be connected so far.")
            }
            Reason::ForcedNotAllowed { region } => {
                write!(f, "you asked for region {region}, but the relay map has none that may be home.")
            }
            Reason::ForcedHeldDown { deaths, left_seconds } => {
                write!(f, "you asked for {other}, but it failed {} as home lately. ", Times(deaths))?;
                write!(f, "It may be home again in {} min.", left_seconds.div_ceil(60))
            }
            Reason::Suspect => f.write_str("its relay did not answer in time and is asked again."),
            Reason::Dead { .. } => {
                f.write_str("its relay does not answer, but no other relay could be connected so far.")
            }
            Reason::NotAllowed { .. } => f.write_str(
                "the relay map does not want it to be home any more, but no other relay could be connected so far.",
            ),
            Reason::First => {
                f.write_str("it was the fastest to answer of the regions that can be connected.")
            }
            Reason::Faster { gain_ms } => {
                write!(f, "it was {} faster in two full measurements in a row.", Millis(gain_ms))
            }
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some(median) = self.median_ms else { return Ok(()) };
        write!(f, " ({}", Millis(median))?;
        if self.score != 1.0 {
            write!(f, ", which the map counts as {}", Millis(median * self.score))?;
        }
        f.write_str(")")
    }
}

/// A time in milliseconds, for people.
struct Millis(f64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0.5 { f.write_str("under 1 ms") } else { write!(f, "{:.0} ms", self.0) }
    }
}

/// How often, for people.
struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { f.write_str("once") } else { write!(f, "{} times", self.0) }
    }
}
