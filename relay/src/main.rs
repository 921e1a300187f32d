//! `ferry-relay`: parse, check, run, let clients go, exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use ferry_relay::{Cli, Config, Machine, Relay};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// glibc keeps what a storm of connections took; this gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Clients get this long to take what waits for them when the relay stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Exit code of a wrong command line, as Go's flag package has it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(message) => {
            let code = u8::try_from(message.exit_code()).unwrap_or(EXIT_USAGE);
            // A closed pipe at the other end is no reason to fail.
            let _ = message.print();
            return ExitCode::from(code);
        }
    };
    let config = match Config::check(&cli, &Machine::this()) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let filter = EnvFilter::new(&config.log_filter);
    let stderr = std::io::stderr;
    let colours = stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    raise_open_files();
    // Before anything can be asked to stop.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stopped = runtime.block_on(async { stop_signal() })?;
    let tls = config.tls != ferry_relay::config::TlsMode::Off;
    let (dev, print_derp_map) = (config.dev, config.print_derp_map);
    let relay = Relay::start(config)?;
    let addresses = relay.addresses();
    info!(address = %addresses.main, tls, "serving clients");
    if let Some(http) = addresses.http {
        info!(address = %http, "serving plain HTTP");
    }
    if let Some(stun) = addresses.stun {
        info!(address = %stun, "serving STUN");
    }
    if let Some(entry) = relay.map_entry().and_then(|node| serde_json::to_string(node).ok()) {
        info!("clients trust the certificate by its hash; the DERP map entry is {entry}");
    }
    if print_derp_map {
        print(&serde_json::to_string_pretty(&relay.derp_map())?);
    }
    if dev {
        info!("how to use it: https://{}/ (the certificate is self-signed)", addresses.main);
    }
    let name = runtime.block_on(stopped);
    info!(signal = name, "stopping");
    relay.stop(STOP_GRACE);
    Ok(())
}

/// Listens for signals from now on; the future ends with one that means stop. SIGHUP does not: a closed terminal must
/// not take a relay down.
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => return "SIGINT",
                _ = terminate.recv() => return "SIGTERM",
                _ = hangup.recv() => info!("SIGHUP: certificates are taken when their files change, there is nothing to reload"),
            }
        }
    })
}

/// A client is a file. The soft limit is a leftover from select(2); whoever set a hard one meant that.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        warn!(%error, "limit of open files stays at {}", limit.current.unwrap_or_default());
    }
}

fn print(text: &str) {
    use std::io::Write;
    // A closed pipe at the other end is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn fail(error: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "ferry-relay: {error:#}");
    ExitCode::FAILURE
}
