//! The parts of a run, as times.

use crate::clock::Moment;
use crate::workload;

/// When the parts of a run begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Traffic starts, the warm-up begins.
    pub(crate) start: Moment,
    /// The measured window begins.
    pub(crate) open: Moment,
    /// It ends: nothing more is due, the drain begins.
    pub(crate) close: Moment,
    /// The drain ends, whatever is missing.
    pub(crate) end: Moment,
}

impl Phases {
    /// Those of a run that starts at `start`.
    pub(crate) fn new(lengths: workload::Phases, start: Moment) -> Self {
        let open = start + lengths.warm_up;
        let close = open + lengths.window;
        Self { start, open, close, end: close + lengths.drain }
    }

    /// Whether a time is in the measured window.
    pub(crate) fn measures(&self, time: Moment) -> bool {
        self.open <= time && time < self.close
    }
}
