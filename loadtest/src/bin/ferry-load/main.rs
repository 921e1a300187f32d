//! `ferry-load`: load for relays and STUN servers, and honest figures of what came of it.
#![forbid(unsafe_code)]

mod cli;
mod one_target;
mod output;
mod stopping;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use ferry_loadtest::live::Live;
use ferry_loadtest::null_server::{self, NullOptions};
use ferry_loadtest::report::Report;
use ferry_loadtest::scenario::Scenario;
use ferry_loadtest::{agent, session};

use cli::{Cli, Command, Compare, Output, Safety};

/// Wrong usage: a flag, a scenario, a target that may not be loaded.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // A closed pipe at the other end is no reason to fail.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(USAGE));
        }
    };
    match run(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::from(USAGE)
        }
    }
}

fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(run) => carry_out(&one_target::run(&run)?, &run.measuring.safety, &run.output),
        Command::Knee(knee) => carry_out(&one_target::knee(&knee)?, &knee.measuring.safety, &knee.output),
        Command::Idle(idle) => carry_out(&one_target::idle(&idle)?, &idle.measuring.safety, &idle.output),
        Command::Storm(storm) => {
            carry_out(&one_target::storm(&storm)?, &storm.measuring.safety, &storm.output)
        }
        Command::Stun(stun) => carry_out(&one_target::stun(&stun)?, &stun.measuring.safety, &stun.output),
        Command::Compare(compare) => carry_out(&read_scenario(&compare)?, &compare.safety, &compare.output),
        Command::Report(report) => {
            let file = report.file.display();
            let text =
                std::fs::read_to_string(&report.file).with_context(|| format!("cannot read {file}"))?;
            let read = Report::from_json(&text).with_context(|| format!("{file} is no report"))?;
            output::write(&read, &report.output)?;
            Ok(output::exit_code(&read))
        }
        Command::NullServer(null) => {
            let options = NullOptions { listen: null.listen, secure: !null.plain };
            if null.splice {
                null_server::serve_splice(options)?
            } else {
                null_server::serve(options)?
            }
            Ok(0)
        }
        Command::Agent => {
            agent::serve()?;
            Ok(0)
        }
    }
}

fn read_scenario(compare: &Compare) -> anyhow::Result<Scenario> {
    let file = compare.scenario.display();
    let text = std::fs::read_to_string(&compare.scenario).with_context(|| format!("cannot read {file}"))?;
    let mut scenario = Scenario::parse(&text).with_context(|| file.to_string())?;
    if let Some(rounds) = compare.rounds {
        scenario.rounds = rounds;
        for workload in &mut scenario.workload {
            workload.rounds = None;
        }
    }
    scenario.seed = compare.seed.unwrap_or(scenario.seed);
    if compare.only.is_empty() { Ok(scenario) } else { Ok(scenario.only(&compare.only)?) }
}

fn carry_out(scenario: &Scenario, safety: &Safety, output: &Output) -> anyhow::Result<u8> {
    let stop = stopping::on_signals()?;
    let options = session::Options {
        null_server: !safety.no_null,
        allowed: safety.allow.clone(),
        raise: session::Raise {
            per_second: safety.rate_most,
            connections: safety.connections_most,
            seconds: safety.time_most,
        },
        arguments: std::env::args().skip(1).collect(),
    };
    output::check_writable(output)?;
    let mut live = Live::new(Live::style(output.quiet));
    let report = session::run(scenario, &options, &mut live, &stop)?;
    drop(live);
    output::write(&report, output)?;
    Ok(output::exit_code(&report))
}
