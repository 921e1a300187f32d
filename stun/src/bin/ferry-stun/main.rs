//! `ferry-stun`: serves STUN, audits STUN servers, asks them about the NAT here.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod audit;
mod cli;
mod config;
mod discover;
mod exit;
mod host;
mod metrics;
mod output;
mod query;
mod serve;
mod values;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, Serve};
use config::Config;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // A closed pipe at the other end is no reason to fail.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let done = match &cli.command {
        None => serve(&cli.serve),
        Some(Command::Audit(audit)) => audit::run(audit),
        Some(Command::Discover(discover)) => discover::run(discover),
        Some(Command::Query(query)) => query::run(query),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            ExitCode::from(exit::FAILED)
        }
    }
}

fn serve(flags: &Serve) -> anyhow::Result<u8> {
    let config = match Config::check(flags, &|path| std::fs::read_to_string(path)) {
        Ok(config) => config,
        Err(error) => {
            output::complain(format_args!("{error}"));
            return Ok(if error.is_usage() { exit::USAGE } else { exit::FAILED });
        }
    };
    let Ok(filter) = EnvFilter::try_new(&flags.log) else {
        output::complain(format_args!("--log {}: write error, warn, info, debug or trace", flags.log));
        return Ok(exit::USAGE);
    };
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
    // Connections, pages and signals share this thread; UDP has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve::run(config))?;
    Ok(exit::DONE)
}
