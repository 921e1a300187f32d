//! The run: every server under every load, by turns.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use ferry_stun::{Limits, UdpConfig, UdpServer};

use crate::arguments::Arguments;
use crate::load::{self, Load, Measurement};
use crate::subject::{self, Running, Subject};
use crate::{floor, report, verdict};

/// One measurement and what it is of.
#[derive(Debug)]
pub(crate) struct Record {
    /// The server's name.
    pub(crate) server: String,
    /// How it was asked.
    pub(crate) load: Load,
    /// In which round.
    pub(crate) round: usize,
    /// What it did.
    pub(crate) measurement: Measurement,
}

pub(crate) fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.be_floor {
        match floor::serve(port)? {}
    }
    if let Some(port) = arguments.be_ferry {
        return serve_ferry(port);
    }
    anyhow::ensure!(
        arguments.client_core != arguments.server_core,
        "generator and server need a core each, both are to use core {}",
        arguments.server_core
    );

    subject::pin(arguments.client_core)?;
    let subjects = arguments.subjects()?;
    let records = run(&arguments, &subjects)?;
    report::print(&records);
    let verdicts = verdict::judge(&records);
    report::print_verdicts(&verdicts);
    if let Some(path) = &arguments.json {
        report::write_json(path, &records, &verdicts)?;
    }
    let wrong = report::print_wrong(&records);
    let missed = arguments.strict && verdicts.iter().any(|verdict| verdict.met() == Some(false));
    Ok(if wrong || missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Record>> {
    let length = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    let mut records = Vec::new();
    for round in 0..arguments.rounds {
        let started = Instant::now();
        // New processes in each round: memory is laid out anew, and no luck lasts.
        let servers: Vec<(&Subject, Running)> = subjects
            .iter()
            .map(|subject| Ok((subject, subject.start(arguments.server_core)?)))
            .collect::<anyhow::Result<_>>()?;
        for &load in &arguments.loads {
            for turn in 0..servers.len() {
                let place = if round % 2 == 0 { turn } else { servers.len() - 1 - turn };
                let (subject, server) = &servers[place];
                let measurement = load::measure(load, subject.expected, server, length)
                    .with_context(|| format!("{} under {load}", subject.name))?;
                records.push(Record { server: subject.name.clone(), load, round, measurement });
            }
        }
        let (number, all) = (round + 1, arguments.rounds);
        eprintln!("round {number} of {all}: {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(records)
}

/// Our server as this process: one thread, with budgets that are looked at and never spent.
fn serve_ferry(port: u16) -> anyhow::Result<ExitCode> {
    let mut config = UdpConfig::new(([127, 0, 0, 1], port).into());
    config.threads = std::num::NonZeroUsize::MIN;
    config.limits = Limits {
        requests_per_second: Some(100_000_000),
        surplus_bytes_per_second: Some(1_000_000_000),
        ..Limits::default()
    };
    let _server = UdpServer::start(config)?;
    // Whoever started this kills it.
    loop {
        std::thread::park();
    }
}
