//! What a run found: for people as tables, for programs as JSON.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::load::Measurement;
use crate::rounds::Record;
use crate::verdict::{Figure, Verdict, distinct, figures, median};

/// A table for each load.
pub(crate) fn print(records: &[Record]) {
    let servers = distinct(records.iter().map(|record| record.server.as_str()));
    for load in distinct(records.iter().map(|record| record.load)) {
        println!(
            "\n{:<10}{:>11}{:>11}{:>9}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}{:>7}{:>7}",
            load.to_string(),
            "answers/s",
            "best",
            "us CPU",
            "best",
            "server",
            "generator",
            "p50 us",
            "p99 us",
            "asked",
            "lost",
            "late"
        );
        for server in &servers {
            let of_server: Vec<_> =
                records.iter().filter(|record| record.load == load && record.server == *server).collect();
            let (rate, cpu) =
                (figures(records, load, Figure::Rate, server), figures(records, load, Figure::Cpu, server));
            let over_rounds = |value: fn(&Measurement) -> f64| {
                median(&of_server.iter().map(|record| value(&record.measurement)).collect::<Vec<_>>())
            };
            let sum = |count: fn(&Measurement) -> u64| {
                of_server.iter().map(|record| count(&record.measurement)).sum::<u64>()
            };
            let (lost, late) = (sum(|run| run.tally.lost), sum(|run| run.tally.late));
            println!(
                "{server:<10}{:>11.0}{:>11.0}{:>9.2}{:>9.2}{:>9}{:>10}{:>9}{:>9}{:>9}{lost:>7}{late:>7}",
                median(&rate),
                Figure::Rate.best(&rate),
                median(&cpu),
                Figure::Cpu.best(&cpu),
                format!("{:.0} %", over_rounds(Measurement::server_busy) * 100.0),
                format!("{:.0} %", over_rounds(generator_busy) * 100.0),
                micros(over_rounds(|run| percentile(run, 50))),
                micros(over_rounds(|run| percentile(run, 99))),
                thousands(sum(|run| run.tally.answers) + lost),
            );
        }
    }
    println!(
        "\nserver, generator: share of their core that they used; a generator below 100 % is not the limit"
    );
}

/// The ratios.
pub(crate) fn print_verdicts(verdicts: &[Verdict]) {
    println!("\n{:<22}{:<12}{:<12}{:>8}{:>8}  target", "ratio", "load", "of", "median", "best");
    for verdict in verdicts {
        let target = match (verdict.target, verdict.met()) {
            (Some(target), met) => {
                let sign = if verdict.figure == Figure::Rate { ">=" } else { "<=" };
                let word = match met {
                    Some(true) => "met",
                    Some(false) => "MISSED",
                    None => "void, a server was kept from its core",
                };
                format!("{sign} {target:.2}: {word}")
            }
            (None, _) => String::new(),
        };
        println!(
            "{:<22}{:<12}{:<12}{:>8.2}{:>8.2}  {target}",
            format!("{} / {}", verdict.ours, verdict.theirs),
            verdict.load.to_string(),
            verdict.figure.name(),
            verdict.median,
            verdict.best,
        );
    }
}

/// Says what was wrong; whether anything was.
pub(crate) fn print_wrong(records: &[Record]) -> bool {
    let mut any = false;
    for Record { server, load, round, measurement } in records {
        let tally = &measurement.tally;
        if let Some(first) = &tally.first_wrong {
            any = true;
            eprintln!("{server} under {load}, round {}: {} wrong, first: {first}", round + 1, tally.wrong);
        }
        if tally.answers == 0 {
            any = true;
            eprintln!("{server} under {load}, round {}: no answer at all", round + 1);
        }
        if tally.late > tally.lost {
            any = true;
            let twice = tally.late - tally.lost;
            eprintln!("{server} under {load}, round {}: {twice} answers given twice", round + 1);
        }
    }
    any
}

/// Every measurement, and the ratios.
pub(crate) fn write_json(path: &Path, records: &[Record], verdicts: &[Verdict]) -> anyhow::Result<()> {
    let measurements: Vec<Value> = records
        .iter()
        .map(|record| {
            let run = &record.measurement;
            json!({
                "server": record.server,
                "load": record.load.to_string(),
                "round": record.round,
                "seconds": run.elapsed.as_secs_f64(),
                "answers": run.tally.answers,
                "lost": run.tally.lost,
                "late": run.tally.late,
                "wrong": run.tally.wrong,
                "answers_per_second": Figure::Rate.of(record),
                "cpu_us_per_answer": Figure::Cpu.of(record),
                "server_busy": run.server_busy(),
                "generator_busy": generator_busy(run),
                "p50_us": number(percentile(run, 50)),
                "p99_us": number(percentile(run, 99)),
            })
        })
        .collect();
    let ratios: Vec<Value> = verdicts
        .iter()
        .map(|verdict| {
            json!({
                "ours": verdict.ours,
                "theirs": verdict.theirs,
                "load": verdict.load.to_string(),
                "figure": verdict.figure.name(),
                "median": number(verdict.median),
                "best": number(verdict.best),
                "target": verdict.target,
                "met": verdict.met(),
                "void": verdict.void,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "measurements": measurements, "ratios": ratios }))?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn generator_busy(run: &Measurement) -> f64 {
    run.generator_busy.as_secs_f64() / run.elapsed.as_secs_f64()
}

/// In microseconds; not a number if no latencies were taken.
fn percentile(run: &Measurement, percent: usize) -> f64 {
    let place = run.latencies.len() * percent / 100;
    run.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

fn micros(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.0}") }
}

/// A count that is read for its size.
fn thousands(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { format!("{} k", count / 1000) }
}

/// JSON has no "not a number".
fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
