//! What the NAT or firewall does: which server is asked about it, and when.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferry_stun::TransactionId;
use ferry_stun::client::BindingRequest;
use ferry_stun::discovery::{self, Config, Discovery, RUN_TIME_MAX, SERVERS_MAX};

use super::stun::{Offer, Probes};
use super::{Family, Output, Progress, REPORT_TIME_MAX, SocketId};

/// A discovery that starts later than this would not end in time.
const START_MAX: Duration =
    REPORT_TIME_MAX.saturating_sub(RUN_TIME_MAX).saturating_sub(Duration::from_millis(50));

/// Nodes that are asked whether they have another address.
const OFFERS_MAX: usize = 6;
/// Each is asked so often, while it is silent: derper stays so.
const OFFER_TIMES: u32 = 3;
/// After this time each.
const OFFER_AGAIN: Duration = Duration::from_millis(100);
/// An answer may take twice as long as the last one, and this much longer.
const OFFER_PATIENCE: Duration = Duration::from_millis(30);
/// Nodes that have not answered yet are waited for this long: they may have another address, where those that have answered
/// have none.
const OFFER_WAIT_MAX: Duration = Duration::from_millis(450);

/// SOFTWARE of the question, so long that an answer with all addresses (68 bytes over IPv4, 116 over IPv6) is not more than 1.1 times
/// its request, which strict servers insist on.
const SOFTWARE: &[u8] =
    b"ferry netcheck: is there another address (RFC 5780)? padded so that answers are no larger";

/// What was found out about a family's NAT or firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing.
    Unknown(NotDiscovered),
    /// All that the servers allowed to find out.
    Discovered(Box<discovery::Report>),
}

impl Behaviour {
    /// What was found out.
    pub fn known(&self) -> Option<&discovery::Report> {
        match self {
            Self::Unknown(_) => None,
            Self::Discovered(report) => Some(report),
        }
    }
}

/// Why nothing is known of a NAT's behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotDiscovered {
    /// This report does not ask.
    NotWanted,
    /// No node answered over this family.
    NoAnswer,
    /// The first answer came too late.
    OutOfTime,
}

impl fmt::Display for NotDiscovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotWanted => "not asked in this report",
            Self::NoAnswer => "no node answered",
            Self::OutOfTime => "the first answer came too late",
        })
    }
}

/// How far the question is for one family.
#[derive(Debug)]
pub(super) enum BehaviourCheck<I> {
    /// Nodes are asked whether they have another address.
    Choosing(Choosing),
    /// One is asked everything.
    Running(Box<Discovery<I>>),
    /// This is the answer.
    Over(Behaviour),
}

/// Whom to ask.
#[derive(Debug, Default)]
pub(super) struct Choosing {
    asked: Vec<Asked>,
    first: Option<Instant>,
}

/// A node that was asked whether it has another address.
#[derive(Debug)]
struct Asked {
    /// Its place among the probes.
    probe: usize,
    ip: IpAddr,
    times: u32,
    last: Instant,
}

impl<I: FnMut() -> TransactionId + Clone> BehaviourCheck<I> {
    /// One that asks, or not.
    pub(super) fn new(wanted: bool) -> Self {
        match wanted {
            true => Self::Choosing(Choosing::default()),
            false => Self::Over(Behaviour::Unknown(NotDiscovered::NotWanted)),
        }
    }

    /// Gets further.
    pub(super) fn step(
        &mut self,
        now: Instant,
        start: Instant,
        family: Family,
        probes: &mut Probes,
        ids: &mut I,
        queue: &mut VecDeque<Output>,
    ) -> Progress {
        if let Self::Choosing(choosing) = self {
            let servers = match choosing.step(now, start, family, probes, ids, queue) {
                Choice::Wait(until) => return Progress::Until(until),
                Choice::Nobody(why) => {
                    *self = Self::Over(Behaviour::Unknown(why));
                    return Progress::Settled;
                }
                Choice::Ask(servers) => servers,
            };
            match Discovery::new(&Config { servers }, now, ids.clone()) {
                Some(discovery) => *self = Self::Running(Box::new(discovery)),
                None => *self = Self::Over(Behaviour::Unknown(NotDiscovered::NoAnswer)),
            }
        }
        loop {
            let Self::Running(discovery) = self else { return Progress::Settled };
            let server = |socket| SocketId::Behaviour(family, socket);
            match discovery.poll(now) {
                discovery::Output::Open(socket) => {
                    let toward = probes.answered(family).first().map(|(_, _, to)| *to);
                    let Some(toward) = toward else { return Progress::Settled };
                    queue.push_back(Output::Open { socket: server(socket), toward });
                }
                discovery::Output::Send { socket, to, payload } => {
                    queue.push_back(Output::Send { socket: server(socket), to, payload });
                }
                discovery::Output::Wait(until) => return Progress::Until(until),
                discovery::Output::Done(report) => {
                    *self = Self::Over(Behaviour::Discovered(Box::new(report)));
                }
            }
        }
    }

    /// The discovery, while it runs.
    pub(super) fn running(&mut self) -> Option<&mut Discovery<I>> {
        match self {
            Self::Running(discovery) => Some(discovery),
            Self::Choosing(_) | Self::Over(_) => None,
        }
    }

    /// What came of it by now.
    pub(super) fn found(&self) -> Behaviour {
        match self {
            Self::Choosing(_) | Self::Running(_) => Behaviour::Unknown(NotDiscovered::OutOfTime),
            Self::Over(behaviour) => behaviour.clone(),
        }
    }
}

/// What a choice has come to.
enum Choice {
    Wait(Instant),
    Nobody(NotDiscovered),
    Ask(Vec<SocketAddr>),
}

impl Choosing {
    fn step(
        &mut self,
        now: Instant,
        start: Instant,
        family: Family,
        probes: &mut Probes,
        ids: &mut impl FnMut() -> TransactionId,
        queue: &mut VecDeque<Output>,
    ) -> Choice {
        let answered = probes.answered(family);
        if answered.is_empty() {
            return match probes.is_over(family) {
                true => Choice::Nobody(NotDiscovered::NoAnswer),
                false => Choice::Wait(start + REPORT_TIME_MAX),
            };
        }
        let latest = start + START_MAX;
        if self.first.is_none() && now >= latest {
            return Choice::Nobody(NotDiscovered::OutOfTime);
        }
        let first = *self.first.get_or_insert(now);
        let silent = self.ask(now, family, &answered, probes, ids, queue);
        let found = answered.iter().any(|(place, _, to)| names_other_ip(offer(probes, *place), *to));
        let until = (first + OFFER_WAIT_MAX).min(latest);
        match silent {
            _ if found || until <= now => Choice::Ask(ranked(&answered, probes)),
            Some(due) => Choice::Wait(due.min(until)),
            None if probes.is_over(family) => Choice::Ask(ranked(&answered, probes)),
            None => Choice::Wait(until),
        }
    }

    /// Asks who is new, and again who is silent; until when the next of them is waited for, None if all have said or are given up.
    fn ask(
        &mut self,
        now: Instant,
        family: Family,
        answered: &[(usize, Duration, SocketAddr)],
        probes: &mut Probes,
        ids: &mut impl FnMut() -> TransactionId,
        queue: &mut VecDeque<Output>,
    ) -> Option<Instant> {
        let mut until: Option<Instant> = None;
        for (probe, round_trip, to) in answered {
            let known = self.asked.iter().position(|asked| asked.ip == to.ip());
            let place = match known {
                Some(place) => place,
                None if self.asked.len() < OFFERS_MAX => {
                    self.asked.push(Asked { probe: *probe, ip: to.ip(), times: 0, last: now });
                    self.asked.len() - 1
                }
                None => continue,
            };
            let Some(asked) = self.asked.get_mut(place).filter(|asked| asked.probe == *probe) else {
                continue;
            };
            if matches!(offer(probes, *probe), Offer::Other(_)) {
                continue;
            }
            if asked.times == 0 || asked.times < OFFER_TIMES && asked.last + OFFER_AGAIN <= now {
                (asked.times, asked.last) = (asked.times + 1, now);
                probes.ask_offer(now, *probe, question(family), ids, queue);
            }
            let patience =
                if asked.times < OFFER_TIMES { OFFER_AGAIN } else { *round_trip * 2 + OFFER_PATIENCE };
            let due = asked.last + patience;
            if due > now {
                until = Some(until.map_or(due, |until| until.min(due)));
            }
        }
        until
    }
}

/// Servers at different addresses: one that has two of its own first, then who speaks RFC 5780's form, then the fastest.
fn ranked(answered: &[(usize, Duration, SocketAddr)], probes: &Probes) -> Vec<SocketAddr> {
    let mut ranked: Vec<_> = answered
        .iter()
        .map(|(place, round_trip, to)| {
            let rank = match offer(probes, *place) {
                said @ Offer::Other(_) if names_other_ip(said, *to) => 0,
                Offer::Other(_) => 1,
                Offer::Silent | Offer::Unasked => 2,
            };
            (rank, *round_trip, *to)
        })
        .collect();
    ranked.sort();
    let mut servers: Vec<SocketAddr> = Vec::new();
    for (_, _, to) in ranked {
        if servers.len() < SERVERS_MAX && !servers.iter().any(|server| server.ip() == to.ip()) {
            servers.push(to);
        }
    }
    servers
}

fn offer(probes: &Probes, place: usize) -> Offer {
    probes.probes.get(place).map_or(Offer::Unasked, |probe| probe.offer)
}

fn names_other_ip(offer: Offer, server: SocketAddr) -> bool {
    matches!(offer, Offer::Other(Some(other)) if other.ip() != server.ip())
}

/// What any server of RFC 5780 answers with its other address.
fn question(family: Family) -> BindingRequest<'static> {
    let bytes = match family {
        Family::Ipv4 => 46,
        Family::Ipv6 => SOFTWARE.len(),
    };
    BindingRequest { software: SOFTWARE.get(..bytes), ..BindingRequest::BARE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_all_addresses_is_hardly_longer_than_the_question() {
        for (family, answer) in [(Family::Ipv4, 68), (Family::Ipv6, 116)] {
            let mut out = Vec::new();
            let bytes = question(family).write(TransactionId::new([0; 12]), &mut out).len();
            assert!(bytes * 11 / 10 >= answer, "{family}: {bytes} bytes for {answer}");
        }
    }

    #[test]
    fn a_discovery_that_starts_at_the_last_moment_ends_in_time() {
        assert!(START_MAX + RUN_TIME_MAX < REPORT_TIME_MAX && START_MAX > Duration::from_millis(500));
    }
}
