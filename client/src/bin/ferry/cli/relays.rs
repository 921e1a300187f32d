//! Which relays, for the commands that hold connections to them.

use clap::Args;
use ferry_client::RelayUrl;

use super::Reach;
use crate::source::Source;

/// Which relays, whom to believe, and through which proxy.
#[derive(Debug, Args)]
pub(crate) struct RelayFlags {
    /// The relays: a DERP map, JSON; - for standard input. A file is read again when it changes
    #[arg(long, value_name = "FILE", required_unless_present = "relay")]
    pub(crate) derp_map: Option<Source>,
    /// Use this region of the map only
    #[arg(long, value_name = "NUMBER", conflicts_with = "relay")]
    pub(crate) region: Option<i64>,
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "derp_map",
        help = "One relay in place of a map: https://HOST[:PORT], http://, wss:// or ws://"
    )]
    pub(crate) relay: Option<RelayUrl>,
    /// What the relay's certificate is checked for, as in a map: a name, or sha256-raw: and its hash
    #[arg(long, value_name = "NAME", conflicts_with = "derp_map")]
    pub(crate) cert_name: Option<String>,
    /// Do not check the relay's certificate; for tests
    #[arg(long, conflicts_with = "derp_map")]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}
