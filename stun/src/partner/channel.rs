//! One machine's end of the channel: the side of those who own it and use it.

use std::io::{self, PipeWriter, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::{Lookup, PartnerAddress, Reach};
use super::bucket::Bucket;
use super::health::PartnerState;
use super::key::PartnerKey;
use super::node::{Node, PartnerLimits, Seeds};
use super::published::PublishedAddresses;
use super::service::Services;
use super::sockets::{Pair, RegisterError, Sockets};
use super::status::{Counters, PartnerStatus};
use super::thread::{Service, unix_millis};
use super::wire::{ANSWER_BYTES_MAX, Content, Envelope, Forward, Sealer};

/// Room for what arrives while the thread is not on a core.
const RECV_BUFFER_BYTES: usize = 1 << 20;

/// How two machines reach each other.
#[derive(Clone, Debug)]
pub struct PartnerConfig {
    /// Where this machine's end of the channel listens (UDP). `[::]:3480` reaches partners of both IP versions.
    pub listen: SocketAddr,
    /// The partner's end.
    pub partner: PartnerAddress,
    /// The secret that both know.
    pub key: PartnerKey,
    /// What is sent for the partner, and handed to it, at most.
    pub limits: PartnerLimits,
}

impl PartnerConfig {
    /// With safe limits.
    #[must_use]
    pub fn new(listen: SocketAddr, partner: PartnerAddress, key: PartnerKey) -> Self {
        Self { listen, partner, key, limits: PartnerLimits::default() }
    }
}

/// This machine's end of the channel to its partner, on a thread of its own. It closes when it is dropped.
///
/// The partner is first up when both machines have [registered](Self::register) their STUN sockets. Only changes of
/// its state are logged.
#[derive(Debug)]
pub struct PartnerChannel {
    shared: Arc<Shared>,
    local_address: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl PartnerChannel {
    /// Opens the channel and starts to look for the partner. A name is looked up in the background.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or the partner's is of the other IP version.
    pub fn open(config: PartnerConfig) -> io::Result<Self> {
        let now = Instant::now();
        let socket = bind(config.listen).map_err(|error| {
            let text = format!("cannot open the partner channel on UDP {}: {error}", config.listen);
            io::Error::new(error.kind(), text)
        })?;
        let local_address = socket.local_addr()?;
        let reach = Reach::of(local_address);
        let (peer, lookup) = match config.partner {
            PartnerAddress::Literal(address) => (Some(reachable(address, local_address)?), None),
            PartnerAddress::Name { host, port } => (None, Some(Lookup::new(host, port, reach, now))),
        };
        let seeds = seeds()?;
        let node = Node::new(&config.key, config.limits, seeds, now);
        let (wakes, wake) = io::pipe()?;
        let shared = Arc::new(Shared {
            socket,
            addresses: PublishedAddresses::default(),
            outgoing: Mutex::new(Outgoing {
                sealer: Sealer::new(&config.key),
                epoch: seeds.epoch,
                route: None,
                number: 0,
                bucket: Bucket::new(config.limits.forwards_per_second, now),
                datagram: Vec::new(),
            }),
            sockets: Mutex::default(),
            report: Mutex::new(Report {
                state: node.state().clone(),
                round_trip: None,
                ahead_millis: None,
                partner_services: Services::default(),
            }),
            counters: Counters::default(),
            stop: AtomicBool::new(false),
            wake,
        });
        let service = Service::new(Arc::clone(&shared), node, peer, lookup, wakes);
        let thread =
            std::thread::Builder::new().name("stun-partner".to_owned()).spawn(move || service.run())?;
        Ok(Self { shared, local_address, thread: Mutex::new(Some(thread)) })
    }

    /// Where this end listens, with the port that the system chose if it was asked to.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Lends the channel a STUN server's two sockets of one IP version, one on each port, to send from for
    /// the partner. `advertised` is the address that clients see, if it is not the bound one. The partner
    /// learns of it with its next probe, within a second.
    ///
    /// The sockets are clones ([`UdpSocket::try_clone`]) of those that the server reads: the channel binds none
    /// on those ports, which would get (with SO_REUSEPORT) a share of the requests. They are closed when the
    /// registration is dropped, which has to be no later than the server stops.
    ///
    /// # Errors
    ///
    /// When the sockets are not on two ports of one address of a known IP version, or another server was first.
    pub fn register(
        &self,
        advertised: Option<IpAddr>,
        sockets: [UdpSocket; 2],
    ) -> Result<PartnerRegistration, RegisterError> {
        let pair = Pair::new(advertised, sockets)?;
        let ipv4 = pair.is_ipv4();
        lock(&self.shared.sockets).add(pair)?;
        self.shared.wake();
        Ok(PartnerRegistration { shared: Arc::clone(&self.shared), ipv4 })
    }

    /// The partner's address of the family, as clients see it, while the partner sends from there. It never waits.
    #[must_use]
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.shared.addresses.address(ipv4)
    }

    /// Has the partner send an answer, at most [`ANSWER_BYTES_MAX`] bytes, to `to` from its address and
    /// `from_port`. False if it could not be handed over.
    #[must_use]
    pub fn send(&self, from_port: u16, to: SocketAddr, answer: &[u8]) -> bool {
        let forward = Forward { to: SocketAddr::new(to.ip().to_canonical(), to.port()), from_port, answer };
        let sent = lock(&self.shared.outgoing).send(forward, &self.shared.socket);
        let counters = &self.shared.counters;
        let counter = if sent { &counters.forwarded } else { &counters.not_forwarded };
        counter.fetch_add(1, Relaxed);
        sent
    }

    /// What the channel is doing and has done.
    #[must_use]
    pub fn status(&self) -> PartnerStatus {
        let counters = &self.shared.counters;
        let report = lock(&self.shared.report);
        PartnerStatus {
            state: report.state.clone(),
            round_trip: report.round_trip,
            ahead_millis: report.ahead_millis,
            partner_services: report.partner_services,
            forwarded: counters.forwarded.load(Relaxed),
            not_forwarded: counters.not_forwarded.load(Relaxed),
            sent: counters.sent.load(Relaxed),
            send_error: counters.send_error.load(Relaxed),
            read_error: counters.read_error.load(Relaxed),
            refused: counters.refused(),
        }
    }

    /// Tells the partner, stops the thread and waits for it; [`address`](Self::address) is `None` from then on. At
    /// once: the thread is woken.
    pub fn shutdown(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.shared.stop.store(true, Relaxed);
        self.shared.wake();
        // It fails if the thread panicked, which has been reported already.
        let _ = thread.join();
    }
}

impl Drop for PartnerChannel {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The right to send from a STUN server's sockets. Dropped, it closes the channel's clones of them; with the last one
/// the partner is told to count on this machine no more.
#[derive(Debug)]
#[must_use = "dropping it takes the sockets back"]
pub struct PartnerRegistration {
    shared: Arc<Shared>,
    ipv4: bool,
}

impl Drop for PartnerRegistration {
    fn drop(&mut self) {
        lock(&self.shared.sockets).remove(self.ipv4);
        self.shared.wake();
    }
}

/// What the threads have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Read by the channel's thread, sent from by all.
    pub(super) socket: UdpSocket,
    /// Set by the channel's thread.
    pub(super) addresses: PublishedAddresses,
    /// Used for each redirected answer; its route is set by the channel's thread.
    pub(super) outgoing: Mutex<Outgoing>,
    /// Set by servers, used by the channel's thread for each answer that it sends for the partner.
    pub(super) sockets: Mutex<Sockets>,
    /// Set by the channel's thread.
    pub(super) report: Mutex<Report>,
    pub(super) counters: Counters,
    pub(super) stop: AtomicBool,
    wake: PipeWriter,
}

impl Shared {
    /// Has the thread look at what has changed.
    pub(super) fn wake(&self) {
        // It fails only once the thread is gone.
        let _ = (&self.wake).write_all(&[0]);
    }
}

/// The part of a [`PartnerStatus`] that is no count.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) state: PartnerState,
    pub(super) round_trip: Option<Duration>,
    pub(super) ahead_millis: Option<i64>,
    pub(super) partner_services: Services,
}

/// What answers leave by.
#[derive(Debug)]
pub(super) struct Outgoing {
    sealer: Sealer,
    epoch: u64,
    pub(super) route: Option<Route>,
    /// Of the last forward.
    number: u64,
    bucket: Bucket,
    datagram: Vec<u8>,
}

/// The partner while it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    pub(super) epoch: u64,
    pub(super) services: Services,
}

impl Outgoing {
    fn send(&mut self, forward: Forward<'_>, socket: &UdpSocket) -> bool {
        let Some(route) = self.route else { return false };
        let service = route.services.for_client(forward.to);
        let served = service.is_some_and(|service| service.ports.contains(&forward.from_port));
        if !served || forward.answer.len() > ANSWER_BYTES_MAX || !self.bucket.take(Instant::now()) {
            return false;
        }
        self.number += 1;
        let envelope =
            Envelope { unix_millis: unix_millis(), from: self.epoch, to: route.epoch, number: self.number };
        self.sealer.seal(&envelope, &Content::Forward(forward), &mut self.datagram);
        socket.send_to(&self.datagram, route.peer).is_ok()
    }
}

/// What a thread that panicked has left behind is whole: no update here has a middle.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reachable(partner: SocketAddr, listen: SocketAddr) -> io::Result<SocketAddr> {
    Reach::of(listen).to(partner).ok_or_else(|| {
        let text = format!(
            "partner channel listens on {listen} and cannot reach {partner}; listen on an address of the same IP version"
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    match bind_one(address) {
        // `[::]` means all there is, on a host without IPv6 too.
        Err(error) if address.ip().is_unspecified() && is_without_ipv6(&error) => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Said outright, because the default is the host's (net.ipv6.bindv6only).
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    // Best effort: noise from strangers must not crowd out the partner.
    let _ = socket.set_recv_buffer_size(RECV_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn seeds() -> io::Result<Seeds> {
    // 0 means "no epoch yet".
    Ok(Seeds { epoch: getrandom::u64()?.max(1), budgets: getrandom::u64()? })
}
