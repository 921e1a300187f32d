//! What all commands have that hold relay connections: which, whom to believe, what happens to them, and when to stop.

pub(crate) mod lines;
pub(crate) mod setup;

use std::time::Duration;

/// How often the map's file is looked at.
pub(crate) const MAP_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Waits for Ctrl-C, or SIGTERM.
#[cfg(unix)]
pub(crate) async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn stopped() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
