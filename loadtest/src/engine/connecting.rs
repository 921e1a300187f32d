//! Connecting, leaving, losing a connection and coming back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferry_client::{Connection, ConnectionError, Stage};
use mio::net::TcpStream;
use mio::{Interest, Token};
use rand::Rng;
use socket2::{Domain, Protocol, Socket, Type};

use super::client::{Allowance, Link, backoff};
use super::deadlines::{Deadline, Task};
use super::sending::write_out;
use super::worker::Worker;
use super::{Report, RunError};
use crate::clock::Moment;
use crate::plan::{Arrival, Life, Reading};

/// How long an attempt may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a client that has to be there before the start tries.
const ATTEMPTS: u32 = 3;
/// Its wait after the first attempt that failed; longer after each further one.
const WAIT: Duration = Duration::from_millis(100);
/// The receive buffer of clients that read slowly or not at all, in bytes. The system's own grows to megabytes, and for as long
/// as that takes to fill the relay would not notice that nobody reads.
const SLOW_RECEIVE_BUFFER: usize = 64 << 10;

/// Those who have to be connected before the start.
#[derive(Debug)]
pub(super) struct Arrivals {
    waiting: VecDeque<u32>,
    under_way: u32,
    missing: u32,
}

impl Arrivals {
    /// The clients in these slots.
    pub(super) fn new(slots: impl Iterator<Item = u32>) -> Self {
        let waiting: VecDeque<u32> = slots.collect();
        Self { missing: waiting.len() as u32, under_way: 0, waiting }
    }
}

/// Why a connection is no more, or never was.
#[derive(Debug)]
pub(super) enum Loss {
    /// The relay hung up in order.
    Closed,
    /// The relay said something that cannot be.
    Protocol {
        /// What kind of thing.
        name: &'static str,
        /// In its own words.
        text: String,
    },
    /// The socket failed.
    Socket {
        /// What kind of failure.
        name: &'static str,
        /// In the system's words.
        text: String,
    },
    /// Not established in time.
    Patience,
}

impl Loss {
    /// What a connection's error means.
    pub(super) fn of_protocol(error: &ConnectionError) -> Self {
        use ConnectionError as E;
        let name = if matches!(error, E::Tls(_) | E::TlsLeftover { .. }) {
            "tls"
        } else if matches!(error, E::Status { .. }) {
            "http-status"
        } else if matches!(error, E::Head(_) | E::HeadTooLong { .. }) {
            "http"
        } else {
            "protocol"
        };
        Self::Protocol { name, text: error.to_string() }
    }

    /// What a socket's error means.
    pub(super) fn of_socket(error: &io::Error) -> Self {
        Self::Socket { name: socket_error_name(error), text: error.to_string() }
    }

    /// Its name in an outcome.
    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Protocol { name, .. } | Self::Socket { name, .. } => name,
            Self::Patience => "timed-out",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the relay closed the connection"),
            Self::Protocol { text, .. } | Self::Socket { text, .. } => f.write_str(text),
            Self::Patience => write!(f, "nothing within {} s", PATIENCE.as_secs()),
        }
    }
}

fn socket_error_name(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) => "refused",
        Some(Errno::CONNRESET | Errno::PIPE) => "reset",
        Some(Errno::CONNABORTED) => "aborted",
        Some(Errno::TIMEDOUT) => "timed-out",
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => "unreachable",
        Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => "no-port",
        Some(Errno::MFILE | Errno::NFILE) => "no-file",
        Some(_) | None => "socket",
    }
}

impl Worker<'_> {
    /// Those who have to be there before the start begin to connect.
    pub(super) fn begin_arrivals(&mut self) -> Result<(), RunError> {
        if !self.is_arriving() {
            self.report_ready();
            return Ok(());
        }
        self.go_on_arriving()
    }

    /// Begins as many connections as may be under way.
    fn go_on_arriving(&mut self) -> Result<(), RunError> {
        let (Arrival::Before { at_once, .. } | Arrival::Partly { at_once, .. }) = self.shared.plan.arrival
        else {
            return Ok(());
        };
        while self.arrivals.under_way < at_once.max(1)
            && let Some(slot) = self.arrivals.waiting.pop_front()
        {
            self.arrivals.under_way += 1;
            let now = Moment::now();
            self.connect(slot, now, now)?;
        }
        Ok(())
    }

    fn report_ready(&self) {
        // Nobody listens any more if another worker failed.
        let _ = self.reports.send(Report::Ready);
    }

    /// Whether the run waits for everybody to be there.
    fn is_arriving(&self) -> bool {
        self.arrivals.missing > 0
    }

    /// Begins a connection that is due at `due`.
    pub(super) fn connect(&mut self, slot: u32, due: Moment, now: Moment) -> Result<(), RunError> {
        let client = &mut self.clients[slot as usize];
        client.wanted = true;
        client.epoch += 1;
        self.records.connects.attempted += 1;
        match self.open(slot, due) {
            Ok(link) => {
                let client = &mut self.clients[slot as usize];
                client.link = Some(link);
                let deadline =
                    Deadline { at: now + PATIENCE, slot, epoch: client.epoch, task: Task::GiveUpConnecting };
                self.deadlines.push(deadline);
                Ok(())
            }
            Err(loss) => self.attempt_failed(slot, &loss),
        }
    }

    fn open(&mut self, slot: u32, due: Moment) -> Result<Link, Loss> {
        let target = &self.shared.plan.target;
        let client = &self.clients[slot as usize];
        let mut random = [0; 40];
        self.random.fill(&mut random);
        let connection = Connection::new(&self.shared.settings, &client.key, random)
            .map_err(|error| Loss::of_protocol(&error))?;
        // In turns over the clients, and over the attempts of each.
        let source = match target.sources.len() {
            0 => None,
            sources => Some(target.sources[(client.index as usize + client.epoch as usize) % sources]),
        };
        let slow = client.plan.reading != Reading::Prompt;
        let mut socket =
            open_socket(target.address, source, slow).map_err(|error| Loss::of_socket(&error))?;
        self.poll
            .registry()
            .register(&mut socket, Token(slot as usize), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| Loss::of_socket(&error))?;
        Ok(Link {
            socket,
            connection,
            due,
            connected: false,
            established: false,
            readable: false,
            hangup: false,
            writable: false,
            allowance: None,
            reads_later: false,
        })
    }

    /// The handshake is done.
    pub(super) fn established(&mut self, slot: u32, now: Moment) -> Result<(), RunError> {
        let client = &mut self.clients[slot as usize];
        let Some(link) = &mut client.link else { return Ok(()) };
        link.established = true;
        if let Reading::Slow { bytes_per_second } = client.plan.reading {
            link.allowance = Some(Allowance::new(bytes_per_second, now));
        }
        let due = link.due;
        client.failures = 0;
        if let Some(lost_at) = client.lost_at.take() {
            self.records.connects.outages.record(now.since(lost_at));
        }
        // Where connecting is the load, or part of it, only the window is measured.
        let measured =
            matches!(self.shared.plan.arrival, Arrival::Before { .. }) || self.records.measures(due);
        self.records.established(due, now, measured);
        if let Some(phases) = self.records.phases {
            self.plan_leaving(slot, phases.start.max(now));
            self.pump(slot)?;
        }
        self.arrived()
    }

    /// One of those who have to be there before the start is there.
    fn arrived(&mut self) -> Result<(), RunError> {
        if !self.is_arriving() {
            return Ok(());
        }
        self.arrivals.under_way -= 1;
        self.arrivals.missing -= 1;
        if self.arrivals.missing == 0 {
            self.report_ready();
        }
        self.go_on_arriving()
    }

    /// A connection is over, and the client had not wished it.
    pub(super) fn fail(&mut self, slot: u32, loss: &Loss) -> Result<(), RunError> {
        let client = &mut self.clients[slot as usize];
        let Some(link) = &client.link else { return Ok(()) };
        if !link.established {
            return self.attempt_failed(slot, loss);
        }
        let now = Moment::now();
        client.link = None;
        client.epoch += 1;
        client.lost_at = Some(now);
        self.records.connections -= 1;
        *self.records.connects.lost.entry(loss.name().to_owned()).or_default() += 1;
        self.plan_return(slot, now);
        Ok(())
    }

    /// A connection could not be established.
    fn attempt_failed(&mut self, slot: u32, loss: &Loss) -> Result<(), RunError> {
        let now = Moment::now();
        let client = &mut self.clients[slot as usize];
        let stage = client.link.take().map_or("connecting", |link| stage_name(&link));
        client.epoch += 1;
        client.failures += 1;
        *self.records.connects.failed.entry(loss.name().to_owned()).or_default() += 1;
        if !self.is_arriving() {
            self.plan_return(slot, now);
            return Ok(());
        }
        let client = &self.clients[slot as usize];
        if client.failures >= ATTEMPTS {
            return Err(RunError::Connect {
                url: self.shared.plan.target.url.clone(),
                address: self.shared.plan.target.address,
                attempts: client.failures,
                stage,
                reason: loss.to_string(),
            });
        }
        let at = now + WAIT * client.failures;
        self.deadlines.push(Deadline { at, slot, epoch: client.epoch, task: Task::Connect });
        Ok(())
    }

    /// Connects again later, if the plan says so.
    fn plan_return(&mut self, slot: u32, now: Moment) {
        let client = &self.clients[slot as usize];
        let Some(plan) = &client.plan.reconnect else { return };
        let wait = backoff(plan, client.failures, self.random.random());
        self.deadlines.push(Deadline { at: now + wait, slot, epoch: client.epoch, task: Task::Connect });
    }

    /// An attempt takes too long.
    pub(super) fn give_up_connecting(&mut self, slot: u32) -> Result<(), RunError> {
        match &self.clients[slot as usize].link {
            Some(link) if !link.established => self.attempt_failed(slot, &Loss::Patience),
            Some(_) | None => Ok(()),
        }
    }

    /// Leaves as the plan says, and may come back.
    pub(super) fn leave(&mut self, slot: u32, now: Moment) {
        self.hang_up(slot);
        let client = &mut self.clients[slot as usize];
        client.wanted = false;
        if let Life::Churns { away, .. } = client.plan.life {
            let deadline = Deadline { at: now + away, slot, epoch: client.epoch, task: Task::Connect };
            self.deadlines.push(deadline);
        }
    }

    /// Says goodbye and closes, as far as that goes without waiting.
    pub(super) fn hang_up(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let Some(mut link) = client.link.take() else { return };
        client.epoch += 1;
        if !link.established {
            return;
        }
        self.records.connections -= 1;
        link.connection.close();
        // A relay that does not take it sees the end of the stream.
        let _ = write_out(&mut link);
    }
}

/// A socket on its way to the relay.
fn open_socket(address: SocketAddr, source: Option<IpAddr>, slow: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if slow {
        socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER)?;
    }
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// How far a connection was, for a person.
fn stage_name(link: &Link) -> &'static str {
    if !link.connected {
        return "connecting";
    }
    match link.connection.stage() {
        Stage::Tls => "the TLS handshake",
        Stage::Upgrade => "the HTTP upgrade",
        Stage::Handshake => "the DERP handshake",
        Stage::Established | Stage::Closed => "the end of the handshake",
    }
}
