//! `ferry netcheck`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use ferry_client::RelayUrl;

use super::Reach;
use crate::source::Source;

/// Below the help.
pub(super) const EXAMPLES: &str = "Examples:
  ferry netcheck --relay https://relay.example.net
      what this network can do, as seen with one relay
  ferry netcheck --derp-map derpmap.json --json
      the same with all relays of a map, for programs

Exit code: 0 all works, 1 something does not (traffic may have to go through relays), 2 wrong usage or no readable map, 3 no relay
can be reached, 130 interrupted.";

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
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The relays' UDP port of STUN
    #[arg(long, value_name = "PORT", requires = "relay")]
    pub(crate) stun_port: Option<u16>,
    /// Ask the relays alone: not the router whether it opens ports, and for no name but theirs
    #[arg(long)]
    pub(crate) relays_only: bool,
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
