//! Servers in turns, runs one after the other, and what they cost.
//!
//! Each run has a fresh server, which is warmed up by the run's own warm-up: what one run left behind does not help or hurt
//! the next. Within a round every server has one turn, and the order turns round from one round to the next (A B, B A, A B), so
//! that a machine that slowly changes its speed favours nobody. The tool's own null server has one run per workload.

mod bounds;
mod ceiling;
mod one_run;
mod search;
mod section;
mod watcher;

use std::time::{Duration, Instant, SystemTime};

pub use self::bounds::Raise;
use crate::engine::Stop;
use crate::live::Live;
use crate::machine::Machine;
use crate::report::{Report, SCHEMA, Subject};
use crate::scenario::{Scenario, ServerRecipe};

/// The null server's name in reports.
pub const NULL: &str = "null";

/// What the person who runs it decides, and not the scenario.
#[derive(Debug, Clone)]
pub struct Options {
    /// The null server beside every result; without it nothing says what the tool's own limit was.
    pub null_server: bool,
    /// Hosts that may be loaded though they are not this machine.
    pub allowed: Vec<String>,
    /// Bounds that were raised.
    pub raise: Raise,
    /// How to repeat it, for the report.
    pub arguments: Vec<String>,
}

/// Carries out a scenario. A run that fails is in the report with its reason; an error is only what keeps all of them from starting.
///
/// Stopped early, it returns what there is.
pub fn run(scenario: &Scenario, options: &Options, live: &mut Live, stop: &Stop) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        title: scenario.title.clone(),
        began: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        took: Duration::ZERO,
        arguments: options.arguments.clone(),
        scenario: toml::to_string(scenario)?,
        machine: Machine::here(),
        subjects: Vec::new(),
        baseline: (scenario.server.len() > 1).then(|| scenario.baseline.clone()),
        sections: Vec::new(),
        interrupted: false,
    };
    bounds::check(scenario, options)?;
    let null = options.null_server.then(|| null_recipe(&scenario.server)).transpose()?;
    for server in scenario.server.iter().chain(&null) {
        report.subjects.push(Subject {
            name: server.name.clone(),
            command: if server.name == NULL {
                "ferry-load null-server".to_owned()
            } else {
                server.describe()
            },
            null: server.name == NULL,
        });
    }
    let steps = scenario.workload.iter().map(|entry| section::steps(scenario, entry, null.is_some())).sum();
    let subjects = report.subjects.clone();
    let mut stage =
        section::Stage { scenario, subjects: &subjects, null: null.as_ref(), live, stop, step: 0, steps };
    for entry in &scenario.workload {
        if stop.is_stopped() {
            break;
        }
        let section = stage.section(entry, &report.sections);
        report.sections.push(section);
    }
    report.interrupted = stop.is_stopped();
    report.took = began.elapsed();
    Ok(report)
}

/// How this program starts itself as a null server, reached as the first server is.
fn null_recipe(servers: &[ServerRecipe]) -> anyhow::Result<ServerRecipe> {
    let program = std::env::current_exe()?;
    let mut command = vec![program.to_string_lossy().into_owned(), "null-server".to_owned()];
    command.extend(["--listen".to_owned(), "127.0.0.1:{port}".to_owned()]);
    let scheme =
        servers.first().and_then(|server| server.url.split_once("://")).map_or("https", |(scheme, _)| scheme);
    if matches!(scheme, "http" | "ws") {
        command.push("--plain".to_owned());
    }
    Ok(ServerRecipe {
        name: NULL.to_owned(),
        command,
        environment: std::collections::BTreeMap::new(),
        url: format!("{scheme}://127.0.0.1:{{port}}"),
        pid: None,
        counters: None,
    })
}
