//! The command line: what can be typed.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ferry_client::RelayUrl;
use ferry_client::derp_map::Expectations;

use crate::source::Source;

/// The program.
#[derive(Debug, Parser)]
#[command(
    name = "ferry",
    version,
    about = "Tools for users of DERP relays",
    after_help = EXAMPLES,
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What it does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What a DERP map says, what is wrong with it, and what changed between two
    #[command(after_help = EXAMPLES)]
    Map {
        #[command(subcommand)]
        command: MapCommand,
    },
    /// Find out what is wrong with a relay, or on the way to it: names, TCP, TLS, upgrade, admission, packets, STUN
    #[command(
        after_help = DOCTOR_EXAMPLES,
        after_long_help = DOCTOR_EXAMPLES
    )]
    Doctor(Doctor),
    /// Explain which relay region is home and why, and what would change it
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// What this network can do: which relays answer and how fast, whether UDP passes, what the NAT does, who stands in the way
    #[command(
        after_help = "Exit code: 0 all works, 1 something does not (traffic may have to go through relays), 2 wrong usage or no \
        readable map, 3 no relay can be reached, 130 interrupted."
    )]
    Netcheck(Netcheck),
}

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

/// `ferry doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The relay: HOST, HOST:PORT or https://HOST:PORT (http:// without TLS). With --derp-map: a node's name, a region's
    /// code or its number
    #[arg(value_name = "RELAY")]
    pub(crate) relay: String,
    /// Find the relay in this DERP map, and examine how the relays of its region pass packets to each other; - for standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert_name", "stun_port", "no_stun", "mesh"])]
    pub(crate) derp_map: Option<Source>,
    /// What the certificate is checked for, as in a map: another NAME, or sha256-raw:HEX for this certificate alone
    #[arg(long, value_name = "NAME")]
    pub(crate) cert_name: Option<String>,
    /// Believe these certificate authorities too (PEM); may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// The relay's STUN port
    #[arg(long, value_name = "PORT", default_value_t = 3478)]
    pub(crate) stun_port: u16,
    /// The relay has no STUN
    #[arg(long, conflicts_with = "stun_port")]
    pub(crate) no_stun: bool,
    /// The port of the relay's plain HTTP (its -http-port), where clients look for captive portals
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub(crate) http_port: u16,
    /// Another relay of the same region, to which packets must pass; may be repeated
    #[arg(long, value_name = "RELAY")]
    pub(crate) mesh: Vec<String>,
    /// The mesh's key: a relay that admits known nodes only admits its holder too
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_psk_file: Option<PathBuf>,
    /// How long to wait for each answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=60))]
    pub(crate) timeout: u8,
    /// Print JSON: each step with its verdict, evidence and findings
    #[arg(long)]
    pub(crate) json: bool,
}

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

/// `ferry netcheck`.
#[derive(Debug, Args)]
pub(crate) struct Netcheck {
    /// The relays: a DERP map, JSON; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["relay", "cert_name", "stun_port"])]
    pub(crate) derp_map: Option<Source>,
    /// One relay, with STUN on UDP 3478; may be given several times
    #[arg(long, value_name = "https://HOST[:PORT]")]
    pub(crate) relay: Vec<RelayUrl>,
    /// What the relays' certificates are checked for in place of the host: a name, or sha256-raw: and a hash, as in a map
    #[arg(long, value_name = "NAME", requires = "relay")]
    pub(crate) cert_name: Option<String>,
    /// The relays' UDP port of STUN
    #[arg(long, value_name = "PORT", requires = "relay")]
    pub(crate) stun_port: Option<u16>,
    /// Check again and again: everything each 5 minutes, and in between the fastest regions
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<Every>,
    /// Print JSON: the fields of tailscale netcheck, and more below Ferry; with --every, one line for each check
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often: `30s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Every(pub(crate) Duration);

/// Why a text is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a whole number and s, m or h, from 1s to 24h")]
pub(crate) struct EveryError;

impl FromStr for Every {
    type Err = EveryError;

    fn from_str(text: &str) -> Result<Self, EveryError> {
        let units = [('s', 1), ('m', 60), ('h', 3600)];
        let (number, unit) = units
            .into_iter()
            .find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, secs)))
            .ok_or(EveryError)?;
        let number: u64 = number.parse().map_err(|_| EveryError)?;
        let secs = number.checked_mul(unit).filter(|secs| (1..=86_400).contains(secs)).ok_or(EveryError)?;
        Ok(Self(Duration::from_secs(secs)))
    }
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

/// What most people type, below the commands.
const EXAMPLES: &str = "Examples:
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
      what changed, and whose home may move for it
  ferry netcheck --relay https://relay.example.net
      what this network can do, as seen with one relay
  ferry netcheck --derp-map derpmap.json --json
      the same with all relays of a map, for programs";

/// Below `ferry doctor --help`.
const DOCTOR_EXAMPLES: &str = "Examples:
  ferry doctor relay.example.net
      the whole way: DNS, TCP, TLS, upgrade, handshake, packets, STUN, port 80
  ferry doctor 900a --derp-map derpmap.json
      a node as the map has it, and how the relays of its region pass packets to each other
  ferry doctor 203.0.113.7 --cert-name sha256-raw:5d41402abc4b2a76b9719d911017c592ae2de52bd3b7c1b8e3f4a5d6c7b8a990
      a relay whose certificate is pinned
  ferry doctor relay.example.net --mesh-psk-file /var/lib/derper/mesh.key --json
      a relay that admits known nodes only, for a program to read

Exit code: 0 the relay works, 1 something does not, 2 wrong usage or an unreadable file.";

/// Below `ferry explain --help`.
const EXPLAIN_EXAMPLES: &str = "Examples:
  ferry explain --derp-map map.json reports.json
      each move of the home region in these reports, and how it stands in the end
  tailscale netcheck --format=json | ferry explain --derp-map map.json
      what one report alone would make home

A relay that answered the last report is taken for one that can be connected to.
Exit code: 0 there is a home, 1 there is none, 2 wrong usage or an unreadable file.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_parses() {
        let lines = EXAMPLES.lines().chain(DOCTOR_EXAMPLES.lines()).chain(EXPLAIN_EXAMPLES.lines());
        let lines = lines.filter_map(|line| line.find("ferry ").and_then(|start| line.get(start..)));
        assert_eq!(lines.clone().count(), 14);
        for line in lines {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_wrong_usage() {
        for line in [
            "ferry map",
            "ferry map lint a.json b.json",
            "ferry map diff a.json",
            "ferry map diff a.json https://example.net/derpmap",
            "ferry map lint HTTP://example.net/derpmap",
            "ferry map lint a.json --quick",
            "ferry lint a.json",
            "ferry doctor",
            "ferry doctor relay.example.net --timeout 0",
            "ferry doctor relay.example.net --stun-port 1 --no-stun",
            "ferry doctor 900a --derp-map map.json --mesh relay.example.net",
            "ferry netcheck a.json",
            "ferry netcheck --relay relay.example.net",
            "ferry netcheck --derp-map a.json --relay https://relay.example.net",
            "ferry netcheck --cert-name relay.example.net",
            "ferry netcheck --relay https://relay.example.net --every 5",
            "ferry netcheck --relay https://relay.example.net --every 0s",
            "ferry netcheck --relay https://relay.example.net --every 25h",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
