//! A line in a world of its own: relays in memory, a wire with a delay, and a clock that goes where it is told.
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferry_client::derp_map::Identity;
use ferry_client::dial::{Endpoint, ProxyRules, Settings, Ticket};
use ferry_client::relays::{Backlog, Event, Line, Output};
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{ClientInfo, NodePublicKey};

use crate::chance::Chance;
use crate::support::{Peer, Wire, client_key};

pub(crate) const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);
pub(crate) const REGION: RegionId = RegionId(900);
/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// A line, and what is around it.
pub(crate) struct World {
    began: Instant,
    now: Instant,
    pub(crate) line: Line,
    pub(crate) backlog: Backlog,
    /// What is on its way, by when it arrives and in which order it left.
    on_the_way: BTreeMap<(Instant, u64), Arrival>,
    departures: u64,
    links: BTreeMap<Ticket, Link>,
    // What the world is like.
    /// Nobody listens: connections are refused at once.
    pub(crate) refuses: bool,
    /// Packets to the relay, and from it, are lost; a connection that lost some is stuck for good.
    pub(crate) swallows: (bool, bool),
    /// Something in the way answers upgrades to DERP with 400.
    pub(crate) eats_upgrade: bool,
    // What was seen.
    pub(crate) events: Vec<(Duration, Event)>,
    /// Where connections were asked for.
    pub(crate) dials: Vec<(Duration, SocketAddr)>,
    /// What relays got, as they say it.
    pub(crate) got: Vec<String>,
    pub(crate) goodbyes: u32,
}

/// A TCP connection and the relay at its end.
struct Link {
    peer: Peer,
    /// Bytes of it were lost, to the relay or from it.
    stuck: (bool, bool),
    /// The client has closed it.
    closed: bool,
    is_new: bool,
}

enum Arrival {
    Connected(Ticket, bool),
    AtRelay(Ticket, Vec<u8>),
    AtClient(Ticket, Vec<u8>),
    End(Ticket),
}

impl World {
    /// A line to relays with these URLs.
    pub(crate) fn new(seed: u64, urls: &[&str]) -> Self {
        Self::with(seed, urls, false)
    }

    fn with(seed: u64, urls: &[&str], watch: bool) -> Self {
        let mut chance = Chance::new(seed);
        let settings = Arc::new(Settings {
            key: Arc::new(client_key()),
            info: ClientInfo::current(),
            proxies: ProxyRules::none(),
            prefer_ipv6: false,
            fast_start: true,
        });
        let entropy = Box::new(move |bytes: &mut [u8]| chance.fill(bytes));
        let began = Instant::now();
        Self {
            began,
            now: began,
            line: Line::new(REGION, &settings, endpoints(urls), watch, entropy),
            backlog: Backlog::default(),
            on_the_way: BTreeMap::new(),
            departures: 0,
            links: BTreeMap::new(),
            refuses: false,
            swallows: (false, false),
            eats_upgrade: false,
            events: Vec::new(),
            dials: Vec::new(),
            got: Vec::new(),
            goodbyes: 0,
        }
    }

    /// A line that watches, and is connected.
    pub(crate) fn watcher(seed: u64, urls: &[&str]) -> Self {
        let mut world = Self::with(seed, urls, true);
        world.run(Duration::from_secs(1));
        assert!(world.line.is_open(), "{:?}", world.events);
        world
    }

    /// A home line that is connected.
    pub(crate) fn home(seed: u64, urls: &[&str]) -> Self {
        let mut world = Self::new(seed, urls);
        world.line.set_home(world.now, true);
        world.run(Duration::from_secs(1));
        assert!(world.line.is_open(), "{:?}", world.events);
        world
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.began
    }

    /// Hands over a packet of so many bytes.
    pub(crate) fn send(&mut self, len: usize) {
        self.backlog.push(self.now, &BOB, &vec![7; len]).unwrap();
    }

    /// The relay of the open connection says something.
    pub(crate) fn relay_says(&mut self, frames: &[u8]) {
        let ticket = self.line.socket().unwrap();
        self.links.get_mut(&ticket).unwrap().peer.send(frames);
        self.carry(ticket);
    }

    /// The relay's process dies: all its connections end.
    pub(crate) fn relay_dies(&mut self) {
        for ticket in self.links.keys().copied().collect::<Vec<_>>() {
            self.depart(Arrival::End(ticket));
        }
    }

    /// Lets time go on.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let wake = self.settle();
            let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let next = wake.into_iter().chain(arrival).min().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while self.on_the_way.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let (_, arrival) = self.on_the_way.pop_first().unwrap();
                self.arrive(arrival);
            }
        }
        self.now = until;
    }

    /// The clock goes on and nobody looks.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
    }

    /// Runs until the line is connected; answers how long that took.
    pub(crate) fn run_until_open(&mut self, at_most: Duration) -> Duration {
        let began = self.now;
        while !self.line.is_open() {
            assert!(self.now - began < at_most, "not connected after {at_most:?}: {:?}", self.events.last());
            self.run(Duration::from_millis(10));
        }
        self.now - began
    }

    /// What happened, in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.events.iter().map(|(_, event)| word(event)).collect()
    }

    /// What happened, without the answers to pings.
    pub(crate) fn told_but_pongs(&self) -> Vec<String> {
        self.told().into_iter().filter(|word| word != "pong").collect()
    }

    /// Does all that is to be done now; answers when there is more.
    fn settle(&mut self) -> Option<Instant> {
        loop {
            let expiry = self.line.fill(self.now, &mut self.backlog);
            let wake = self.pump();
            let (Some(ticket), bytes) = (self.line.socket(), self.line.outgoing().to_vec()) else {
                return wake.into_iter().chain(expiry).min();
            };
            if bytes.is_empty() {
                return wake.into_iter().chain(expiry).min();
            }
            self.line.written(self.now, bytes.len());
            self.depart_to_relay(ticket, bytes);
        }
    }

    fn pump(&mut self) -> Option<Instant> {
        loop {
            match self.line.poll(self.now) {
                Output::Resolve { host, .. } => panic!("no name is asked for, and {host} was"),
                Output::Connect { ticket, address } => {
                    self.dials.push((self.elapsed(), address));
                    if self.swallows == (false, false) {
                        self.depart(Arrival::Connected(ticket, !self.refuses));
                    }
                }
                Output::Close { ticket, goodbye } => {
                    self.goodbyes += u32::from(!goodbye.is_empty());
                    if let Some(link) = self.links.get_mut(&ticket) {
                        link.closed = true;
                    }
                }
                Output::Event(event) => self.events.push((self.elapsed(), event)),
                Output::Wait(wake) => {
                    assert!(
                        wake.is_none_or(|wake| wake > self.now),
                        "a line must not ask to be asked for ever"
                    );
                    return wake;
                }
            }
        }
    }

    fn depart(&mut self, arrival: Arrival) {
        self.departures += 1;
        self.on_the_way.insert((self.now + DELAY, self.departures), arrival);
    }

    fn depart_to_relay(&mut self, ticket: Ticket, bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&ticket) else { return };
        // Without acknowledgements nothing goes on either.
        link.stuck.0 |= self.swallows.0 || self.swallows.1;
        if !link.stuck.0 {
            self.depart(Arrival::AtRelay(ticket, bytes));
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected(ticket, true) => {
                let mut peer = Wire::plain().peer();
                peer.answers_pings = true;
                self.links.insert(ticket, Link { peer, stuck: (false, false), closed: false, is_new: true });
                self.line.connected(self.now, ticket, Ok(()));
            }
            Arrival::Connected(ticket, false) => {
                self.line.connected(self.now, ticket, Err(io::ErrorKind::ConnectionRefused.into()));
            }
            Arrival::AtRelay(ticket, bytes) => self.at_relay(ticket, &bytes),
            Arrival::AtClient(ticket, mut bytes) => {
                if self.links.get(&ticket).is_some_and(|link| !link.closed) {
                    self.line.receive(self.now, ticket, &mut bytes, &mut |_, _| {});
                }
            }
            Arrival::End(ticket) => {
                if self.links.remove(&ticket).is_some() {
                    self.line.ended(self.now, ticket, None);
                }
            }
        }
    }

    fn at_relay(&mut self, ticket: Ticket, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&ticket) else { return };
        let is_upgrade =
            std::mem::take(&mut link.is_new) && String::from_utf8_lossy(bytes).contains("Upgrade: DERP");
        if self.eats_upgrade && is_upgrade {
            return self.depart(Arrival::AtClient(ticket, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
        }
        link.peer.receive(bytes);
        self.got.append(&mut link.peer.received);
        self.carry(ticket);
    }

    /// What the relay has to say goes on its way.
    fn carry(&mut self, ticket: Ticket) {
        let Some(link) = self.links.get_mut(&ticket) else { return };
        let bytes = link.peer.take();
        link.stuck.1 |= (self.swallows.0 || self.swallows.1) && !bytes.is_empty();
        if !link.stuck.1 && !bytes.is_empty() {
            self.depart(Arrival::AtClient(ticket, bytes));
        }
    }
}

/// Relays with these URLs.
pub(crate) fn endpoints(urls: &[&str]) -> Vec<Endpoint> {
    let roots = Arc::new(rustls::RootCertStore::empty());
    urls.iter().map(|url| Endpoint::of_url(&url.parse().unwrap(), Identity::HostName, &roots)).collect()
}

/// An event in a word or two.
fn word(event: &Event) -> String {
    match event {
        Event::Connected { reached, .. } => {
            format!("connected {}{}", reached.node, if reached.websocket { " by WebSocket" } else { "" })
        }
        Event::ConnectFailed { .. } => "failed".to_owned(),
        Event::Disconnected { reason, .. } => format!("lost: {}", reason.code()),
        Event::PeersGone { .. } => "peer gone".to_owned(),
        Event::Health { problem, .. } => format!("health: {problem}"),
        Event::Restarting { .. } => "restarting".to_owned(),
        Event::Pong { .. } => "pong".to_owned(),
        Event::Dropped { reason, dropped, .. } => format!("dropped {}: {reason}", dropped.packets),
        Event::PeersPresent { .. } | Event::Missed { .. } | _ => format!("{event:?}"),
    }
}
