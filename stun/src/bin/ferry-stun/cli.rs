//! The command line: what can be typed. What it means together is [`crate::config`]'s business.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ferry_stun::PartnerAddress;

use crate::values::{AdvertisePair, Drain, Host, ListenAddress, Rate};

/// Without a subcommand it serves.
#[derive(Debug, Parser)]
#[command(
    name = "ferry-stun",
    version,
    about = "A STUN server (RFC 8489, RFC 5780) that is safe to leave open, and tools to look at others",
    long_about = "A STUN server (RFC 8489, RFC 5780) that is safe to leave open, and tools to look at others.\n\n\
        Without a subcommand it serves, by default UDP port 3478 on every address.",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What else it does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask a server sound and odd requests: what it answers, how much it amplifies, whether strangers can abuse it
    #[command(after_help = "Exit code: 0 sound, 1 abusable, 2 wrong usage, 3 no answer at all.")]
    Audit(Audit),
    /// Find out how the NAT between here and a server maps and filters (RFC 5780)
    #[command(
        after_help = "Exit code: 0 when there is an answer, 1 when something failed, 2 wrong usage, 3 no answer at all."
    )]
    Discover(Discover),
    /// Ask a server which address it sees, once
    #[command(
        after_help = "Exit code: 0 when there is an answer, 1 when something failed, 2 wrong usage, 3 no answer."
    )]
    Query(Query),
}

/// Flags of the server.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Serve UDP on this address; repeatable [default: [::]:3478, every address of both families]
    #[arg(long, value_name = "ADDR", help_heading = "Listeners")]
    pub(crate) listen: Vec<ListenAddress>,

    /// Serve TCP too: without ADDR on the same addresses as UDP; repeatable
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "", help_heading = "Listeners")]
    pub(crate) tcp: Vec<ListenAddress>,

    /// Serve TLS on this address; repeatable [default: with --tls-cert, port 5349 of the --listen addresses]
    #[arg(long, value_name = "ADDR", requires = "tls_cert", help_heading = "Listeners")]
    pub(crate) tls: Vec<ListenAddress>,

    /// Certificate chain of TLS, PEM, leaf first; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Listeners")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Listeners")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Page with metrics for Prometheus at /metrics, and /healthz, over HTTP on this address [default: none]
    #[arg(long, value_name = "ADDR", help_heading = "Listeners")]
    pub(crate) metrics: Option<ListenAddress>,

    /// The other address and port for NAT behaviour discovery (RFC 5780), one for each family. An address of this
    /// machine: two addresses with two ports each. `:3479`: a second port only
    #[arg(long, value_name = "ADDR", help_heading = "Behaviour discovery (RFC 5780)")]
    pub(crate) alternate: Vec<ListenAddress>,

    /// What clients see in place of an address, behind a 1:1 NAT: 10.0.0.5=203.0.113.5; repeatable
    #[arg(long, value_name = "INTERNAL=EXTERNAL", help_heading = "Behaviour discovery (RFC 5780)")]
    pub(crate) advertise: Vec<AdvertisePair>,

    /// The machine that has the other address, if this one has not: its --partner-listen
    #[arg(long, value_name = "HOST:PORT", requires_all = ["partner_listen", "partner_key_file"],
        help_heading = "Behaviour discovery (RFC 5780)")]
    pub(crate) partner: Option<PartnerAddress>,

    /// Where this machine listens for its partner (UDP); strangers need not reach it
    #[arg(long, value_name = "ADDR", requires = "partner", help_heading = "Behaviour discovery (RFC 5780)")]
    pub(crate) partner_listen: Option<ListenAddress>,

    /// File with the secret that both machines know, 64 hex digits (openssl rand -hex 32)
    #[arg(long, value_name = "FILE", requires = "partner", help_heading = "Behaviour discovery (RFC 5780)")]
    pub(crate) partner_key_file: Option<PathBuf>,

    /// Whom to answer: every valid request, or Tailscale's clients only, as derper does
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t = ProfileName::Open, help_heading = "Answers")]
    pub(crate) profile: ProfileName,

    /// Answer RFC 3489 clients too, whose requests have no magic cookie
    #[arg(long, help_heading = "Answers")]
    pub(crate) rfc3489: bool,

    /// Datagrams per second that are looked at from one source (IPv4 address, IPv6 /64); "off" for no limit
    #[arg(long, value_name = "N", default_value = "5000", help_heading = "Answers")]
    pub(crate) source_rate: Rate,

    /// Bytes per second and source by which answers may exceed 1.1 times their requests; 0: no answer ever does;
    /// "off" for no limit
    #[arg(long, value_name = "BYTES", default_value = "12288", help_heading = "Answers")]
    pub(crate) source_surplus: Rate,

    /// Answers per second and network (IPv4 /24, IPv6 /56) that leave from, or go to, another address or port than the
    /// request's, or are more than 3 times its size (RFC 5780); 0: none is; "off" for no limit
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Answers")]
    pub(crate) redirect_rate: Rate,

    /// Threads for UDP [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Running")]
    pub(crate) threads: Option<u16>,

    /// How long to be silent on UDP and unhealthy at /healthz before the end, for load balancers and clients to notice.
    /// TCP connections go on meanwhile; a second signal ends at once
    #[arg(long, value_name = "DURATION", default_value = "1s", help_heading = "Running")]
    pub(crate) drain: Drain,

    /// What to log: error, warn, info, debug, or per target like info,ferry_stun=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Running")]
    pub(crate) log: String,
}

/// Whom to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// Every valid Binding request.
    Open,
    /// Tailscale's clients only.
    Tailscale,
}

/// `ferry-stun audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The server; the port is 3478 if none is given
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) server: Host,
    #[command(flatten)]
    pub(crate) family: Family,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ferry-stun discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The servers. One that does RFC 5780 tells everything; of two that do not, it can be told whether the mapping
    /// varies by destination
    #[arg(value_name = "HOST[:PORT]", required = true, num_args = 1..=8)]
    pub(crate) servers: Vec<Host>,
    #[command(flatten)]
    pub(crate) family: Family,
    /// Also measure how long a mapping lives without traffic, which takes three to ten minutes
    #[arg(long)]
    pub(crate) lifetime: bool,
    /// Print JSON, one object per line: the path of each family, and then its mapping's lifetime if asked for
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ferry-stun query`.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The server; the port is 3478 if none is given
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) server: Host,
    #[command(flatten)]
    pub(crate) family: Family,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which addresses of a host.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct Family {
    /// IPv4 only
    #[arg(short = '4', long)]
    pub(crate) ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
}

/// What most operators type, below the flags.
const EXAMPLES: &str = "ADDR is [ip]:port, ip alone for port 3478 (5349 for TLS), or :port for every address.

Examples:
  ferry-stun
      serve UDP 3478 on every address, IPv4 and IPv6
  ferry-stun --tcp --tls-cert fullchain.pem --tls-key privkey.pem --metrics 127.0.0.1:9478
      TCP on 3478 and TLS on 5349 too, with metrics
  ferry-stun --listen 192.0.2.1:3478 --alternate 192.0.2.2:3479
      NAT behaviour discovery with two addresses of this machine
  ferry-stun --listen 192.0.2.1:3478 --alternate :3479
      what is possible of it with one address
  ferry-stun --listen 192.0.2.1:3478 --alternate :3479 \\
      --partner b.example.net:3480 --partner-listen 192.0.2.1:3480 --partner-key-file /etc/ferry/partner.key
      all of it with two machines that have one address each; the partner runs the same the other way round
  ferry-stun --source-surplus 0
      never answer with more than 1.1 times the request: bare 20-byte requests get silence
  ferry-stun audit stun.example.net
      what a server answers to odd requests, and how much it amplifies
  ferry-stun discover stun.example.net
      how the NAT here behaves";

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
        let examples = EXAMPLES.replace("\\\n      --", "--");
        let mut lines: Vec<_> = examples.lines().filter(|line| line.starts_with("  ferry-stun")).collect();
        assert_eq!(lines.len(), 8);
        lines.push("ferry-stun --tcp --tcp [::1]:443");
        for line in lines {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_wrong_usage() {
        for line in [
            "ferry-stun --listn 192.0.2.1:3478",
            "ferry-stun --listen stun.example.net:3478",
            "ferry-stun --threads 0",
            "ferry-stun --tls-cert a.pem",
            "ferry-stun --tls [::]:5349",
            "ferry-stun --partner b.example.net:3480",
            "ferry-stun --partner-key-file key",
            "ferry-stun --profile closed",
            "ferry-stun --source-rate none",
            "ferry-stun --listen 192.0.2.1 audit 192.0.2.1",
            "ferry-stun serve",
            "ferry-stun audit",
            "ferry-stun audit -4 -6 192.0.2.1",
            "ferry-stun discover",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
