//! `ferry-stun audit`: asks the library's requests over UDP and prints what it makes of the answers.

mod asker;
mod table;

use anyhow::Context as _;
use ferry_stun::audit::Verdict;

use crate::output::{Progress, print};
use crate::{cli, exit, host};

pub(crate) fn run(flags: &cli::Audit) -> anyhow::Result<u8> {
    let server = host::address(&flags.server, flags.family)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime
        .block_on(asker::ask_everything(server, &Progress::new()))
        .with_context(|| format!("cannot ask {server}"))?;
    match flags.json {
        true => print(table::json(&report)),
        false => print(table::text(&report)),
    }
    Ok(match report.verdict() {
        Verdict::Sound => exit::DONE,
        Verdict::Abusable => exit::ABUSABLE,
        Verdict::Silent => exit::NO_ANSWER,
    })
}
