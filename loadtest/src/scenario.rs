//! A scenario: servers, workloads, rounds and thresholds, as a TOML file.

mod check;
mod error;

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use error::ScenarioError;

use crate::knee::Criteria;
use crate::metric::Metric;
use crate::stun::StunLoad;
use crate::workload::Workload;

/// A scenario file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// For the report's head.
    pub title: String,
    /// Seeds everything; two runs with the same seed offer the same load.
    #[serde(default)]
    pub seed: u64,
    /// Rounds per workload; every server has one turn in each, in the order A B, B A, A B.
    pub rounds: u32,
    /// The server that the others are compared with, by name.
    pub baseline: String,
    /// Where things run and how long they take.
    #[serde(default)]
    pub run: RunSettings,
    /// The servers, in the order of the report.
    pub server: Vec<ServerRecipe>,
    /// The workloads, in the order of the report.
    pub workload: Vec<WorkloadEntry>,
}

/// Where things run and how long they take; a workload may say otherwise for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunSettings {
    /// Cores for the generator's threads; empty is anywhere.
    pub generator_cores: Vec<usize>,
    /// Cores for the servers; empty is anywhere.
    pub server_cores: Vec<usize>,
    /// Worker threads per process.
    pub threads: u32,
    /// Processes of the generator.
    pub processes: u32,
    /// Seconds.
    pub warm_up: f64,
    /// Seconds.
    pub window: f64,
    /// Seconds.
    pub drain: f64,
    /// Seconds between runs.
    pub cool_down: f64,
    /// Frames due at once for one connection share a write.
    pub coalesce: bool,
    /// The generator's threads never sleep while there is traffic.
    pub stay_awake: bool,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            generator_cores: Vec::new(),
            server_cores: Vec::new(),
            threads: 1,
            processes: 1,
            warm_up: 1.0,
            window: 5.0,
            drain: 2.0,
            cool_down: 0.5,
            coalesce: false,
            stay_awake: false,
        }
    }
}

/// How a server is started, found and asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerRecipe {
    /// In tables.
    pub name: String,
    /// The program and its arguments, with [`placeholders`](crate::server::Placeholders) filled in. Empty: it runs already.
    #[serde(default)]
    pub command: Vec<String>,
    /// More environment for it.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where clients find it: `https://127.0.0.1:{port}`, or `stun://127.0.0.1:{stun-port}`.
    pub url: String,
    /// The process to watch, where it was not started here.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its own counters.
    #[serde(default)]
    pub counters: Option<CounterRecipe>,
}

/// Where a server's own counters are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CounterRecipe {
    /// A page in Prometheus' text format.
    pub url: String,
    /// The counter of packets received; series with labels are summed.
    pub received: String,
    /// Of packets sent.
    pub sent: String,
    /// Of packets dropped.
    pub dropped: String,
}

/// A workload of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkloadEntry {
    /// In tables and on the command line (`--only`).
    pub name: String,
    /// The servers that take part, by name, the baseline among them; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Overrides of [`Scenario::rounds`].
    #[serde(default)]
    pub rounds: Option<u32>,
    /// Overrides of [`RunSettings::window`].
    #[serde(default)]
    pub window: Option<f64>,
    /// Search the knee instead of running once: rates from `first` to `most`.
    #[serde(default)]
    pub knee: Option<KneeSettings>,
    /// Offer this many times the baseline's knee, found by the workload of that name.
    #[serde(default)]
    pub of_knee: Option<OfKnee>,
    /// Bounds that decide the exit code.
    #[serde(default)]
    pub threshold: Vec<Threshold>,
    /// The load.
    pub load: Load,
}

/// A load on a relay or on a STUN server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Load {
    /// STUN requests: `kind = "stun"`.
    Stun(StunLoad),
    /// DERP: every other `kind`.
    Relay(Workload),
}

/// By hand: serde's untagged enums say of every mistake that "no variant matched".
impl<'de> Deserialize<'de> for Load {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        // The message alone: where it is, the reader of the file around this table knows.
        let said = |error: toml::de::Error| D::Error::custom(error.message());
        match table.get("kind").and_then(toml::Value::as_str) {
            Some("stun") => StunLoad::deserialize(table).map(Self::Stun).map_err(said),
            _ => Workload::deserialize(table).map(Self::Relay).map_err(said),
        }
    }
}

/// How the knee is searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KneeSettings {
    /// Packets a second to start from.
    pub first: f64,
    /// Never more.
    pub most: f64,
    /// What keeping up means.
    #[serde(default)]
    pub criteria: Criteria,
}

/// A rate in terms of a knee.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OfKnee {
    /// The workload that found it.
    pub workload: String,
    /// Times it.
    pub times: f64,
}

/// A bound on a figure of one server, or on its ratio to another: the baseline's, another server's, or its own under another load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Threshold {
    /// The server.
    pub server: String,
    /// The figure.
    pub metric: Metric,
    /// The median's ratio to the baseline's is bounded, not the median.
    #[serde(default)]
    pub ratio: bool,
    /// The median's ratio to this server's is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_server: Option<String>,
    /// The median's ratio to that in this earlier workload is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_workload: Option<String>,
    /// At most.
    #[serde(default)]
    pub most: Option<f64>,
    /// At least.
    #[serde(default)]
    pub least: Option<f64>,
}

impl Scenario {
    /// Reads one and checks it: names are unique, the baseline exists, knees exist before they are used, times and rates are
    /// bounded, placeholders are known.
    ///
    /// # Errors
    ///
    /// The first mistake, by its line or by the entry's name.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        check::scenario(&scenario)?;
        Ok(scenario)
    }

    /// The same scenario with only the named workloads, and those that they need the knee or a figure of.
    ///
    /// # Errors
    ///
    /// A name that no workload has.
    pub fn only(mut self, names: &[String]) -> Result<Self, ScenarioError> {
        let known = |name: &String| self.workload.iter().any(|entry| entry.name == *name);
        if let Some(name) = names.iter().find(|name| !known(name)) {
            let all = self.workload.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ScenarioError::NoSuchWorkload { name: name.clone(), all });
        }
        let mut wanted = names.to_vec();
        let needed = self.workload.iter().filter(|entry| names.contains(&entry.name));
        wanted.extend(needed.flat_map(|entry| {
            let knee = entry.of_knee.iter().map(|of| &of.workload);
            knee.chain(entry.threshold.iter().filter_map(|bound| bound.to_workload.as_ref())).cloned()
        }));
        self.workload.retain(|entry| wanted.contains(&entry.name));
        Ok(self)
    }
}

impl WorkloadEntry {
    /// Whether a server takes part.
    pub fn is_for(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server)
    }
}

impl Load {
    /// Packets (connections, STUN requests) a second that it offers; None if it has no rate.
    pub fn offered(&self) -> Option<f64> {
        match self {
            Self::Stun(load) => load.offered(),
            Self::Relay(workload) => workload.offered(),
        }
    }

    /// The same load at another rate; None if its load is no rate. For searching the knee.
    pub fn at_rate(&self, per_second: f64) -> Option<Self> {
        match self {
            Self::Stun(load) => load.at_rate(per_second).map(Self::Stun),
            Self::Relay(workload) => workload.at_rate(per_second).map(Self::Relay),
        }
    }

    /// One line for a report.
    pub fn describe(&self) -> String {
        match self {
            Self::Stun(load) => load.describe(),
            Self::Relay(workload) => workload.describe(),
        }
    }
}

#[cfg(test)]
mod tests;
