//! What a machine does with the channel's datagrams: a state machine without socket and clock.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::answer::is_answer_for;
use super::bucket::Bucket;
use super::health::{CLOCK_DIFFERENCE_MAX, Health, Heard, PartnerState, difference};
use super::key::PartnerKey;
use super::refusal::PartnerRefusal;
use super::replay::ReplayWindow;
use super::service::{Service, Services};
use super::wire::{Content, Envelope, Forward, Reply, Sealer};
use crate::budget::{Budgets, Limits};
use crate::responder::refusal::refused_source;

/// Probes answered per second. The partner sends one, and a few when it starts.
const PROBES_PER_SECOND: u32 = 20;

/// Probes answered per second of those who are not (yet) known to be there: a partner that has just started, or a
/// stranger who repeats what an earlier life of it has sent. Counted apart, so that one cannot use up the other's.
const STRANGERS_PER_SECOND: u32 = 5;

/// Ports below are for services (RFC 6335 section 6).
const EPHEMERAL_PORT_MIN: u16 = 1024;

/// What a machine sends for its partner at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartnerLimits {
    /// Per second and client network (IPv4 /24, IPv6 /56), as [`Limits::redirects_per_second`].
    pub redirects_per_second: Option<u32>,
    /// Per second for all clients; as many are handed to the partner. A second's worth may go at once.
    pub forwards_per_second: u32,
}

impl Default for PartnerLimits {
    /// 2,000 a second are 3 Mbyte of the largest answers, and 80 clients a second that do RFC 5780's every test.
    fn default() -> Self {
        Self { redirects_per_second: Limits::default().redirects_per_second, forwards_per_second: 2000 }
    }
}

/// The time, by both clocks: intervals by the one that is never set, the partner's messages by the other.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For intervals.
    pub instant: Instant,
    /// Milliseconds since 1970.
    pub unix_millis: u64,
}

/// Random numbers that a node needs at its start.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The name of this life of this machine; never 0.
    pub epoch: u64,
    /// For [`Budgets`].
    pub budgets: u64,
}

/// One machine's part in the channel.
///
/// Each node probes the other every second. A reply proves, by the number of the probe and both machines' epochs,
/// that the other is there now: only then does a node take that life of the other for its partner and accept its
/// forwards, each once. A machine that starts again is known as soon as it has replied, and what its
/// earlier life had sent is refused from then on.
#[derive(Debug)]
pub struct Node {
    sealer: Sealer,
    epoch: u64,
    here: Here,
    partner: Option<Partner>,
    /// Number of the last leaving.
    leavings: u64,
    health: Health,
    state: PartnerState,
    // What others may make us do.
    probes: Bucket,
    strangers: Bucket,
    forwards: Bucket,
    budgets: Budgets,
    /// The datagram under way.
    out: Vec<u8>,
}

/// What this machine is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here {
    /// Where it serves STUN, as clients see it.
    pub services: Services,
    /// The addresses that its sockets are bound to, if to any: others than those of `services` behind a 1:1 NAT.
    pub bound: [Option<IpAddr>; 2],
}

impl Here {
    fn has(&self, ip: IpAddr) -> bool {
        let services = [self.services.ipv4, self.services.ipv6].into_iter().flatten();
        services.map(|service| service.ip).chain(self.bound.into_iter().flatten()).any(|own| own == ip)
    }
}

/// A life of the partner that has proven to be there.
#[derive(Debug)]
struct Partner {
    epoch: u64,
    probes: ReplayWindow,
    forwards: ReplayWindow,
    leavings: ReplayWindow,
}

impl Node {
    /// A node that knows only the key. It serves nothing until [`set_here`](Self::set_here).
    #[must_use]
    pub fn new(key: &PartnerKey, limits: PartnerLimits, seeds: Seeds, now: Instant) -> Self {
        let redirects = Limits { redirects_per_second: limits.redirects_per_second, ..Limits::NONE };
        let (here, health) = (Here::default(), Health::new(now));
        Self {
            sealer: Sealer::new(key),
            epoch: seeds.epoch,
            state: health.state(&here.services, now),
            here,
            partner: None,
            leavings: 0,
            health,
            probes: Bucket::new(PROBES_PER_SECOND, now),
            strangers: Bucket::new(STRANGERS_PER_SECOND, now),
            forwards: Bucket::new(limits.forwards_per_second, now),
            budgets: Budgets::new(redirects, seeds.budgets, now),
            out: Vec::new(),
        }
    }

    /// Tells where this machine serves STUN. When that is nowhere any more the partner is told at once.
    pub fn set_here(&mut self, here: Here, now: Now, send: &mut dyn FnMut(&[u8])) {
        let had_any = !self.here.services.is_empty();
        self.here = here;
        if had_any && here.services.is_empty() {
            self.send_leaving(now, send);
        }
        self.refresh(now);
    }

    /// The machine stops: nothing is served, and the partner is told, once more if it has been told before. That is
    /// the best there is against loss, as a leaving is not confirmed; one that is lost is noticed as silence.
    pub fn leave(&mut self, now: Now, send: &mut dyn FnMut(&[u8])) {
        self.here = Here::default();
        self.send_leaving(now, send);
        self.refresh(now);
    }

    fn send_leaving(&mut self, now: Now, send: &mut dyn FnMut(&[u8])) {
        let Some(partner) = &self.partner else { return };
        let to = partner.epoch;
        self.leavings += 1;
        self.send(Content::Leaving, to, self.leavings, now, send);
    }

    /// Whether the partner sends for us.
    #[must_use]
    pub const fn state(&self) -> &PartnerState {
        &self.state
    }

    /// The partner's epoch and where it sends from, while it is up.
    #[must_use]
    pub fn route(&self) -> Option<(u64, Services)> {
        if self.state != PartnerState::Up {
            return None;
        }
        let services = self.health.heard()?.services.common_with(&self.here.services);
        Some((self.partner.as_ref()?.epoch, services))
    }

    /// What the partner's last reply told, however long ago.
    #[must_use]
    pub const fn heard(&self) -> Option<&Heard> {
        self.health.heard()
    }

    /// When [`poll`](Self::poll) is to be called, at the latest.
    #[must_use]
    pub fn next_wake(&self, now: Instant) -> Instant {
        self.health.next_wake(now)
    }

    /// Sends a probe if it is time, and notices silence.
    pub fn poll(&mut self, now: Now, send: &mut dyn FnMut(&[u8])) {
        if let Some(number) = self.health.due_probe(now.instant, now.unix_millis) {
            let to = self.partner.as_ref().map_or(0, |partner| partner.epoch);
            self.send(Content::Probe, to, number, now, send);
        }
        self.refresh(now);
    }

    /// Takes a datagram. What it makes us send goes to the partner's configured address, wherever it came
    /// from; a forward that is returned is to be sent to its client.
    ///
    /// # Errors
    ///
    /// Why nothing came of it.
    pub fn receive<'d>(
        &mut self,
        datagram: &'d [u8],
        now: Now,
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Forward<'d>>, PartnerRefusal> {
        let (envelope, content) = self.sealer.open(datagram)?;
        if envelope.from == self.epoch {
            return Err(PartnerRefusal::Misdirected);
        }
        match content {
            Content::Probe => self.receive_probe(&envelope, now, send).map(|()| None),
            Content::Reply(reply) => self.receive_reply(&envelope, &reply, now).map(|()| None),
            Content::Forward(forward) => self.receive_forward(&envelope, forward, now).map(Some),
            Content::Leaving => self.receive_leaving(&envelope, now).map(|()| None),
        }
    }

    /// Answers whatever its time: the reply tells ours, and that is how the other learns that clocks differ.
    fn receive_probe(
        &mut self,
        envelope: &Envelope,
        now: Now,
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<(), PartnerRefusal> {
        let partner = self.partner.as_mut().filter(|partner| partner.epoch == envelope.from);
        let hears_you = partner.is_some();
        match partner {
            Some(partner) if envelope.to == self.epoch => {
                if !partner.probes.accept(envelope.number) {
                    return Err(PartnerRefusal::Replay);
                }
                if !self.probes.take(now.instant) {
                    return Err(PartnerRefusal::ProbeRate);
                }
            }
            Some(_) | None => {
                if !self.strangers.take(now.instant) {
                    return Err(PartnerRefusal::ProbeRate);
                }
            }
        }
        // Before the reply: the other has then proven to be there by the time it makes use of us.
        if !hears_you && let Some(number) = self.health.early_probe(now.instant, now.unix_millis) {
            self.send(Content::Probe, envelope.from, number, now, send);
        }
        let reply = Reply { hears_you, services: self.here.services };
        self.send(Content::Reply(reply), envelope.from, envelope.number, now, send);
        Ok(())
    }

    fn receive_reply(&mut self, envelope: &Envelope, reply: &Reply, now: Now) -> Result<(), PartnerRefusal> {
        if envelope.to != self.epoch {
            return Err(PartnerRefusal::Misdirected);
        }
        if !self.health.take_reply(envelope.number, reply, envelope.unix_millis, now.instant) {
            return Err(PartnerRefusal::UnexpectedReply);
        }
        if self.partner.as_ref().is_none_or(|partner| partner.epoch != envelope.from) {
            self.partner = Some(Partner {
                epoch: envelope.from,
                probes: ReplayWindow::default(),
                forwards: ReplayWindow::default(),
                leavings: ReplayWindow::default(),
            });
        }
        self.refresh(now);
        self.health.plan(&self.state, now.instant);
        Ok(())
    }

    fn receive_leaving(&mut self, envelope: &Envelope, now: Now) -> Result<(), PartnerRefusal> {
        if !self.fresh_from_partner(envelope, now)?.leavings.accept(envelope.number) {
            return Err(PartnerRefusal::Replay);
        }
        self.health.take_leaving();
        self.refresh(now);
        self.health.plan(&self.state, now.instant);
        Ok(())
    }

    /// The partner, if it has sent that in this life of both machines, and not long ago.
    fn fresh_from_partner(&mut self, envelope: &Envelope, now: Now) -> Result<&mut Partner, PartnerRefusal> {
        if envelope.to != self.epoch {
            return Err(PartnerRefusal::Misdirected);
        }
        let partner = self.partner.as_mut().filter(|partner| partner.epoch == envelope.from);
        let partner = partner.ok_or(PartnerRefusal::UnknownSender)?;
        let age = difference(now.unix_millis, envelope.unix_millis).unsigned_abs();
        if u128::from(age) > CLOCK_DIFFERENCE_MAX.as_millis() {
            return Err(PartnerRefusal::Stale);
        }
        Ok(partner)
    }

    fn receive_forward<'d>(
        &mut self,
        envelope: &Envelope,
        forward: Forward<'d>,
        now: Now,
    ) -> Result<Forward<'d>, PartnerRefusal> {
        let partner = self.fresh_from_partner(envelope, now)?;
        if !partner.forwards.accept(envelope.number) {
            return Err(PartnerRefusal::Replay);
        }
        let service = self.here.services.for_client(forward.to).ok_or(PartnerRefusal::NotServed)?;
        if !service.ports.contains(&forward.from_port) {
            return Err(PartnerRefusal::NotServed);
        }
        if !self.is_client(forward.to, service) {
            return Err(PartnerRefusal::ClientAddress);
        }
        if !is_answer_for(forward.answer, forward.to) {
            return Err(PartnerRefusal::NotAnswer);
        }
        self.budgets.advance(now.instant);
        if !self.budgets.take_redirect(forward.to.ip()) {
            return Err(PartnerRefusal::RedirectRate);
        }
        if !self.forwards.take(now.instant) {
            return Err(PartnerRefusal::TotalRate);
        }
        Ok(forward)
    }

    /// Whether a client of the service can be there. On this machine itself there can be one, an operator who tries it
    /// out, but not where its services are: they may trust what comes from its own address.
    fn is_client(&self, address: SocketAddr, service: Service) -> bool {
        let (ip, port) = (address.ip(), address.port());
        let is_own_service = port < EPHEMERAL_PORT_MIN || service.ports.contains(&port);
        refused_source(address).is_none()
            && !(is_own_service && self.here.has(ip))
            && (!ip.is_loopback() || service.ip.is_loopback())
    }

    fn refresh(&mut self, now: Now) {
        self.state = self.health.state(&self.here.services, now.instant);
    }

    fn send(&mut self, content: Content<'_>, to: u64, number: u64, now: Now, send: &mut dyn FnMut(&[u8])) {
        let envelope = Envelope { unix_millis: now.unix_millis, from: self.epoch, to, number };
        self.sealer.seal(&envelope, &content, &mut self.out);
        send(&self.out);
    }
}
