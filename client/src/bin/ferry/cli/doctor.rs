//! `ferry doctor`.

use std::path::PathBuf;

use clap::Args;

use crate::source::Source;

/// Below the help.
pub(super) const EXAMPLES: &str = "Examples:
  ferry doctor relay.example.net
      the whole way: DNS, TCP, TLS, upgrade, handshake, packets, STUN, port 80
  ferry doctor 900a --derp-map derpmap.json
      a node as the map has it, and how the relays of its region pass packets to each other
  ferry doctor 203.0.113.7 --cert-name sha256-raw:5d41402abc4b2a76b9719d911017c592ae2de52bd3b7c1b8e3f4a5d6c7b8a990
      a relay whose certificate is pinned
  ferry doctor relay.example.net --mesh-psk-file /var/lib/derper/mesh.key --json
      a relay that admits known nodes only, for a program to read

Exit code: 0 the relay works, 1 something does not, 2 wrong usage or an unreadable file.";

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
