//! The rule that Tailscale's client chooses its home by, to compare with.

use std::collections::VecDeque;
use std::time::Duration;

use crate::world::{millis, secs};

/// Its window of reports.
const HISTORY: Duration = secs(305);
/// A home that sent a frame within this time counts as heard.
const HEARD_WITHIN: Duration = secs(8);
/// A home that sent one within this time is kept if nothing at all is measured.
const HEARD_LONG_AGO: Duration = secs(120);

/// The rule's state.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) home: Option<i64>,
    pub(crate) moves: usize,
    history: VecDeque<(Duration, Vec<(i64, Duration)>)>,
}

impl Reference {
    /// A report is done; the last frame of the home's relay was `heard` ago.
    pub(crate) fn report(&mut self, now: Duration, latencies: &[(i64, Duration)], heard: Duration) {
        self.history.push_back((now, latencies.to_vec()));
        self.history.retain(|(at, _)| now - *at <= HISTORY);
        let best = |id: i64| {
            let measured = self.history.iter().flat_map(|(_, report)| report);
            measured.filter(|(measured, _)| *measured == id).map(|(_, latency)| *latency).min()
        };
        let candidates = latencies.iter().filter_map(|(id, _)| Some((best(*id)?, *id)));
        let chosen = match (candidates.min(), self.home) {
            (None, home) => home.filter(|_| heard <= HEARD_LONG_AGO),
            (Some((best, id)), Some(home)) if id != home => {
                let current = latencies.iter().find(|(measured, _)| *measured == home);
                let current = current.map_or(Duration::ZERO, |(_, latency)| *latency);
                let known = !current.is_zero() || heard <= HEARD_WITHIN;
                let near = current.saturating_sub(best) < millis(10) || best > current / 3 * 2;
                Some(if known && near { home } else { id })
            }
            (Some((_, id)), _) => Some(id),
        };
        if chosen != self.home && self.home.is_some() {
            self.moves += 1;
        }
        self.home = chosen;
    }
}

#[test]
fn the_reference_keeps_to_its_own_margins() {
    let ms = |ms: &[(i64, u64)]| ms.iter().map(|(id, ms)| (*id, millis(*ms))).collect::<Vec<_>>();
    for (second, home) in [(&[(1, 30), (2, 21)][..], 1), (&[(1, 30), (2, 20)], 2), (&[(1, 90), (2, 61)], 1)] {
        let mut reference = Reference::default();
        reference.report(secs(0), &ms(&[(1, 50), (2, 70)]), secs(0));
        reference.report(secs(20), &ms(second), secs(60));
        assert_eq!(reference.home, Some(home), "{second:?}");
    }
}

#[test]
fn the_reference_moves_when_one_report_lacks_an_idle_home() {
    for (heard, home) in [(secs(8), 1), (secs(9), 2)] {
        let mut reference = Reference::default();
        reference.report(secs(0), &[(1, millis(20)), (2, millis(70))], secs(0));
        reference.report(secs(20), &[(2, millis(70))], heard);
        assert_eq!(reference.home, Some(home), "heard {heard:?} ago");
    }
}
