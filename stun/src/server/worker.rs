//! One thread: reads its socket, answers, counts.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::addresses::Place;
use super::counters::{Counters, ThreadCounters, count, count_many};
use super::flood::FloodWatch;
use super::socket::Sockets;
use super::sys::{self, BATCH, Control, Inbox, Outbox, Received};
use crate::budget::Budgets;
use crate::partner::PartnerChannel;
use crate::responder::{Alternates, Arrival, Origin, Outcome, RefusalReason, Reply, Responder};
use crate::source::Source;

/// How long a failing socket is left alone. Long enough not to spin on an interface that is down, short
/// enough for clients to notice nothing (they try three times within 200 ms, then in the next report).
const READ_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The longest wait while sources are dropped: they have to be let go in time even if nobody else asks.
const FILTERED_WAIT: Duration = Duration::from_secs(1);

/// What the owner tells all threads.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Read and answer nothing.
    pub(super) quiet: AtomicBool,
    /// Come to an end.
    pub(super) stop: AtomicBool,
}

/// What one thread is given.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) sockets: Arc<Sockets>,
    /// Whose socket it reads.
    pub(super) place: Place,
    /// Its number among the threads of the place.
    pub(super) thread: usize,
    /// Its number among all threads.
    pub(super) number: usize,
    pub(super) counters: Arc<Counters>,
    pub(super) orders: Arc<Orders>,
    pub(super) responder: Responder,
    pub(super) budgets: Budgets,
    /// What RFC 5780's answers tell, if it is on.
    pub(super) view: Option<View>,
    pub(super) partner: Option<Arc<PartnerChannel>>,
}

/// The server's addresses as those see them who ask at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The address asked. None on a wildcard socket, where each datagram tells.
    pub(super) asked_ip: Option<IpAddr>,
    /// The port asked.
    pub(super) asked_port: u16,
    /// The other port.
    pub(super) other_port: u16,
    /// The other address, if this machine has it.
    pub(super) other_ip: Option<IpAddr>,
}

impl Worker {
    /// Serves until the owner wants an end.
    pub(super) fn run(self) {
        let sockets = Arc::clone(&self.sockets);
        let counters = Arc::clone(&self.counters);
        let socket = sockets.of_thread(self.place, self.thread);
        let Some((socket, counters)) = socket.zip(counters.of_thread(self.number)) else { return };
        let mut inbox = Inbox::new(sockets.is_wildcard());
        let mut service = Service {
            socket,
            counters,
            outbox: Outbox::new(sockets.addresses.first.is_ipv6()),
            waiting: Waiting::default(),
            flood: FloodWatch::default(),
            partner_ips: PartnerIps::default(),
            worker: self,
        };
        loop {
            let read = inbox.receive(socket);
            // A socket that was shut down reads as an empty datagram.
            if service.worker.orders.stop.load(Relaxed) {
                return;
            }
            match read {
                Ok(datagrams) => service.serve(datagrams, &inbox),
                Err(error) => service.read_failed(&error),
            }
        }
    }
}

/// A thread at work.
struct Service<'s> {
    socket: &'s UdpSocket,
    counters: &'s ThreadCounters,
    outbox: Outbox,
    waiting: Waiting,
    flood: FloodWatch,
    partner_ips: PartnerIps,
    worker: Worker,
}

/// What the answers in the outbox are.
#[derive(Default)]
struct Waiting {
    /// For each whether it is a success.
    is_success: [bool; BATCH],
    len: usize,
}

/// The partner's addresses, while it is up; asked for once per batch.
#[derive(Default)]
struct PartnerIps {
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
}

impl Service<'_> {
    fn serve(&mut self, datagrams: usize, inbox: &Inbox) {
        count_many(&self.counters.received, datagrams);
        if self.worker.orders.quiet.load(Relaxed) {
            return count_many(&self.counters.unanswered, datagrams);
        }
        let now = Instant::now();
        self.worker.budgets.advance(now);
        if let Some(partner) = &self.worker.partner {
            self.partner_ips = PartnerIps { ipv4: partner.address(true), ipv6: partner.address(false) };
        }
        for received in inbox.datagrams() {
            self.serve_one(&received);
        }
        self.flush();
        self.watch(datagrams, now);
    }

    fn serve_one(&mut self, received: &Received<'_>) {
        let source = received.source;
        // From one of our own sockets: forged, and the answer would come to us.
        if self.worker.sockets.is_own(source, received.control) {
            return self.counters.count_refused(RefusalReason::SourceAddress);
        }
        let arrival = Arrival { source, alternates: self.alternates(received) };
        let Some(buffer) = self.outbox.buffer() else { return };
        match self.worker.responder.answer(received.bytes, &arrival, &mut self.worker.budgets, buffer) {
            Outcome::Answer(reply) => {
                self.counters.count_valid(source.ip());
                self.post(&reply, received, true);
            }
            Outcome::Error(reply, reason) => {
                self.counters.count_refused(reason);
                self.post(&reply, received, false);
            }
            Outcome::Silence(reason) => {
                self.counters.count_refused(reason);
                if reason == RefusalReason::SourceRate {
                    self.flood.refused(source.ip());
                }
            }
        }
    }

    /// What the asker is told of the server's addresses.
    fn alternates(&self, received: &Received<'_>) -> Option<Alternates> {
        let view = self.worker.view?;
        let ipv4 = received.source.ip().to_canonical().is_ipv4();
        let told = view.asked_ip.filter(|ip| ip.is_ipv4() == ipv4);
        let asked_ip = told.or_else(|| received.control?.local_ip())?;
        let partner_ip = if ipv4 { self.partner_ips.ipv4 } else { self.partner_ips.ipv6 };
        Some(Alternates {
            asked: SocketAddr::new(asked_ip, view.asked_port),
            other_port: view.other_port,
            other_ip: view.other_ip.or(partner_ip),
        })
    }

    /// Has the answer in the outbox's buffer sent from where it shall come from.
    fn post(&mut self, reply: &Reply, received: &Received<'_>, is_success: bool) {
        if is_success && (reply.from != Origin::ASKED || reply.to != received.source) {
            count(&self.counters.redirected);
        }
        if reply.from == Origin::ASKED {
            self.outbox.push(reply.to, received.control);
            if let Some(place) = self.waiting.is_success.get_mut(self.waiting.len) {
                *place = is_success;
                self.waiting.len += 1;
            }
            return;
        }
        // Rare, because it is limited: these go one by one.
        let sent = if reply.from.other_ip && self.worker.partner.is_some() {
            self.forward(reply)
        } else {
            self.send_from_sibling(reply, received.control)
        };
        self.count_sent(is_success, sent);
    }

    /// Hands the answer to the machine that has the other address.
    fn forward(&mut self, reply: &Reply) -> bool {
        let Some((view, partner)) = self.worker.view.zip(self.worker.partner.as_ref()) else { return false };
        let Some(answer) = self.outbox.buffer() else { return false };
        let from_port = if reply.from.other_port { view.other_port } else { view.asked_port };
        let to = SocketAddr::new(reply.to.ip().to_canonical(), reply.to.port());
        let sent = partner.send(from_port, to, answer);
        if sent {
            count(&self.counters.forwarded);
        }
        sent
    }

    fn send_from_sibling(&mut self, reply: &Reply, control: Option<&Control>) -> bool {
        let place = self.worker.place.seen_from(reply.from);
        let Some(sibling) = self.worker.sockets.of_thread(place, self.worker.thread) else { return false };
        self.outbox.push(reply.to, control);
        self.outbox.send_last(sibling)
    }

    /// Sends all answers that leave from the address asked.
    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut failed = [false; BATCH];
        self.outbox.send(self.socket, |place| {
            if let Some(failed) = failed.get_mut(place) {
                *failed = true;
            }
        });
        for (is_success, failed) in waiting.is_success.into_iter().zip(failed).take(waiting.len) {
            self.count_sent(is_success, !failed);
        }
    }

    fn count_sent(&self, is_success: bool, sent: bool) {
        count(match (is_success, sent) {
            (true, true) => &self.counters.success,
            (false, true) => &self.counters.errors,
            (_, false) => &self.counters.write_error,
        });
    }

    fn read_failed(&mut self, error: &io::Error) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are failures")]
        match error.kind() {
            // The wait was over, which is no failure.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                self.watch(0, Instant::now());
            }
            _ => {
                count(&self.counters.read_error);
                // The owner wakes it for an end.
                thread::park_timeout(READ_ERROR_PAUSE);
            }
        }
    }

    /// Has the kernel drop those who flood, and lets them go again.
    fn watch(&mut self, datagrams: usize, now: Instant) {
        let Some(caught) = self.flood.end_batch(datagrams, now) else { return };
        let sources: Vec<Source> = self.flood.sources().collect();
        // Best effort: budgets alone hold too, only that others lose datagrams to the flood.
        if sys::drop_sources(self.socket, &sources).is_err() {
            return;
        }
        let wait_max = (!sources.is_empty()).then_some(FILTERED_WAIT);
        let _ = self.socket.set_read_timeout(wait_max);
        if caught > 0 {
            count(&self.counters.filter_installs);
            count_many(&self.counters.sources_filtered, caught);
        }
    }
}
