//! What the tool could do at most.

use std::time::Duration;

use crate::scenario::Load;
use crate::workload::Phases;

/// Packets under way per sender: deep enough that nobody waits, shallow enough that nothing is dropped.
const WINDOW: u32 = 64;

/// How long the look takes.
pub(super) const PHASES: Phases = Phases {
    warm_up: Duration::from_millis(500),
    window: Duration::from_millis(1500),
    drain: Duration::from_millis(500),
};

/// The same shape as a closed loop with a deep window: the rate is then whatever the tool and the null server reach together. None for a
/// load without packets.
pub(super) fn load(load: &Load) -> Option<Load> {
    match load {
        Load::Relay(workload) => workload.with_window(WINDOW).map(Load::Relay),
        Load::Stun(load) => {
            let mut load = load.clone();
            load.rate = None;
            load.window = Some(WINDOW);
            Some(Load::Stun(load))
        }
    }
}
