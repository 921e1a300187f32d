//! `ferry watch`: who is connected to relays, who comes and who leaves.

mod present;
mod session;

use crate::cli::Watch;
use crate::runtime::block_on;

pub(crate) fn run(flags: &Watch) -> anyhow::Result<u8> {
    block_on(session::run(flags))
}
