//! A netcheck on real sockets, by tokio.

mod gateway;
mod http;
mod https;
mod sockets;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use ferry_protocol::derp_map::DerpMap;
use ferry_stun::TransactionId;
use rustls::RootCertStore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::{
    Config, HttpsFailure, HttpsId, HttpsTimes, Input, LookupId, Nearest, Netcheck, Output, PortalAnswer,
    PortalId, Report,
};
pub use gateway::default_gateway;
use sockets::{Arrival, Sockets};

/// What may wait to be looked at. Sockets are not read while it is full.
const EVENTS_MAX: usize = 256;

/// Makes netchecks. It holds no socket between them, and nothing is shared between two checkers.
///
/// ```no_run
/// use std::sync::Arc;
/// use ferry_client::netcheck::{Checker, Config, default_gateway};
/// use ferry_protocol::derp_map::DerpMap;
///
/// # async fn check(map: DerpMap) -> Result<(), Box<dyn std::error::Error>> {
/// let checker = Checker::new(Arc::new(ferry_client::system_roots()?));
/// let config = Config { gateway: default_gateway(), ..Config::complete() };
/// let report = checker.check(&map, config, |nearest| println!("nearest: {}", nearest.region)).await?;
/// for finding in report.findings() {
///     println!("{}: {}", finding.code, finding.what);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Checker {
    roots: Arc<RootCertStore>,
}

/// Why there was no check.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The system gives no random bytes, without which anybody could answer in a node's place.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// What one of the tasks has to say.
#[derive(Debug)]
enum Event {
    Datagram(Arrival),
    Resolved(LookupId, Vec<IpAddr>),
    Https(HttpsId, Result<HttpsTimes, HttpsFailure>),
    Portal(PortalId, Option<PortalAnswer>),
}

impl Checker {
    /// A checker that believes relays' certificates by these roots, unless the map pins them.
    pub const fn new(roots: Arc<RootCertStore>) -> Self {
        Self { roots }
    }

    /// Makes one check, which takes [2.9 s](super::REPORT_TIME_MAX) at most; `nearest` hears the first word.
    ///
    /// Dropped, the future leaves nothing behind but, for as long as the system's resolver takes, the threads of name lookups.
    /// Needs a tokio runtime with I/O and time; `config.os_has_ipv6` is found out here.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes. Whatever is wrong with the network is in the report.
    pub async fn check(
        &self,
        map: &DerpMap,
        mut config: Config,
        mut nearest: impl FnMut(Nearest),
    ) -> Result<Report, CheckError> {
        config.os_has_ipv6 = UdpSocket::bind("[::1]:0").is_ok();
        let mut check = Netcheck::new(map, config, Instant::now(), random_ids()?);
        let (events, mut arrived) = mpsc::channel(EVENTS_MAX);
        let mut sockets = Sockets::default();
        // Dropped with this future, and its tasks with it.
        let mut tasks = JoinSet::new();
        loop {
            match check.poll(Instant::now()) {
                Output::Open { socket, toward } => match sockets.open(socket, toward, &events, &mut tasks) {
                    Ok(local) => check.handle(Instant::now(), Input::Opened { socket, local }),
                    Err(_) => check.handle(Instant::now(), Input::OpenFailed { socket }),
                },
                Output::Send { socket, to, payload } => {
                    if !sockets.send(socket, to, &payload) {
                        check.handle(Instant::now(), Input::Unsendable { socket });
                    }
                }
                Output::Resolve { lookup, host } => {
                    let events = events.clone();
                    tasks.spawn(async move {
                        let found = tokio::net::lookup_host((host, 0)).await;
                        let found = found.map(|found| found.map(|address| address.ip()).collect());
                        let _ = events.send(Event::Resolved(lookup, found.unwrap_or_default())).await;
                    });
                }
                Output::Https(probe) => {
                    let (events, roots) = (events.clone(), Arc::clone(&self.roots));
                    tasks.spawn(async move {
                        let outcome = https::ask(&probe, &roots).await;
                        let _ = events.send(Event::Https(probe.id, outcome)).await;
                    });
                }
                Output::Portal(probe) => {
                    let events = events.clone();
                    tasks.spawn(async move {
                        let answer = http::ask_portal(&probe).await.ok();
                        let _ = events.send(Event::Portal(probe.id, answer)).await;
                    });
                }
                Output::Nearest(found) => nearest(found),
                Output::Wait(until) => {
                    tokio::select! {
                        // Never None: a sender is ours.
                        Some(event) = arrived.recv() => handle(&mut check, event),
                        () = sleep_until(until.into()) => {}
                    }
                }
                Output::Done(report) => return Ok(*report),
            }
            // Ended tasks leave their places.
            while tasks.try_join_next().is_some() {}
        }
    }
}

fn handle<I: FnMut() -> TransactionId + Clone>(check: &mut Netcheck<I>, event: Event) {
    let now = Instant::now();
    match event {
        Event::Datagram(Arrival { at, socket, from, datagram }) => {
            check.handle(at, Input::Datagram { socket, from, datagram: &datagram });
        }
        Event::Resolved(lookup, addresses) => {
            check.handle(now, Input::Resolved { lookup, addresses: &addresses });
        }
        Event::Https(probe, outcome) => check.handle(now, Input::Https { probe, outcome }),
        Event::Portal(probe, answer) => check.handle(now, Input::Portal { probe, answer }),
    }
}

/// Transaction IDs from the operating system's generator, which can only fail before it first gave any.
fn random_ids() -> Result<impl FnMut() -> TransactionId + Clone, CheckError> {
    random_id().map_err(CheckError::Random)?;
    Ok(|| random_id().expect("the generator has given before"))
}

fn random_id() -> Result<TransactionId, getrandom::Error> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)?;
    Ok(TransactionId::new(bytes))
}
