//! What can be wrong with a scenario.

use crate::server::{PlaceholderError, UrlError};

/// Why a scenario is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or a key that is missing, unknown or of the wrong type; with the line.
    #[error("{0}")]
    Toml(String),
    /// An empty list where one entry is the least.
    #[error("the scenario has no {what}; write at least one [[{what}]]")]
    None {
        /// `server` or `workload`.
        what: &'static str,
    },
    /// More entries than anybody can wait for.
    #[error("the scenario has {count} {what}s, the most is {most}")]
    Many {
        /// `server` or `workload`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name that could not be told apart in tables and file names.
    #[error(
        "{what} {name:?}: a name is 1 to {most} of a-z, A-Z, 0-9, '-', '_' and '.', and \"null\" is the tool's own server"
    )]
    Name {
        /// `server` or `workload`.
        what: &'static str,
        /// The name.
        name: String,
        /// Its longest.
        most: usize,
    },
    /// Two entries of one name.
    #[error("there are two {what}s named {name:?}")]
    Twice {
        /// `server` or `workload`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The baseline is none of the servers.
    #[error("baseline {name:?} is no server of the scenario; there are {all}")]
    NoBaseline {
        /// The baseline.
        name: String,
        /// The servers.
        all: String,
    },
    /// A number outside its bounds.
    #[error("{place}: {key} is {value}; it has to be from {least} to {most}")]
    Bounds {
        /// `run`, or the entry.
        place: String,
        /// The key.
        key: &'static str,
        /// What it is.
        value: f64,
        /// Its least.
        least: f64,
        /// Its most.
        most: f64,
    },
    /// Keys that exclude or require each other, or a load that cannot be had from this server.
    #[error("{place}: {what}")]
    Rule {
        /// The entry.
        place: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A command or URL with a placeholder that nobody fills in.
    #[error("server {server:?}: {error}")]
    Placeholder {
        /// The server.
        server: String,
        /// Which, and which there are.
        error: PlaceholderError,
    },
    /// A URL that is none.
    #[error("server {server:?}: {error}")]
    Url {
        /// The server.
        server: String,
        /// What is wrong with it.
        error: UrlError,
    },
    /// `--only` names nothing.
    #[error("no workload is named {name:?}; there are {all}")]
    NoSuchWorkload {
        /// The name.
        name: String,
        /// The workloads there are.
        all: String,
    },
}
