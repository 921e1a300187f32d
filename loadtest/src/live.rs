//! What a person sees while it runs.

mod progress;
mod screen;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::outcome::Interval;
use progress::Progress;
use screen::Screen;

/// How often a line is written where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Columns that are assumed where the terminal does not say.
const COLUMNS: usize = 80;

/// A display of progress on standard error: one that moves on a terminal, plain lines elsewhere, nothing when quiet.
///
/// The terminal is left as it was found, however the program ends: the cursor is never hidden and rests below what is drawn.
/// What cannot be written is not worth stopping a measurement for and is dropped.
pub struct Live {
    style: Style,
    screen: Screen,
    columns: fn() -> usize,
    began: Instant,
    progress: Option<Progress>,
    /// When the last line was written, after `began`; [`Style::Lines`] only.
    written: Duration,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A terminal: the last lines are drawn again and again.
    Terminal,
    /// A line every few seconds.
    Lines,
    /// Nothing.
    Quiet,
}

impl Live {
    /// A display in that style.
    pub fn new(style: Style) -> Self {
        Self::on(style, Box::new(io::stderr()), columns)
    }

    /// A display on something else than standard error, as wide as `columns` says whenever it is drawn.
    pub fn on(style: Style, out: Box<dyn Write + Send>, columns: fn() -> usize) -> Self {
        let screen = Screen::new(out);
        Self { style, screen, columns, began: Instant::now(), progress: None, written: Duration::ZERO }
    }

    /// What the terminal asks for.
    pub fn style(quiet: bool) -> Style {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match (quiet, io::stderr().is_terminal() && !dumb) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Terminal,
            (false, false) => Style::Lines,
        }
    }

    /// A run begins: `pairs-10k, round 2 of 5, derper`. `length` is all of its parts; `step` of `steps` in the whole session.
    pub fn begin(&mut self, what: &str, length: Duration, step: u32, steps: u32) {
        let progress = Progress::new(what, length, step, steps);
        if self.style == Style::Lines {
            self.line(&progress.headline());
        }
        self.progress = Some(progress);
        self.redraw();
    }

    /// Clients connect.
    pub fn connecting(&mut self, established: u64, of: u64) {
        if let Some(progress) = &mut self.progress {
            progress.connecting(established, of);
        }
        self.show();
    }

    /// A step of the time series: rate, p50, p99, loss so far.
    pub fn interval(&mut self, interval: &Interval) {
        if let Some(progress) = &mut self.progress {
            progress.interval(interval);
        }
        self.show();
    }

    /// The run is over; one line stays of it.
    pub fn end(&mut self, summary: &str) {
        let what = self.progress.take().map(|progress| progress.headline());
        let line = what.map_or_else(|| summary.to_owned(), |what| format!("{what}: {summary}"));
        self.say(&line);
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        match self.style {
            Style::Quiet => {}
            Style::Lines => self.line(line),
            Style::Terminal => {
                self.screen.say(line);
                self.redraw();
            }
        }
    }

    /// Shows progress as the style has it.
    fn show(&mut self) {
        self.redraw();
        let now = self.began.elapsed();
        if self.style == Style::Lines
            && now.saturating_sub(self.written) >= LINE_EVERY
            && let Some(line) = self.progress.as_ref().map(Progress::line)
        {
            self.line(&line);
        }
    }

    fn redraw(&mut self) {
        if self.style != Style::Terminal {
            return;
        }
        let now = self.began.elapsed();
        let lines = self.progress.as_ref().map(|progress| progress.lines(now)).unwrap_or_default();
        self.screen.draw(&lines, (self.columns)());
    }

    fn line(&mut self, line: &str) {
        self.written = self.began.elapsed();
        self.screen.say(line);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("style", &self.style)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// Columns of the terminal on standard error.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::histogram::Durations;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn live(style: Style) -> (Live, Paper) {
        let paper = Paper::default();
        (Live::on(style, Box::new(paper.clone()), || 60), paper)
    }

    fn interval() -> Interval {
        Interval {
            at: Duration::from_secs(1),
            length: Duration::from_millis(100),
            due: 1_000,
            sent: 1_000,
            delivered: 1_000,
            delivered_bytes: 0,
            connected: 0,
            connections: 20,
            latency: Durations::new(),
            generator_cpu: Duration::ZERO,
        }
    }

    fn a_run(live: &mut Live) {
        live.begin("pairs, round 1 of 2, derper", Duration::from_secs(8), 1, 4);
        live.connecting(5, 20);
        live.interval(&interval());
        live.end("10,000/s");
    }

    #[test]
    fn quiet_writes_nothing() {
        let (mut live, paper) = live(Style::Quiet);
        a_run(&mut live);
        live.say("done");
        assert_eq!(paper.text(), "");
    }

    #[test]
    fn lines_have_no_escape_sequences_and_the_end_is_always_told() {
        let (mut live, paper) = live(Style::Lines);
        a_run(&mut live);
        let text = paper.text();
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.ends_with("[1/4] pairs, round 1 of 2, derper: 10,000/s\n"), "{text:?}");
    }

    #[test]
    fn a_terminal_is_left_with_what_stays_and_a_visible_cursor() {
        let (mut live, paper) = live(Style::Terminal);
        a_run(&mut live);
        let text = paper.text();
        let last = text.rsplit("\x1b[0J").next().unwrap();
        assert_eq!(last, "[1/4] pairs, round 1 of 2, derper: 10,000/s\n");
        assert!(!text.contains("\x1b[?25l"), "the cursor is not hidden");
    }
}
