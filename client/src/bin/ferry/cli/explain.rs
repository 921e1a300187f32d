//! `ferry explain`.

use clap::Args;

use crate::source::Source;

/// Below the help.
pub(super) const EXAMPLES: &str = "Examples:
  ferry explain --derp-map map.json reports.json
      each move of the home region in these reports, and how it stands in the end
  tailscale netcheck --format=json | ferry explain --derp-map map.json
      what one report alone would make home

A relay that answered the last report is taken for one that can be connected to.
Exit code: 0 there is a home, 1 there is none, 2 wrong usage or an unreadable file.";

/// `ferry explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The DERP map; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) derp_map: Source,
    /// Netcheck's reports, one JSON after the other, the oldest first: ferry's (--json --every) or Tailscale's
    /// (--format=json); - for standard input, which is also read if nothing is given and it is no terminal
    #[arg(value_name = "REPORTS")]
    pub(crate) reports: Option<Source>,
    /// As if the user had asked for this region
    #[arg(long, value_name = "NUMBER")]
    pub(crate) region: Option<i64>,
    /// Print JSON: one line for each move, and a last one for how it stands
    #[arg(long)]
    pub(crate) json: bool,
}
