//! A relay that does nothing but relay: what the load tester can do when no server is in its way.
//!
//! One thread, no limits, no fairness, no counters; it believes everybody. It is started as a process of its own
//! (`ferry-load null-server`), so that its cost is read like any other server's; tests run it in a thread.
//!
//! One turn: wait, read whatever is ready, append every packet to its receiver's plaintext, then seal and write each
//! receiver's plaintext at once. A packet costs one copy and two passes of cryptography, and under load a fraction of a
//! system call.

mod connection;
mod relay;
mod router;
mod splice;
mod stun;
mod tls;
mod waiting;
mod websocket;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use ferry_protocol::NodePrivateKey;
use mio::Waker;
use rustls::ServerConfig;

use relay::Relay;
use splice::Splice;

/// How often a TCP port is drawn whose UDP namesake is taken, before giving up.
const PORT_ATTEMPTS: usize = 16;

/// How the null server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullOptions {
    /// Where it listens (TCP: DERP; UDP on the same port: STUN). With port 0 the system chooses one.
    pub listen: SocketAddr,
    /// TLS with a certificate of its own, else plain.
    pub secure: bool,
}

/// Serves until the process ends. Prints `listening on ADDRESS` on standard output once it does.
pub fn serve(options: NullOptions) -> anyhow::Result<()> {
    let (relay, address) = open(options)?;
    announce(address);
    relay.run(&AtomicBool::new(false)).context("waiting for sockets")
}

/// Serves in a thread of this process, until the handle is dropped.
pub fn spawn_thread(options: NullOptions) -> anyhow::Result<NullHandle> {
    let (relay, address) = open(options)?;
    spawn(address, relay.waker()?, move |stop| relay.run(stop))
}

/// As [`serve`], but a byte splice: no relay, the floor below every relay. It speaks no STUN.
pub fn serve_splice(options: NullOptions) -> anyhow::Result<()> {
    let (splice, address) = open_splice(options)?;
    announce(address);
    splice.run(&AtomicBool::new(false)).context("waiting for sockets")
}

/// As [`spawn_thread`], but a byte splice.
pub fn spawn_splice_thread(options: NullOptions) -> anyhow::Result<NullHandle> {
    let (splice, address) = open_splice(options)?;
    spawn(address, splice.waker()?, move |stop| splice.run(stop))
}

fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    // Whoever started us may have closed standard output: it then knows the address.
    let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
}

fn spawn(
    address: SocketAddr,
    waker: Waker,
    run: impl FnOnce(&AtomicBool) -> io::Result<()> + Send + 'static,
) -> anyhow::Result<NullHandle> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("null-server".to_owned())
        .spawn(move || run(&asked))
        .context("starting a thread")?;
    Ok(NullHandle { address, stop, waker, thread: Some(thread) })
}

/// A null server in a thread; it ends, and closes its connections, when this is dropped.
#[derive(Debug)]
pub struct NullHandle {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl NullHandle {
    /// Where it listens, TCP and UDP.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NullHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.waker.wake().is_err() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            // Nobody is left to be told how it ended.
            let _ = thread.join();
        }
    }
}

fn open(options: NullOptions) -> anyhow::Result<(Relay, SocketAddr)> {
    let (tcp, udp) = sockets(options.listen)?;
    let address = tcp.local_addr().context("reading the address listened on")?;
    Ok((Relay::new(tcp, udp, Identity::new(options)?)?, address))
}

fn open_splice(options: NullOptions) -> anyhow::Result<(Splice, SocketAddr)> {
    let listen = options.listen;
    let tcp = TcpListener::bind(listen).with_context(|| format!("listening on TCP {listen}"))?;
    let address = tcp.local_addr().context("reading the address listened on")?;
    Ok((Splice::new(tcp, Identity::new(options)?)?, address))
}

/// Who a null server is.
struct Identity {
    key: NodePrivateKey,
    /// Without it there is no TLS.
    tls: Option<Arc<ServerConfig>>,
}

impl Identity {
    fn new(options: NullOptions) -> anyhow::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).context("making a key")?;
        let key = NodePrivateKey::from_random(random);
        let tls = options.secure.then(|| tls::config(&key.public()));
        Ok(Self { tls: tls.transpose().context("making a certificate")?, key })
    }
}

/// A TCP and a UDP socket on the same port.
fn sockets(listen: SocketAddr) -> anyhow::Result<(TcpListener, UdpSocket)> {
    let mut attempts = if listen.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = TcpListener::bind(listen).with_context(|| format!("listening on TCP {listen}"))?;
        let address = tcp.local_addr().context("reading the address listened on")?;
        match UdpSocket::bind(address) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(_) if attempts > 0 => {}
            Err(error) => return Err(error).with_context(|| format!("listening on UDP {address}")),
        }
    }
}
