//! `ferry ping`: one node to another through relays, and what happens to the relays meanwhile.

mod lines;
mod message;
mod session;
mod tally;

use crate::cli::Ping;
use crate::runtime::block_on;

pub(crate) fn run(flags: &Ping) -> anyhow::Result<u8> {
    block_on(session::run(flags))
}
