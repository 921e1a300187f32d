//! A single server's load from flags, as the scenario that says the same: there is one way to carry out a load, and the report
//! has the file that repeats it.

use anyhow::Context as _;
use ferry_loadtest::scenario::Scenario;
use ferry_loadtest::workload::{Keys, Kind, Workload};
use toml::{Table, Value};

use crate::cli::{Idle, Knee, Measuring, Run, Storm, Stun, Target, Watching};

/// The server's name where only one is measured.
const NAME: &str = "server";

pub(crate) fn run(run: &Run) -> anyhow::Result<Scenario> {
    scenario(run.load.kind.name(), &run.target, table(&run.load)?, &run.measuring, None)
}

pub(crate) fn knee(knee: &Knee) -> anyhow::Result<Scenario> {
    let mut load = knee.load.clone();
    load.rate = load.rate.or(Some(knee.first));
    let mut criteria = Table::new();
    put(&mut criteria, "loss-most", Some(knee.loss_most));
    put(&mut criteria, "p99-ms-most", Some(knee.p99_most));
    let mut search = Table::new();
    put(&mut search, "first", Some(knee.first));
    put(&mut search, "most", Some(knee.most));
    put(&mut search, "criteria", Some(criteria));
    scenario("knee", &knee.target, table(&load)?, &knee.measuring, Some(search))
}

pub(crate) fn idle(idle: &Idle) -> anyhow::Result<Scenario> {
    let load = Keys { clients: Some(idle.clients), ..Keys::new(Kind::Idle) };
    scenario("idle", &idle.target, table(&load)?, &idle.measuring, None)
}

pub(crate) fn storm(storm: &Storm) -> anyhow::Result<Scenario> {
    let load = Keys {
        per_second: Some(storm.rate),
        hold: Some(storm.hold),
        resumption: storm.resumption,
        ordinary_start: storm.ordinary_start,
        ..Keys::new(Kind::ConnectionStorm)
    };
    scenario("storm", &storm.target, table(&load)?, &storm.measuring, None)
}

pub(crate) fn stun(stun: &Stun) -> anyhow::Result<Scenario> {
    let mut mix = Table::new();
    put(&mut mix, "tailscale", Some(stun.tailscale));
    put(&mut mix, "bare", Some(stun.bare));
    put(&mut mix, "junk", Some(stun.junk));
    let mut load = Table::new();
    put(&mut load, "kind", Some("stun"));
    put(&mut load, "rate", stun.rate);
    put(&mut load, "poisson", stun.poisson.then_some(true));
    put(&mut load, "window", stun.window.map(i64::from));
    put(&mut load, "sockets", Some(i64::from(stun.sockets)));
    put(&mut load, "sources", Some(i64::from(stun.sources)));
    put(&mut load, "mix", Some(mix));
    let url = format!("stun://{}", stun.server.trim_start_matches("stun://"));
    let target = Target { url, watching: Watching { pid: stun.watching.pid } };
    scenario("stun", &target, load, &stun.measuring, None)
}

fn table(load: &Keys) -> anyhow::Result<Table> {
    // What is missing or does not belong is said in the words of the command line, not of a file that nobody wrote.
    Workload::try_from(load.clone())?;
    Ok(Table::try_from(load)?)
}

fn scenario(
    name: &str,
    target: &Target,
    load: Table,
    measuring: &Measuring,
    knee: Option<Table>,
) -> anyhow::Result<Scenario> {
    let mut server = Table::new();
    put(&mut server, "name", Some(NAME));
    put(&mut server, "url", Some(target.url.as_str()));
    put(&mut server, "pid", target.watching.pid.map(i64::from));

    let mut settings = Table::new();
    put(&mut settings, "warm-up", Some(measuring.warm_up));
    put(&mut settings, "window", Some(measuring.seconds));
    put(&mut settings, "drain", Some(measuring.drain));
    put(&mut settings, "threads", Some(i64::from(measuring.threads)));
    put(&mut settings, "processes", Some(i64::from(measuring.processes)));
    put(&mut settings, "coalesce", Some(measuring.coalesce));
    put(&mut settings, "stay-awake", Some(measuring.stay_awake));
    let cores = measuring
        .cores
        .iter()
        .map(|core| i64::try_from(*core).map(Value::from))
        .collect::<Result<Vec<_>, _>>()?;
    put(&mut settings, "generator-cores", Some(cores));

    let mut workload = Table::new();
    put(&mut workload, "name", Some(name));
    put(&mut workload, "load", Some(load));
    put(&mut workload, "knee", knee);
    let bounds = measuring
        .require
        .iter()
        .map(|text| threshold(text).map(Value::from))
        .collect::<Result<Vec<_>, _>>()?;
    put(&mut workload, "threshold", Some(bounds));

    let mut whole = Table::new();
    put(&mut whole, "title", Some(format!("{name} on {}", target.url)));
    put(
        &mut whole,
        "seed",
        Some(i64::try_from(measuring.seed).context("--seed is too large for a scenario file")?),
    );
    put(&mut whole, "rounds", Some(i64::from(measuring.rounds)));
    put(&mut whole, "baseline", Some(NAME));
    put(&mut whole, "run", Some(settings));
    put(&mut whole, "server", Some(vec![Value::from(server)]));
    put(&mut whole, "workload", Some(vec![Value::from(workload)]));
    Ok(Scenario::parse(&toml::to_string(&whole)?)?)
}

/// `METRIC<=VALUE` or `METRIC>=VALUE`.
fn threshold(text: &str) -> anyhow::Result<Table> {
    let (metric, bound, value) = [("<=", "most"), (">=", "least")]
        .into_iter()
        .find_map(|(sign, bound)| text.split_once(sign).map(|(metric, value)| (metric, bound, value)))
        .with_context(|| format!("--require {text}: write METRIC<=VALUE or METRIC>=VALUE"))?;
    let value: f64 =
        value.trim().parse().with_context(|| format!("--require {text}: {value:?} is no number"))?;
    let mut table = Table::new();
    put(&mut table, "server", Some(NAME));
    put(&mut table, "metric", Some(metric.trim()));
    put(&mut table, bound, Some(value));
    Ok(table)
}

fn put<V: Into<Value>>(table: &mut Table, key: &str, value: Option<V>) {
    if let Some(value) = value {
        table.insert(key.to_owned(), value.into());
    }
}
