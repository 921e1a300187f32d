//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ferry_loadtest::workload::Keys;

const EXAMPLES: &str = "\
Examples:
  ferry-load run https://127.0.0.1:3340 pairs --pairs 10 --rate 10000 --size 1400
  ferry-load run https://127.0.0.1:3340 fan-in --senders 20 --window 16 --size 1400 --pid 4711
  ferry-load knee https://127.0.0.1:3340 pairs --pairs 10 --size 1400
  ferry-load idle https://127.0.0.1:3340 --clients 10000 --pid 4711
  ferry-load storm https://127.0.0.1:3340 --rate 200 --hold 2
  ferry-load stun 127.0.0.1:3478 --rate 20000 --sockets 64
  ferry-load compare loadtest/scenarios/relays.toml --html report.html --json report.json
  ferry-load report report.json --html report.html

Exit codes: 0 done, 1 a threshold was not held, 2 wrong usage, 3 a run says more about the tool than about the server,
4 a run failed, or packets are unaccounted for, 130 stopped by Ctrl-C (the report is written all the same).";

/// Load for DERP relays and STUN servers, open loop, with honest figures.
///
/// Every packet has a time at which it is due, and latency counts from then, so that a server that stalls is seen to stall. The tool's own
/// limits are measured in the same run and printed beside each result.
#[derive(Debug, Parser)]
#[command(name = "ferry-load", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One shape of load on one relay.
    Run(Run),
    /// The rate up to which a relay keeps up, and latency against load up to there.
    Knee(Knee),
    /// Many clients that only are there: memory, and what keeping them costs.
    Idle(Idle),
    /// Connections, open loop: how fast and how dear.
    Storm(Storm),
    /// STUN Binding requests.
    Stun(Stun),
    /// Servers in turns, as a scenario file says: which is better, by how much, and how sure that is.
    Compare(Compare),
    /// Other forms of a JSON report.
    Report(Report),
    /// A relay that does nothing but relay, as it runs beside every measurement; or a byte splice.
    NullServer(NullServer),
    /// One of several processes that carry out a plan; started by the tool itself.
    #[command(hide = true)]
    Agent,
}

/// One shape of load on one relay.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: Keys,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The search for a relay's knee. It says at which rates, so the load's own `--rate` is not needed.
#[derive(Debug, Args)]
pub(crate) struct Knee {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) load: Keys,
    /// The first rate that is tried, packets a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000.0)]
    pub(crate) first: f64,
    /// The highest.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 1_000_000.0)]
    pub(crate) most: f64,
    /// It keeps up while no larger share is lost.
    #[arg(long, value_name = "SHARE", default_value_t = 0.001)]
    pub(crate) loss_most: f64,
    /// It keeps up while p99 is no longer than this.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20.0)]
    pub(crate) p99_most: f64,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Clients that only are there.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) clients: u32,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Connections, open loop.
#[derive(Debug, Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections begun a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Seconds that each is held.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) hold: f64,
    /// TLS sessions are resumed.
    #[arg(long)]
    pub(crate) resumption: bool,
    /// Wait for the relay's answers, also where it offers a fast start and Tailscale's clients would take it.
    #[arg(long)]
    pub(crate) ordinary_start: bool,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// STUN requests.
#[derive(Debug, Args)]
pub(crate) struct Stun {
    /// HOST:PORT of the server; UDP.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// Open loop: requests a second.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "window", required_unless_present = "window")]
    pub(crate) rate: Option<f64>,
    /// At random times instead of evenly.
    #[arg(long, requires = "rate")]
    pub(crate) poisson: bool,
    /// Closed loop: requests that each socket has under way.
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) window: Option<u32>,
    /// Sockets, each with a port of its own.
    #[arg(long, default_value_t = 16)]
    pub(crate) sockets: u32,
    /// Source addresses 127.0.1.1 and on, in turns; 0 leaves it to the system.
    #[arg(long, default_value_t = 0)]
    pub(crate) sources: u32,
    /// Weight of requests as Tailscale's clients send them.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) tailscale: f64,
    /// Weight of requests that are a header alone.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) bare: f64,
    /// Weight of datagrams that are no STUN.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) junk: f64,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Servers in turns.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The scenario; loadtest/scenarios has some.
    #[arg(value_name = "SCENARIO.toml")]
    pub(crate) scenario: PathBuf,
    /// Only these workloads, by name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds, in place of the scenario's.
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Seed, in place of the scenario's.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) safety: Safety,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Other forms of a report.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What --json wrote.
    #[arg(value_name = "REPORT.json")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The null server.
#[derive(Debug, Args)]
pub(crate) struct NullServer {
    /// Where it listens: TCP for DERP, UDP for STUN. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// Without TLS.
    #[arg(long)]
    pub(crate) plain: bool,
    /// Not a relay but a byte splice: the floor below every relay. Frames move from socket to socket, patched in place.
    #[arg(long)]
    pub(crate) splice: bool,
}

/// The relay that is loaded.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// https://HOST:PORT, http://, wss:// or ws://. Certificates are not verified.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) watching: Watching,
}

/// What is known of the server's process.
#[derive(Debug, Args)]
pub(crate) struct Watching {
    /// The server's process, for its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// How it is measured.
#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// Seconds of load before the measured window.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Seconds to wait for what is still under way.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) drain: f64,
    /// How often.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: u32,
    /// Seeds everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Threads of each generator process.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u32,
    /// Generator processes; one may have some 20,000 connections.
    #[arg(long, default_value_t = 1)]
    pub(crate) processes: u32,
    /// Cores for the generator, separated by commas; none leaves it to the system.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Packets that are due at once for one connection share a write; off, each has its own, as with Tailscale's client.
    #[arg(long)]
    pub(crate) coalesce: bool,
    /// The generator's threads never sleep while there is traffic: exact on virtual machines, for cores that they have for themselves.
    #[arg(long)]
    pub(crate) stay_awake: bool,
    /// A bound on the median that decides the exit code, as in `latency-p99<=5000` or `delivered>=9900`; may be repeated.
    #[arg(long, value_name = "METRIC<=VALUE")]
    pub(crate) require: Vec<String>,
    #[command(flatten)]
    pub(crate) safety: Safety,
}

/// What may be loaded, and how much.
#[derive(Debug, Args)]
pub(crate) struct Safety {
    /// A host that may be loaded though it is not this machine, exactly as the URL names it; may be repeated.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow: Vec<String>,
    /// The highest rate that is allowed, per second.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate_most: Option<f64>,
    /// The most connections that are allowed.
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections_most: Option<u32>,
    /// The longest that all runs together may take.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_most: Option<f64>,
    /// Leaves the tool's own null server out; nothing then says what the tool's limit was.
    #[arg(long)]
    pub(crate) no_null: bool,
}

/// Where the result goes; text to standard output in any case but `--json -`.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The whole report as JSON; - is standard output, and then the only thing there.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The figures as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// The report as a page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
