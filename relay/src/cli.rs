//! The command line: derper's flags in Go's syntax, and the few of our own.
//!
//! Go's syntax is rewritten to clap's ([`go_flags`]), clap parses and explains; what the words mean together is
//! [`crate::config`]'s business.

mod duration;
mod go_flags;
mod unserved;

pub(crate) use duration::GoDuration;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

/// What was typed, flag by flag; an absent one stays `None` where its default depends on other flags.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ferry-relay",
    bin_name = "ferry-relay",
    version,
    disable_version_flag = true,
    about = "A DERP relay that takes derper's place",
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    args_override_self = true,
    max_term_width = 120
)]
pub struct Cli {
    /// Listen address, `[ip]:port`. TLS is served if the port is 443 or with -certmode manual, else plain HTTP.
    /// An empty ip, 0.0.0.0 and `[::]` all mean every address, IPv4 and IPv6 [default: :443]
    #[arg(long = "a", value_name = "ADDR")]
    pub listen: Option<String>,

    /// Key file of the relay, made if it does not exist [default: /var/lib/derper/derper.key for root]
    #[arg(long = "c", value_name = "FILE")]
    pub key_file: Option<String>,

    /// Folder of the certificates, `<hostname>.crt` and `<hostname>.key` [default: tailscale/derper-certs in the cache folder]
    #[arg(long = "certdir", value_name = "DIR")]
    pub cert_dir: Option<String>,

    /// How to get a certificate: only "manual" is served by this version; files are read again when they change.
    /// An IP host name without files gets a self-signed certificate [default: letsencrypt]
    #[arg(long = "certmode", value_name = "MODE", value_parser = ["manual", "letsencrypt", "gcp"])]
    pub cert_mode: Option<String>,

    /// Name clients reach this relay by, checked against SNI, or an IP address [default: derp.tailscale.com]
    #[arg(long = "hostname", value_name = "NAME")]
    pub hostname: Option<String>,

    /// Page at /: empty for the usual page, "blank", or a URL to redirect to
    #[arg(long = "home", value_name = "PAGE", default_value = "", hide_default_value = true)]
    pub home: String,

    /// Port of plain HTTP beside TLS, on the same ip; -1 for none [default: 80, with -dev -1]
    #[arg(long = "http-port", value_name = "PORT")]
    pub http_port: Option<i64>,

    /// Relay packets at /derp; =false to serve only the rest
    #[arg(long = "derp", value_name = "BOOL", value_parser = go_flags::parse_bool, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pub derp: bool,

    /// Try it out: 127.0.0.1:3340 with TLS by a self-signed certificate kept in memory, a key that is not kept, STUN,
    /// no port 80. Each other flag overrides its part; -dev -a :3340 is plain HTTP, which is derper's own -dev
    #[arg(long = "dev", value_name = "BOOL", value_parser = go_flags::parse_bool, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true)]
    pub dev: bool,

    /// Print a DERP map of this relay alone to standard output, once it listens (not a flag of derper)
    #[arg(long = "print-derp-map", value_name = "BOOL", value_parser = go_flags::parse_bool, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true)]
    pub print_derp_map: bool,

    /// Answer STUN on the same ip
    #[arg(long = "stun", value_name = "BOOL", value_parser = go_flags::parse_bool, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pub stun: bool,

    /// UDP port of STUN
    #[arg(long = "stun-port", value_name = "PORT", default_value_t = 3478)]
    pub stun_port: i64,

    /// Second UDP port of STUN, for discovery of NAT behaviour, RFC 5780 (not a flag of derper)
    #[arg(long = "stun-second-port", value_name = "PORT")]
    pub stun_second_port: Option<i64>,

    /// What clients see as this relay's address, with -stun-second-port: an ip, or an IPv4 and an IPv6 one with a comma
    /// (not a flag of derper) [default: the ip of -a]
    #[arg(long = "stun-advertise", value_name = "IP")]
    pub stun_advertise: Option<String>,

    /// The relay that has RFC 5780's other address, `HOST:PORT` of its -stun-partner-listen; it has to have the same two
    /// STUN ports (not a flag of derper)
    #[arg(long = "stun-partner", value_name = "HOST:PORT")]
    pub stun_partner: Option<String>,

    /// Where the partner reaches this relay over UDP, `[ip]:port` (not a flag of derper) [default: :3480]
    #[arg(long = "stun-partner-listen", value_name = "ADDR")]
    pub stun_partner_listen: Option<String>,

    /// File with the secret that both partners have, 64 hex digits (not a flag of derper)
    #[arg(long = "stun-partner-key-file", value_name = "FILE")]
    pub stun_partner_key_file: Option<String>,

    /// Comma list of names published at /bootstrap-dns
    #[arg(long = "bootstrap-dns-names", value_name = "NAMES", default_value = "", hide_default_value = true)]
    pub bootstrap_dns_names: String,

    /// Comma list of names answered at /bootstrap-dns only when asked for; name/txt rolls out by the percentage in a
    /// TXT record
    #[arg(
        long = "unpublished-bootstrap-dns-names",
        value_name = "NAMES",
        default_value = "",
        hide_default_value = true
    )]
    pub unpublished_bootstrap_dns_names: String,

    /// Serve CONNECT to the control plane
    #[arg(long = "ace", value_name = "BOOL", value_parser = go_flags::parse_bool, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true)]
    pub ace: bool,

    /// File with the region's mesh key, 64 hex digits; "" for none
    /// [default: the first there is of /home/derp/keys/derp-mesh.key, $HOME/keys/derp-mesh.key]
    #[arg(long = "mesh-psk-file", value_name = "FILE")]
    pub mesh_psk_file: Option<String>,

    /// Silence after which TCP keep-alive probes start
    #[arg(long = "tcp-keepalive-time", value_name = "DURATION", default_value = "10m")]
    pub tcp_keepalive_time: GoDuration,

    /// How long sent bytes may stay unacknowledged; 0 for the kernel's default
    #[arg(long = "tcp-user-timeout", value_name = "DURATION", default_value = "15s")]
    pub tcp_user_timeout: GoDuration,

    /// How long a client may not read before it is cut off; 0 for ever
    #[arg(long = "tcp-write-timeout", value_name = "DURATION", default_value = "2s")]
    pub tcp_write_timeout: GoDuration,

    /// Data-path threads (not a flag of derper) [default: number of cores]
    #[arg(long = "threads", value_name = "N")]
    pub threads: Option<usize>,

    /// What to log: error, warn, info, debug, trace, or per target like info,ferry_relay=debug (not a flag of derper)
    #[arg(long = "log", value_name = "LEVEL", default_value = "info")]
    pub log: String,

    // Never set, for clap stops here; its own flag would add -V, which is no flag in Go's syntax.
    /// Print the version
    #[arg(long = "version", action = clap::ArgAction::Version)]
    pub version: Option<bool>,
}

impl Cli {
    /// Reads the words of a command line, the program's name first.
    ///
    /// The error knows its exit code: 0 for help and version, 2 for wrong usage. (clap's own function of this name knows
    /// nothing of Go's syntax.)
    pub fn parse_from<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let words = go_flags::normalise(&command, words.into_iter().map(Into::into))
            .map_err(|misuse| command.error(misuse.kind(), misuse))?;
        Self::try_parse_from(words)
    }
}

/// The paragraph above the flags.
const LONG_ABOUT: &str = "A DERP relay that takes derper's place: the same flags, key file, certificate folder and mesh key.

Flags are written as for derper: one dash or two, -flag value or -flag=value; a boolean is -flag or -flag=false, and \
durations look like 15s, 10m or 1h30m.";

/// What most operators type, below the flags.
const EXAMPLES: &str = "Examples:
  ferry-relay -dev
      try it on this machine: https://127.0.0.1:3340/, STUN on 127.0.0.1:3478
  ferry-relay -hostname relay.example.net -certmode manual -certdir /etc/ferry/certs -c /var/lib/ferry/relay.key
      a public relay on port 443 with relay.example.net.crt and .key from the folder
  ferry-relay -hostname 192.0.2.10 -certmode manual -certdir /var/lib/ferry/certs
      a relay without a name: makes a self-signed certificate and prints the DERP map entry that pins it
  ferry-relay ... -stun-second-port 3479 -stun-advertise 192.0.2.10 -stun-partner relay2.example.net:3480
      -stun-partner-key-file /etc/ferry/partner.key
      two such relays, each the other's partner, let clients find out how their NAT behaves
  ferry-relay -a 127.0.0.1:8080 -http-port -1
      plain HTTP behind a proxy that ends TLS

Flags of derper that this version does not serve; it refuses to start with them, unless the value is derper's default:
  -accept-connection-burst -accept-connection-limit -acme-eab-key -acme-eab-kid -acme-email -acme-ip-certs -mesh-with
  -rate-config -secrets-cache-dir -secrets-path-prefix -secrets-url -socket -verify-client-url
  -verify-client-url-fail-open -verify-clients";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_flags_that_are_not_served() {
        for name in unserved::names() {
            assert!(EXAMPLES.contains(&format!(" -{name}")), "{name}");
        }
    }

    #[test]
    fn no_words_give_derpers_defaults() {
        let cli = parse(&[]).unwrap();
        assert_eq!((cli.listen, cli.key_file, cli.http_port), (None, None, None));
        assert!(cli.derp && cli.stun && !cli.dev && !cli.ace);
        assert_eq!((cli.stun_port, cli.home.as_str(), cli.log.as_str()), (3478, "", "info"));
        assert_eq!(cli.tcp_keepalive_time.as_nanos(), 600_000_000_000);
        assert_eq!(cli.tcp_user_timeout.as_nanos(), 15_000_000_000);
        assert_eq!(cli.tcp_write_timeout.as_nanos(), 2_000_000_000);
    }

    #[test]
    fn a_whole_derper_command_line_is_read() {
        let cli = parse(&[
            "-a=:8443",
            "--hostname",
            "relay.example.net",
            "-certmode",
            "manual",
            "--certdir=/certs",
            "-c",
            "/k",
            "-http-port",
            "-1",
            "-stun=false",
            "-derp",
            "-ace=T",
            "-mesh-psk-file",
            "",
            "-tcp-write-timeout",
            "1h2m3.5s",
            "-home=https://example.net/?a=b",
            "-verify-clients=false",
            "-mesh-with",
            "",
            "--threads",
            "3",
        ])
        .unwrap();
        assert_eq!(cli.listen.as_deref(), Some(":8443"));
        assert_eq!(cli.hostname.as_deref(), Some("relay.example.net"));
        assert_eq!(cli.cert_mode.as_deref(), Some("manual"));
        assert_eq!(cli.cert_dir.as_deref(), Some("/certs"));
        assert_eq!(cli.key_file.as_deref(), Some("/k"));
        assert_eq!(cli.http_port, Some(-1));
        assert!(!cli.stun && cli.derp && cli.ace);
        assert_eq!(cli.mesh_psk_file.as_deref(), Some(""));
        assert_eq!(cli.tcp_write_timeout.as_nanos(), 3_723_500_000_000);
        assert_eq!(cli.home, "https://example.net/?a=b");
        assert_eq!(cli.threads, Some(3));
    }

    #[test]
    fn the_last_of_a_repeated_flag_wins() {
        let cli = parse(&["-a", ":1", "-stun=false", "-a", ":2", "-stun"]).unwrap();
        assert_eq!(cli.listen.as_deref(), Some(":2"));
        assert!(cli.stun);
    }

    #[test]
    fn help_and_version_exit_with_0_and_help_has_examples() {
        for word in ["-h", "-help", "--help"] {
            let shown = parse(&[word]).unwrap_err();
            assert_eq!(shown.exit_code(), 0, "{word}");
            assert!(shown.to_string().contains("ferry-relay -dev"), "{word}");
        }
        for word in ["-version", "--version", "-version=1"] {
            let shown = parse(&[word]).unwrap_err();
            assert_eq!(shown.exit_code(), 0, "{word}");
            assert!(shown.to_string().starts_with("ferry-relay "), "{word}");
        }
        assert!(parse(&["-version=false"]).is_ok());
    }

    #[test]
    fn a_wrong_flag_exits_with_2_and_names_the_nearest() {
        for (wrong, right) in
            [("-hostnam", "--hostname"), ("--stunport=1", "--stun-port"), ("-cert-dir", "--certdir")]
        {
            let error = parse(&[wrong, "x"]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
            assert!(error.to_string().contains(right), "{wrong}: {error}");
        }
    }

    #[test]
    fn wrong_values_exit_with_2_and_name_the_flag() {
        for (words, part) in [
            (vec!["-stun=maybe"], "--stun"),
            (vec!["-tcp-user-timeout", "15"], "write 15s"),
            (vec!["-http-port", "eighty"], "--http-port"),
            (vec!["-certmode", "self"], "manual"),
            (vec!["-a"], "a value is required for '--a"),
            (vec!["-stun", "false"], "-stun=false"),
            (vec!["--", "x"], "unexpected word 'x'"),
            (vec!["---a"], "'---a' is no flag"),
            (vec!["-verify-clients"], "refuses to start rather than run without it"),
        ] {
            let error = parse(&words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
            assert!(error.to_string().contains(part), "{words:?}: {error}");
        }
    }

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::parse_from(std::iter::once("ferry-relay").chain(words.iter().copied()))
    }
}
