//! `ferry ping`.

use std::time::Duration;

use clap::Args;
use ferry_protocol::NodePublicKey;

use super::RelayFlags;

/// Below the help.
pub(super) const EXAMPLES: &str = "Examples:
  ferry ping --listen --relay https://relay.example.net
      print a key, and answer whoever pings it
  ferry ping nodekey:3055a2f2f3e0f2a9c6b0e1d7c84f5a9b3055a2f2f3e0f2a9c6b0e1d7c84f5a9b --derp-map derpmap.json
      ping it through the relays of a map

The other end is ferry too: start it with --listen, and ping the key that it prints. Each run has a key of its own. Who listens has its
home in the region of a map that suits it best; who pings asks one region after the other where the node is. A proxy is taken from
HTTPS_PROXY, ALL_PROXY and NO_PROXY.
Exit code: 0 the node answered, 1 it did not, 2 wrong usage or an unreadable file.";

/// `ferry ping`.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The node, as nodekey:…
    #[arg(value_name = "NODEKEY", required_unless_present = "listen")]
    pub(crate) node: Option<NodePublicKey>,
    /// Print the own key, and answer whoever pings it
    #[arg(long, conflicts_with_all = ["node", "count", "interval", "timeout"])]
    pub(crate) listen: bool,
    #[command(flatten)]
    pub(crate) relays: RelayFlags,
    /// Stop after this many pings
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Seconds between two pings
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Seconds that an answer may take; a packet waits 3 for a relay
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Print JSON, an object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Seconds, perhaps with a fraction; from 10 ms to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "want a number of seconds".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("want 0.01 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
