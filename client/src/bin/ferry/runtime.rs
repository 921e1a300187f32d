//! What commands that wait for the network run on, and what ends those that go on.

use anyhow::Context as _;

/// Runs a command to its end.
pub(crate) fn block_on(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let done = runtime.block_on(command);
    // A name that is still being asked for is waited for by nobody.
    runtime.shutdown_background();
    done
}

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
