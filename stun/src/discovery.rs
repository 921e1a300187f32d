//! What kind of NAT or firewall is on the path: behaviour discovery (RFC 5780), in under two seconds.
//!
//! [`Discovery`] is the whole test as a state machine without sockets or clock.
#![cfg_attr(all(unix, feature = "server"), doc = "[`run`] runs it on real ones.")]
//! Everything goes on at once, on sockets of its own:
//!
//! - The mapping socket asks the server, its other address and ports, and other servers: do all see the
//!   same address?
//! - The filtering socket only ever sends to the server and has it answer from elsewhere.
//! - The hairpin socket and the mapping socket send to each other's external address.
//! - Eight more sockets show how ports are picked, and eight more where chance could explain it.
//!
//! Answers prove, silence does not: a test that hears nothing has a verdict only if it asked five times
//! over 900 ms, up to eight times where other datagrams were lost, and if controls show that neither the
//! network nor the server was what was silent. Otherwise the verdict is [`Finding::Unknown`], with the
//! reason. (On a path that loses a tenth of the datagrams each way, 90,000 simulated runs had no wrong
//! verdict, and 3 % of the filters unknown.)
//!
//! How long a binding lives takes minutes to find out: [`Lifetime`].

mod allocation;
mod facts;
mod filtering;
mod hairpin;
mod ledger;
mod lifetime;
mod machine;
mod mapping;
mod plan;
mod probe;
mod report;
#[cfg(all(unix, feature = "server"))]
mod run;
mod silence;
mod verdict;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use filtering::{FilteringTest, SeriesEnd};
use hairpin::HairpinTest;
use ledger::{Ledger, Purpose, SocketState};
use probe::{Outcome, Probe};
use silence::ControlOutcome;

pub use lifetime::{LIFETIME_WAITS, Lifetime, LifetimeMethod, LifetimeReport};
pub use machine::Machine;
pub use report::Report;
#[cfg(all(unix, feature = "server"))]
pub use run::{run, run_lifetime};
pub use verdict::{Filtering, Finding, Hairpin, Mapping, Pooling, PortAllocation, Reason};

use crate::client::{ANSWER_BYTES_MAX, BindingResponse, Change, ResponseError, same_endpoint};
use crate::message::{Class, ErrorCode, Message, Method, TransactionId};

/// When the run ends, whatever is still unknown.
pub const RUN_TIME_MAX: Duration = Duration::from_millis(1900);

/// Servers that are asked at most.
pub const SERVERS_MAX: usize = 4;

/// Sockets that are there only to see which ports they get.
const ALLOCATION_SOCKETS: usize = 8;

/// The same number again, where the first ones agree in parity: that may be chance.
const ALLOCATION_SOCKETS_MAX: usize = 2 * ALLOCATION_SOCKETS;

/// Sockets of a run at most.
const SOCKETS: usize = 3 + ALLOCATION_SOCKETS_MAX;

/// Error 300 (try another server), which is only to be followed from a server that has proven who it is.
const TRY_ALTERNATE: u16 = 300;

/// What to discover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server whose answers are judged, then others, best at other addresses, whose view of the mapping
    /// is compared: all that a server without RFC 5780 allows. Of the first one's family, and at most
    /// [`SERVERS_MAX`] are asked.
    pub servers: Vec<SocketAddr>,
}

impl Config {
    /// One server.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self { servers: vec![server] }
    }
}

/// One of a run's sockets. Each is bound to a port of its own that the system picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(u8);

impl SocketId {
    const MAPPING: Self = Self(0);
    const FILTERING: Self = Self(1);
    const HAIRPIN: Self = Self(2);

    const fn allocation(place: usize) -> Self {
        Self(3 + place as u8)
    }

    /// Those of every run.
    fn first() -> impl Iterator<Item = Self> {
        let allocation = (0..ALLOCATION_SOCKETS).map(Self::allocation);
        [Self::MAPPING, Self::FILTERING, Self::HAIRPIN].into_iter().chain(allocation)
    }

    /// Counts from zero.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a state machine of this module wants; `R` is what it is there to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<R> {
    /// Open a UDP socket of the server's family, then say so.
    Open(SocketId),
    /// Send a datagram.
    Send {
        /// From this socket.
        socket: SocketId,
        /// To this address.
        to: SocketAddr,
        /// These bytes.
        payload: Vec<u8>,
    },
    /// Poll again at this time, or after a datagram has come.
    Wait(Instant),
    /// It has ended. The sockets can be closed.
    Done(R),
}

/// How far one test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Something was queued; there may be more to do.
    Sent,
    /// Nothing to do before this time.
    Wait(Instant),
    /// Nothing to do before another test gets further.
    Blocked,
    /// Nothing to do any more.
    Settled,
}

impl Progress {
    /// Of two things that one test waits for, what comes first.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Settled, _) | (_, Self::Settled) => Self::Settled,
            (Self::Sent, _) | (_, Self::Sent) => Self::Sent,
            (Self::Wait(a), Self::Wait(b)) => Self::Wait(a.min(b)),
            (Self::Wait(until), Self::Blocked) | (Self::Blocked, Self::Wait(until)) => Self::Wait(until),
            (Self::Blocked, Self::Blocked) => Self::Blocked,
        }
    }
}

/// One discovery. Poll it, do what it wants, hand it every datagram that its sockets get.
///
/// `ids` draws transaction IDs from the operating system's generator: they are all that keeps a stranger
/// from answering in the server's place.
#[derive(Debug)]
pub struct Discovery<I> {
    /// At least one, all of one family.
    servers: Vec<SocketAddr>,
    start: Instant,
    ledger: Ledger<I>,
    /// A probe's place never changes: requests name it.
    probes: Vec<Probe>,
    filtering: FilteringTest,
    hairpin: HairpinTest,
    /// Where an answer from "another port" came from: a server with one address does not name it.
    seen_port: Option<u16>,
    /// How many of the allocation sockets are in use.
    allocation_sockets: usize,
    done: Option<Report>,
}

impl<I: FnMut() -> TransactionId> Discovery<I> {
    /// Starts the run's time. `None` if the configuration names no server.
    #[must_use]
    pub fn new(config: &Config, now: Instant, ids: I) -> Option<Self> {
        let first = config.servers.first()?;
        let mut servers: Vec<SocketAddr> = Vec::new();
        for server in &config.servers {
            let same_family = server.is_ipv4() == first.is_ipv4();
            if same_family && !servers.contains(server) && servers.len() < SERVERS_MAX {
                servers.push(*server);
            }
        }
        let mut discovery = Self {
            servers,
            start: now,
            ledger: Ledger::new(ids),
            probes: Vec::new(),
            filtering: FilteringTest::default(),
            hairpin: HairpinTest::default(),
            seen_port: None,
            allocation_sockets: ALLOCATION_SOCKETS,
            done: None,
        };
        discovery.plan_first(now);
        Some(discovery)
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant) -> Output<Report> {
        if let Some(report) = &self.done {
            return Output::Done(report.clone());
        }
        if let Some(output) = self.ledger.queue.pop_front() {
            return output;
        }
        let deadline = self.start + RUN_TIME_MAX;
        let progress = if now < deadline { self.advance(now) } else { Progress::Settled };
        if let Some(output) = self.ledger.queue.pop_front() {
            return output;
        }
        match progress {
            Progress::Settled => {
                let report = self.report(now);
                self.done = Some(report.clone());
                Output::Done(report)
            }
            Progress::Wait(until) => Output::Wait(until.min(deadline)),
            Progress::Blocked | Progress::Sent => Output::Wait(deadline),
        }
    }

    /// A socket is open, with this address here: that of the path to the server, not an unspecified one.
    pub fn opened(&mut self, socket: SocketId, local_address: SocketAddr) {
        if let Some(state) = self.ledger.sockets.get_mut(socket.index()) {
            *state = SocketState::Open(local_address);
        }
    }

    /// A socket could not be opened. What needs it stays unknown.
    pub fn failed(&mut self, socket: SocketId) {
        if let Some(state) = self.ledger.sockets.get_mut(socket.index()) {
            *state = SocketState::Failed;
        }
    }

    /// Takes a datagram. Whatever is not the first answer to a request, from where it was expected, changes
    /// nothing.
    pub fn handle(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() > ANSWER_BYTES_MAX || self.done.is_some() {
            return;
        }
        let Ok(message) = Message::parse_front(datagram) else { return };
        if message.class() == Class::Request {
            if message.method() == Method::BINDING {
                self.note_arrival(message.transaction_id(), socket, from);
            }
            return;
        }
        let (id, answer) = match BindingResponse::parse(datagram) {
            Ok(response) => (response.transaction_id, Ok(response)),
            Err(ResponseError::Refused { transaction_id, code }) if code.code() != TRY_ALTERNATE => {
                (transaction_id, Err(code))
            }
            Err(_) => return,
        };
        self.note_answer(now, id, socket, from, answer);
    }

    /// A request of ours came in from outside.
    fn note_arrival(&mut self, id: TransactionId, socket: SocketId, from: SocketAddr) {
        let Some(sent) = self.ledger.take(id, socket) else { return };
        if sent.purpose != Purpose::Hairpin {
            return;
        }
        sent.close();
        let sender = if socket == SocketId::MAPPING { SocketId::HAIRPIN } else { SocketId::MAPPING };
        let internal = self.local(sender).is_some_and(|local| same_endpoint(local, from));
        self.hairpin.note_arrival(internal);
    }

    fn note_answer(
        &mut self,
        now: Instant,
        id: TransactionId,
        socket: SocketId,
        from: SocketAddr,
        answer: Result<BindingResponse, ErrorCode>,
    ) {
        let Some(sent) = self.ledger.take(id, socket) else { return };
        let from_asked = same_endpoint(from, sent.to);
        match sent.purpose {
            Purpose::Probe(index) if from_asked => {
                sent.close();
                let elapsed = now.saturating_duration_since(sent.at);
                self.ledger.note_round_trip(elapsed);
                let Some(probe) = self.probes.get_mut(index) else { return };
                if probe.response().is_none() {
                    probe.outcome = Some(answer.map_or(Outcome::Refused, Outcome::Answered));
                }
            }
            Purpose::Change(change) => {
                let Some(end) = series_end(change, sent.to, from, answer.is_ok()) else { return };
                sent.close();
                if end == SeriesEnd::Answered && !change.ip {
                    self.seen_port = Some(from.port());
                }
                self.filtering.note_series(change, end);
            }
            Purpose::Control { change, after } => {
                let outcome = match answer {
                    Ok(_) if same_endpoint(from, sent.expected_from) => ControlOutcome::Answered,
                    Err(_) if from_asked => ControlOutcome::Refused,
                    _ => return,
                };
                sent.close();
                self.filtering.note_control(change, after, outcome);
            }
            Purpose::Probe(_) | Purpose::Hairpin => {}
        }
    }
}

/// What an answer says that was asked for from elsewhere; `None` if it is not the server's.
fn series_end(change: Change, asked: SocketAddr, from: SocketAddr, success: bool) -> Option<SeriesEnd> {
    let same_ip = from.ip().to_canonical() == asked.ip().to_canonical();
    match (success, same_endpoint(from, asked)) {
        (false, true) => Some(SeriesEnd::Refused),
        (false, false) => None,
        (true, true) => Some(SeriesEnd::Ignored),
        // From the other port of the same address, where another address was asked for.
        (true, false) if same_ip && change.ip => Some(SeriesEnd::Ignored),
        (true, false) if same_ip != change.ip => Some(SeriesEnd::Answered),
        (true, false) => None,
    }
}
