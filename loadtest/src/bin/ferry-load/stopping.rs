//! Ctrl-C and SIGTERM: the first asks for an end with a report, the second ends at once.

use std::sync::Arc;

use ferry_loadtest::engine::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A stop that the two signals ask for.
pub(crate) fn on_signals() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set by the first.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(stop.flag()))?;
        flag::register(signal, Arc::clone(stop.flag()))?;
    }
    Ok(stop)
}
