//! The channel's thread: it reads the channel's socket, asks the node, and sends what the node wants sent.

use std::io::{self, PipeReader, Read};
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{info, warn};

use super::address::Lookup;
use super::channel::{Route, Shared, lock};
use super::health::{DownReason, PartnerState};
use super::node::{Node, Now};
use super::service::Services;
use super::wire::DATAGRAM_BYTES_MAX;

/// Datagrams taken before the clock is looked at again: a flood must not keep the thread from its probes.
const READS_MAX: usize = 64;

/// How long a state other than "up" lasts before it is logged. A partner that starts again is out for less.
const LOG_AFTER: Duration = Duration::from_secs(1);

/// Milliseconds since 1970, by the clock that people set.
pub(super) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn now() -> Now {
    Now { instant: Instant::now(), unix_millis: unix_millis() }
}

/// The thread's side of a channel.
pub(super) struct Service {
    shared: Arc<Shared>,
    node: Node,
    /// Where the partner's end is, once it is known.
    peer: Option<SocketAddr>,
    lookup: Option<Lookup>,
    lookup_error: Option<String>,
    wakes: PipeReader,
    route: Option<Route>,
    journal: Journal,
}

impl Service {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: Node,
        peer: Option<SocketAddr>,
        lookup: Option<Lookup>,
        wakes: PipeReader,
    ) -> Self {
        let journal = Journal::new(Instant::now());
        Self { shared, node, peer, lookup, lookup_error: None, wakes, route: None, journal }
    }

    pub(super) fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
        while !self.shared.stop.load(Relaxed) {
            let now = now();
            self.look_up(now.instant);
            let (shared, peer) = (&self.shared, self.peer);
            self.node.poll(now, &mut |datagram| send(shared, peer, datagram));
            self.publish(now.instant);
            self.wait();
            self.read(&mut buffer);
        }
        let (shared, peer) = (&self.shared, self.peer);
        self.node.leave(now(), &mut |datagram| send(shared, peer, datagram));
        self.route = None;
        self.publish_route();
    }

    /// Waits for a datagram, for news from another thread, or for the node's time.
    fn wait(&mut self) {
        let now = Instant::now();
        let wait = self.node.next_wake(now).saturating_duration_since(now);
        let limit = Timespec::try_from(wait).ok();
        let mut watched =
            [PollFd::new(&self.shared.socket, PollFlags::IN), PollFd::new(&self.wakes, PollFlags::IN)];
        // An interrupted wait is a wait that found nothing.
        let _ = poll(&mut watched, limit.as_ref());
        let [_, wakes] = watched;
        if !wakes.revents().is_empty() {
            let _ = self.wakes.read(&mut [0; 64]);
            let here = lock(&self.shared.sockets).here();
            let (shared, peer) = (&self.shared, self.peer);
            self.node.set_here(here, self::now(), &mut |datagram| send(shared, peer, datagram));
        }
    }

    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..READS_MAX {
            match self.shared.socket.recv_from(buffer) {
                Ok((len, _)) => self.take(buffer.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // One ICMP error for each datagram that we sent to a closed port, on some systems; reading clears it.
                Err(_) => {
                    self.shared.counters.read_error.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let (shared, peer) = (&self.shared, self.peer);
        let now = now();
        match self.node.receive(datagram, now, &mut |datagram| send(shared, peer, datagram)) {
            Ok(None) => self.publish(now.instant),
            Ok(Some(forward)) => {
                let sent = lock(&shared.sockets).send(&forward).is_ok();
                let counter = if sent { &shared.counters.sent } else { &shared.counters.send_error };
                counter.fetch_add(1, Relaxed);
            }
            Err(reason) => shared.counters.count_refused(reason),
        }
    }

    fn look_up(&mut self, now: Instant) {
        let Some(lookup) = &mut self.lookup else { return };
        let silent = matches!(self.node.state(), PartnerState::Down(DownReason::NoReply));
        let shared = Arc::clone(&self.shared);
        match lookup.poll(self.peer.is_none() || silent, now, move || shared.wake()) {
            None => {}
            Some(Ok(address)) => {
                self.peer = Some(address);
                self.lookup_error = None;
            }
            Some(Err(error)) => self.lookup_error = Some(error),
        }
    }

    /// Tells the other threads what has changed.
    fn publish(&mut self, now: Instant) {
        let route = self.peer.zip(self.node.route());
        let route = route.map(|(peer, (epoch, services))| Route { peer, epoch, services });
        if route != self.route {
            self.route = route;
            self.publish_route();
        }
        let state = match (&self.lookup_error, self.peer) {
            (Some(error), None) => PartnerState::Down(DownReason::Unresolved { error: error.clone() }),
            (None, _) | (_, Some(_)) => self.node.state().clone(),
        };
        self.journal.note(&state, now);
        let heard = self.node.heard();
        let mut report = lock(&self.shared.report);
        report.state = state;
        report.round_trip = heard.map(|heard| heard.round_trip);
        report.ahead_millis = heard.map(|heard| heard.ahead_millis);
        report.partner_services = heard.map_or_else(Services::default, |heard| heard.services);
    }

    fn publish_route(&self) {
        let services = self.route.map_or_else(Services::default, |route| route.services);
        let ipv4 = services.ipv4.and_then(|service| match service.ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let ipv6 = services.ipv6.and_then(|service| match service.ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip),
        });
        lock(&self.shared.outgoing).route = self.route;
        self.shared.addresses.set(ipv4, ipv6);
    }
}

/// A datagram that is lost here is asked for again: probes are repeated every second.
fn send(shared: &Shared, peer: Option<SocketAddr>, datagram: &[u8]) {
    if let Some(peer) = peer {
        let _ = shared.socket.send_to(datagram, peer);
    }
}

/// Decides what is worth a line in the log: each lasting change, once.
struct Journal {
    current: Kind,
    since: Instant,
    /// The last that was logged.
    told: Option<Kind>,
}

/// A state without its figures, which change all the time.
type Kind = (Discriminant<PartnerState>, Option<Discriminant<DownReason>>);

impl Journal {
    fn new(now: Instant) -> Self {
        Self { current: kind(&PartnerState::Down(DownReason::Starting)), since: now, told: None }
    }

    fn note(&mut self, state: &PartnerState, now: Instant) {
        if !self.is_news(state, now) {
            return;
        }
        match state {
            PartnerState::Up => info!("partner sends for this machine; change IP is served"),
            PartnerState::Down(reason) => {
                warn!(%reason, "partner does not send for this machine; change IP is refused");
            }
        }
    }

    fn is_news(&mut self, state: &PartnerState, now: Instant) -> bool {
        let kind = kind(state);
        if kind != self.current {
            (self.current, self.since) = (kind, now);
        }
        let lasts = match state {
            PartnerState::Up => true,
            PartnerState::Down(DownReason::Starting) => false,
            PartnerState::Down(_) => now.saturating_duration_since(self.since) >= LOG_AFTER,
        };
        lasts && self.told.replace(kind) != Some(kind)
    }
}

fn kind(state: &PartnerState) -> Kind {
    let reason = match state {
        PartnerState::Up => None,
        PartnerState::Down(reason) => Some(discriminant(reason)),
    };
    (discriminant(state), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_changes_are_news_and_each_once() {
        let begin = Instant::now();
        let mut journal = Journal::new(begin);
        let clock = |ahead_millis| PartnerState::Down(DownReason::ClocksDiffer { ahead_millis });
        let (up, silent) = (PartnerState::Up, PartnerState::Down(DownReason::NoReply));
        for (millis, state, news) in [
            (0, &PartnerState::Down(DownReason::Starting), false),
            (2000, &PartnerState::Down(DownReason::Starting), false),
            (3500, &silent, false),
            (4499, &silent, false),
            (4500, &silent, true),
            (9000, &silent, false),
            (9001, &up, true),
            (9002, &up, false),
            // A partner that starts again.
            (20_000, &silent, false),
            (20_500, &up, false),
            (30_000, &clock(6000), false),
            (31_000, &clock(6001), true),
            (32_000, &clock(7000), false),
            (33_000, &silent, false),
            (34_000, &silent, true),
            (34_001, &up, true),
        ] {
            assert_eq!(journal.is_news(state, begin + Duration::from_millis(millis)), news, "{millis} ms");
        }
    }
}
