//! The last lines of a terminal, drawn again and again.

use std::fmt::Write as _;
use std::io::Write;

/// Lines that move, below lines that stay.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    /// Lines that are drawn and will be drawn over.
    drawn: usize,
}

impl Screen {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, drawn: 0 }
    }

    /// Draws the moving lines anew, each cut to the terminal's width: a line that wraps could not be found again.
    pub(super) fn draw(&mut self, lines: &[String], columns: usize) {
        if lines.is_empty() && self.drawn == 0 {
            return;
        }
        let mut text = self.clear();
        for line in lines {
            // The last column stays free: some terminals wrap as soon as it is filled.
            text.extend(printable(line).take(columns.saturating_sub(1).max(1)));
            text.push('\n');
        }
        self.drawn = lines.len();
        self.write(&text);
    }

    /// Writes a line that stays, in place of the moving ones.
    pub(super) fn say(&mut self, line: &str) {
        let mut text = self.clear();
        self.drawn = 0;
        text.extend(printable(line));
        text.push('\n');
        self.write(&text);
    }

    /// Back to the first moving line, and nothing below.
    fn clear(&self) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}F\x1b[0J", self.drawn);
        }
        text
    }

    /// In one piece, so that nothing comes between.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Names and messages come from scenarios and servers: they may not steer the terminal.
fn printable(line: &str) -> impl Iterator<Item = char> {
    line.chars().filter(|character| !character.is_control())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(work: impl FnOnce(&mut Screen)) -> String {
        let paper = Paper::default();
        work(&mut Screen::new(Box::new(paper.clone())));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_are_drawn_over_and_cut() {
        let text = written(|screen| {
            screen.draw(&["one".to_owned(), "two".to_owned()], 80);
            screen.draw(&["µµµµµ".to_owned()], 4);
        });
        assert_eq!(text, "one\ntwo\n\x1b[2F\x1b[0Jµµµ\n");
    }

    #[test]
    fn what_stays_pushes_the_moving_lines_down() {
        let text = written(|screen| {
            screen.draw(&["moves".to_owned()], 80);
            screen.say("stays");
            screen.draw(&["moves".to_owned()], 80);
        });
        assert_eq!(text, "moves\n\x1b[1F\x1b[0Jstays\nmoves\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(written(|screen| screen.say("a\x1b[2Jb\r\nc")), "a[2Jbc\n");
    }
}
