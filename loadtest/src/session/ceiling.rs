//! What the tool could do at most.

use std::time::Duration;

use crate::scenario::Load;
use crate::workload::Phases;

/// Packets under way per sender: deep enough that nobody waits, shallow enough that nothing is dropped.
const WINDOW: u32 = 64;
/// Packets under way in all: with many senders, more would only wait in queues for longer than the look takes.
const UNDER_WAY: u32 = 1_024;

/// How long the look takes.
pub(super) const PHASES: Phases = Phases {
    warm_up: Duration::from_millis(500),
    window: Duration::from_millis(1500),
    drain: Duration::from_millis(500),
};

/// The same shape as a closed loop with a deep window: the rate is then whatever the tool and the null server reach together, writes
/// shared or not as the run has them. None for a load without packets.
pub(super) fn load(load: &Load) -> Option<Load> {
    match load {
        Load::Relay(workload) => workload.closed_loop(WINDOW, UNDER_WAY).map(Load::Relay),
        Load::Stun(load) => {
            let mut load = load.clone();
            load.rate = None;
            load.window = Some(WINDOW);
            Some(Load::Stun(load))
        }
    }
}
