//! What a line does by itself: dials, holds on, gives up.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferry_protocol::{NodePublicKey, ServerInfo};

use super::{Line, Output, State};
use crate::dial::{self, Dial, Endpoint};
use crate::relays::frames::Heard;
use crate::relays::liveness::Life;
use crate::relays::open::Open;
use crate::relays::{
    BACKOFF_MAX, DisconnectReason, Event, RECONNECT_IN_MAX, RESTART_BACKOFF_MAX, STABLE_AFTER, TRY_FOR_MAX,
    WEBSOCKET_REMEMBERED,
};
use crate::{ConnectionError, RelayUrl};

impl Line {
    /// One act of the state it is in; None if there is more to be looked at.
    pub(super) fn act(&mut self, now: Instant) -> Option<Output> {
        let needed = self.is_needed(now);
        match &mut self.state {
            State::Resting if needed => self.dial(now),
            State::Resting => return Some(Output::Wait(None)),
            State::Waiting { .. } | State::Dialling(_) if !needed => {
                self.leave();
                self.state = State::Resting;
            }
            State::Waiting { until } if *until <= now => self.dial(now),
            State::Waiting { until } => return Some(Output::Wait(Some(*until))),
            State::Dialling(dial) => match dial.poll(now) {
                dial::Output::Resolve { ticket, host } => return Some(Output::Resolve { ticket, host }),
                dial::Output::Connect { ticket, address } => {
                    return Some(Output::Connect { ticket, address });
                }
                dial::Output::Cancel(ticket) => self.closing.push_back((ticket, Vec::new())),
                dial::Output::Wait(wake) => return Some(Output::Wait(Some(wake))),
                // It was taken over as soon as it was there.
                dial::Output::Done => return Some(Output::Wait(None)),
                dial::Output::Failed(failures) => {
                    let retry_in = self.retry(now);
                    self.events.push_back(Event::ConnectFailed { region: self.region, failures, retry_in });
                }
            },
            State::Open(_) if !needed => self.lost(now, DisconnectReason::Idle),
            State::Open(open) => match open.liveness.poll(now, self.home || self.watch) {
                Life::Dead(silence) => self.lost(now, DisconnectReason::Silent(silence)),
                Life::Ping => self.send_ping(now),
                Life::Wait(wake) => {
                    let unneeded_at = self.kept_until.filter(|_| !self.home && !self.watch);
                    return Some(Output::Wait(wake.into_iter().chain(unneeded_at).min()));
                }
            },
        }
        None
    }

    fn is_needed(&self, now: Instant) -> bool {
        self.home || self.watch || self.kept_until.is_some_and(|until| now < until)
    }

    pub(super) fn keep(&mut self, until: Instant) {
        self.kept_until = Some(self.kept_until.map_or(until, |before| before.max(until)));
    }

    /// Starts an attempt.
    fn dial(&mut self, now: Instant) {
        self.dials += 1;
        self.eaten.retain(|_, until| *until > now);
        let eaten = &self.eaten;
        let by_websocket = |endpoint: &Endpoint| eaten.contains_key(&place(&endpoint.url));
        let dial = Dial::new(now, self.dials, &self.settings, &self.endpoints, by_websocket);
        self.state = State::Dialling(Box::new(dial));
    }

    /// Gives up what is under way, and dials at once.
    pub(super) fn redial(&mut self, now: Instant) {
        self.leave();
        self.state = State::Waiting { until: now };
    }

    /// Stops, or closes, whatever there is.
    pub(super) fn leave(&mut self) {
        match mem::replace(&mut self.state, State::Resting) {
            State::Resting | State::Waiting { .. } => {}
            State::Dialling(dial) => {
                self.closing.extend(dial.abandon().into_iter().map(|ticket| (ticket, Vec::new())));
            }
            State::Open(open) => self.closing.push_back((open.ticket, open.into_goodbye())),
        }
    }

    /// ServerInfo is there. Its event goes before those that came right behind it.
    pub(super) fn established(
        &mut self,
        now: Instant,
        before: usize,
        server: NodePublicKey,
        info: ServerInfo,
    ) {
        let Some(ticket) = self.socket() else { return };
        let State::Dialling(dial) = mem::replace(&mut self.state, State::Resting) else { return };
        let Some((connection, endpoint, reached)) = dial.into_connection(now) else { return };
        if reached.websocket && !endpoint.url.websocket {
            self.eaten.entry(place(&endpoint.url)).or_insert(now + WEBSOCKET_REMEMBERED);
        }
        self.restart = None;
        self.events.insert(before, Event::Connected { region: self.region, reached, server, info });
        let mut open = Open::new(now, ticket, connection, endpoint);
        let introduced = open.introduce(self.home, self.watch);
        self.state = State::Open(Box::new(open));
        if let Err(error) = introduced {
            self.broken(now, error);
        }
    }

    /// What the relay said, beside packets and events.
    pub(super) fn heard(&mut self, now: Instant, heard: &Heard) {
        if let Some((reconnect_in, try_for)) = heard.restarting {
            let back = now + reconnect_in.min(RECONNECT_IN_MAX);
            self.restart = Some((back, back + try_for.min(TRY_FOR_MAX)));
        }
        let State::Open(open) = &mut self.state else { return };
        for pong in &heard.pongs {
            if let Some(rtt) = open.liveness.ponged(now, *pong) {
                self.events.push_back(Event::Pong { region: self.region, rtt });
            }
        }
    }

    fn send_ping(&mut self, now: Instant) {
        let mut data = [0; 8];
        (self.entropy)(&mut data);
        if let State::Open(open) = &mut self.state
            && let Err(error) = open.ping(now, data)
        {
            self.broken(now, error);
        }
    }

    pub(super) fn broken(&mut self, now: Instant, error: ConnectionError) {
        self.lost(now, DisconnectReason::Connection(Arc::new(error)));
    }

    /// The connection is no more.
    pub(super) fn lost(&mut self, now: Instant, reason: DisconnectReason) {
        let State::Open(open) = &self.state else { return };
        let lasted = open.lasted(now);
        // A silence has been waited through already.
        if lasted >= STABLE_AFTER || matches!(reason, DisconnectReason::Silent(_)) {
            self.backoff.reset();
        }
        self.leave();
        let retry_in = match reason {
            DisconnectReason::MapChanged => {
                self.state = State::Waiting { until: now };
                Some(Duration::ZERO)
            }
            DisconnectReason::Closed
            | DisconnectReason::Io(_)
            | DisconnectReason::Connection(_)
            | DisconnectReason::Silent(_)
            | DisconnectReason::Idle
            | DisconnectReason::Stopped => self.retry(now),
        };
        self.events.push_back(Event::Disconnected { region: self.region, reason, lasted, retry_in });
    }

    /// When the next attempt is, if there is one.
    fn retry(&mut self, now: Instant) -> Option<Duration> {
        if !self.is_needed(now) {
            self.state = State::Resting;
            return None;
        }
        let mut chance = [0; 8];
        (self.entropy)(&mut chance);
        let chance = u64::from_le_bytes(chance);
        let retry_in = match self.restart.filter(|(_, until)| now < *until) {
            Some((back, _)) => {
                back.saturating_duration_since(now) + self.backoff.next(chance, RESTART_BACKOFF_MAX)
            }
            None => self.backoff.next(chance, BACKOFF_MAX),
        };
        self.state = State::Waiting { until: now + retry_in };
        Some(retry_in)
    }

    pub(super) fn random(&mut self) -> [u8; 40] {
        let mut random = [0; 40];
        (self.entropy)(&mut random);
        random
    }
}

/// What tells relays apart, whatever they are spoken to with.
fn place(url: &RelayUrl) -> (String, u16) {
    (url.host.clone(), url.port)
}
