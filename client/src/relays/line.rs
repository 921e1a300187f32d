//! The way to one region's relay: what it is told, and what it is asked.

mod acts;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ferry_protocol::NodePublicKey;
use ferry_protocol::derp_map::RegionId;

use super::backoff::Backoff;
use super::frames::Heard;
use super::open::Open;
use super::{Backlog, DisconnectReason, Entropy, Event, IDLE_MAX, SLEEP_MIN};
use crate::dial::{Dial, Endpoint, Settings, Ticket};
use crate::home::OLD_HOME_KEPT;

/// What to do for a [`Line`].
#[derive(Debug)]
pub enum Output {
    /// Ask for the addresses of a name, and answer with [`Line::resolved`].
    Resolve {
        /// What the answer is given with.
        ticket: Ticket,
        /// The name.
        host: String,
    },
    /// Open a TCP connection, and answer with [`Line::connected`].
    Connect {
        /// What the answer is given with, and the connection's bytes then.
        ticket: Ticket,
        /// Where to.
        address: SocketAddr,
    },
    /// Stop this attempt or question, or close this connection once it has taken the last words.
    Close {
        /// Which.
        ticket: Ticket,
        /// For the socket, if it takes them at once; often none.
        goodbye: Vec<u8>,
    },
    /// Something happened.
    Event(Event),
    /// Nothing to do before this time, or the next input; None: before the next input.
    Wait(Option<Instant>),
}

/// The way to one region's relay; see [the module](super) for the rules.
///
/// After each input, and at the time it [waited](Output::Wait) for, it is to be polled until it waits; then [its bytes](Self::outgoing) go to
/// [its socket](Self::socket).
pub struct Line {
    region: RegionId,
    settings: Arc<Settings>,
    entropy: Entropy,
    /// WatchConns is asked for: the client has the mesh key.
    watch: bool,
    // Told from outside.
    endpoints: Arc<[Endpoint]>,
    home: bool,
    /// Until when it is needed though it is not home.
    kept_until: Option<Instant>,
    // What it does.
    state: State,
    /// How many dials there were.
    dials: u64,
    backoff: Backoff,
    /// When a relay that restarts is to be back, and until when it is tried for.
    restart: Option<(Instant, Instant)>,
    /// Whose upgrade is eaten by something in the way, until when that is believed. No more than there are endpoints.
    eaten: BTreeMap<(String, u16), Instant>,
    /// When it asked to be polled.
    wake: Option<Instant>,
    // For the caller. Together they have no more than one read can hold, and what changes a state.
    closing: VecDeque<(Ticket, Vec<u8>)>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Nobody needs it.
    Resting,
    /// The next attempt is later.
    Waiting { until: Instant },
    /// An attempt.
    Dialling(Box<Dial>),
    /// Packets flow.
    Open(Box<Open>),
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("region", &self.region)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// A line that rests. With `watch` the relay is asked who comes and goes, which it tells those with its mesh key.
    pub fn new(
        region: RegionId,
        settings: &Arc<Settings>,
        endpoints: Vec<Endpoint>,
        watch: bool,
        entropy: Entropy,
    ) -> Self {
        Self {
            region,
            settings: Arc::clone(settings),
            entropy,
            watch,
            endpoints: endpoints.into(),
            home: false,
            kept_until: None,
            state: State::Resting,
            dials: 0,
            backoff: Backoff::default(),
            restart: None,
            eaten: BTreeMap::new(),
            wake: None,
            closing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Whether the relay is asked who comes and goes.
    pub fn watch(&self) -> bool {
        self.watch
    }

    /// Whether packets flow.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// It is the home's line from now on, or no more.
    pub fn set_home(&mut self, now: Instant, home: bool) {
        if self.home == home {
            return;
        }
        self.home = home;
        if !home {
            self.keep(now + OLD_HOME_KEPT);
        }
        if let State::Open(open) = &mut self.state
            && let Err(error) = open.note_preferred(home)
        {
            self.broken(now, error);
        }
    }

    /// Somebody needs it: it is kept as if a packet had been handed over.
    pub fn want(&mut self, now: Instant) {
        self.keep(now + IDLE_MAX);
    }

    /// The region's relays are these from now on. A connection to one that is still among them stays.
    pub fn set_endpoints(&mut self, now: Instant, endpoints: Vec<Endpoint>) {
        let is_same = endpoints.len() == self.endpoints.len()
            && endpoints.iter().zip(self.endpoints.iter()).all(|(new, old)| new.is_same(old));
        if is_same {
            return;
        }
        self.endpoints = endpoints.into();
        self.eaten.clear();
        self.backoff.reset();
        match &self.state {
            State::Resting => {}
            State::Waiting { .. } | State::Dialling(_) => self.redial(now),
            State::Open(open) => {
                if !self.endpoints.iter().any(|endpoint| endpoint.is_same(&open.endpoint)) {
                    self.lost(now, DisconnectReason::MapChanged);
                }
            }
        }
    }

    /// The machine is in another network, or slept: what was believed of the way to the relay is to be found out.
    pub fn network_changed(&mut self, now: Instant) {
        self.backoff.reset();
        self.restart = None;
        match &mut self.state {
            State::Resting => {}
            State::Waiting { .. } | State::Dialling(_) => self.redial(now),
            State::Open(open) => open.liveness.want(),
        }
    }

    /// Pings the relay now; the answer is an [`Event::Pong`]. Answers false where there is no connection.
    pub fn ping(&mut self) -> bool {
        match &mut self.state {
            State::Open(open) => {
                open.liveness.want();
                true
            }
            State::Resting | State::Waiting { .. } | State::Dialling(_) => false,
        }
    }

    /// Asks again who is connected to the relay: it tells of all. For those that [watch](Self::watch) and may have missed something.
    pub fn watch_again(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state
            && self.watch
            && let Err(error) = open.watch()
        {
            self.broken(now, error);
        }
    }

    /// Nothing was read for a while because nobody took it: the silence was our own.
    pub fn was_not_read(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.liveness.heard(now);
        }
    }

    /// Closes all there is, for good: what [`poll`](Self::poll) still says is only this.
    pub fn stop(&mut self, now: Instant) {
        self.home = false;
        self.watch = false;
        self.kept_until = None;
        self.lost(now, DisconnectReason::Stopped);
        self.leave();
    }

    /// Takes packets that wait, as many as the socket may soon take, drops those that waited too long, and says what was dropped. Answers
    /// when the next has waited too long.
    pub fn fill(&mut self, now: Instant, backlog: &mut Backlog) -> Option<Instant> {
        if !backlog.is_empty() {
            self.keep(now + IDLE_MAX);
        }
        if let State::Open(open) = &mut self.state
            && let Err(error) = open.fill(now, backlog)
        {
            self.broken(now, error);
        }
        let expiry = backlog.expire(now);
        let region = self.region;
        let dropped = backlog.take_dropped();
        self.events.extend(dropped.map(|(reason, dropped)| Event::Dropped { region, reason, dropped }));
        expiry
    }

    /// The addresses of a name that was asked for.
    pub fn resolved(&mut self, now: Instant, ticket: Ticket, answer: io::Result<Vec<IpAddr>>) {
        if let State::Dialling(dial) = &mut self.state {
            dial.resolved(now, ticket, answer);
        }
    }

    /// What came of an attempt to connect.
    pub fn connected(&mut self, now: Instant, ticket: Ticket, answer: io::Result<()>) {
        let random = self.random();
        if let State::Dialling(dial) = &mut self.state {
            dial.connected(now, ticket, answer, random);
        }
    }

    /// Takes what the socket gave. `input` is opened in place; packets are slices of it, or of what was left of the last read.
    pub fn receive(
        &mut self,
        now: Instant,
        ticket: Ticket,
        input: &mut [u8],
        packets: &mut impl FnMut(NodePublicKey, &[u8]),
    ) {
        if self.socket() != Some(ticket) {
            return;
        }
        let (region, mut heard, before) = (self.region, Heard::default(), self.events.len());
        let Self { state, events, .. } = self;
        let mut take = |event: crate::Event<'_>| heard.take(region, event, events, packets);
        let received = match state {
            State::Dialling(dial) => {
                dial.receive(now, ticket, input, &mut take);
                Ok(())
            }
            State::Open(open) => {
                open.liveness.heard(now);
                open.connection.receive(input, &mut take)
            }
            State::Resting | State::Waiting { .. } => Ok(()),
        };
        heard.tell_peers(region, events);
        if let Some((server, info)) = heard.server {
            self.established(now, before, server, info);
        }
        self.heard(now, &heard);
        match received {
            Err(error) => self.broken(now, error),
            Ok(()) if heard.closed && self.is_open() => self.lost(now, DisconnectReason::Closed),
            Ok(()) => {}
        }
    }

    /// The socket came to its end, or failed.
    pub fn ended(&mut self, now: Instant, ticket: Ticket, error: Option<io::Error>) {
        if self.socket() != Some(ticket) {
            return;
        }
        match &mut self.state {
            State::Dialling(dial) => dial.ended(ticket, error),
            State::Open(_) => {
                let reason =
                    error.map_or(DisconnectReason::Closed, |error| DisconnectReason::Io(Arc::new(error)));
                self.lost(now, reason);
            }
            State::Resting | State::Waiting { .. } => {}
        }
    }

    /// The socket that bytes go to and come from, if there is one.
    pub fn socket(&self) -> Option<Ticket> {
        match &self.state {
            State::Dialling(dial) => dial.socket(),
            State::Open(open) => Some(open.ticket),
            State::Resting | State::Waiting { .. } => None,
        }
    }

    /// Bytes that the [socket](Self::socket) should take, in order.
    pub fn outgoing(&self) -> &[u8] {
        match &self.state {
            State::Dialling(dial) => dial.outgoing(),
            State::Open(open) => open.connection.outgoing(),
            State::Resting | State::Waiting { .. } => &[],
        }
    }

    /// The socket took the first `bytes` of [`outgoing`](Self::outgoing).
    pub fn written(&mut self, now: Instant, bytes: usize) {
        match &mut self.state {
            State::Dialling(dial) => dial.written(bytes),
            State::Open(open) => open.written(now, bytes),
            State::Resting | State::Waiting { .. } => {}
        }
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Output {
        // Suspended machines are found by whoever sees two clocks; those whose clock goes on by this.
        if self.wake.take().is_some_and(|wake| now > wake + SLEEP_MIN) {
            self.network_changed(now);
        }
        loop {
            if let Some((ticket, goodbye)) = self.closing.pop_front() {
                return Output::Close { ticket, goodbye };
            }
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some(output) = self.act(now) {
                if let Output::Wait(wake) = output {
                    self.wake = wake;
                }
                return output;
            }
        }
    }
}
