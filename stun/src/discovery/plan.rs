//! Which test can start, and what it has to know of the others.

use std::net::SocketAddr;
use std::time::Instant;

use super::allocation;
use super::facts::Form;
use super::filtering::{Route, Scene};
use super::ledger::{Redirect, SocketState};
use super::probe::{Probe, Role};
use super::{ALLOCATION_SOCKETS, ALLOCATION_SOCKETS_MAX, Discovery, Output, Progress, SocketId};
use crate::client::Change;
use crate::message::TransactionId;

impl<I> Discovery<I> {
    /// How to have the server's answer to a change let through to the mapping socket: it sent there, so
    /// what the server sends from there to the port that it saw comes in through any NAT.
    fn route(&self, change: Change, to: Option<SocketAddr>) -> Route {
        let Some(to) = to else { return Route::Impossible };
        if self.is_server_hopeless() || self.is_hopeless(Role::Alternate(change)) {
            return Route::Impossible;
        }
        let (Some(here), Some(there)) = (self.mapped(Role::Server(0)), self.mapped(Role::Alternate(change)))
        else {
            return Route::Pending;
        };
        // The server answers to the address that the request comes from.
        if here.ip() != there.ip() {
            return Route::Impossible;
        }
        let response_port = (here.port() != there.port()).then_some(there.port());
        Route::Open(Redirect { change, response_port, expected_on: SocketId::MAPPING, expected_from: to })
    }

    /// Where the other port is unknown (a server with one address does not name it) the control is an
    /// answer to the other port of ours: it shows at least that the server still redirects for us.
    fn blind_route(&self) -> Route {
        if self.is_server_hopeless() || self.is_hopeless(Role::FilteringBefore) {
            return Route::Impossible;
        }
        let (Some(here), Some(there)) = (self.mapped(Role::Server(0)), self.mapped(Role::FilteringBefore))
        else {
            return Route::Pending;
        };
        if here.ip() != there.ip() {
            return Route::Impossible;
        }
        Route::Open(Redirect {
            change: Change::NOTHING,
            response_port: Some(there.port()),
            expected_on: SocketId::FILTERING,
            expected_from: self.server(),
        })
    }

    fn scene(&self, now: Instant) -> Scene {
        let server = self.server();
        let other = self.other();
        let needed = self.ledger.loss(now).sends_needed();
        let reached = |role, since: Option<Instant>| {
            let probe = self.probe(role).filter(|probe| since.is_none_or(|since| probe.created >= since))?;
            match (probe.response().is_some(), probe.is_hopeless()) {
                (false, false) => None,
                (answered, _) => Some(answered),
            }
        };
        Scene {
            server,
            has_other_ip: other.ip.is_some(),
            port_route: match other.port {
                Some(port) => self.route(Change::PORT, Some(SocketAddr::new(server.ip(), port))),
                None => self.blind_route(),
            },
            both_route: self
                .route(Change::BOTH, other.ip.zip(other.port).map(|(ip, port)| SocketAddr::new(ip, port))),
            reached_before: reached(Role::FilteringBefore, None),
            reached_after: self
                .filtering
                .silent_since(needed)
                .and_then(|since| reached(Role::FilteringAfter, Some(since))),
            needed,
            patience: self.ledger.patience(),
        }
    }
}

impl<I: FnMut() -> TransactionId> Discovery<I> {
    /// What needs no answer first.
    pub(super) fn plan_first(&mut self, now: Instant) {
        for (place, server) in self.servers.iter().enumerate() {
            for (role, tailscale) in [(Role::Server(place), false), (Role::TailscaleServer(place), true)] {
                self.probes.push(Probe::new(role, SocketId::MAPPING, *server, tailscale, now));
            }
        }
        self.add(Role::FilteringBefore, SocketId::FILTERING, self.server(), false, now);
    }

    /// Lets every test do what is due, until none has anything to do now.
    pub(super) fn advance(&mut self, now: Instant) -> Progress {
        loop {
            self.plan(now);
            let mut all = Progress::Settled;
            for (index, probe) in self.probes.iter_mut().enumerate() {
                all = both(all, probe.step(index, now, &mut self.ledger));
            }
            all = both(all, self.step_filtering(now));
            all = both(all, self.step_hairpin(now));
            if all != Progress::Sent {
                return all;
            }
        }
    }

    /// Starts what the answers so far allow.
    fn plan(&mut self, now: Instant) {
        let server = self.server();
        for place in 0..self.servers.len() {
            if self.probe(Role::Server(place)).is_some_and(|probe| probe.response().is_some()) {
                let other_form = Role::TailscaleServer(place);
                let late = self.probes.iter_mut().find(|probe| probe.role == other_form);
                late.into_iter().for_each(Probe::drop_unanswered);
            }
        }
        if let Some(form) = self.form(now) {
            let tailscale = form == Form::Tailscale;
            self.add_once(Role::HairpinBefore, SocketId::HAIRPIN, server, tailscale, now);
            self.widen_allocation();
            for place in 0..self.allocation_sockets {
                self.add_once(Role::Allocation(place), SocketId::allocation(place), server, tailscale, now);
            }
        }
        let other = self.other();
        let change_ip = Change { ip: true, port: false };
        for (change, ip, port) in [
            (change_ip, other.ip, Some(server.port())),
            (Change::BOTH, other.ip, other.port),
            (Change::PORT, Some(server.ip()), other.port),
        ] {
            if let (Some(ip), Some(port)) = (ip, port) {
                self.add_once(
                    Role::Alternate(change),
                    SocketId::MAPPING,
                    SocketAddr::new(ip, port),
                    false,
                    now,
                );
            }
        }
        let needed = self.ledger.loss(now).sends_needed();
        let tailscale = self.form(now) == Some(Form::Tailscale);
        for (role, socket, since) in [
            (Role::FilteringAfter, SocketId::FILTERING, self.filtering.silent_since(needed)),
            (Role::HairpinAfter, SocketId::HAIRPIN, self.hairpin.silent_since(needed)),
        ] {
            let Some(since) = since else { continue };
            if self.probe(role).is_none_or(|probe| probe.created < since) {
                self.add(role, socket, server, tailscale, now);
            }
        }
    }

    /// Opens more sockets once the first have their ports, if these could be chance.
    fn widen_allocation(&mut self) {
        let settled = |place| self.probe(Role::Allocation(place)).is_some_and(|it| it.outcome.is_some());
        if self.allocation_sockets > ALLOCATION_SOCKETS || !(0..ALLOCATION_SOCKETS).all(settled) {
            return;
        }
        let samples: Vec<_> = self.samples().into_iter().map(|(sample, _)| sample).collect();
        if allocation::may_be_parity(&samples) {
            self.allocation_sockets = ALLOCATION_SOCKETS_MAX;
            let more = (ALLOCATION_SOCKETS..ALLOCATION_SOCKETS_MAX).map(SocketId::allocation);
            self.ledger.queue.extend(more.map(Output::Open));
        }
    }

    fn add_once(&mut self, role: Role, socket: SocketId, to: SocketAddr, tailscale: bool, now: Instant) {
        if self.probe(role).is_none() {
            self.add(role, socket, to, tailscale, now);
        }
    }

    fn add(&mut self, role: Role, socket: SocketId, to: SocketAddr, tailscale: bool, now: Instant) {
        self.probes.push(Probe::new(role, socket, to, tailscale, now));
    }

    fn step_filtering(&mut self, now: Instant) -> Progress {
        match self.ledger.socket(SocketId::FILTERING) {
            SocketState::Open(_) => {}
            SocketState::Opening => return Progress::Blocked,
            SocketState::Failed => return Progress::Settled,
        }
        if self.form(now) != Some(Form::Rfc) {
            // Settled once nobody is left who could answer as RFC 5780 servers do.
            let over = self.is_hopeless(Role::Server(0)) && self.is_hopeless(Role::FilteringBefore);
            return if over { Progress::Settled } else { Progress::Blocked };
        }
        let scene = self.scene(now);
        self.filtering.step(now, &scene, &mut self.ledger)
    }

    fn step_hairpin(&mut self, now: Instant) -> Progress {
        if self.nat() == Some(false) || self.is_server_hopeless() || self.is_hopeless(Role::HairpinBefore) {
            return Progress::Settled;
        }
        let (Some(mapping), Some(hairpin)) = (self.mapped(Role::Server(0)), self.mapped(Role::HairpinBefore))
        else {
            return Progress::Blocked;
        };
        let needed = self.ledger.loss(now).sends_needed();
        let patience = self.ledger.patience();
        self.hairpin.step(now, (mapping, hairpin), needed, patience, &mut self.ledger)
    }
}

/// Of two tests side by side: the run goes on until both are settled.
fn both(a: Progress, b: Progress) -> Progress {
    match (a, b) {
        (Progress::Settled, other) | (other, Progress::Settled) => other,
        (a, b) => a.or(b),
    }
}
