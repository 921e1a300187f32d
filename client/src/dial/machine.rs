//! The walk through a region's nodes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ferry_protocol::{ClientInfo, NodePrivateKey};

use super::race::{Next, Race};
use super::stream::{Stream, is_another_relay, step_of, was_upgrade_eaten};
use super::{
    DIAL_TIME_MAX, DialError, Endpoint, Failure, Failures, Proxy, ProxyRules, Reached, Step, Ticket,
};
use crate::{Connection, Event};

/// What all dials of a client have in common.
#[derive(Debug)]
pub struct Settings {
    /// The client's own key.
    pub key: Arc<NodePrivateKey>,
    /// What the client says of itself in its handshake.
    pub info: ClientInfo,
    /// Which relays are reached through a proxy.
    pub proxies: ProxyRules,
    /// IPv6 is thought to work: it gets a head start.
    pub prefer_ipv6: bool,
    /// A relay that offers it is not waited for: see [`Settings::fast_start`](crate::Settings::fast_start).
    pub fast_start: bool,
}

/// What to do for a [`Dial`].
#[derive(Debug)]
pub enum Output {
    /// Ask for the addresses of a name, and answer with [`Dial::resolved`].
    Resolve {
        /// What the answer is given with.
        ticket: Ticket,
        /// The name.
        host: String,
    },
    /// Open a TCP connection, and answer with [`Dial::connected`].
    Connect {
        /// What the answer is given with, and the connection's bytes then.
        ticket: Ticket,
        /// Where to.
        address: SocketAddr,
    },
    /// Stop this attempt, or close this connection: nobody waits for it any more.
    Cancel(Ticket),
    /// Established: [`Dial::into_connection`] has the connection, which stays on the socket of its ticket.
    Done,
    /// No node could be reached. The dial is over.
    Failed(Failures),
    /// Nothing to do before this time, or the next answer.
    Wait(Instant),
}

/// One walk through the nodes of a region; see [the module](super) for the rules.
///
/// After each answer, and at the time it [waited](Output::Wait) for, it is to be polled until it waits again.
#[derive(Debug)]
pub struct Dial {
    settings: Arc<Settings>,
    endpoints: Arc<[Endpoint]>,
    began: Instant,
    // Tickets are this dial's number and theirs.
    number: u64,
    tickets: u32,
    /// What is tried next: at most two ways for each node, one of them twice.
    waiting: VecDeque<Way>,
    current: Option<Try>,
    /// To be stopped.
    cancelled: Vec<Ticket>,
    failures: Vec<Failure>,
}

/// A way to speak with a node.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Which of the endpoints.
    endpoint: usize,
    websocket: bool,
    /// The other way may be tried if the upgrade is eaten.
    has_other: bool,
    /// The relay's certificate may be taken at its word.
    fast_start: bool,
}

/// What is under way with one node.
#[derive(Debug)]
struct Try {
    way: Way,
    phase: Phase,
    /// The step that is being done.
    step: Step,
    /// When it began.
    since: Instant,
    /// When it has taken too long.
    deadline: Instant,
}

#[derive(Debug)]
enum Phase {
    Resolving { ticket: Ticket, asked: bool },
    Racing(Race),
    Streaming(Box<Stream>),
}

impl Dial {
    /// A walk through `endpoints`, in their order. `number` sets its tickets apart from those of other dials, and `by_websocket` says for which
    /// the upgrade is known to be eaten.
    pub fn new(
        now: Instant,
        number: u64,
        settings: &Arc<Settings>,
        endpoints: &Arc<[Endpoint]>,
        by_websocket: impl Fn(&Endpoint) -> bool,
    ) -> Self {
        let way = |(index, endpoint): (usize, &Endpoint)| Way {
            endpoint: index,
            websocket: endpoint.url.websocket || by_websocket(endpoint),
            has_other: !endpoint.url.websocket,
            fast_start: settings.fast_start,
        };
        Self {
            settings: Arc::clone(settings),
            endpoints: Arc::clone(endpoints),
            began: now,
            number,
            tickets: 0,
            waiting: endpoints.iter().enumerate().map(way).collect(),
            current: None,
            cancelled: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Output {
        loop {
            if let Some(ticket) = self.cancelled.pop() {
                return Output::Cancel(ticket);
            }
            let Some(current) = &mut self.current else {
                let way = self.waiting.pop_front().filter(|_| now < self.began + DIAL_TIME_MAX);
                let Some(way) = way else {
                    return Output::Failed(Failures::new(std::mem::take(&mut self.failures)));
                };
                self.begin(now, way);
                continue;
            };
            let deadline = current.deadline.min(self.began + DIAL_TIME_MAX);
            if matches!(&current.phase, Phase::Streaming(stream) if stream.step().is_none()) {
                return Output::Done;
            }
            if now >= deadline {
                let error = DialError::TimedOut(now.saturating_duration_since(current.since));
                let step = current.step;
                self.give_up(None, step, error);
                continue;
            }
            match &mut current.phase {
                Phase::Resolving { asked: true, .. } => return Output::Wait(deadline),
                Phase::Resolving { ticket, asked } => {
                    *asked = true;
                    let (ticket, way) = (*ticket, current.way);
                    return Output::Resolve { ticket, host: self.tcp_host(way) };
                }
                Phase::Racing(race) => match race.next(now) {
                    Next::Connect(address) => {
                        let ticket = Ticket { dial: self.number, number: self.tickets };
                        self.tickets += 1;
                        race.started(ticket, address);
                        return Output::Connect { ticket, address };
                    }
                    Next::Wait(wake) => {
                        return Output::Wait(wake.map_or(deadline, |wake| wake.min(deadline)));
                    }
                    // Each failure has been noted by itself.
                    Next::Lost => self.current = None,
                },
                Phase::Streaming(_) => return Output::Wait(deadline),
            }
        }
    }

    /// The addresses of a name that was asked for.
    pub fn resolved(&mut self, now: Instant, ticket: Ticket, answer: io::Result<Vec<IpAddr>>) {
        let Some(Try { way, phase: Phase::Resolving { ticket: awaited, .. }, .. }) = &self.current else {
            return;
        };
        if *awaited != ticket {
            return;
        }
        let way = *way;
        match answer {
            Ok(resolved) => self.race(now, way, &resolved),
            Err(error) => self.fail(None, Step::Dns, error.into()),
        }
    }

    /// What came of an attempt to connect. `random` seeds the handshake's nonce and the WebSocket key.
    pub fn connected(&mut self, now: Instant, ticket: Ticket, answer: io::Result<()>, random: [u8; 40]) {
        let Some(Try { way, phase: Phase::Racing(race), .. }) = &mut self.current else { return };
        let Some(address) = race.ended(now, ticket) else { return };
        let way = *way;
        match answer {
            Ok(()) => self.speak(now, way, ticket, address, random),
            Err(error) => self.note(Some(address), Step::Tcp, error.into()),
        }
    }

    /// Takes what the socket gave. There may be events already, right behind ServerInfo.
    pub fn receive(
        &mut self,
        now: Instant,
        ticket: Ticket,
        input: &mut [u8],
        events: &mut impl FnMut(Event<'_>),
    ) {
        let Some(current) = &mut self.current else { return };
        let Phase::Streaming(stream) = &mut current.phase else { return };
        if stream.ticket != ticket {
            return;
        }
        match stream.receive(input, events) {
            Err(error) => {
                let (address, step) = (stream.address, step_of(&error, current.step));
                self.give_up(Some(address), step, error);
            }
            Ok(()) => {
                if let Some(step) = stream.step().filter(|step| *step != current.step) {
                    (current.step, current.since) = (step, now);
                    current.deadline = now + step.time_max();
                }
            }
        }
    }

    /// The socket came to its end, or failed.
    pub fn ended(&mut self, ticket: Ticket, error: Option<io::Error>) {
        let Some(Try { phase: Phase::Streaming(stream), step, .. }) = &self.current else { return };
        if stream.ticket != ticket {
            return;
        }
        let (address, step) = (stream.address, *step);
        self.give_up(Some(address), step, error.map_or(DialError::Closed, DialError::Io));
    }

    /// The connection is there: [`into_connection`](Self::into_connection) has it.
    pub fn is_established(&self) -> bool {
        self.stream().is_some_and(|stream| stream.step().is_none())
    }

    /// The socket that bytes go to and come from, if there is one yet.
    pub fn socket(&self) -> Option<Ticket> {
        self.stream().map(|stream| stream.ticket)
    }

    /// Bytes that the [socket](Self::socket) should take, in order.
    pub fn outgoing(&self) -> &[u8] {
        self.stream().map(Stream::outgoing).unwrap_or_default()
    }

    /// The socket took the first `bytes` of [`outgoing`](Self::outgoing).
    pub fn written(&mut self, bytes: usize) {
        if let Some(Try { phase: Phase::Streaming(stream), .. }) = &mut self.current {
            stream.written(bytes);
        }
    }

    /// The connection, once it is [`Done`](Output::Done); which endpoint it is, and how it was reached.
    pub fn into_connection(self, now: Instant) -> Option<(Connection, Endpoint, Reached)> {
        let Try { way, phase: Phase::Streaming(stream), .. } = self.current? else { return None };
        if stream.step().is_some() {
            return None;
        }
        let endpoint = self.endpoints.get(way.endpoint)?.clone();
        let reached = Reached {
            node: endpoint.node.clone(),
            address: stream.address,
            proxied: proxy_of(&self.settings, &endpoint).is_some(),
            websocket: way.websocket,
            took: now.saturating_duration_since(self.began),
        };
        Some((stream.into_connection(), endpoint, reached))
    }

    /// All that is under way, to be stopped: nobody wants the relay any more.
    pub fn abandon(mut self) -> Vec<Ticket> {
        self.stop_current();
        self.cancelled
    }

    fn stream(&self) -> Option<&Stream> {
        match &self.current.as_ref()?.phase {
            Phase::Streaming(stream) => Some(stream),
            Phase::Resolving { .. } | Phase::Racing(_) => None,
        }
    }

    /// Starts with a node.
    fn begin(&mut self, now: Instant, way: Way) {
        let Some(endpoint) = self.endpoints.get(way.endpoint) else { return };
        let needs_dns = match proxy_of(&self.settings, endpoint) {
            Some(proxy) => proxy.host.parse::<IpAddr>().is_err(),
            None => endpoint.needs_dns(),
        };
        if !needs_dns {
            return self.race(now, way, &[]);
        }
        let ticket = Ticket { dial: self.number, number: self.tickets };
        self.tickets += 1;
        let phase = Phase::Resolving { ticket, asked: false };
        let step = Step::Dns;
        self.current = Some(Try { way, phase, step, since: now, deadline: now + step.time_max() });
    }

    /// Connects to a node, or to the proxy before it.
    fn race(&mut self, now: Instant, way: Way, resolved: &[IpAddr]) {
        let Some(endpoint) = self.endpoints.get(way.endpoint) else { return };
        let (addresses, port, time_max) = match proxy_of(&self.settings, endpoint) {
            Some(proxy) => {
                let literal = proxy.host.parse().ok();
                (literal.map_or_else(|| resolved.to_vec(), |ip| vec![ip]), proxy.port, Step::Proxy.time_max())
            }
            None => (endpoint.addresses(resolved), endpoint.url.port, Step::Tcp.time_max()),
        };
        let race = Race::new(now, &addresses, port, self.settings.prefer_ipv6);
        let phase = Phase::Racing(race);
        self.current = Some(Try { way, phase, step: Step::Tcp, since: now, deadline: now + time_max });
        if addresses.is_empty() {
            let host = self.tcp_host(way);
            self.fail(None, Step::Dns, DialError::NoAddress { host });
        }
    }

    /// Speaks with the node over a TCP connection.
    fn speak(&mut self, now: Instant, way: Way, ticket: Ticket, address: SocketAddr, random: [u8; 40]) {
        let Some(endpoint) = self.endpoints.get(way.endpoint) else { return };
        let started = endpoint.tls.clone().map_err(DialError::from).and_then(|tls| {
            let mut url = endpoint.url.clone();
            url.websocket = way.websocket;
            let (info, ideal_node) = (self.settings.info.clone(), endpoint.ideal_node.clone());
            let fast_start = way.fast_start;
            let settings = Arc::new(crate::Settings { url, tls, info, ideal_node, fast_start });
            let proxy = proxy_of(&self.settings, endpoint);
            Stream::start(ticket, address, proxy, &settings, &self.settings.key, random)
        });
        self.stop_current();
        match started {
            Ok(stream) => {
                let step = stream.step().unwrap_or(Step::Tls);
                let phase = Phase::Streaming(Box::new(stream));
                self.current = Some(Try { way, phase, step, since: now, deadline: now + step.time_max() });
            }
            Err(error) => {
                self.cancelled.push(ticket);
                let step = step_of(&error, Step::Tls);
                self.push_failure(way, Some(address), step, error);
            }
        }
    }

    /// Gives up the way that is being tried, but if its upgrade was eaten tries the other, and if it is another relay than its
    /// certificate said, tries again without believing that.
    fn give_up(&mut self, address: Option<SocketAddr>, step: Step, error: DialError) {
        if let Some(Try { way, .. }) = &self.current {
            if way.has_other && was_upgrade_eaten(step, &error) {
                self.waiting.push_front(Way { websocket: !way.websocket, has_other: false, ..*way });
            } else if way.fast_start && is_another_relay(&error) {
                self.waiting.push_front(Way { fast_start: false, ..*way });
            }
        }
        self.fail(address, step, error);
    }

    fn fail(&mut self, address: Option<SocketAddr>, step: Step, error: DialError) {
        self.note(address, step, error);
        self.stop_current();
    }

    fn note(&mut self, address: Option<SocketAddr>, step: Step, error: DialError) {
        if let Some(Try { way, .. }) = &self.current {
            self.push_failure(*way, address, step, error);
        }
    }

    fn push_failure(&mut self, way: Way, address: Option<SocketAddr>, step: Step, error: DialError) {
        let node = self.endpoints.get(way.endpoint).map(|endpoint| endpoint.node.clone()).unwrap_or_default();
        self.failures.push(Failure { node, address, websocket: way.websocket, step, error });
    }

    fn stop_current(&mut self) {
        match self.current.take().map(|current| current.phase) {
            None => {}
            Some(Phase::Resolving { ticket, .. }) => self.cancelled.push(ticket),
            Some(Phase::Racing(race)) => self.cancelled.extend(race.into_running()),
            Some(Phase::Streaming(stream)) => self.cancelled.push(stream.ticket),
        }
    }

    /// Whose address is asked for: the proxy's, or the relay's.
    fn tcp_host(&self, way: Way) -> String {
        let Some(endpoint) = self.endpoints.get(way.endpoint) else { return String::new() };
        proxy_of(&self.settings, endpoint).map_or(&endpoint.url.host, |proxy| &proxy.host).clone()
    }
}

fn proxy_of<'a>(settings: &'a Settings, endpoint: &Endpoint) -> Option<&'a Proxy> {
    settings.proxies.proxy_for(&endpoint.url.host, endpoint.url.port)
}

#[cfg(test)]
mod tests;
