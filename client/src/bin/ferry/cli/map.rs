//! `ferry map`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ferry_client::derp_map::Expectations;

use crate::source::Source;

/// What is typed most often.
pub(super) const EXAMPLES: &str = "Examples:
  ferry map lint derpmap.json
      what is wrong with a map, each with a reason and a remedy
  curl -fsS https://controlplane.tailscale.com/derpmap/default | ferry map lint -
      the same with a map from the web
  ferry map lint own.json --over default.json --strict
      a tailnet's own map, together with the default one it is laid over
  ferry map show derpmap.json
      which regions clients measure and may call home, and what each node is for
  ferry map show new.json --last-good /var/lib/ferry/derpmap.json
      keep a map that is good; show the last good one, and its age, if this one is not
  ferry map diff old.json new.json
      what changed, and whose home may move for it";

/// `ferry map`.
#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// Find what is wrong with a map: what clients would ignore, never measure, or fail to connect to
    #[command(
        after_help = "Exit code: 0 nothing wrong, 1 errors found (with --strict: warnings too), 2 wrong usage or an \
        unreadable file."
    )]
    Lint(Lint),
    /// Show what clients make of a map: which regions they measure and may call home, and what each node is for
    #[command(
        after_help = "Exit code: 0 shown, 1 the last good map was shown in its place, 2 wrong usage or no readable map."
    )]
    Show(Show),
    /// Show what changed between two maps, and whose home may move for it
    #[command(after_help = "Exit code: 0 no difference, 1 a difference, 2 wrong usage or an unreadable map.")]
    Diff(Diff),
}

/// `ferry map lint`.
#[derive(Debug, Args)]
pub(crate) struct Lint {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Let warnings decide the exit code too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print JSON: the findings, and how many there are of each severity
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ferry map show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Keep each map without errors in this file, and show the one kept there if the map cannot be read or has errors
    #[arg(long, value_name = "KEPT")]
    pub(crate) last_good: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ferry map diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The map as it was; - for standard input
    #[arg(value_name = "OLD")]
    pub(crate) old: Source,
    /// The map as it is; - for standard input
    #[arg(value_name = "NEW")]
    pub(crate) new: Source,
    /// Print JSON, an array of changes
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which map.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// The map, JSON; - for standard input, which is also read if nothing is given and it is no terminal
    #[arg(value_name = "FILE")]
    pub(crate) map: Option<Source>,
    /// Lay the map over this one first, as a tailnet's own map is laid over Tailscale's: its regions replace, null
    /// removes, omitDefaultRegions leaves out
    #[arg(long, value_name = "DEFAULTS")]
    pub(crate) over: Option<Source>,
}

/// What the map is meant for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Meant {
    /// The clients are in the relays' own network: private addresses are as they should be
    #[arg(long)]
    private: bool,
    /// The map is for tests: InsecureForTests, STUNTestIP and addresses of one machine are as they should be
    #[arg(long)]
    test: bool,
}

impl From<Meant> for Expectations {
    fn from(meant: Meant) -> Self {
        Self { private: meant.private, test: meant.test }
    }
}
