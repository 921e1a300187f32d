//! Builds the parts of a relay in order, owns every thread, and takes them down in reverse order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use ferry_protocol::derp_map::{DerpMap, Node};
use ferry_protocol::{NodePrivateKey, NodePublicKey};
use ferry_stun::{PartnerChannel, PartnerConfig, UdpConfig, UdpServer};
use rustls::ServerConfig;
use tokio::runtime::Runtime;
use tracing::{error, info, warn};

use crate::bootstrap_dns::{BootstrapDns, Resolvers};
use crate::certificate::{CertificateError, CertificateStore, Reload, meta_certificate, server_config};
use crate::config::{BindError, Config, Listener, PrivateKeySource, TlsMode};
use crate::front::{Front, FrontParts, accept};
use crate::key_file::{KeyFile, KeyFileError};
use crate::own_map::{self, OwnNode};
use crate::pages::{Pages, PagesConfig};
use crate::shard::{self, Message, Shard, Shared};
use crate::switch::ConnectionId;
use crate::switch::registry::Registry;

mod readings;

use readings::RelayReadings;

/// How often the certificate files are looked at.
const CERTIFICATE_CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often an expired certificate is complained about.
const EXPIRY_WARNING_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Handshakes give way to the packets of those who are connected: the niceness of the threads that do them.
const FRONT_NICENESS: i32 = 5;
/// How long pages in progress get when the relay stops.
const PAGES_GRACE: Duration = Duration::from_millis(100);

/// A running relay. Dropping it stops it at once; [`stop`](Self::stop) lets clients go first.
#[derive(Debug)]
pub struct Relay {
    addresses: Addresses,
    public_key: NodePublicKey,
    map_node: Node,
    shared: Arc<Shared>,
    /// Accepting, handshakes, pages, certificate reloads.
    runtime: Option<Runtime>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    stun: Option<UdpServer>,
}

/// Where a relay listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Clients and pages.
    pub main: SocketAddr,
    /// Plain HTTP beside TLS.
    pub http: Option<SocketAddr>,
    /// STUN, over UDP.
    pub stun: Option<SocketAddr>,
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port is taken or not allowed.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The relay's own key.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The certificate to serve.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up with this certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// More data threads than can be told apart.
    #[error("{0} data threads are more than the {max} that a relay can have; give --threads a smaller number", max = ConnectionId::SHARDS_MAX)]
    Threads(usize),
    /// The system gave no thread, no randomness, or no event queue.
    #[error("the system refused {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl Relay {
    /// Starts a relay and returns once it listens. Spawns its own threads, so it may be called from anywhere.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let stun_partner = config.stun_discovery.as_ref().and_then(|discovery| discovery.partner.clone());
        let stun_partner = stun_partner.map(open_partner).transpose()?;
        let stun = config.stun.map(|addr| bind_stun(addr, &config, stun_partner.clone())).transpose()?;
        let key = private_key(&config)?;
        let public_key = key.public();
        let store = certificate_store(&config, &public_key)?;
        let tls = match &store {
            Some(store) => Some(Arc::new(server_config(Arc::clone(store))?)),
            None => None,
        };
        let main = bind(Listener::Main, config.listen, &config)?;
        let http = config.http().map(|addr| bind(Listener::Http, addr, &config)).transpose()?;
        let addresses = Addresses {
            main: local_addr(&main)?,
            http: http.as_ref().map(local_addr).transpose()?,
            stun: stun.as_ref().map(UdpServer::local_address),
        };
        let own = OwnNode {
            hostname: &config.hostname,
            certificate: store.as_ref().map(|store| store.leaf_sha256()),
            derp_port: addresses.main.port(),
            stun_port: addresses.stun.map(|addr| addr.port()),
            http_port: addresses.http.map(|addr| addr.port()),
        };
        let map_node = own.node();

        let (polls, handles) = shards(config.threads.get())?;
        let shared = Arc::new(Shared {
            registry: Registry::new(),
            front: Arc::default(),
            public_key,
            shards: handles,
            write_timeout: config.tcp.write_timeout,
            queue_depth: config.queue_depth.get(),
        });
        let bootstrap_dns = Arc::new(BootstrapDns::new(
            config.bootstrap_dns.clone(),
            Resolvers::from_system(),
            Arc::clone(&shared.front),
        ));
        let readings = RelayReadings::new(Arc::clone(&shared), stun.as_ref(), stun_partner, tls.is_some());
        let pages = PagesConfig {
            hostname: config.hostname.to_string(),
            home: config.home.clone(),
            derp_enabled: config.derp_enabled,
            debug: config.debug.clone(),
            ace: config.ace,
            dev_hint: Some(&map_node)
                .filter(|node| config.dev && is_pinned(node))
                .and_then(|node| serde_json::to_string_pretty(&own_map::alone(node.clone())).ok()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mesh_key_set: config.mesh_key.is_some(),
            server_key: public_key,
        };
        let pages = Arc::new(Pages::new(pages, Arc::new(readings), Arc::clone(&bootstrap_dns)));
        let front = Arc::new(Front::new(FrontParts {
            shared: Arc::clone(&shared),
            key,
            mesh_key: config.mesh_key.clone(),
            derp_enabled: config.derp_enabled,
            ace: config.ace,
            pages,
        }));
        let runtime = runtime(config.threads.get())?;
        let mut relay = Self {
            addresses,
            public_key,
            map_node,
            shared: Arc::clone(&shared),
            runtime: None,
            shards: Vec::new(),
            stun,
        };
        for (index, poll) in polls.into_iter().enumerate() {
            let readiness = poll.registry().try_clone().map_err(system("an event queue"))?;
            let shard = Shard::new(index, readiness, Arc::clone(&shared));
            let thread = std::thread::Builder::new().name(format!("data-{index}"));
            let thread = thread.spawn(move || {
                shard.run(poll).inspect_err(|error| error!(%error, "data thread {index} ended"))
            });
            relay.shards.push(thread.map_err(system("a thread"))?);
        }
        runtime.spawn(bootstrap_dns.refresh_forever());
        if let Some(store) = store {
            runtime.spawn(watch_certificate(store));
        }
        serve(&runtime, &front, main, tls);
        if let Some(listener) = http {
            let front = Arc::clone(&front);
            runtime.spawn(accept::accept_loop(listener, move |socket, peer| {
                tokio::spawn(Arc::clone(&front).serve_port80(socket, peer))
            }));
        }
        relay.runtime = Some(runtime);
        Ok(relay)
    }

    /// Where the relay listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The key that clients know this relay by.
    pub const fn public_key(&self) -> &NodePublicKey {
        &self.public_key
    }

    /// The DERP map's entry for this relay, where clients trust its certificate by its hash: it has an address for a name, and
    /// nobody could write the entry without asking it.
    pub fn map_entry(&self) -> Option<&Node> {
        Some(&self.map_node).filter(|node| is_pinned(node))
    }

    /// A DERP map in which this relay has a region to itself: by its host name, with the ports it listens on. Behind a proxy
    /// (no TLS of its own) DERP's port is the usual 443.
    pub fn derp_map(&self) -> DerpMap {
        own_map::alone(self.map_node.clone())
    }

    /// Stops: answers no STUN and accepts nobody from now on, writes what waits for each client, says goodbye to it, and is back within
    /// `grace` whether or not everybody has taken it.
    pub fn stop(mut self, grace: Duration) {
        self.shut_down(grace);
    }

    fn shut_down(&mut self, grace: Duration) {
        let Some(runtime) = self.runtime.take() else { return };
        // First, so that who measures relays meanwhile takes another. The port stays: nobody is told that it is closed.
        if let Some(stun) = &self.stun {
            stun.quiet();
        }
        // Ends accepting and every handshake; nobody new reaches a data thread. On a thread of its own, because waiting for
        // a runtime is forbidden inside another, which an embedder may well call this from.
        std::thread::scope(|scope| {
            scope.spawn(|| runtime.shutdown_timeout(PAGES_GRACE));
        });
        let until = Instant::now() + grace;
        for shard in &self.shared.shards {
            shard.send(Message::Drain { until });
        }
        for thread in self.shards.drain(..) {
            if thread.join().is_err() {
                error!("data thread panicked");
            }
        }
        if let Some(stun) = self.stun.take() {
            stun.shutdown();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shut_down(Duration::ZERO);
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// As many threads as data threads: they sleep while nobody asks, and a flood must not find more cores than the
/// relay has been given.
fn bind_stun(
    addr: SocketAddr,
    config: &Config,
    partner: Option<Arc<PartnerChannel>>,
) -> Result<UdpServer, BindError> {
    let mut udp = UdpConfig { threads: config.threads, partner, ..UdpConfig::new(addr) };
    if let Some(discovery) = &config.stun_discovery {
        udp.alternate = Some(SocketAddr::new(addr.ip(), discovery.second_port));
        udp.advertise = discovery.advertise;
    }
    UdpServer::start(udp).map_err(|source| BindError { listener: Listener::Stun, addr, source })
}

fn open_partner(config: PartnerConfig) -> Result<Arc<PartnerChannel>, BindError> {
    let addr = config.listen;
    let channel = PartnerChannel::open(config);
    channel.map(Arc::new).map_err(|source| BindError { listener: Listener::Partner, addr, source })
}

fn bind(listener: Listener, addr: SocketAddr, config: &Config) -> Result<TcpListener, BindError> {
    accept::bind(addr, &config.tcp).map_err(|source| BindError { listener, addr, source })
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(system("the address of a listener"))
}

/// Whether clients trust its certificate by its hash.
const fn is_pinned(node: &Node) -> bool {
    !node.cert_name.is_empty()
}

fn private_key(config: &Config) -> Result<NodePrivateKey, StartError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| system("randomness")(error.into()))?;
    match &config.private_key {
        PrivateKeySource::Ephemeral => Ok(NodePrivateKey::from_random(random)),
        PrivateKeySource::File(path) => {
            let file = KeyFile::load_or_create(path, random)?;
            if file.created {
                info!(file = %path.display(), "made a new relay key");
            }
            if let Some(warning) = file.warning {
                warn!("{warning}");
            }
            Ok(file.key)
        }
    }
}

fn certificate_store(
    config: &Config,
    key: &NodePublicKey,
) -> Result<Option<Arc<CertificateStore>>, StartError> {
    let now = SystemTime::now();
    let meta = meta_certificate(key, now).map_err(CertificateError::from)?;
    let store = match &config.tls {
        TlsMode::Off => return Ok(None),
        TlsMode::Manual { dir } => CertificateStore::open(dir, &config.hostname, meta, now)?,
        TlsMode::InMemory => CertificateStore::in_memory(&config.hostname, meta, now)?,
    };
    if store.generated()
        && let Some(files) = store.files()
    {
        info!(%files, "made a self-signed certificate");
    }
    Ok(Some(Arc::new(store)))
}

/// Event queues of the data threads, and what others hold of them.
fn shards(threads: usize) -> Result<(Vec<mio::Poll>, Vec<shard::ShardHandle>), StartError> {
    if threads > ConnectionId::SHARDS_MAX {
        return Err(StartError::Threads(threads));
    }
    let prepared: io::Result<Vec<_>> = (0..threads).map(|_| shard::prepare()).collect();
    Ok(prepared.map_err(system("an event queue"))?.into_iter().unzip())
}

fn runtime(threads: usize) -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("front")
        .on_thread_start(|| {
            // On Linux niceness is a thread's own. Where it cannot be raised, handshakes compete as equals.
            let _ = rustix::process::setpriority_process(None, FRONT_NICENESS);
        })
        .enable_all()
        .build()
        .map_err(system("threads"))
}

fn serve(runtime: &Runtime, front: &Arc<Front>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
    let front = Arc::clone(front);
    runtime.spawn(accept::accept_loop(listener, move |socket, peer| {
        tokio::spawn(Arc::clone(&front).serve(socket, peer, tls.clone()))
    }));
}

/// Takes new certificate files as they come, and says when the one that is served runs out.
async fn watch_certificate(store: Arc<CertificateStore>) {
    let mut warned: Option<Instant> = None;
    loop {
        if let Some(warning) = store.expiry_warning(SystemTime::now())
            && warned.is_none_or(|at| at.elapsed() > EXPIRY_WARNING_EVERY)
        {
            warn!("{warning}");
            warned = Some(Instant::now());
        }
        tokio::time::sleep(CERTIFICATE_CHECK_EVERY).await;
        match store.reload_if_changed(Instant::now()) {
            Ok(Reload::Replaced) => {
                info!(days_left = store.days_left(SystemTime::now()), "new certificate taken");
                warned = None;
            }
            Ok(Reload::Unchanged | Reload::Unsettled) => {}
            Err(error) => warn!("certificate not taken, the old one stays: {error}"),
        }
    }
}
