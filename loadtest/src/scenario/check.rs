//! The rules that a scenario's types do not say.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::{Load, RunSettings, Scenario, ScenarioError, ServerRecipe, Threshold, WorkloadEntry};
use crate::server::{Location, PlaceholderError, Placeholders};
use crate::workload::Workload;

/// Servers of one scenario: each has a turn in every round.
const SERVERS_MOST: usize = 16;
/// Workloads of one scenario.
const WORKLOADS_MOST: usize = 100;
/// Bytes of a name: it heads a column.
const NAME_BYTES_MOST: usize = 40;
/// Rounds of a workload.
const ROUNDS_MOST: f64 = 1_000.0;
/// The shortest window in seconds: a tenth of a second holds no percentile worth printing.
const WINDOW_LEAST: f64 = 0.1;
/// The longest window in seconds: a day, for soaks.
const WINDOW_MOST: f64 = 86_400.0;
/// The longest warm-up, drain or pause, in seconds.
const PAUSE_MOST: f64 = 600.0;
/// Threads of a process, and processes.
const WORKERS_MOST: f64 = 256.0;
/// Core numbers end below this: the size of the kernel's set of processors.
const CORES_MOST: f64 = 1_023.0;
/// Packets a second that a search may reach; what a command may really offer is for [`Limits`](crate::limits::Limits).
const RATE_MOST: f64 = 1e9;
/// Times a knee that may be offered.
const TIMES_MOST: f64 = 100.0;
/// The longest p99, in milliseconds, that still counts as keeping up.
const P99_MS_MOST: f64 = 60_000.0;

/// The first rule that `scenario` breaks.
pub(super) fn scenario(scenario: &Scenario) -> Result<(), ScenarioError> {
    names("server", scenario.server.iter().map(|server| server.name.as_str()), SERVERS_MOST)?;
    names("workload", scenario.workload.iter().map(|entry| entry.name.as_str()), WORKLOADS_MOST)?;
    if !scenario.server.iter().any(|server| server.name == scenario.baseline) {
        let all = scenario.server.iter().map(|server| server.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ScenarioError::NoBaseline { name: scenario.baseline.clone(), all });
    }
    bounded("the scenario", "rounds", f64::from(scenario.rounds), 1.0, ROUNDS_MOST)?;
    run(&scenario.run)?;
    scenario.server.iter().try_for_each(server)?;
    for (index, entry) in scenario.workload.iter().enumerate() {
        workload(entry, &scenario.workload[..index])?;
        taking_part(entry, scenario)?;
        for server in scenario.server.iter().filter(|server| entry.is_for(&server.name)) {
            suits(entry, server)?;
        }
        let earlier = &scenario.workload[..index];
        entry.threshold.iter().try_for_each(|bound| threshold(entry, bound, scenario, earlier))?;
    }
    Ok(())
}

fn names<'a>(
    what: &'static str,
    names: impl ExactSizeIterator<Item = &'a str>,
    most: usize,
) -> Result<(), ScenarioError> {
    let count = names.len();
    if count == 0 {
        return Err(ScenarioError::None { what });
    }
    if count > most {
        return Err(ScenarioError::Many { what, count, most });
    }
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain || name.is_empty() || name.len() > NAME_BYTES_MOST || name == "null" {
            return Err(ScenarioError::Name { what, name: name.to_owned(), most: NAME_BYTES_MOST });
        }
        if !seen.insert(name) {
            return Err(ScenarioError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}

fn bounded(place: &str, key: &'static str, value: f64, least: f64, most: f64) -> Result<(), ScenarioError> {
    // Not a number is within no bounds.
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ScenarioError::Bounds { place: place.to_owned(), key, value, least, most })
}

fn rule(place: &str, what: impl Into<String>) -> ScenarioError {
    ScenarioError::Rule { place: place.to_owned(), what: what.into() }
}

fn run(run: &RunSettings) -> Result<(), ScenarioError> {
    for (key, cores) in [("generator-cores", &run.generator_cores), ("server-cores", &run.server_cores)] {
        for core in cores {
            bounded("run", key, *core as f64, 0.0, CORES_MOST)?;
        }
    }
    bounded("run", "threads", f64::from(run.threads), 1.0, WORKERS_MOST)?;
    bounded("run", "processes", f64::from(run.processes), 1.0, WORKERS_MOST)?;
    bounded("run", "warm-up", run.warm_up, 0.0, PAUSE_MOST)?;
    bounded("run", "window", run.window, WINDOW_LEAST, WINDOW_MOST)?;
    bounded("run", "drain", run.drain, 0.0, PAUSE_MOST)?;
    bounded("run", "cool-down", run.cool_down, 0.0, PAUSE_MOST)
}

fn server(server: &ServerRecipe) -> Result<(), ScenarioError> {
    let place = format!("server {:?}", server.name);
    let runs_already = server.command.is_empty();
    if !runs_already && server.pid.is_some() {
        return Err(rule(&place, "pid is for a server that runs already; leave out pid or command"));
    }
    if runs_already && !server.environment.is_empty() {
        return Err(rule(&place, "environment is for a server that is started here; it has no command"));
    }
    if server.pid == Some(0) {
        return Err(rule(&place, "pid 0 is no process"));
    }
    let values = if runs_already { Placeholders::none() } else { Placeholders::sample() };
    // What only the environment says is for the server's start; here an unset variable is nothing to complain about.
    let fill = |text: &String| match values.fill(text, &|_| None) {
        Ok(filled) => Ok(Some(filled)),
        Err(PlaceholderError::NoVariable { .. }) => Ok(None),
        Err(error) => Err(ScenarioError::Placeholder { server: server.name.clone(), error }),
    };
    let located = |text: &String| {
        let location = fill(text)?.map(|url| url.parse::<Location>()).transpose();
        location.map_err(|error| ScenarioError::Url { server: server.name.clone(), error })
    };
    server.command.iter().chain(server.environment.values()).try_for_each(|text| fill(text).map(drop))?;
    located(&server.url)?;
    let Some(counters) = &server.counters else { return Ok(()) };
    if located(&counters.url)?.is_some_and(|location| !location.scheme.is_http()) {
        return Err(rule(&place, "the page of counters is asked for by http:// or https://"));
    }
    Ok(())
}

fn workload(entry: &WorkloadEntry, earlier: &[WorkloadEntry]) -> Result<(), ScenarioError> {
    let place = format!("workload {:?}", entry.name);
    if let Some(rounds) = entry.rounds {
        bounded(&place, "rounds", f64::from(rounds), 1.0, ROUNDS_MOST)?;
    }
    if let Some(window) = entry.window {
        bounded(&place, "window", window, WINDOW_LEAST, WINDOW_MOST)?;
    }
    if (entry.knee.is_some() || entry.of_knee.is_some()) && entry.load.at_rate(1.0).is_none() {
        return Err(rule(&place, "its load is no rate, so it has no knee; give it a rate"));
    }
    if let Some(knee) = &entry.knee {
        bounded(&place, "knee.first", knee.first, 1.0, RATE_MOST)?;
        bounded(&place, "knee.most", knee.most, knee.first, RATE_MOST)?;
        bounded(&place, "knee.criteria.loss_most", knee.criteria.loss_most, 0.0, 1.0)?;
        bounded(&place, "knee.criteria.p99_ms_most", knee.criteria.p99_ms_most, 0.001, P99_MS_MOST)?;
        bounded(&place, "knee.criteria.achieved_least", knee.criteria.achieved_least, 0.0, 1.0)?;
    }
    let Some(of_knee) = &entry.of_knee else { return Ok(()) };
    if entry.knee.is_some() {
        return Err(rule(&place, "it has both knee and of-knee; search the knee in a workload of its own"));
    }
    bounded(&place, "of-knee.times", of_knee.times, 0.01, TIMES_MOST)?;
    if !earlier.iter().any(|other| other.name == of_knee.workload && other.knee.is_some()) {
        let name = &of_knee.workload;
        return Err(rule(
            &place,
            format!("of-knee names {name:?}, which is no earlier workload with a knee"),
        ));
    }
    Ok(())
}

/// Who takes part is known, and has the baseline to be compared with.
fn taking_part(entry: &WorkloadEntry, scenario: &Scenario) -> Result<(), ScenarioError> {
    let place = format!("workload {:?}", entry.name);
    let unknown = |name: &&String| scenario.server.iter().all(|server| server.name != **name);
    if let Some(name) = entry.servers.iter().find(unknown) {
        return Err(rule(&place, format!("{name:?} in servers is no server of the scenario")));
    }
    if !entry.is_for(&scenario.baseline) {
        return Err(rule(&place, format!("its servers leave out the baseline, {:?}", scenario.baseline)));
    }
    Ok(())
}

/// Every server that takes part has to be able to bear the load.
fn suits(entry: &WorkloadEntry, server: &ServerRecipe) -> Result<(), ScenarioError> {
    let place = format!("workload {:?}", entry.name);
    let (name, url) = (&server.name, &server.url);
    if let Load::Stun(load) = &entry.load {
        // Where the server is depends on the environment; whether the load means anything hardly does.
        load.check(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
            .map_err(|error| rule(&place, error.to_string()))?;
    }
    match (&entry.load, url.starts_with("stun:")) {
        (Load::Stun(_), false) => {
            Err(rule(&place, format!("it is STUN, but server {name:?} is {url}; give it a stun:// URL")))
        }
        (Load::Relay(_), true) => {
            Err(rule(&place, format!("it is for relays, but server {name:?} is {url}; use kind = \"stun\"")))
        }
        (Load::Relay(Workload::ReconnectStorm { .. }), false) if server.command.is_empty() => Err(rule(
            &place,
            format!("server {name:?} runs already and cannot be restarted; give it a command"),
        )),
        (Load::Stun(_), true) | (Load::Relay(_), false) => Ok(()),
    }
}

fn threshold(
    entry: &WorkloadEntry,
    bound: &Threshold,
    scenario: &Scenario,
    earlier: &[WorkloadEntry],
) -> Result<(), ScenarioError> {
    let place = format!("workload {:?}, threshold", entry.name);
    let name = &bound.server;
    for name in [Some(name), bound.to_server.as_ref()].into_iter().flatten() {
        if !scenario.server.iter().any(|server| server.name == *name) {
            return Err(rule(&place, format!("{name:?} is no server of the scenario")));
        }
        if !entry.is_for(name) {
            return Err(rule(&place, format!("{name:?} does not take part in this workload")));
        }
    }
    if bound.ratio && (bound.to_server.is_some() || bound.to_workload.is_some()) {
        return Err(rule(
            &place,
            "ratio is to the baseline; leave out either it or to-server and to-workload",
        ));
    }
    if bound.to_server.as_ref() == Some(name) && bound.to_workload.is_none() {
        return Err(rule(&place, format!("the ratio of {name:?} to itself is always 1")));
    }
    if let Some(other) = &bound.to_workload {
        let with = bound.to_server.as_ref().unwrap_or(name);
        if !earlier.iter().any(|entry| entry.name == *other && entry.is_for(with)) {
            return Err(rule(
                &place,
                format!("to-workload names {other:?}, which is no earlier workload of {with:?}"),
            ));
        }
    }
    if bound.ratio && *name == scenario.baseline {
        return Err(rule(&place, format!("{name:?} is the baseline, so its ratio is always 1")));
    }
    match (bound.least, bound.most) {
        (None, None) => Err(rule(&place, "it bounds nothing; give it most, least or both")),
        (Some(least), Some(most)) if least > most => {
            Err(rule(&place, format!("least {least} is above most {most}")))
        }
        (least, most) => least.into_iter().chain(most).try_for_each(|value| match value.is_finite() {
            true => Ok(()),
            false => Err(rule(&place, format!("{value} is no bound"))),
        }),
    }
}
