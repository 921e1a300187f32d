//! Lines for people and programs. A closed pipe at the other end is no reason to fail.

use std::env;
use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stderr, stdout};

/// Prints a result.
pub(crate) fn print(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// Says what went wrong.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(stderr(), "ferry: {text}");
}

/// Says what is known so far, to somebody who waits for the rest: nowhere but on a terminal.
pub(crate) fn progress(text: impl Display) {
    if stderr().is_terminal() {
        let _ = writeln!(stderr(), "{text}");
    }
}

/// Whether results may be coloured: somebody looks at them, and has not said no (no-color.org).
pub(crate) fn is_coloured() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text's look on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// What stands out.
    Bold,
    /// What is broken.
    Red,
    /// What is doubtful.
    Yellow,
    /// What could be better.
    Blue,
    /// What is as it should be.
    Green,
}

/// A text with its look, if colours are on.
#[derive(Debug)]
pub(crate) struct Painted<T> {
    text: T,
    look: Look,
    coloured: bool,
}

/// Gives a text its look; the text is padded before, as colours have no width.
pub(crate) const fn paint<T: Display>(text: T, look: Look, coloured: bool) -> Painted<T> {
    Painted { text, look, coloured }
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.look {
            _ if !self.coloured => None,
            Look::Bold => Some("1"),
            Look::Red => Some("1;31"),
            Look::Yellow => Some("33"),
            Look::Blue => Some("36"),
            Look::Green => Some("32"),
        };
        let Some(code) = code else { return self.text.fmt(f) };
        write!(f, "\x1b[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// A text from a map as one line that cannot steer a terminal.
#[derive(Debug)]
pub(crate) struct Tame<'a>(pub(crate) &'a str);

impl Display for Tame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter.is_control() {
                true => write!(f, "{}", letter.escape_default())?,
                false => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_a_text_is_itself() {
        assert_eq!(paint("error", Look::Red, false).to_string(), "error");
        assert_eq!(paint("error", Look::Red, true).to_string(), "\x1b[1;31merror\x1b[0m");
    }

    #[test]
    fn a_map_cannot_steer_a_terminal() {
        assert_eq!(Tame("a\x1b[2J\nb ä").to_string(), "a\\u{1b}[2J\\nb ä");
    }
}
