//! How relays are reached, for all commands that do.

use std::path::PathBuf;

use clap::Args;

/// Whom to believe, and through which proxy.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Believe these certificate authorities too (PEM); may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    #[arg(
        long,
        value_name = "URL",
        help = "Reach all relays through this proxy: http://[USER:PASSWORD@]HOST[:PORT] or socks5://… [env: HTTPS_PROXY]"
    )]
    pub(crate) proxy: Option<String>,
}
