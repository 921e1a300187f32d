//! `ferry ping`: one node to another through relays, and what happens to the relays meanwhile.

mod lines;
mod message;
mod session;
mod tally;

use anyhow::Context as _;

use crate::cli::Ping;

pub(crate) fn run(flags: &Ping) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let done = runtime.block_on(session::run(flags));
    // A name that is still being asked for is waited for by nobody.
    runtime.shutdown_background();
    done
}
