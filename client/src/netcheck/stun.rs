//! The STUN probes of a report: who was asked, who answered, and what they saw.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_stun::TransactionId;
use ferry_stun::client::{ANSWER_BYTES_MAX, BindingRequest, BindingResponse, ResponseError};

use super::family::same_endpoint;
use super::names::{Found, Names};
use super::plan::Planned;
use super::report::{Exchange, Ignored};
use super::target::Target;
use super::{Family, Output, PerFamily, Progress, SocketId};

/// Requests of a report at most.
const REQUESTS_MAX: usize = 4096;

/// Requests with the same time. The more there are, the later the last of them really leaves.
const SENDS_AT_ONCE: usize = 8;

/// After its first answer a node is asked once more, when the first burst is over.
const AGAIN_AFTER: Duration = Duration::from_millis(120);

/// Outside addresses of a family that are kept. A NAT with a mapping for each destination shows one for each.
const SEEN_MAX: usize = 64;

/// A socket that the probes of one family share: that is how it is seen whether destinations see the same address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DataSocket {
    /// Nobody needed it so far.
    #[default]
    Unopened,
    Opening,
    /// With this address here.
    Open(SocketAddr),
    Failed,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The probe with this place.
    Probe(usize),
    /// Whether the node behind this probe does RFC 5780.
    Offer(usize),
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    to: SocketAddr,
    family: Family,
    purpose: Purpose,
}

/// One node over one family.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) planned: Planned,
    state: State,
    /// When it could be asked at the earliest.
    ready: Option<Instant>,
    /// When it is asked once more.
    again: Option<Instant>,
    pub(super) exchange: Option<Exchange>,
    /// What the node said to a request of RFC 5780's form.
    pub(super) offer: Offer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its address is not known yet.
    Naming,
    Asking,
    Answered,
    /// It has no address, could not be asked, did not answer, or is not needed any more.
    Over,
}

/// What a node says of its other address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Offer {
    /// It was not asked.
    #[default]
    Unasked,
    /// It has not answered: derper does not.
    Silent,
    /// It answers, and names this one, or none.
    Other(Option<SocketAddr>),
}

/// A socket as seen from a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) destination: SocketAddr,
    pub(super) mapped: SocketAddr,
}

/// What is counted for a family.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) socket: DataSocket,
    /// Datagrams that were handed to the system, and those that it did not take.
    pub(super) sent: u32,
    pub(super) unsendable: u32,
    /// Outside addresses in the order of the first sight, and how often each was seen.
    pub(super) seen: Vec<(SocketAddr, u32)>,
    pub(super) observations: Vec<Observation>,
}

impl Tally {
    /// Whether two destinations see different addresses. A second destination is one with another IP address: some NATs look at
    /// that alone.
    pub(super) fn varies(&self) -> Option<bool> {
        let (first, rest) = self.observations.split_first()?;
        if rest.iter().any(|seen| seen.mapped != first.mapped) {
            return Some(true);
        }
        let elsewhere = rest.iter().any(|seen| seen.destination.ip() != first.destination.ip());
        elsewhere.then_some(false)
    }
}

/// All probes of a report.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) probes: Vec<Probe>,
    pub(super) tallies: PerFamily<Tally>,
    sent: HashMap<TransactionId, Sent>,
    requests: usize,
    pub(super) ignored: Ignored,
    /// When the first request was sent.
    pub(super) first_sent: Option<Instant>,
    pub(super) first_answer: Option<Instant>,
}

impl Probes {
    pub(super) fn new(planned: Vec<Planned>) -> Self {
        let probes = planned.into_iter().map(|planned| Probe {
            planned,
            state: State::Naming,
            ready: None,
            again: None,
            exchange: None,
            offer: Offer::Unasked,
        });
        Self {
            probes: probes.collect(),
            tallies: PerFamily::default(),
            sent: HashMap::new(),
            requests: 0,
            ignored: Ignored::default(),
            first_sent: None,
            first_answer: None,
        }
    }

    /// What came of opening a socket.
    pub(super) fn opened(&mut self, family: Family, socket: DataSocket) {
        let tally = self.tallies.of_mut(family);
        if tally.socket == DataSocket::Opening {
            tally.socket = socket;
        }
    }

    /// Asks whom it is time to ask.
    pub(super) fn step(
        &mut self,
        now: Instant,
        end: Instant,
        names: &Names,
        targets: &[Target],
        ids: &mut impl FnMut() -> TransactionId,
        queue: &mut VecDeque<Output>,
    ) -> Progress {
        let mut all = Progress::Settled;
        let batch_end = self.requests + SENDS_AT_ONCE;
        for place in 0..self.probes.len() {
            if self.requests >= batch_end {
                return Progress::Until(now);
            }
            all = all.and(self.step_one(place, now, end, names, targets, ids, queue));
        }
        all
    }

    fn step_one(
        &mut self,
        place: usize,
        now: Instant,
        end: Instant,
        names: &Names,
        targets: &[Target],
        ids: &mut impl FnMut() -> TransactionId,
        queue: &mut VecDeque<Output>,
    ) -> Progress {
        let Some(probe) = self.probes.get_mut(place) else { return Progress::Settled };
        let Some(target) = targets.get(probe.planned.target) else { return Progress::Settled };
        let family = probe.planned.family;
        if probe.state == State::Naming {
            match (names.find(*target.stun.of(family), family), target.stun_port) {
                (Found::Pending, _) => return Progress::Until(end),
                (Found::At(ip), Some(port)) => {
                    probe.state = State::Asking;
                    probe.exchange = Some(Exchange::new(SocketAddr::new(ip, port)));
                }
                (Found::Nowhere, _) | (_, None) => probe.state = State::Over,
            }
        }
        let Some(exchange) = &mut probe.exchange else { return Progress::Settled };
        if let Some(again) = probe.again {
            if again > now {
                return Progress::Until(again);
            }
            probe.again = None;
            if self.requests < REQUESTS_MAX {
                exchange.sent += 1;
                let to = exchange.to;
                self.send(now, family, to, Purpose::Probe(place), BindingRequest::TAILSCALE, ids(), queue);
            }
            return Progress::Settled;
        }
        if probe.state != State::Asking {
            return Progress::Settled;
        }
        let tally = self.tallies.of_mut(family);
        match tally.socket {
            DataSocket::Open(_) => {}
            DataSocket::Opening => return Progress::Until(end),
            DataSocket::Unopened => {
                tally.socket = DataSocket::Opening;
                queue.push_back(Output::Open { socket: SocketId::Data(family), toward: exchange.to });
                return Progress::Until(end);
            }
            DataSocket::Failed => {
                probe.state = State::Over;
                return Progress::Settled;
            }
        }
        let ready = *probe.ready.get_or_insert(now) + probe.planned.offset;
        let schedule = probe.planned.schedule;
        let Some(due) = schedule.delay(exchange.sent as usize).map(|delay| ready + delay) else {
            if ready + schedule.end() > now {
                return Progress::Until(ready + schedule.end());
            }
            probe.state = State::Over;
            return Progress::Settled;
        };
        if due > now {
            return Progress::Until(due);
        }
        if self.requests >= REQUESTS_MAX {
            probe.state = State::Over;
            return Progress::Settled;
        }
        exchange.sent += 1;
        let next = schedule.delay(exchange.sent as usize).unwrap_or_else(|| schedule.end());
        let to = exchange.to;
        self.first_sent.get_or_insert(now);
        self.send(now, family, to, Purpose::Probe(place), BindingRequest::TAILSCALE, ids(), queue);
        Progress::Until(ready + next)
    }

    fn send(
        &mut self,
        now: Instant,
        family: Family,
        to: SocketAddr,
        purpose: Purpose,
        request: BindingRequest<'_>,
        id: TransactionId,
        queue: &mut VecDeque<Output>,
    ) {
        self.requests += 1;
        self.tallies.of_mut(family).sent += 1;
        self.sent.insert(id, Sent { at: now, to, family, purpose });
        let mut payload = Vec::new();
        request.write(id, &mut payload);
        queue.push_back(Output::Send { socket: SocketId::Data(family), to, payload });
    }

    /// Asks a node in RFC 5780's form whether it has another address.
    pub(super) fn ask_offer(
        &mut self,
        now: Instant,
        place: usize,
        request: BindingRequest<'_>,
        ids: &mut impl FnMut() -> TransactionId,
        queue: &mut VecDeque<Output>,
    ) {
        let Some(probe) = self.probes.get_mut(place) else { return };
        let Some(exchange) = probe.exchange else { return };
        if self.requests >= REQUESTS_MAX {
            return;
        }
        if probe.offer == Offer::Unasked {
            probe.offer = Offer::Silent;
        }
        let family = probe.planned.family;
        self.send(now, family, exchange.to, Purpose::Offer(place), request, ids(), queue);
    }

    /// Takes a datagram. Whatever is no answer to a request of ours, from where it went, is counted and changes nothing.
    pub(super) fn handle(&mut self, now: Instant, family: Family, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() > ANSWER_BYTES_MAX {
            return count(&mut self.ignored.malformed);
        }
        let response = match BindingResponse::parse(datagram) {
            Ok(response) => response,
            Err(ResponseError::Refused { .. }) => return count(&mut self.ignored.refused),
            Err(_) => return count(&mut self.ignored.malformed),
        };
        let Some(sent) = self.sent.get(&response.transaction_id).filter(|sent| sent.family == family) else {
            return count(&mut self.ignored.unknown_transaction);
        };
        if !same_endpoint(from, sent.to) {
            return count(&mut self.ignored.from_elsewhere);
        }
        let Sent { at, to, purpose, .. } = *sent;
        // Its second copy is then a stranger.
        self.sent.remove(&response.transaction_id);
        self.first_answer.get_or_insert(now);
        let tally = self.tallies.of_mut(family);
        let mapped = response.mapped_address;
        match tally.seen.iter_mut().find(|(seen, _)| *seen == mapped) {
            Some((_, times)) => *times += 1,
            None => {
                if tally.seen.len() < SEEN_MAX {
                    tally.seen.push((mapped, 1));
                }
            }
        }
        tally.observations.push(Observation { destination: to, mapped });
        match purpose {
            Purpose::Probe(place) => {
                let Some(probe) = self.probes.get_mut(place) else { return };
                if probe.planned.twice && probe.state == State::Asking {
                    probe.again = Some(now + AGAIN_AFTER);
                }
                probe.state = State::Answered;
                if let Some(exchange) = &mut probe.exchange {
                    exchange.note_answer(now.saturating_duration_since(at), mapped);
                }
            }
            Purpose::Offer(place) => {
                let Some(probe) = self.probes.get_mut(place) else { return };
                probe.offer = Offer::Other(response.other_address);
            }
        }
    }

    /// The system did not take a datagram.
    pub(super) fn unsendable(&mut self, family: Family) {
        self.tallies.of_mut(family).unsendable += 1;
    }

    /// Asks nobody any more who has not answered; answers that still come count.
    pub(super) fn stop(&mut self) {
        for probe in self.probes.iter_mut().filter(|probe| probe.state != State::Answered) {
            probe.state = State::Over;
        }
    }

    /// Spares stay unasked where the region has answered over their family.
    pub(super) fn drop_spares(&mut self, targets: &[Target]) {
        let region = |probe: &Probe| targets.get(probe.planned.target).map(|target| target.region);
        let answered: Vec<_> = self
            .probes
            .iter()
            .filter(|probe| probe.state == State::Answered)
            .map(|probe| (region(probe), probe.planned.family))
            .collect();
        for probe in self.probes.iter_mut().filter(|probe| probe.planned.spare) {
            let is_pending = matches!(probe.state, State::Naming | State::Asking);
            if is_pending && answered.contains(&(region(probe), probe.planned.family)) {
                probe.state = State::Over;
            }
        }
    }

    /// The probes that were answered, by place, the fastest first.
    pub(super) fn answered(&self, family: Family) -> Vec<(usize, Duration, SocketAddr)> {
        let of_family = self.probes.iter().enumerate().filter(|(_, probe)| probe.planned.family == family);
        let mut answered: Vec<_> = of_family
            .filter_map(|(place, probe)| {
                let exchange = probe.exchange?;
                Some((place, exchange.round_trip?, exchange.to))
            })
            .collect();
        answered.sort_by_key(|(place, round_trip, _)| (*round_trip, *place));
        answered
    }

    /// Whether nothing more is asked over a family.
    pub(super) fn is_over(&self, family: Family) -> bool {
        let mut of_family = self.probes.iter().filter(|probe| probe.planned.family == family);
        of_family.all(|probe| matches!(probe.state, State::Answered | State::Over))
    }

    /// Whether a region has been asked this often over some family, or will not be asked at all.
    pub(super) fn tries(&self, is_asked: impl Fn(usize) -> bool) -> Option<u32> {
        let asked = self.probes.iter().filter(|probe| is_asked(probe.planned.target));
        let open = asked.filter(|probe| probe.state != State::Over);
        open.map(|probe| probe.exchange.map_or(0, |exchange| exchange.sent)).max()
    }
}

/// One more, unless there are too many to count.
const fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
