//! `ferry watch`: who is connected to relays, who comes and who leaves.

mod present;
mod session;

use anyhow::Context as _;

use crate::cli::Watch;

pub(crate) fn run(flags: &Watch) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let done = runtime.block_on(session::run(flags));
    // A name that is still being asked for is waited for by nobody.
    runtime.shutdown_background();
    done
}
