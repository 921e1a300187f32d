//! Why a server is not there.

use std::io;
use std::process::ExitStatus;

use super::{ExpositionError, PlaceholderError, UrlError};

/// Why a server cannot be started, found or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its recipe cannot be filled in.
    #[error("server {name:?}: {error}")]
    Placeholder {
        /// The server.
        name: String,
        /// What is missing.
        error: PlaceholderError,
    },
    /// Its URL is none.
    #[error("server {name:?}: {error}")]
    Url {
        /// The server.
        name: String,
        /// What is wrong.
        error: UrlError,
    },
    /// Its host has no address.
    #[error("server {name:?}: no address for {host}: {error}")]
    NoAddress {
        /// The server.
        name: String,
        /// The host.
        host: String,
        /// What the system says.
        error: io::Error,
    },
    /// No folder, certificate or port for it.
    #[error("server {name:?}: cannot prepare {what}: {error}")]
    Prepare {
        /// The server.
        name: String,
        /// What it needs.
        what: &'static str,
        /// Why it cannot be had.
        error: io::Error,
    },
    /// The program does not start.
    #[error("server {name:?}: cannot start {program}: {error}; is it built, and is its path right?")]
    Spawn {
        /// The server.
        name: String,
        /// The program.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// It ended before it answered.
    #[error("server {name:?} ended ({status}) before it answered at {url}{log}")]
    Ended {
        /// The server.
        name: String,
        /// How.
        status: ExitStatus,
        /// Where it should have been.
        url: String,
        /// The end of what it wrote, on lines of its own; or nothing.
        log: String,
    },
    /// It runs, and does not answer.
    #[error("server {name:?} does not answer at {url} after {seconds} s: {error}{log}")]
    Silent {
        /// The server.
        name: String,
        /// Where it should be.
        url: String,
        /// How long it was waited for.
        seconds: u64,
        /// What the last try said.
        error: io::Error,
        /// The end of what it wrote, on lines of its own; or nothing.
        log: String,
    },
    /// Its own counters cannot be had.
    #[error("server {name:?}: no page of counters at {url}: {error}")]
    Page {
        /// The server.
        name: String,
        /// Where it should be.
        url: String,
        /// What went wrong.
        error: io::Error,
    },
    /// Its page does not say what the recipe looks for.
    #[error("server {name:?}: {error} at {url}")]
    Counter {
        /// The server.
        name: String,
        /// The page.
        url: String,
        /// What is missing.
        error: ExpositionError,
    },
    /// It was not started here.
    #[error("server {name:?} runs already and cannot be restarted; give it a command")]
    NotOurs {
        /// The server.
        name: String,
    },
}
