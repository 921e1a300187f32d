//! What the answers so far say, and the report that comes of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::allocation::{self, Sample};
use super::ledger::SocketState;
use super::mapping::{Observation, Variation};
use super::probe::{Probe, Role};
use super::verdict::{Filtering, Finding, Hairpin, Mapping, Pooling, Reason};
use super::{Discovery, Report, SocketId};
use crate::client::{BindingResponse, same_endpoint};

/// What the server answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Any Binding request.
    Rfc,
    /// Only those of Tailscale's clients.
    Tailscale,
}

/// The server's other address and port, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Other {
    pub(super) ip: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

impl<I> Discovery<I> {
    pub(super) fn server(&self) -> SocketAddr {
        self.servers.first().copied().expect("new refuses a run without a server")
    }

    pub(super) fn probe(&self, role: Role) -> Option<&Probe> {
        // The latest: controls after a silence are renewed when the silence goes on.
        self.probes.iter().rev().find(|probe| probe.role == role)
    }

    /// What the destination of a probe sees. The first server's is known in either form.
    pub(super) fn mapped(&self, role: Role) -> Option<SocketAddr> {
        let seen = |role| Some(self.probe(role)?.response()?.mapped_address);
        let Role::Server(place) = role else { return seen(role) };
        seen(role).or_else(|| seen(Role::TailscaleServer(place)))
    }

    pub(super) fn is_hopeless(&self, role: Role) -> bool {
        self.probe(role).is_some_and(Probe::is_hopeless)
    }

    /// Nobody answers on the mapping socket in either form.
    pub(super) fn is_server_hopeless(&self) -> bool {
        self.is_hopeless(Role::Server(0)) && self.is_hopeless(Role::TailscaleServer(0))
    }

    /// Answers of the first server's first address and port.
    fn server_responses(&self) -> impl Iterator<Item = &BindingResponse> {
        let server = self.server();
        self.probes.iter().filter(move |probe| probe.to == server).filter_map(Probe::response)
    }

    pub(super) fn form(&self, now: Instant) -> Option<Form> {
        let server = self.server();
        let mut plain = self.probes.iter().filter(|probe| probe.to == server && !probe.tailscale);
        if plain.any(|probe| probe.response().is_some()) {
            return Some(Form::Rfc);
        }
        self.probe(Role::TailscaleServer(0))?.response()?;
        // It may only be the other form's answer that came first.
        let silent = |probe: &Probe| probe.is_hopeless() || probe.is_overdue(now, self.ledger.patience());
        self.probe(Role::Server(0)).is_some_and(silent).then_some(Form::Tailscale)
    }

    /// OTHER-ADDRESS, if it makes sense: a server decides where we send to, so it has to be a host.
    pub(super) fn other(&self) -> Other {
        let server = self.server();
        let named = self.server_responses().find_map(|response| response.other_address);
        let named = named.filter(|other| other.is_ipv4() == server.ip().to_canonical().is_ipv4());
        let ip = named.map(|other| other.ip()).filter(|ip| {
            let nobody = match ip {
                IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
            };
            !nobody && *ip != server.ip().to_canonical()
        });
        let port = named.map(|other| other.port()).or(self.seen_port);
        Other { ip, port: port.filter(|port| *port != 0 && *port != server.port()) }
    }

    pub(super) fn local(&self, socket: SocketId) -> Option<SocketAddr> {
        match self.ledger.socket(socket) {
            SocketState::Open(local) => Some(local),
            SocketState::Opening | SocketState::Failed => None,
        }
    }

    pub(super) fn nat(&self) -> Option<bool> {
        let local = self.local(SocketId::MAPPING).filter(|local| !local.ip().is_unspecified())?;
        Some(!same_endpoint(local, self.mapped(Role::Server(0))?))
    }

    fn variation(&self) -> Variation {
        let observations: Vec<_> = self
            .probes
            .iter()
            .filter(|probe| probe.socket == SocketId::MAPPING)
            .filter_map(|probe| {
                let mapped = probe.response()?.mapped_address;
                Some(Observation { destination: probe.to, mapped })
            })
            .collect();
        Variation::of(&observations)
    }

    fn mapping(&self) -> Finding<Mapping> {
        if self.nat() == Some(false) {
            return Finding::Known(Mapping::EndpointIndependent);
        }
        match self.variation().verdict() {
            Ok(mapping) => Finding::Known(mapping),
            Err(_) if !self.ledger.any_answer() => Finding::Unknown(Reason::NoAnswer),
            Err(Reason::OneAddress) if self.other().ip.is_some() => {
                Finding::Unknown(Reason::OtherAddressSilent)
            }
            Err(reason) => Finding::Unknown(reason),
        }
    }

    fn filtering(&self, now: Instant) -> Finding<Filtering> {
        if let Some(conclusion) = self.filtering.conclusion {
            return conclusion;
        }
        Finding::Unknown(if !self.ledger.any_answer() {
            Reason::NoAnswer
        } else if self.ledger.socket(SocketId::FILTERING) == SocketState::Failed {
            Reason::SocketFailed
        } else if self.form(now) == Some(Form::Rfc) {
            Reason::OutOfTime
        } else {
            Reason::NotOffered
        })
    }

    fn hairpin(&self, now: Instant, needed: usize) -> Finding<Hairpin> {
        if self.nat() == Some(false) {
            return Finding::Unknown(Reason::NoNat);
        }
        if let Some(heard) = self.hairpin.heard {
            return Finding::Known(heard);
        }
        if self.mapped(Role::Server(0)).is_none() || self.mapped(Role::HairpinBefore).is_none() {
            let failed = [SocketId::MAPPING, SocketId::HAIRPIN]
                .into_iter()
                .any(|socket| self.ledger.socket(socket) == SocketState::Failed);
            return Finding::Unknown(if failed { Reason::SocketFailed } else { Reason::NoAnswer });
        }
        let silent =
            self.hairpin.silent_since(needed).is_some_and(|last| last + self.ledger.patience() <= now);
        if !silent {
            return Finding::Unknown(Reason::OutOfTime);
        }
        let open = self.mapping() == Finding::Known(Mapping::EndpointIndependent)
            || self.filtering(now) == Finding::Known(Filtering::EndpointIndependent);
        if !open {
            return Finding::Unknown(Reason::MappingVaries);
        }
        match self.probe(Role::HairpinAfter).and_then(Probe::response) {
            Some(_) => Finding::Known(Hairpin::No),
            None => Finding::Unknown(Reason::ControlSilent),
        }
    }

    /// All sockets' ports towards the first server.
    pub(super) fn samples(&self) -> Vec<(Sample, IpAddr)> {
        let roles = [Role::Server(0), Role::FilteringBefore, Role::HairpinBefore].into_iter();
        let roles = roles.chain((0..self.allocation_sockets).map(Role::Allocation));
        let samples = roles.filter_map(|role| {
            let mapped = self.mapped(role)?;
            let local = self.local(self.probe(role)?.socket)?;
            Some((Sample { local: local.port(), mapped: mapped.port() }, mapped.ip()))
        });
        samples.collect()
    }

    /// What is known by now.
    pub(super) fn report(&self, now: Instant) -> Report {
        let server = self.server();
        let udp = self.ledger.any_answer();
        let loss = self.ledger.loss(now);
        let local = self.local(SocketId::MAPPING);
        let mapped = (0..self.servers.len()).find_map(|place| self.mapped(Role::Server(place)));
        let nat = self.nat();
        let (ports, ips): (Vec<_>, Vec<_>) = self.samples().into_iter().unzip();
        let no_answer = |reason| if udp { reason } else { Reason::NoAnswer };
        let pooling = match ips.split_first() {
            Some((first, rest)) if nat == Some(true) && !rest.is_empty() => {
                Some(if rest.iter().all(|ip| ip == first) { Pooling::Paired } else { Pooling::Arbitrary })
            }
            _ => None,
        };
        let rewritten = self
            .probes
            .iter()
            .filter_map(Probe::response)
            .filter_map(|response| Some(response.plain_mapped_address? != response.mapped_address))
            .reduce(|a, b| a || b);
        let other = self.other();
        let other_port = other.port.unwrap_or_else(|| server.port());
        Report {
            server,
            other_address: other.ip.map(|ip| SocketAddr::new(ip, other_port)),
            udp,
            local,
            mapped,
            nat,
            mapping: self.mapping(),
            varies_by_destination: self.variation().by_destination(),
            filtering: self.filtering(now),
            hairpin: self.hairpin(now, loss.sends_needed()),
            port_allocation: allocation::verdict(&ports)
                .map_or_else(|reason| Finding::Unknown(no_answer(reason)), Finding::Known),
            pooling,
            rewrites_payloads: rewritten,
            shared_address_space: [local, mapped]
                .into_iter()
                .flatten()
                .any(|address| is_shared(address.ip())),
            round_trip: self.ledger.round_trips.map(|(shortest, _)| shortest),
            requests: self.ledger.requests() as u32,
            redirects: self.ledger.redirects,
            lost: loss.lost as u32,
            duration: now.saturating_duration_since(self.start),
        }
    }
}

/// 100.64.0.0/10, RFC 6598.
fn is_shared(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits() >> 22 == 0x6440_0000 >> 22,
        IpAddr::V6(_) => false,
    }
}
