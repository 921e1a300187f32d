//! Lines for people and programs. A closed pipe at the other end is no reason to fail.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};

/// Prints a result.
pub(crate) fn print(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// Says what went wrong.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(stderr(), "ferry-stun: {text}");
}

/// A line on a terminal that each step overwrites; nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    /// On standard error, if somebody looks at it.
    pub(crate) fn new() -> Self {
        Self { shown: stderr().is_terminal() }
    }

    /// Shows a step.
    pub(crate) fn step(&self, text: impl Display) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
