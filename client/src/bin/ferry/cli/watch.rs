//! `ferry watch`.

use std::path::PathBuf;

use clap::Args;

use super::RelayFlags;

/// Below the help.
pub(super) const EXAMPLES: &str = "Examples:
  ferry watch --relay https://relay.example.net --mesh-psk-file /var/lib/derper/mesh.key
      who is connected to a relay, and from where
  ferry watch --derp-map derpmap.json --mesh-psk-file mesh.key --json
      the same for one relay of each region of a map, for programs

Relays tell only those who have their mesh key. Each tells of its own clients, not of those of the relays it is meshed with. It watches
until Ctrl-C.
Exit code: 0 some relay told, 1 none did, 2 wrong usage or an unreadable file.";

/// `ferry watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) relays: RelayFlags,
    /// The relays' mesh key, their own -mesh-psk-file
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_psk_file: PathBuf,
    /// Print JSON, an object a line
    #[arg(long)]
    pub(crate) json: bool,
}
