//! A network in memory: a host, a NAT or firewall for each family, nodes, names, a captive portal, and time that is only counted.
//!
//! NATs and STUN servers are those of ferry-stun's own tests.

#[allow(dead_code, reason = "ferry-stun's tests need more of it")]
#[path = "../../../stun/tests/nat_world/nat.rs"]
pub(crate) mod nat;
#[allow(dead_code, reason = "ferry-stun's tests need more of it")]
#[path = "../../../stun/tests/nat_world/server.rs"]
pub(crate) mod server;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferry_client::netcheck::{
    Config, Family, HttpsFailure, HttpsId, HttpsProbe, HttpsStage, HttpsTimes, HttpsWay, Input, LookupId,
    Nearest, Netcheck, Output, PerFamily, PortalAnswer, PortalId, PortalProbe, Report, SocketId,
};
use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use ferry_stun::TransactionId;

use nat::Nat;
use server::{Kind, Server};

/// splitmix64: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, `end` excluded.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn transaction_id(&mut self) -> TransactionId {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes()[..4]);
        TransactionId::new(bytes)
    }
}

/// A relay with STUN, alone in its region.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    pub(crate) region: RegionId,
    pub(crate) stun: Server,
    /// Its STUN over IPv6.
    pub(crate) stun6: Option<Server>,
    /// One way.
    pub(crate) there: Duration,
    pub(crate) back: Duration,
    /// Neither UDP nor TCP.
    pub(crate) is_dead: bool,
    /// TCP is dropped on the way.
    pub(crate) tcp_blocked: bool,
}

impl Relay {
    pub(crate) fn round_trip(&self) -> Duration {
        self.there + self.back
    }

    fn has(&self, ip: IpAddr) -> bool {
        let servers = [Some(&self.stun), self.stun6.as_ref()].into_iter().flatten();
        servers.into_iter().any(|server| server.first.ip() == ip || server.other.ip() == ip)
    }
}

/// Who answers on port 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port80 {
    /// The relays.
    Relays,
    /// Nobody.
    Nobody,
    /// A portal, with this status.
    Portal(u16),
}

#[derive(Debug)]
enum Event {
    ToServer { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    ToHost { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Inside { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Resolved(LookupId, Vec<IpAddr>),
    Https(HttpsId, Result<HttpsTimes, HttpsFailure>),
    Portal(PortalId, Option<PortalAnswer>),
}

pub(crate) struct World {
    /// What stands before the host; None without a route.
    pub(crate) nats: PerFamily<Option<Nat>>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) names: HashMap<String, Vec<IpAddr>>,
    pub(crate) dns_takes: Duration,
    pub(crate) port80: Port80,
    /// The router's external address by NAT-PMP; None if it does not speak it.
    pub(crate) nat_pmp: Option<[u8; 4]>,
    /// Lost per thousand datagrams, each way.
    pub(crate) loss_permille: u64,
    /// The longest that a datagram is late, each way.
    pub(crate) jitter: Duration,
    /// Everyone who answers is preceded by somebody who guesses.
    pub(crate) is_hostile: bool,
    pub(crate) sent: usize,
    pub(crate) now: Instant,
    random: Random,
    sockets: Vec<(SocketId, SocketAddr)>,
    events: BTreeMap<(Instant, u64), Event>,
    counted: u64,
}

/// A check that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// The first word, and when it came.
    pub(crate) nearest: Option<(Nearest, Duration)>,
    pub(crate) took: Duration,
}

impl World {
    /// Relays without faults behind a NAT of IPv4; no IPv6.
    pub(crate) fn new(nat: Nat, relays: Vec<Relay>, seed: u64) -> Self {
        Self {
            nats: PerFamily { ipv4: Some(nat), ipv6: None },
            relays,
            names: HashMap::new(),
            dns_takes: Duration::from_millis(10),
            port80: Port80::Relays,
            nat_pmp: None,
            loss_permille: 0,
            jitter: Duration::ZERO,
            is_hostile: false,
            sent: 0,
            now: Instant::now(),
            random: Random::new(seed),
            sockets: Vec::new(),
            events: BTreeMap::new(),
            counted: 0,
        }
    }

    /// A map of the relays.
    pub(crate) fn map(&self) -> DerpMap {
        let regions = self.relays.iter().map(|relay| {
            let ipv6 = relay
                .stun6
                .as_ref()
                .map_or_else(|| "none".to_owned(), |server| server.first.ip().to_string());
            let node = Node {
                name: format!("{}a", relay.region),
                region_id: relay.region,
                host_name: format!("relay{}.example.net", relay.region),
                ipv4: relay.stun.first.ip().to_string(),
                ipv6,
                can_port80: true,
                ..Node::default()
            };
            let region_name = format!("Region {}", relay.region);
            let region =
                Region { region_id: relay.region, region_name, nodes: vec![node], ..Region::default() };
            (relay.region, region)
        });
        DerpMap { regions: regions.collect(), ..DerpMap::default() }
    }

    /// Makes a check of all relays.
    pub(crate) fn check(&mut self, config: Config) -> Outcome {
        let map = self.map();
        self.check_map(&map, config)
    }

    /// Makes a check and lives through it.
    pub(crate) fn check_map(&mut self, map: &DerpMap, config: Config) -> Outcome {
        let start = self.now;
        let mut ids = Random::new(self.random.next());
        let mut check = Netcheck::new(map, config, start, move || ids.transaction_id());
        let mut nearest = None;
        loop {
            match check.poll(self.now) {
                Output::Open { socket, toward } => {
                    assert_eq!(Family::of(toward.ip()), socket.family());
                    self.open(&mut check, socket);
                }
                Output::Send { socket, to, payload } => self.send(&mut check, socket, to, payload),
                Output::Resolve { lookup, host } => {
                    let found = self.names.get(&host).cloned().unwrap_or_default();
                    self.after(self.dns_takes, Event::Resolved(lookup, found));
                }
                Output::Https(probe) => self.https(&probe),
                Output::Portal(probe) => self.portal(&probe),
                Output::Nearest(found) => {
                    assert!(nearest.is_none(), "the first word comes once");
                    nearest = Some((found, self.now - start));
                }
                Output::Wait(until) => {
                    assert!(until > self.now, "a wait for what has been");
                    self.wait(&mut check, until);
                }
                Output::Done(report) => {
                    let took = self.now - start;
                    assert_eq!(report.took, took);
                    self.sockets.clear();
                    self.events.clear();
                    return Outcome { report: *report, nearest, took };
                }
            }
        }
    }

    fn open<I: FnMut() -> TransactionId + Clone>(&mut self, check: &mut Netcheck<I>, socket: SocketId) {
        assert!(self.sockets.iter().all(|(open, _)| *open != socket), "{socket:?} is opened once");
        let host = self.nats.of(socket.family()).as_ref().map(Nat::host);
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        let port = loop {
            let port = 32_768 + self.random.below(28_000) as u16;
            if self.sockets.iter().all(|(_, local)| local.port() != port) {
                break port;
            }
        };
        let local = SocketAddr::new(host.unwrap_or(unspecified), port);
        self.sockets.push((socket, local));
        check.handle(self.now, Input::Opened { socket, local });
    }

    fn send<I: FnMut() -> TransactionId + Clone>(
        &mut self,
        check: &mut Netcheck<I>,
        socket: SocketId,
        to: SocketAddr,
        payload: Vec<u8>,
    ) {
        self.sent += 1;
        let from = self.sockets.iter().find(|(open, _)| *open == socket).expect("an open socket").1;
        let now = self.now;
        if socket == SocketId::PortMapping {
            if let Some(external) = self.nat_pmp.filter(|_| payload == [0, 0]) {
                let payload = [&[0, 128, 0, 0, 0, 0, 0, 1], &external[..]].concat();
                self.after(Duration::from_millis(2), Event::Inside { from: to, to: from, payload });
            }
            return;
        }
        let Some(nat) = self.nats.of_mut(socket.family()) else {
            return check.handle(now, Input::Unsendable { socket });
        };
        let Some(external) = nat.outbound(now, from, to) else { return };
        if nat.is_external(to) {
            let seen_from = nat.hairpin_source(from, external);
            if let Some((from, to)) = seen_from.zip(nat.inbound(now, external, to)) {
                self.after(Duration::from_millis(1), Event::Inside { from, to, payload });
            }
            return;
        }
        let there = self.relays.iter().find(|relay| relay.has(to.ip())).map(|relay| relay.there);
        if let Some(there) = there {
            self.travel(there, Event::ToServer { from: external, to, payload });
        }
    }

    /// On its way, unless it is lost.
    fn travel(&mut self, takes: Duration, event: Event) {
        if self.random.below(1000) < self.loss_permille {
            return;
        }
        let late = Duration::from_micros(self.random.below(self.jitter.as_micros() as u64 + 1));
        self.after(takes + late, event);
    }

    fn after(&mut self, takes: Duration, event: Event) {
        self.counted += 1;
        self.events.insert((self.now + takes, self.counted), event);
    }

    /// TCP, TLS and a request are three round trips; the third is what is measured.
    fn https(&mut self, probe: &HttpsProbe) {
        let HttpsWay::Direct(addresses) = &probe.way else { return self.https_by_proxy(probe) };
        assert!(!addresses.is_empty());
        let reachable = |to: &&SocketAddr| self.nats.of(Family::of(to.ip())).is_some();
        let Some(&remote) = addresses.iter().find(reachable) else {
            let failure = HttpsFailure::new(HttpsStage::Connect, &"network is unreachable");
            return self.after(Duration::ZERO, Event::Https(probe.id, Err(failure)));
        };
        let relay = self.relays.iter().find(|relay| relay.has(remote.ip()));
        let Some(relay) = relay.filter(|relay| !relay.is_dead && !relay.tcp_blocked) else { return };
        let request = relay.round_trip();
        let times = HttpsTimes { remote, proxied: false, connect: request, tls: request, request };
        self.after(request * 3, Event::Https(probe.id, Ok(times)));
    }

    /// The proxy is a step away, reaches all relays, and knows their names.
    fn https_by_proxy(&mut self, probe: &HttpsProbe) {
        let called = |relay: &&Relay| probe.host_name == format!("relay{}.example.net", relay.region);
        let relay = self.relays.iter().find(called).expect("the proxy gets a name");
        let request = relay.round_trip();
        let remote = SocketAddr::from(([192, 168, 1, 9], 3128));
        let times = HttpsTimes { remote, proxied: true, connect: request, tls: request, request };
        self.after(request * 3, Event::Https(probe.id, Ok(times)));
    }

    fn portal(&mut self, probe: &PortalProbe) {
        assert_eq!((probe.to.port(), probe.host.parse()), (80, Ok(probe.to.ip())));
        let answer = match self.port80 {
            Port80::Nobody => return self.after(Duration::from_millis(5), Event::Portal(probe.id, None)),
            Port80::Portal(status) => {
                PortalAnswer { status, response: None, location: Some("http://login.example/".to_owned()) }
            }
            Port80::Relays => {
                let response = Some(format!("response {}", probe.challenge));
                PortalAnswer { status: 204, response, location: None }
            }
        };
        self.after(Duration::from_millis(60), Event::Portal(probe.id, Some(answer)));
    }

    /// Lets time pass to the next event or to `until`.
    fn wait<I: FnMut() -> TransactionId + Clone>(&mut self, check: &mut Netcheck<I>, until: Instant) {
        match self.events.first_key_value() {
            Some(((at, _), _)) if *at <= until => {
                let ((at, _), event) = self.events.pop_first().expect("looked at above");
                self.now = at;
                self.happen(check, event);
            }
            _ => self.now = until,
        }
    }

    fn happen<I: FnMut() -> TransactionId + Clone>(&mut self, check: &mut Netcheck<I>, event: Event) {
        let now = self.now;
        match event {
            Event::ToServer { from, to, payload } => {
                let relay =
                    self.relays.iter_mut().find(|relay| relay.has(to.ip())).expect("it was sent there");
                if relay.is_dead {
                    return;
                }
                let back = relay.back;
                let six = relay.stun6.as_mut().filter(|server| server.listens_on(to));
                let four = if relay.stun.listens_on(to) { Some(&mut relay.stun) } else { None };
                let answer = six.or(four).and_then(|server| server.answer(now, from, to, &payload));
                if let Some((from, to, payload)) = answer {
                    self.travel(back, Event::ToHost { from, to, payload });
                }
            }
            Event::ToHost { from, to, payload } => {
                let nat = self.nats.of(Family::of(to.ip())).as_ref().expect("it was sent from there");
                if let Some(to) = nat.inbound(now, from, to) {
                    self.happen(check, Event::Inside { from, to, payload });
                }
            }
            Event::Inside { from, to, payload } => {
                let socket = self.sockets.iter().find(|(_, local)| *local == to).map(|(socket, _)| *socket);
                let Some(socket) = socket else { return };
                if self.is_hostile {
                    self.forge(check, socket, from, &payload);
                }
                check.handle(now, Input::Datagram { socket, from, datagram: &payload });
            }
            Event::Resolved(lookup, addresses) => {
                check.handle(now, Input::Resolved { lookup, addresses: &addresses });
            }
            Event::Https(probe, outcome) => check.handle(now, Input::Https { probe, outcome }),
            Event::Portal(probe, answer) => check.handle(now, Input::Portal { probe, answer }),
        }
    }

    /// What must not change anything: the right address with a guessed ID, the right ID from a wrong address, cut off, and
    /// too long.
    fn forge<I: FnMut() -> TransactionId + Clone>(
        &mut self,
        check: &mut Netcheck<I>,
        socket: SocketId,
        from: SocketAddr,
        payload: &[u8],
    ) {
        if !matches!(socket, SocketId::Data(_)) {
            // What a discovery makes of these is ferry-stun's to test.
            return;
        }
        let mut guessed = payload.to_vec();
        guessed[8..16].copy_from_slice(&self.random.next().to_be_bytes());
        let elsewhere = SocketAddr::new(from.ip(), from.port() ^ 1);
        let long = [payload, &[0; 2000]].concat();
        for (from, datagram) in
            [(from, &guessed[..]), (elsewhere, payload), (from, &payload[..19]), (from, &long)]
        {
            check.handle(self.now, Input::Datagram { socket, from, datagram });
        }
    }
}

/// Relays as derper's, of regions 1, 2, …, with these round trips in milliseconds.
pub(crate) fn derpers(round_trips: &[u64]) -> Vec<Relay> {
    let relays = round_trips.iter().zip(1..).map(|(millis, id)| {
        let at = format!("198.51.100.{id}:3478");
        relay(id, Server::new(Kind::Tailscale, &at, &at), *millis)
    });
    relays.collect()
}

/// The same, and the last one does RFC 5780 with two addresses.
pub(crate) fn with_discovery(round_trips: &[u64]) -> Vec<Relay> {
    let mut relays = derpers(round_trips);
    let last = relays.last_mut().expect("a relay");
    last.stun = Server::new(Kind::Ferry, "192.0.2.1:3478", "192.0.2.2:3479");
    relays
}

fn relay(id: i64, stun: Server, millis: u64) -> Relay {
    let half = Duration::from_millis(millis) / 2;
    let region = RegionId(id);
    Relay { region, stun, stun6: None, there: half, back: half, is_dead: false, tcp_blocked: false }
}

/// Gives every relay IPv6 too.
pub(crate) fn with_ipv6(mut relays: Vec<Relay>) -> Vec<Relay> {
    for relay in &mut relays {
        let at = format!("[2001:db8::{}]:3478", relay.region);
        relay.stun6 = Some(Server::new(Kind::Tailscale, &at, &at));
    }
    relays
}
