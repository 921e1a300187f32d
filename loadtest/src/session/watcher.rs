//! Watches one run: shows it, reads what the server costs at the window's ends, restarts the server in mid-window.

use std::time::Duration;

use anyhow::Context as _;

use crate::clock::Moment;
use crate::engine::Conductor;
use crate::live::Live;
use crate::outcome::Interval;
use crate::process::{Reading, Watched};
use crate::server::{Server, ServerError};

/// How long after everybody is connected traffic starts.
const SETTLE: Duration = Duration::from_millis(50);

/// The conductor of one run.
pub(super) struct Watcher<'a> {
    live: &'a mut Live,
    server: &'a mut Server,
    /// When to restart the server, after the start; None is never, or done.
    restart_at: Option<Duration>,
    restarted: Option<Result<(), ServerError>>,
    opened: Option<Reading>,
    closed: Option<Reading>,
}

/// What was seen of the server.
pub(super) struct Seen {
    /// As the window opened; None as well if it is another process now.
    pub(super) opened: Option<Reading>,
    /// As the window closed.
    pub(super) closed: Option<Reading>,
    /// It was restarted in between.
    pub(super) restarted: bool,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(live: &'a mut Live, server: &'a mut Server, restart_at: Option<Duration>) -> Self {
        Self { live, server, restart_at, restarted: None, opened: None, closed: None }
    }

    /// What was seen; an error if the server did not come back.
    pub(super) fn finish(self) -> anyhow::Result<Seen> {
        let restarted = self.restarted.is_some();
        self.restarted.unwrap_or(Ok(())).context("the server did not come back")?;
        // The counts of a new process do not continue the old one's.
        let opened = self.opened.filter(|_| !restarted);
        Ok(Seen { opened, closed: self.closed, restarted })
    }

    fn read(&self) -> Option<Reading> {
        self.server.watched().as_ref().and_then(Watched::read)
    }
}

impl Conductor for Watcher<'_> {
    fn connecting(&mut self, established: u64, of: u64) {
        self.live.connecting(established, of);
    }

    fn ready(&mut self) -> Moment {
        Moment::now() + SETTLE
    }

    fn window_opens(&mut self) {
        self.opened = self.read();
    }

    fn interval(&mut self, interval: &Interval) {
        self.live.interval(interval);
        if self.restart_at.is_some_and(|at| interval.at >= at) {
            self.restart_at = None;
            self.restarted = Some(self.server.restart());
        }
    }

    fn window_closes(&mut self) {
        self.closed = self.read();
    }
}
