//! Runs of small plans within a test.

use std::net::SocketAddr;
use std::time::Duration;

use ferry_loadtest::clock::Moment;
use ferry_loadtest::engine::{self, Conductor, Share, Stop};
use ferry_loadtest::ledger;
use ferry_loadtest::outcome::{Interval, Outcome};
use ferry_loadtest::plan::{Plan, Target};

/// Carries out a plan, checks its books, and does something when the window opens.
pub(crate) fn run(plan: &Plan, window_opens: impl FnMut()) -> Outcome {
    let outcome = engine::run(plan, Share::ALL, &Stop::default(), &mut Watch(window_opens)).unwrap();
    assert!(!outcome.interrupted);
    ledger::check(&outcome.total, &outcome.flows).unwrap();
    outcome
}

/// A relay without TLS, or with a certificate that need not be believed.
pub(crate) fn target(address: SocketAddr, secure: bool) -> Target {
    let scheme = if secure { "https" } else { "http" };
    Target {
        url: format!("{scheme}://{address}"),
        address,
        sources: Vec::new(),
        pinned: None,
        resumption: false,
        ordinary_start: false,
    }
}

struct Watch<F>(F);

impl<F: FnMut()> Conductor for Watch<F> {
    fn connecting(&mut self, established: u64, of: u64) {
        assert!(established <= of);
    }

    fn ready(&mut self) -> Moment {
        Moment::now() + Duration::from_millis(20)
    }

    fn window_opens(&mut self) {
        self.0();
    }

    fn interval(&mut self, _: &Interval) {}

    fn window_closes(&mut self) {}
}
