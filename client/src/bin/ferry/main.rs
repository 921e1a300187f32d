//! `ferry`: the client's tools in the hand. What the network here can do; what is wrong with a relay; whether a node answers through
//! relays; who is connected to one; why a region is home; what a DERP map says, what is wrong with it, and what changed.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod cli;
mod doctor;
mod exit;
mod explain;
mod last_good;
mod map;
mod netcheck;
mod output;
mod ping;
mod relays;
mod roots;
mod runtime;
mod source;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, MapCommand};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // A closed pipe at the other end is no reason to fail.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(exit::UNUSABLE));
        }
    };
    let done = match &cli.command {
        Command::Map { command: MapCommand::Lint(flags) } => map::lint::run(flags),
        Command::Map { command: MapCommand::Show(flags) } => map::show::run(flags),
        Command::Map { command: MapCommand::Diff(flags) } => map::diff::run(flags),
        Command::Doctor(flags) => doctor::run(flags),
        Command::Explain(flags) => explain::run(flags),
        Command::Netcheck(flags) => netcheck::run(flags),
        Command::Ping(flags) => ping::run(flags),
        Command::Watch(flags) => watch::run(flags),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            ExitCode::from(exit::UNUSABLE)
        }
    }
}
