//! What a command line means: the checked configuration that everything else is built from.

mod bootstrap_dns;
mod debug_access;
mod home;
mod hostname;
mod listen;
mod machine;
mod mesh_key;
mod stun;
mod tcp;

pub use bootstrap_dns::{BootstrapDns, UnpublishedName};
pub use debug_access::{DebugAccess, DebugAccessError};
pub use home::{Home, HomeError};
pub use hostname::{Hostname, HostnameError};
pub use listen::{BindError, ListenError, Listener};
pub use machine::Machine;
pub use mesh_key::MeshKeyError;
pub use stun::{StunDiscovery, StunError};
pub use tcp::{TcpError, TcpOptions};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ferry_protocol::MeshKey;

use crate::cli::Cli;

/// Everything the relay needs to know before it binds a port; no value in it is unchecked.
#[derive(Debug)]
pub struct Config {
    /// Where the main listener binds. `[::]` means every address of both families, as it does for Go.
    pub listen: SocketAddr,
    /// The address as the operator wrote it, for messages.
    pub listen_text: String,
    /// How the main listener speaks TLS.
    pub tls: TlsMode,
    /// The name or address clients reach this relay by.
    pub hostname: Hostname,
    /// Port of the plain HTTP listener on the same ip; only ever there beside TLS.
    pub http_port: Option<u16>,
    /// Whether `/derp` relays; without it everything else is served.
    pub derp_enabled: bool,
    /// What is served at `/`.
    pub home: Home,
    /// Where STUN is answered.
    pub stun: Option<SocketAddr>,
    /// What STUN does beyond derper's.
    pub stun_discovery: Option<StunDiscovery>,
    /// The names of `/bootstrap-dns`.
    pub bootstrap_dns: BootstrapDns,
    /// Whether CONNECT to the control plane is served.
    pub ace: bool,
    /// The region's key; `None` is a relay that trusts no mesh peer.
    pub mesh_key: Option<MeshKey>,
    /// Where the relay's own key comes from.
    pub private_key: PrivateKeySource,
    /// Socket options and the write deadline.
    pub tcp: TcpOptions,
    /// Who may see `/debug/`.
    pub debug: DebugAccess,
    /// Number of data-path threads.
    pub threads: NonZeroUsize,
    /// Packets each of a receiver's two queues may hold where derper's own measure is asked for.
    pub queue_depth: NonZeroUsize,
    /// What to log, in `tracing_subscriber`'s filter syntax.
    pub log_filter: String,
    /// Whether this is a trial: messages may then say more.
    pub dev: bool,
    /// Whether a DERP map of this relay alone is printed once it listens.
    pub print_derp_map: bool,
}

/// How the main listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all: plain HTTP.
    Off,
    /// With the certificate files of a folder.
    Manual {
        /// The folder, which may not exist yet if the host name is an IP address.
        dir: PathBuf,
    },
    /// With a self-signed certificate that lives as long as the process (`-dev`).
    InMemory,
}

/// Where the relay's own key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateKeySource {
    /// A key file, made if it does not exist.
    File(PathBuf),
    /// A new key at each start (`-dev`).
    Ephemeral,
}

impl Config {
    /// Works out what the flags mean on this machine. Reads the mesh key file and resolves the listen address, and
    /// changes nothing.
    pub fn check(cli: &Cli, machine: &Machine<'_>) -> Result<Self, ConfigError> {
        let listen_text = match &cli.listen {
            Some(text) => text.clone(),
            None if cli.dev => DEV_LISTEN.to_owned(),
            None => ":443".to_owned(),
        };
        let listen = listen::resolve(&listen_text)?;
        let hostname = match &cli.hostname {
            Some(text) => Hostname::parse(text)?,
            None if cli.dev => Hostname::from_ip(dev_ip(listen.ip())),
            None => Hostname::parse(DEFAULT_HOSTNAME)?,
        };
        let tls = tls_mode(cli, machine, listen.port(), &hostname)?;
        let mesh_key = match (&cli.mesh_psk_file, cli.dev) {
            (Some(path), _) if path.is_empty() => None,
            (Some(path), _) => Some(mesh_key::from_file(path.as_ref())?),
            (None, true) => mesh_key::from_variable(machine)?,
            (None, false) => mesh_key::from_default_file(machine)?,
        };
        let stun = stun(cli, listen)?;
        Ok(Self {
            http_port: http_port(cli, &tls)?,
            stun,
            stun_discovery: StunDiscovery::check(cli, stun)?,
            listen,
            listen_text,
            tls,
            hostname,
            derp_enabled: cli.derp,
            home: Home::parse(&cli.home)?,
            bootstrap_dns: BootstrapDns::parse(
                &cli.bootstrap_dns_names,
                &cli.unpublished_bootstrap_dns_names,
            ),
            ace: cli.ace,
            mesh_key,
            private_key: private_key(cli, machine)?,
            tcp: TcpOptions::check(cli)?,
            debug: DebugAccess::read(machine)?,
            threads: threads(cli, machine)?,
            queue_depth: queue_depth(machine)?,
            log_filter: log_filter(&cli.log)?,
            dev: cli.dev,
            print_derp_map: cli.print_derp_map,
        })
    }

    /// Where the plain HTTP listener binds, if it does.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http_port.map(|port| with_port(self.listen, port))
    }
}

/// Why a command line gives no relay: what was asked, then what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `-a`.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `-hostname`.
    #[error(transparent)]
    Hostname(#[from] HostnameError),
    /// `-home`.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// `-mesh-psk-file` and the variable that stands for it.
    #[error(transparent)]
    MeshKey(#[from] MeshKeyError),
    /// The `-stun-…` flags beyond derper's.
    #[error(transparent)]
    Stun(#[from] StunError),
    /// The `-tcp-…` durations.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// The variables about `/debug/`.
    #[error(transparent)]
    DebugAccess(#[from] DebugAccessError),
    /// A certificate authority is asked for, which needs ACME.
    #[error(
        "port {port} is served with TLS, and -certmode {mode}{} is not served by this version of ferry-relay; \
         put the certificate of {hostname} and its key into a folder as {file}.crt and {file}.key and give \
         -certmode manual -certdir FOLDER, or listen on another port behind a proxy that ends TLS (-a 127.0.0.1:8080)",
        if *.by_default { " (derper's default)" } else { "" }
    )]
    CertMode {
        /// The port of `-a`.
        port: u16,
        /// The mode asked for.
        mode: String,
        /// Nobody typed it.
        by_default: bool,
        /// The host name the certificate would be for.
        hostname: Hostname,
        /// The stem of the file names that would serve it.
        file: String,
    },
    /// derper's default folder for certificates needs a home.
    #[error(
        "there is no folder for certificates, for neither XDG_CACHE_HOME nor HOME is set; give -certdir FOLDER"
    )]
    NoCertDir,
    /// derper's default key file is for root alone.
    #[error(
        "there is no key file: only root has a default one ({ROOT_KEY_FILE}); give -c FILE, which is made if it \
         does not exist, or -dev for a key that is not kept"
    )]
    NoKeyFile,
    /// A port above 65535, or a negative one where that means nothing.
    #[error("{flag} {port} is no port; give a number from 0 to 65535, or {off} for none")]
    Port {
        /// The flag with its dash.
        flag: &'static str,
        /// The number given.
        port: i64,
        /// How to have none.
        off: &'static str,
    },
    /// `--threads 0` or more than makes sense.
    #[error("--threads {0} is out of range; give a number from 1 to {THREADS_MAX}")]
    Threads(usize),
    /// A queue that holds nothing, or no number.
    #[error(
        "{QUEUE_DEPTH_VARIABLE} is '{0}'; set it to a number of packets from 1 to {QUEUE_DEPTH_MAX} or unset it"
    )]
    QueueDepth(String),
    /// A filter nobody can have meant.
    #[error(
        "--log '{text}' is no filter ({reason}); give error, warn, info, debug or trace, or for one target info,ferry_relay=debug"
    )]
    Log {
        /// The text given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where `-dev` listens: derper's development port, but for this machine alone.
const DEV_LISTEN: &str = "127.0.0.1:3340";

/// derper's host name when none is given.
const DEFAULT_HOSTNAME: &str = "derp.tailscale.com";

/// derper's key file for root.
const ROOT_KEY_FILE: &str = "/var/lib/derper/derper.key";

/// More data-path threads than this is a typing error.
const THREADS_MAX: usize = 1024;

/// derper's variable for the length of its queues.
const QUEUE_DEPTH_VARIABLE: &str = "TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH";

/// derper's queue length.
const QUEUE_DEPTH_DEFAULT: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// A queue of packets of 64 KiB that would hold 64 GiB is a typing error.
const QUEUE_DEPTH_MAX: usize = 1 << 20;

/// The address a trial's certificate is for when no host name is given.
fn dev_ip(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen }
}

/// derper's rule: TLS exactly if the port is 443 or the certificate mode is manual.
///
/// `-dev` without `-a` adds one case to it, and a trial never waits for a certificate authority.
fn tls_mode(
    cli: &Cli,
    machine: &Machine<'_>,
    port: u16,
    hostname: &Hostname,
) -> Result<TlsMode, ConfigError> {
    let mode = cli.cert_mode.as_deref();
    if mode == Some("manual") {
        let dir = match cli.cert_dir.as_deref() {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            Some(_) | None => machine.default_cert_dir().ok_or(ConfigError::NoCertDir)?,
        };
        return Ok(TlsMode::Manual { dir });
    }
    let trial = cli.dev && mode.is_none();
    if port != 443 && !(trial && cli.listen.is_none()) {
        return Ok(TlsMode::Off);
    }
    if trial {
        return Ok(TlsMode::InMemory);
    }
    Err(ConfigError::CertMode {
        port,
        mode: mode.unwrap_or("letsencrypt").to_owned(),
        by_default: mode.is_none(),
        hostname: hostname.clone(),
        file: hostname.file_stem(),
    })
}

fn http_port(cli: &Cli, tls: &TlsMode) -> Result<Option<u16>, ConfigError> {
    let port = cli.http_port.unwrap_or(if cli.dev { -1 } else { 80 });
    if *tls == TlsMode::Off || port < 0 {
        return Ok(None);
    }
    match u16::try_from(port) {
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(ConfigError::Port { flag: "-http-port", port, off: "-1" }),
    }
}

fn stun(cli: &Cli, listen: SocketAddr) -> Result<Option<SocketAddr>, ConfigError> {
    if !cli.stun {
        return Ok(None);
    }
    match u16::try_from(cli.stun_port) {
        Ok(port) => Ok(Some(with_port(listen, port))),
        Err(_) => Err(ConfigError::Port { flag: "-stun-port", port: cli.stun_port, off: "-stun=false" }),
    }
}

/// The same ip with another port; a scope id stays, or a link-local address would bind nowhere.
fn with_port(mut addr: SocketAddr, port: u16) -> SocketAddr {
    addr.set_port(port);
    addr
}

fn private_key(cli: &Cli, machine: &Machine<'_>) -> Result<PrivateKeySource, ConfigError> {
    match cli.key_file.as_deref() {
        Some(path) if !path.is_empty() => Ok(PrivateKeySource::File(path.into())),
        Some(_) | None if cli.dev => Ok(PrivateKeySource::Ephemeral),
        Some(_) | None if machine.is_root => Ok(PrivateKeySource::File(ROOT_KEY_FILE.into())),
        Some(_) | None => Err(ConfigError::NoKeyFile),
    }
}

fn threads(cli: &Cli, machine: &Machine<'_>) -> Result<NonZeroUsize, ConfigError> {
    let Some(threads) = cli.threads else { return Ok(machine.cores) };
    NonZeroUsize::new(threads).filter(|n| n.get() <= THREADS_MAX).ok_or(ConfigError::Threads(threads))
}

fn queue_depth(machine: &Machine<'_>) -> Result<NonZeroUsize, ConfigError> {
    let Some(text) = machine.variable(QUEUE_DEPTH_VARIABLE) else { return Ok(QUEUE_DEPTH_DEFAULT) };
    let depth = text.parse().ok().filter(|depth: &NonZeroUsize| depth.get() <= QUEUE_DEPTH_MAX);
    depth.ok_or(ConfigError::QueueDepth(text))
}

/// `tracing_subscriber` takes a bare word for a target, so that a misspelt level would log everything of a module
/// that does not exist: a bare word must be a level.
fn log_filter(text: &str) -> Result<String, ConfigError> {
    let error = |reason: String| ConfigError::Log { text: text.to_owned(), reason };
    for directive in text.split(',').map(str::trim) {
        // An empty one would pass for "error".
        let is_level =
            !directive.is_empty() && directive.parse::<tracing::level_filters::LevelFilter>().is_ok();
        if !is_level && !directive.contains(['=', '[']) {
            return Err(error(format!("'{directive}' is no level")));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(reason) => Err(error(reason.to_string())),
    }
}

#[cfg(test)]
mod tests;
