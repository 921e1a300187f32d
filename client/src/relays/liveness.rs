//! Whether a connection is alive.

use std::time::{Duration, Instant};

use ferry_protocol::frame::PING_DATA_LEN;

use super::{PING_AFTER_SENDING, PING_TIMEOUT, PING_WHEN_IDLE};

/// What is known of a connection's life.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the last byte came.
    heard: Instant,
    /// When the first packet since was sent.
    sent: Option<Instant>,
    /// The ping after which nothing came yet.
    unanswered: Option<Instant>,
    /// The last ping, for its round trip.
    ping: Option<([u8; PING_DATA_LEN], Instant)>,
    /// Somebody wants a ping now.
    wanted: bool,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Ping.
    Ping,
    /// It is dead: nothing was heard for so long.
    Dead(Duration),
    /// Look again at this time, if there is one.
    Wait(Option<Instant>),
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, sent: None, unanswered: None, ping: None, wanted: false }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.sent = None;
        self.unanswered = None;
    }

    /// Packets were sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent.get_or_insert(now);
    }

    /// Whether it lives is to be found out now.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// A ping with this data was sent.
    pub(super) fn pinged(&mut self, now: Instant, data: [u8; PING_DATA_LEN]) {
        self.wanted = false;
        self.unanswered.get_or_insert(now);
        self.ping = Some((data, now));
    }

    /// The round trip of a ping that was answered; None if the answer is to another.
    pub(super) fn ponged(&mut self, now: Instant, data: [u8; PING_DATA_LEN]) -> Option<Duration> {
        let (_, at) = self.ping.take_if(|(awaited, _)| *awaited == data)?;
        Some(now.saturating_duration_since(at))
    }

    /// What to do. An idle connection is only pinged where something is to come by it: peers' packets at home, and who comes and goes.
    pub(super) fn poll(&self, now: Instant, awaits: bool) -> Life {
        if let Some(pinged) = self.unanswered {
            let dead_at = pinged + PING_TIMEOUT;
            return match (dead_at <= now, self.wanted) {
                (true, _) => Life::Dead(now.saturating_duration_since(self.heard)),
                (false, true) => Life::Ping,
                (false, false) => Life::Wait(Some(dead_at)),
            };
        }
        let sent = self.sent.map(|sent| sent + PING_AFTER_SENDING);
        let idle = awaits.then(|| self.heard + PING_WHEN_IDLE);
        let due = sent.into_iter().chain(idle).min();
        if self.wanted || due.is_some_and(|due| due <= now) { Life::Ping } else { Life::Wait(due) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_path_in_use_that_is_silent_is_pinged_and_then_dead() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now);
        assert_eq!(liveness.poll(now, false), Life::Wait(None), "nobody uses it");
        liveness.sent(now);
        liveness.sent(now + S);
        assert_eq!(liveness.poll(now + S, false), Life::Wait(Some(now + 2 * S)), "the first packet counts");
        assert_eq!(liveness.poll(now + 2 * S, false), Life::Ping);
        liveness.pinged(now + 2 * S, [1; 8]);
        assert_eq!(liveness.poll(now + 2 * S, false), Life::Wait(Some(now + 5 * S)));
        assert_eq!(liveness.poll(now + 5 * S, false), Life::Dead(5 * S));
    }

    #[test]
    fn whatever_comes_is_life() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now);
        liveness.sent(now);
        liveness.pinged(now + 2 * S, [1; 8]);
        liveness.heard(now + 3 * S);
        assert_eq!(liveness.poll(now + 60 * S, false), Life::Wait(None));
        assert_eq!(liveness.ponged(now + 4 * S, [2; 8]), None, "an answer to nothing");
        assert_eq!(liveness.ponged(now + 4 * S, [1; 8]), Some(2 * S), "late, but an answer");
        assert_eq!(liveness.ponged(now + 4 * S, [1; 8]), None);
    }

    #[test]
    fn an_idle_home_is_pinged() {
        let now = Instant::now();
        let liveness = Liveness::new(now);
        assert_eq!(liveness.poll(now, true), Life::Wait(Some(now + PING_WHEN_IDLE)));
        assert_eq!(liveness.poll(now + PING_WHEN_IDLE, true), Life::Ping);
    }

    #[test]
    fn more_pings_do_not_put_death_off() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now);
        liveness.want();
        assert_eq!(liveness.poll(now, false), Life::Ping);
        liveness.pinged(now, [1; 8]);
        liveness.want();
        assert_eq!(liveness.poll(now + S, false), Life::Ping);
        liveness.pinged(now + S, [2; 8]);
        assert_eq!(liveness.poll(now + 3 * S, false), Life::Dead(3 * S));
    }
}
