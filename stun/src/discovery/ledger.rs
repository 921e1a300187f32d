//! Everything that was sent: what an answer is checked against, and what silence is measured by.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::silence::Loss;
use super::{Output, Report, SOCKETS, SocketId};
use crate::client::{BindingRequest, Change};
use crate::message::TransactionId;

/// Requests of one run at most. A run that loses every datagram sends about 150.
const REQUESTS_MAX: usize = 256;

/// Requests of one run at most that have a server send from elsewhere or to another port. Servers allow
/// few, and to a whole network at once (Ferry 5 a second and 20 in a burst per /24).
pub(super) const REDIRECTS_MAX: u32 = 12;

/// SOFTWARE of the requests: who asks, and long enough that an RFC 5780 answer (68 bytes over IPv4, 116
/// over IPv6) is not more than 1.1 times its request, which strict servers insist on.
const SOFTWARE: &[u8] =
    b"ferry-stun: NAT behaviour discovery (RFC 5780), padded so that answers are no larger";

/// How much of it requests over IPv4 carry.
const SOFTWARE_IPV4_BYTES: usize = 46;

/// How long an answer may take before anything is known about the path.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(500);

/// How long an answer may take at least, however fast the path was so far: jitter, and a server's partner.
const PATIENCE_MIN: Duration = Duration::from_millis(150);

/// What a request is for, which decides what counts as its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A plain request of the probe with this number.
    Probe(usize),
    /// The answer is to come from elsewhere, to a socket that never sent there.
    Change(Change),
    /// The answer is to come the way that one to this change would, through a filter that is open to it.
    Control {
        /// The change that stays without an answer.
        change: Change,
        /// Sent after the last of the sends that stay without an answer.
        after: bool,
    },
    /// To another socket of ours, through the NAT's outside.
    Hairpin,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    id: TransactionId,
    pub(super) at: Instant,
    pub(super) to: SocketAddr,
    pub(super) purpose: Purpose,
    /// The socket that the answer has to come to.
    pub(super) expected_on: SocketId,
    /// Where the answer has to come from, unless that is what the request is to find out.
    pub(super) expected_from: SocketAddr,
    /// Part of the plain exchanges that loss is measured by: to this address in this form.
    tailscale: bool,
    answered: bool,
}

/// An answer from elsewhere, or to elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// Where the server is to send from.
    pub(super) change: Change,
    /// Where to, if not to where the request comes from.
    pub(super) response_port: Option<u16>,
    /// The socket that gets it.
    pub(super) expected_on: SocketId,
    /// Where it comes from.
    pub(super) expected_from: SocketAddr,
}

/// What a socket is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    Opening,
    Open(SocketAddr),
    Failed,
}

#[derive(Debug)]
pub(super) struct Ledger<I> {
    ids: I,
    sent: Vec<Sent>,
    pub(super) queue: VecDeque<Output<Report>>,
    pub(super) sockets: [SocketState; SOCKETS],
    pub(super) redirects: u32,
    /// The shortest and the longest time that an answer took.
    pub(super) round_trips: Option<(Duration, Duration)>,
}

impl<I: FnMut() -> TransactionId> Ledger<I> {
    pub(super) fn new(ids: I) -> Self {
        Self {
            ids,
            sent: Vec::new(),
            queue: SocketId::first().map(Output::Open).collect(),
            sockets: [SocketState::Opening; SOCKETS],
            redirects: 0,
            round_trips: None,
        }
    }

    /// Sends a plain request.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        socket: SocketId,
        to: SocketAddr,
        tailscale: bool,
        probe: usize,
    ) {
        let request = if tailscale { BindingRequest::TAILSCALE } else { plain(to) };
        let purpose = Purpose::Probe(probe);
        let sent = Unsent { to, purpose, expected_on: socket, expected_from: to, tailscale };
        self.send(now, socket, request, sent);
    }

    /// Has the server send elsewhere; false if the run may not any more.
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        socket: SocketId,
        to: SocketAddr,
        redirect: Redirect,
        purpose: Purpose,
    ) -> bool {
        if self.redirects >= REDIRECTS_MAX {
            return false;
        }
        self.redirects += 1;
        let Redirect { change, response_port, expected_on, expected_from } = redirect;
        let request = BindingRequest { change, response_port, ..plain(to) };
        let sent = Unsent { to, purpose, expected_on, expected_from, tailscale: false };
        self.send(now, socket, request, sent);
        true
    }

    /// Sends to another of our own sockets.
    pub(super) fn hairpin(&mut self, now: Instant, socket: SocketId, to: SocketAddr, expected_on: SocketId) {
        let purpose = Purpose::Hairpin;
        let sent = Unsent { to, purpose, expected_on, expected_from: to, tailscale: false };
        self.send(now, socket, BindingRequest::BARE, sent);
    }

    fn send(&mut self, now: Instant, socket: SocketId, request: BindingRequest<'_>, sent: Unsent) {
        if self.sent.len() >= REQUESTS_MAX {
            return;
        }
        let Unsent { to, purpose, expected_on, expected_from, tailscale } = sent;
        let id = (self.ids)();
        let mut payload = Vec::new();
        request.write(id, &mut payload);
        self.queue.push_back(Output::Send { socket, to, payload });
        self.sent.push(Sent {
            id,
            at: now,
            to,
            purpose,
            expected_on,
            expected_from,
            tailscale,
            answered: false,
        });
    }
}

/// What is known of a request before it is sent.
struct Unsent {
    to: SocketAddr,
    purpose: Purpose,
    expected_on: SocketId,
    expected_from: SocketAddr,
    tailscale: bool,
}

impl<I> Ledger<I> {
    /// What has become of a socket.
    pub(super) fn socket(&self, socket: SocketId) -> SocketState {
        self.sockets.get(socket.index()).copied().unwrap_or(SocketState::Failed)
    }

    /// Finds the request that a message on this socket names; each is found once, and only where its
    /// answer was expected.
    pub(super) fn take(&mut self, id: TransactionId, socket: SocketId) -> Option<&mut Sent> {
        self.sent.iter_mut().find(|sent| sent.id == id && sent.expected_on == socket && !sent.answered)
    }

    /// Notes how long an exchange took.
    pub(super) fn note_round_trip(&mut self, elapsed: Duration) {
        let (shortest, longest) = self.round_trips.unwrap_or((elapsed, elapsed));
        self.round_trips = Some((shortest.min(elapsed), longest.max(elapsed)));
    }

    /// How long a request has to stay without an answer to count as unanswered.
    pub(super) fn patience(&self) -> Duration {
        self.round_trips.map_or(PATIENCE_UNKNOWN, |(_, longest)| (2 * longest).max(PATIENCE_MIN))
    }

    /// How many plain requests got lost, of those to servers that answer requests in that form. What is
    /// only late counts until it comes.
    pub(super) fn loss(&self, now: Instant) -> Loss {
        let patience = self.patience();
        let plain = || self.sent.iter().filter(|sent| matches!(sent.purpose, Purpose::Probe(_)));
        // A run knows a handful of addresses.
        let mut answering: Vec<(SocketAddr, bool)> = Vec::new();
        for sent in plain().filter(|sent| sent.answered) {
            if !answering.contains(&(sent.to, sent.tailscale)) {
                answering.push((sent.to, sent.tailscale));
            }
        }
        let mut loss = Loss::default();
        for sent in plain().filter(|sent| sent.answered || sent.at + patience <= now) {
            if answering.contains(&(sent.to, sent.tailscale)) {
                loss.asked += 1;
                loss.lost += usize::from(!sent.answered);
            }
        }
        loss
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> usize {
        self.sent.len()
    }

    /// Whether anything was answered.
    pub(super) fn any_answer(&self) -> bool {
        self.sent.iter().any(|sent| sent.answered && !matches!(sent.purpose, Purpose::Hairpin))
    }
}

impl Sent {
    /// Marks the request as answered: a second answer is not looked at.
    pub(super) fn close(&mut self) {
        self.answered = true;
    }
}

/// A request that an RFC 5780 answer does not outgrow.
fn plain(to: SocketAddr) -> BindingRequest<'static> {
    let short = SOFTWARE.get(..SOFTWARE_IPV4_BYTES).unwrap_or(SOFTWARE);
    let software = if to.ip().to_canonical().is_ipv4() { short } else { SOFTWARE };
    BindingRequest { software: Some(software), ..BindingRequest::BARE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_no_larger_than_strict_servers_allow() {
        for (server, attribute_bytes) in [("192.0.2.1:3478", 12), ("[2001:db8::1]:3478", 24)] {
            let mut request = Vec::new();
            plain(server.parse().expect("test address")).write(TransactionId::new([0; 12]), &mut request);
            let answer_bytes = 20 + 4 * attribute_bytes;
            assert!(answer_bytes * 10 <= request.len() * 11, "{server}: {} bytes", request.len());
        }
        // RFC 8489 section 14.14.
        assert!(SOFTWARE.len() < 128);
    }
}
