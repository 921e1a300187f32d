//! A responder on UDP sockets.

mod addresses;
mod counters;
mod flood;
mod socket;
mod sys;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use addresses::{Addresses, Place};
pub use counters::Counters;
use socket::Sockets;
use worker::{Orders, View, Worker};

use crate::budget::{Budgets, Limits};
use crate::partner::{PartnerChannel, PartnerRegistration};
use crate::responder::{Options, Responder};

/// A thread's stack. Its buffers are not on it.
const STACK_BYTES: usize = 256 << 10;

/// What to serve on UDP, and where.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The address and port to listen on. `[::]:3478` serves both families, as derper's `:3478` does.
    pub listen: SocketAddr,
    /// The other address and port, for RFC 5780. With another address of the same family: four sockets, of
    /// which each can be asked and can answer for another. With the same (or the unspecified) address: two.
    pub alternate: Option<SocketAddr>,
    /// What clients see in place of the listening and the alternate address: behind a 1:1 NAT, ports being
    /// the same on both sides. With a partner the second is this server's address of the other IP version, if it
    /// has one (else the first once more).
    pub advertise: Option<(IpAddr, IpAddr)>,
    /// The machine that has the other address, if this one has not; `alternate` then only gives the port.
    pub partner: Option<Arc<PartnerChannel>>,
    /// Which requests are answered.
    pub options: Options,
    /// What a source may cost, at each address and port of the server: each thread counts alone, and the source's
    /// address decides which thread reads it (on Linux; elsewhere its port does too).
    pub limits: Limits,
    /// Threads, and sockets (SO_REUSEPORT), for each address and port.
    pub threads: NonZeroUsize,
}

impl UdpConfig {
    /// One address, every valid Binding request, safe limits, a thread per core.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            alternate: None,
            advertise: None,
            partner: None,
            options: Options::default(),
            limits: Limits::default(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// A UDP server on threads of its own. It stops when it is dropped.
///
/// Reads are batched by what is ready (recvmmsg), a batch is answered at once, and under light load that
/// batch is one datagram. Answers leave from the address that the request was sent to, also on a wildcard
/// socket of a host with several addresses. Nothing is logged and no source address is kept, but for the few
/// that flood a socket, which the kernel is told to drop for ten seconds (Linux).
#[derive(Debug)]
pub struct UdpServer {
    sockets: Arc<Sockets>,
    counters: Arc<Counters>,
    orders: Arc<Orders>,
    /// What the partner has us send from, for each IP version; nothing once the server is quiet.
    lent: Mutex<Vec<PartnerRegistration>>,
    /// All of them, until the server is shut down.
    threads: Vec<JoinHandle<()>>,
}

impl UdpServer {
    /// Binds and starts to serve.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself, when an address cannot be bound (the error names it), or when
    /// no thread can be started.
    pub fn start(config: UdpConfig) -> io::Result<Self> {
        let addresses = Addresses::new(&config)?;
        let threads = config.threads.get();
        let sockets = Arc::new(Sockets::bind(addresses, threads)?);
        if config.limits != Limits::NONE {
            sockets.steer_by_source(random()?);
        }
        let workers =
            sockets.addresses.places().flat_map(|place| (0..threads).map(move |thread| (place, thread)));
        let workers: Vec<_> = workers.collect();
        let mut server = Self {
            sockets: Arc::clone(&sockets),
            counters: Arc::new(Counters::new(workers.len())),
            orders: Arc::default(),
            lent: Mutex::new(lend(&config, &sockets)?),
            threads: Vec::with_capacity(workers.len()),
        };
        for ((place, thread), number) in workers.into_iter().zip(0..) {
            let worker = Worker {
                sockets: Arc::clone(&sockets),
                place,
                thread,
                number,
                counters: Arc::clone(&server.counters),
                orders: Arc::clone(&server.orders),
                responder: Responder::new(config.options),
                budgets: Budgets::new(config.limits, random()?, Instant::now()),
                view: view(&sockets.addresses, place, config.advertise),
                partner: config.partner.clone(),
            };
            let builder = thread::Builder::new().name(format!("stun-{number}")).stack_size(STACK_BYTES);
            // If it fails the server is dropped, and with it ends what has been started.
            server.threads.push(builder.spawn(move || worker.run())?);
        }
        Ok(server)
    }

    /// Where it listens, with the port that the system chose if it was asked to.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.sockets.addresses.first
    }

    /// All addresses that it has: one, or for RFC 5780 two or four, the listening one first and the one with the
    /// other address and port last.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let addresses = &self.sockets.addresses;
        addresses.places().map(|place| addresses.at(place)).collect()
    }

    /// The live counters; they outlast the server.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Answers nothing from now on, except what is being answered at this moment, but keeps ports and counters.
    /// Clients then see to it that they find another server, while the process still does its other work.
    /// The partner sends nothing from here any more either.
    pub fn quiet(&self) {
        self.take_back();
        self.orders.quiet.store(true, Relaxed);
    }

    /// Stops serving, waits for the threads and closes the sockets. At once: the threads are woken.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn take_back(&self) {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn stop(&mut self) {
        self.take_back();
        self.orders.stop.store(true, Relaxed);
        self.sockets.wake_all();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // It fails if the thread panicked, which has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Lends the partner's channel the sockets of one thread, for each IP version of the advertised addresses.
fn lend(config: &UdpConfig, sockets: &Sockets) -> io::Result<Vec<PartnerRegistration>> {
    let Some(partner) = &config.partner else { return Ok(Vec::new()) };
    let advertised = match config.advertise {
        Some((first, second)) if first.is_ipv4() != second.is_ipv4() => vec![Some(first), Some(second)],
        advertise => vec![advertise.map(|(first, _)| first)],
    };
    let clone = |second_port| match sockets.of_thread(Place { second_ip: false, second_port }, 0) {
        Some(socket) => socket.try_clone(),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let register = |advertised| {
        let registered = partner.register(advertised, [clone(false)?, clone(true)?]);
        registered.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    };
    advertised.into_iter().map(register).collect()
}

/// What RFC 5780's answers tell those who ask at a place; nothing if there is no second port.
fn view(addresses: &Addresses, place: Place, advertised: Option<(IpAddr, IpAddr)>) -> Option<View> {
    let (first, second) = match advertised {
        Some((first, second)) => (Some(first), addresses.second_ip.map(|_| second)),
        None => (Some(addresses.first.ip()).filter(|ip| !ip.is_unspecified()), addresses.second_ip),
    };
    let ports = (addresses.first.port(), addresses.second_port?);
    let (asked_ip, other_ip) = if place.second_ip { (second, first) } else { (first, second) };
    let (asked_port, other_port) = if place.second_port { (ports.1, ports.0) } else { ports };
    Some(View { asked_ip, asked_port, other_port, other_ip })
}

/// A number that nobody can guess, by the system's generator.
fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}
