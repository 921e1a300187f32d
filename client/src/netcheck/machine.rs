//! The whole check as a state machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::{DerpMap, RegionId};
use ferry_stun::TransactionId;

use super::behaviour::BehaviourCheck;
use super::names::{LookupId, Names, Source};
use super::nat64::{IPV4_ONLY_HOST, Nat64Prefix, is_translated};
use super::plan::plan;
use super::port_mapping::PortMappingCheck;
use super::portal::{PORTAL_AFTER, PortalCheck};
use super::relays::Relays;
use super::report::{FamilyReport, NodeReport, RegionReport, Report};
use super::stun::{DataSocket, Probes};
use super::target::{Area, Target, targets};
use super::{Config, Family, Input, Nearest, Output, PerFamily, Progress, REPORT_TIME_MAX, Scope, SocketId};

/// Without a STUN answer for so long, relays are asked over HTTPS.
const UDP_SILENCE: Duration = Duration::from_millis(500);
/// A home that was asked this often is not waited for.
const HOME_TRIES: u32 = 3;
/// How long a home that does not answer holds up the first word.
const HOME_WAIT: Duration = Duration::from_millis(300);
/// When enough regions have answered, the others have twice the slowest round trip, and at least this long: three tries.
const REST_MIN_FULL: Duration = Duration::from_millis(400);
/// The same in an incremental report, where it is once the slowest.
const REST_MIN_INCREMENTAL: Duration = Duration::from_millis(100);
/// The relays of so many regions, the fastest, are asked over HTTPS although UDP works.
const RELAYS_CHECKED: usize = 3;

/// One netcheck. Poll it, do what it wants, and hand it what happens.
///
/// `ids` draws transaction IDs from the operating system's generator, as its clones do: the IDs are all that keeps a stranger from
/// answering in a node's place.
#[derive(Debug)]
pub struct Netcheck<I> {
    config: Config,
    start: Instant,
    areas: Vec<Area>,
    targets: Vec<Target>,
    names: Names,
    probes: Probes,
    relays: Relays,
    portal: PortalCheck,
    port_mapping: PortMappingCheck,
    behaviours: PerFamily<BehaviourCheck<I>>,
    /// Only a full report asks.
    nat64: Option<LookupId>,
    /// When the nodes that are still silent are not waited for any more.
    rest_until: Option<Instant>,
    nearest_told: bool,
    relays_chosen: bool,
    queue: VecDeque<Output>,
    ids: I,
    done: Option<Box<Report>>,
}

impl<I: FnMut() -> TransactionId + Clone> Netcheck<I> {
    /// Starts the report's time.
    pub fn new(map: &DerpMap, config: Config, now: Instant, ids: I) -> Self {
        let mut names = Names::default();
        let (areas, targets) = targets(map, &mut names);
        let full = matches!(config.scope, Scope::Full);
        let probes = Probes::new(plan(&config.scope, config.home, &areas, &targets));
        for planned in &probes.probes {
            if let Some(target) = targets.get(planned.planned.target) {
                names.want(*target.stun.of(planned.planned.family));
            }
        }
        let nat64 = (full && config.nat64).then(|| names.add(IPV4_ONLY_HOST));
        nat64.into_iter().for_each(|nat64| names.want(Source::Name(nat64)));
        let relays = Relays::new(config.proxies.clone());
        Self {
            port_mapping: PortMappingCheck::new(config.gateway.filter(|_| full)),
            portal: PortalCheck::new(full.then_some(now + PORTAL_AFTER)),
            behaviours: PerFamily::from_fn(|_| BehaviourCheck::new(full && config.behaviour)),
            config,
            start: now,
            areas,
            targets,
            names,
            probes,
            relays,
            nat64,
            rest_until: None,
            nearest_told: false,
            relays_chosen: false,
            queue: VecDeque::new(),
            ids,
            done: None,
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant) -> Output {
        if let Some(report) = &self.done {
            return Output::Done(report.clone());
        }
        if let Some(output) = self.queue.pop_front() {
            return output;
        }
        let end = self.start + REPORT_TIME_MAX;
        loop {
            let progress = if now < end { self.advance(now, end) } else { Progress::Settled };
            if let Some(output) = self.queue.pop_front() {
                return output;
            }
            match progress {
                // Of what is overdue, each advance does one step.
                Progress::Until(until) if until <= now => {}
                Progress::Until(until) => return Output::Wait(until.min(end)),
                Progress::Settled => {
                    let report = Box::new(self.report(now));
                    self.done = Some(report.clone());
                    return Output::Done(report);
                }
            }
        }
    }

    /// What happened. What was not asked for, or comes after the end, changes nothing.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.done.is_some() {
            return;
        }
        match input {
            Input::Opened { socket: SocketId::Data(family), local } => {
                self.probes.opened(family, DataSocket::Open(local));
            }
            Input::OpenFailed { socket: SocketId::Data(family) } => {
                self.probes.opened(family, DataSocket::Failed);
            }
            Input::Opened { socket: SocketId::Behaviour(family, socket), local } => {
                if let Some(discovery) = self.behaviours.of_mut(family).running() {
                    discovery.opened(socket, local);
                }
            }
            Input::OpenFailed { socket: SocketId::Behaviour(family, socket) } => {
                if let Some(discovery) = self.behaviours.of_mut(family).running() {
                    discovery.failed(socket);
                }
            }
            Input::Datagram { socket: SocketId::Data(family), from, datagram } => {
                self.probes.handle(now, family, from, datagram);
            }
            Input::Datagram { socket: SocketId::Behaviour(family, socket), from, datagram } => {
                if let Some(discovery) = self.behaviours.of_mut(family).running() {
                    discovery.handle(now, socket, from, datagram);
                }
            }
            Input::Opened { socket: SocketId::PortMapping, local } => self.port_mapping.opened(now, local),
            Input::OpenFailed { socket: SocketId::PortMapping } => self.port_mapping.failed(),
            Input::Datagram { socket: SocketId::PortMapping, from, datagram } => {
                self.port_mapping.handle(from, datagram);
            }
            Input::Unsendable { socket: SocketId::Data(family) } => self.probes.unsendable(family),
            // It is taken for lost, and asked again.
            Input::Unsendable { socket: SocketId::Behaviour(..) | SocketId::PortMapping } => {}
            Input::Resolved { lookup, addresses } => self.names.resolved(lookup, addresses),
            Input::Https { probe, outcome } => self.relays.answered(probe, outcome, &self.targets),
            Input::Portal { probe, answer } => self.portal.answered(probe, answer),
        }
    }

    /// Lets every part do what is due.
    fn advance(&mut self, now: Instant, end: Instant) -> Progress {
        let lookups = self.names.step(now, &mut self.queue);
        let mut all = self.rest(now);
        all = all.and(self.probes.step(now, end, &self.names, &self.targets, &mut self.ids, &mut self.queue));
        all = all.and(self.choose_relays(now));
        if !self.config.portal && self.probes.first_answer.is_some() {
            self.portal.cancel();
        }
        let home = self.config.home;
        all = all.and(self.portal.step(now, home, &self.names, &self.targets, &mut self.queue));
        all = all.and(self.port_mapping.step(now, end, &mut self.queue));
        let ipv6_first = self.is_ipv6_faster();
        all = all.and(self.relays.step(now, end, ipv6_first, &self.names, &self.targets, &mut self.queue));
        for family in Family::BOTH {
            let behaviour = self.behaviours.of_mut(family);
            let (probes, ids, queue) = (&mut self.probes, &mut self.ids, &mut self.queue);
            all = all.and(behaviour.step(now, self.start, family, probes, ids, queue));
        }
        if self.nat64.is_some_and(|nat64| self.names.addresses(nat64).is_none()) {
            all = all.and(Progress::Until(end));
        }
        all = all.and(self.tell_nearest(now));
        // A lookup alone, of a node that nobody waits for, holds up nothing.
        match all {
            Progress::Settled => Progress::Settled,
            Progress::Until(_) => all.and(lookups),
        }
    }

    /// None while neither family has answered.
    fn is_ipv6_faster(&self) -> Option<bool> {
        let fastest = |family| self.probes.answered(family).first().map(|(_, round_trip, _)| *round_trip);
        match (fastest(Family::Ipv6), fastest(Family::Ipv4)) {
            (Some(ipv6), Some(ipv4)) => Some(ipv6 < ipv4),
            (Some(_), None) => Some(true),
            (None, Some(_)) => Some(false),
            (None, None) => None,
        }
    }

    /// Stops waiting for the rest when enough regions have answered.
    fn rest(&mut self, now: Instant) -> Progress {
        let full = matches!(self.config.scope, Scope::Full);
        if !full {
            self.probes.drop_spares(&self.targets);
        }
        let latencies = self.stun_latencies();
        let regions: BTreeSet<_> =
            self.probes.probes.iter().filter_map(|probe| self.region_of(probe.planned.target)).collect();
        let enough = self.config.enough_regions.min(regions.len());
        let home_is_done = self.config.home.is_none_or(|home| {
            let is_home = |target| self.region_of(target) == Some(home);
            latencies.contains_key(&home)
                || self.probes.tries(is_home).is_none_or(|tries| tries >= HOME_TRIES)
        });
        if self.rest_until.is_none() && !latencies.is_empty() && latencies.len() >= enough && home_is_done {
            let slowest = latencies.values().max().copied().unwrap_or_default();
            let rest = match full {
                true => (slowest * 2).max(REST_MIN_FULL),
                false => slowest.max(REST_MIN_INCREMENTAL),
            };
            self.rest_until = Some(now + rest);
        }
        match self.rest_until {
            Some(until) if until <= now => {
                self.probes.stop();
                Progress::Settled
            }
            Some(until) if !self.is_over() => Progress::Until(until),
            Some(_) | None => Progress::Settled,
        }
    }

    /// Says which regions' relays are asked over HTTPS: all while UDP is silent, else the fastest.
    fn choose_relays(&mut self, now: Instant) -> Progress {
        if self.relays_chosen {
            return Progress::Settled;
        }
        let latencies = self.stun_latencies();
        if latencies.is_empty() {
            let silent = self.probes.first_sent.map(|sent| sent + UDP_SILENCE);
            if !self.is_over() && silent.is_none_or(|silent| silent > now) {
                return silent.map_or(Progress::Settled, Progress::Until);
            }
            self.relays_chosen = true;
            // The home first: places are few.
            let is_home = |area: &&Area| Some(area.role.region) == self.config.home;
            for area in self.areas.iter().filter(is_home).chain(&self.areas) {
                self.relays.add(area, &self.targets, &mut self.names);
            }
            return Progress::Settled;
        }
        if !self.nearest_told {
            return Progress::Settled;
        }
        self.relays_chosen = true;
        if self.config.relays {
            let mut ranked: Vec<_> = latencies.into_iter().collect();
            ranked.sort_by_key(|(region, latency)| (*latency, *region));
            let ranked = ranked.into_iter().take(RELAYS_CHECKED).map(|(region, _)| region);
            for region in self.config.home.into_iter().chain(ranked) {
                if let Some(area) = self.areas.iter().find(|area| area.role.region == region) {
                    self.relays.add(area, &self.targets, &mut self.names);
                }
            }
        }
        Progress::Settled
    }

    /// Says once which region is nearest, as soon as no nearer one can answer any more: after two round trips of the home, or of
    /// the nearest where there is no home.
    fn tell_nearest(&mut self, now: Instant) -> Progress {
        if self.nearest_told {
            return Progress::Settled;
        }
        let latencies = self.stun_latencies();
        let fastest = latencies.iter().min_by_key(|(region, latency)| (**latency, **region));
        let home = self.config.home.and_then(|home| latencies.get(&home)).copied();
        let (nearest, due) = match (fastest, self.probes.first_sent) {
            (Some((region, latency)), Some(sent)) => {
                let twice = sent + home.unwrap_or(*latency) * 2;
                let waits_for_home = self.config.home.is_some() && home.is_none();
                let due = if waits_for_home { twice.max(sent + HOME_WAIT) } else { twice };
                (Nearest { region: *region, latency: *latency, udp: true }, due)
            }
            _ => {
                let answered = self.relays.regions.iter().filter_map(|check| {
                    let (_, times) = check.outcome.answered.as_ref()?;
                    Some(Nearest { region: check.region, latency: times.request, udp: false })
                });
                let fastest = answered.min_by_key(|nearest| nearest.latency);
                let Some(nearest) = fastest else { return Progress::Settled };
                (nearest, now)
            }
        };
        if due > now {
            return Progress::Until(due);
        }
        self.nearest_told = true;
        self.queue.push_back(Output::Nearest(nearest));
        // What waited for it goes on at once.
        Progress::Until(now)
    }

    /// Whether nobody is asked over STUN any more.
    fn is_over(&self) -> bool {
        Family::BOTH.into_iter().all(|family| self.probes.is_over(family))
    }

    fn region_of(&self, target: usize) -> Option<RegionId> {
        self.targets.get(target).map(|target| target.region)
    }

    /// The lowest round trip of each region that has answered.
    fn stun_latencies(&self) -> BTreeMap<RegionId, Duration> {
        let mut latencies = BTreeMap::new();
        for family in Family::BOTH {
            for (region, latency) in self.stun_latencies_over(family) {
                let lowest = latencies.entry(region).or_insert(latency);
                *lowest = latency.min(*lowest);
            }
        }
        latencies
    }

    fn stun_latencies_over(&self, family: Family) -> BTreeMap<RegionId, Duration> {
        let mut latencies = BTreeMap::new();
        for probe in self.probes.probes.iter().filter(|probe| probe.planned.family == family) {
            let round_trip = probe.exchange.and_then(|exchange| exchange.round_trip);
            if let Some((region, took)) = self.region_of(probe.planned.target).zip(round_trip) {
                let lowest = latencies.entry(region).or_insert(took);
                *lowest = took.min(*lowest);
            }
        }
        latencies
    }

    fn report(&self, now: Instant) -> Report {
        let families = PerFamily::from_fn(|family| self.family_report(family));
        let stun = PerFamily::from_fn(|family| self.stun_latencies_over(family));
        let udp = families.ipv4.udp() || families.ipv6.udp();
        let regions = self.areas.iter().map(|area| {
            let region = area.role.region;
            let stun = PerFamily::from_fn(|family| stun.of(family).get(&region).copied());
            (region, self.region_report(area, stun, udp))
        });
        let local = families.ipv4.local;
        let mut report = Report {
            full: matches!(self.config.scope, Scope::Full),
            took: now.saturating_duration_since(self.start),
            os_has_ipv6: self.config.os_has_ipv6,
            families,
            regions: regions.collect(),
            preferred: None,
            portal: self.portal.verdict(),
            port_mapping: self.port_mapping.found(),
            nat64: self.nat64.and_then(|nat64| Nat64Prefix::among(self.names.addresses(nat64)?)),
            translated_ipv4: local.is_some_and(|local| is_translated(local.ip())),
            unresolved: self.names.failed(self.nat64),
            ignored: self.probes.ignored,
        };
        report.preferred = report.prefer(self.config.home);
        report
    }

    fn family_report(&self, family: Family) -> FamilyReport {
        let tally = self.probes.tallies.of(family);
        let exchanges = self.probes.probes.iter().filter(|probe| probe.planned.family == family);
        let exchanges: Vec<_> = exchanges.filter_map(|probe| probe.exchange).collect();
        let local = match tally.socket {
            DataSocket::Open(local) => Some(local),
            DataSocket::Unopened | DataSocket::Opening | DataSocket::Failed => None,
        };
        FamilyReport {
            can_send: tally.sent > tally.unsendable,
            asked: exchanges.iter().filter(|exchange| exchange.sent > 0).count(),
            answered: exchanges.iter().filter(|exchange| exchange.answered > 0).count(),
            local: local.filter(|local| !local.ip().is_unspecified()),
            global: tally.seen.first().map(|(address, _)| *address),
            seen: tally.seen.clone(),
            varies: tally.varies(),
            https: self.relays.any_over(family),
            behaviour: self.behaviours.of(family).found(),
        }
    }

    fn region_report(&self, area: &Area, stun: PerFamily<Option<Duration>>, udp: bool) -> RegionReport {
        let https = self.relays.regions.iter().find(|check| check.region == area.role.region);
        let https = https.map(|check| check.outcome.clone());
        let over_https = || Some(https.as_ref()?.answered.as_ref()?.1.request);
        let over_stun = stun.ipv4.into_iter().chain(stun.ipv6).min();
        let nodes = area.targets.iter().filter_map(|place| {
            let exchange = |family| {
                let mut probes = self.probes.probes.iter();
                probes.find(|it| it.planned.target == *place && it.planned.family == family)?.exchange
            };
            let stun = PerFamily::from_fn(exchange);
            let name = self.targets.get(*place)?.name.clone();
            (stun.ipv4.is_some() || stun.ipv6.is_some()).then_some(NodeReport { name, stun })
        });
        RegionReport {
            latency: if udp { over_stun } else { over_https() },
            role: area.role.clone(),
            stun,
            nodes: nodes.collect(),
            https,
        }
    }
}
