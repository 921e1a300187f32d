//! The command line: what can be typed, a file for each command.

mod doctor;
mod explain;
mod map;
mod netcheck;
mod ping;
mod reach;
mod relays;
mod watch;

use clap::{Parser, Subcommand};

pub(crate) use doctor::Doctor;
pub(crate) use explain::Explain;
pub(crate) use map::{Diff, Lint, MapCommand, Show};
pub(crate) use netcheck::{Every, Netcheck};
pub(crate) use ping::Ping;
pub(crate) use reach::Reach;
pub(crate) use relays::RelayFlags;
pub(crate) use watch::Watch;

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
    /// What this network can do: which relays answer and how fast, whether UDP passes, what the NAT does, who stands in the way
    #[command(after_help = netcheck::EXAMPLES)]
    Netcheck(Netcheck),
    /// Find out what is wrong with a relay, or on the way to it: names, TCP, TLS, upgrade, admission, packets, STUN
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(Doctor),
    /// Ping a node through relays, once a second, and tell what happens to the relays meanwhile
    #[command(after_help = ping::EXAMPLES)]
    Ping(Ping),
    /// Tell who is connected to relays, who comes and who leaves, by their mesh key
    #[command(after_help = watch::EXAMPLES)]
    Watch(Watch),
    /// Explain which relay region is home and why, and what would change it
    #[command(after_help = explain::EXAMPLES)]
    Explain(Explain),
    /// What a DERP map says, what is wrong with it, and what changed between two
    #[command(after_help = map::EXAMPLES)]
    Map {
        #[command(subcommand)]
        command: MapCommand,
    },
}

/// One of each, below the commands; their own helps have more.
const EXAMPLES: &str = "Examples:
  ferry netcheck --derp-map derpmap.json
      what this network can do, and which relay is the nearest
  ferry doctor relay.example.net
      what is wrong with a relay
  ferry ping --listen --relay https://relay.example.net
      print a key, and answer whoever pings it
  ferry explain --derp-map derpmap.json reports.json
      why a region is home
  ferry map lint derpmap.json
      what is wrong with a map";

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
        for (examples, count) in [
            (EXAMPLES, 5),
            (doctor::EXAMPLES, 4),
            (explain::EXAMPLES, 2),
            (map::EXAMPLES, 6),
            (netcheck::EXAMPLES, 2),
            (ping::EXAMPLES, 2),
            (watch::EXAMPLES, 2),
        ] {
            let lines = examples.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
            let lines = lines.filter_map(|line| line.find("ferry ").and_then(|start| line.get(start..)));
            assert_eq!(lines.clone().count(), count, "{examples}");
            for line in lines {
                Cli::try_parse_from(line.split_whitespace())
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
            }
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
            "ferry ping",
            "ferry ping --listen",
            "ferry ping nodekey:30 --derp-map a.json",
            "ferry ping --listen --derp-map a.json --relay https://relay.example.net",
            "ferry ping --listen --derp-map a.json --insecure",
            "ferry ping --listen --relay ftp://relay.example.net",
            "ferry ping --listen --relay https://relay.example.net --count 1",
            "ferry watch --relay https://relay.example.net",
            "ferry watch --mesh-psk-file mesh.key",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
