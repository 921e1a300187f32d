//! Is the partner there, and fit to send for us.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::service::Services;
use super::wire::Reply;

/// How often the partner is asked whether it is there.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Three probes without a reply, and half a second for the last one's. "No answer" means filtering to a client, so
/// the other address must not be promised for longer.
const SILENCE_MAX: Duration = Duration::from_millis(3500);

/// The first wait, doubled up to [`PROBE_INTERVAL`], for a partner that answers but is not ready: two machines that
/// start together then find each other in a fraction of a second.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Two probes are never closer, whatever made for the second.
const PROBE_GAP: Duration = Duration::from_millis(25);

/// Probes whose replies are still taken; at their interval the eldest is long lost.
const OUTSTANDING_MAX: usize = 8;

/// By how much the clocks may differ. Forwards outside are taken for replays.
pub(super) const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5);

/// Whether the partner sends for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerState {
    /// It does.
    Up,
    /// It does not, and RFC 5780's "change IP" is refused with a 420.
    Down(DownReason),
}

/// Why the partner does not send for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// This machine's STUN server has not given its sockets to the channel, or has stopped.
    #[error("no STUN server runs here on two ports")]
    NotServing,
    /// This machine has just started to look for it.
    #[error("partner has not been heard yet")]
    Starting,
    /// The partner's name has no address.
    #[error("partner's name cannot be looked up: {error}")]
    Unresolved {
        /// The resolver's word.
        error: String,
    },
    /// Nothing heard.
    #[error(
        "no reply from the partner; check that it runs, that both have the same key, and that UDP between the channels' addresses passes"
    )]
    NoReply,
    /// What one of them sends now is old, or of the future, to the other.
    #[error(
        "partner's clock is {ahead_millis} ms ahead of ours, and 5000 either way is the limit; set both clocks"
    )]
    ClocksDiffer {
        /// The partner's time minus ours, in milliseconds.
        ahead_millis: i64,
    },
    /// Both say that they serve STUN at the same address.
    #[error("partner serves STUN at {ip} as this machine does; each needs an address of its own")]
    SameAddress {
        /// The address.
        ip: IpAddr,
    },
    /// The four addresses are no two by two.
    #[error(
        "partner serves STUN on ports {} and {}, this machine on {} and {}; give both machines the same two",
        partner[0], partner[1], here[0], here[1]
    )]
    PortsDiffer {
        /// This machine's.
        here: [u16; 2],
        /// The partner's.
        partner: [u16; 2],
    },
    /// The partner's program runs and its STUN server does not, or it has just said that it stops.
    #[error("partner serves no STUN now")]
    PartnerNotServing,
    /// One serves STUN over IPv4 only, the other over IPv6 only.
    #[error("partner serves STUN over the other IP version only; give both machines a common one")]
    NoCommonFamily,
    /// The partner hears our probes, but not our replies to its own.
    #[error("partner gets no reply from this machine; check the address it has for this one")]
    NotHeard,
}

/// Probes under way, and what the last reply said.
#[derive(Debug)]
pub(super) struct Health {
    outstanding: [Option<Probe>; OUTSTANDING_MAX],
    /// Number of the last probe; they are counted from 1.
    number: u64,
    started: Instant,
    next_probe: Instant,
    last_probe: Option<Instant>,
    retry: Duration,
    heard: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    sent: Instant,
    unix_millis: u64,
}

/// What the partner last said about itself.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    at: Instant,
    /// From the probe to its reply.
    pub round_trip: Duration,
    /// The partner's time minus ours, in milliseconds.
    pub ahead_millis: i64,
    /// Where it serves STUN.
    pub services: Services,
    hears_us: bool,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outstanding: [None; OUTSTANDING_MAX],
            number: 0,
            started: now,
            next_probe: now,
            last_probe: None,
            retry: RETRY_FIRST,
            heard: None,
        }
    }

    /// What the last reply said, however long ago.
    pub(super) const fn heard(&self) -> Option<&Heard> {
        self.heard.as_ref()
    }

    /// When [`probe`](Self::probe) or [`state`](Self::state) has something new to say.
    pub(super) fn next_wake(&self, now: Instant) -> Instant {
        let silent_at = self.last_sign() + SILENCE_MAX;
        if silent_at > now { silent_at.min(self.next_probe) } else { self.next_probe }
    }

    fn last_sign(&self) -> Instant {
        self.heard.map_or(self.started, |heard| heard.at)
    }

    /// The number of a probe to be sent now, if it is time.
    pub(super) fn due_probe(&mut self, now: Instant, unix_millis: u64) -> Option<u64> {
        (now >= self.next_probe).then(|| self.start_probe(now, unix_millis))
    }

    /// The number of a probe to be sent now, unless the last one has just been sent.
    pub(super) fn early_probe(&mut self, now: Instant, unix_millis: u64) -> Option<u64> {
        let crowded = self.last_probe.is_some_and(|last| now.duration_since(last) < PROBE_GAP);
        (!crowded).then(|| self.start_probe(now, unix_millis))
    }

    fn start_probe(&mut self, now: Instant, unix_millis: u64) -> u64 {
        self.number += 1;
        self.last_probe = Some(now);
        self.next_probe = now + PROBE_INTERVAL;
        let place = self.number % OUTSTANDING_MAX as u64;
        if let Some(slot) = self.outstanding.get_mut(place as usize) {
            *slot = Some(Probe { number: self.number, sent: now, unix_millis });
        }
        self.number
    }

    /// Takes a reply; false if it is to no probe under way.
    pub(super) fn take_reply(&mut self, number: u64, reply: &Reply, their_millis: u64, now: Instant) -> bool {
        let slot = self.outstanding.iter_mut().find(|slot| slot.is_some_and(|probe| probe.number == number));
        let Some(probe) = slot.and_then(Option::take) else { return false };
        let round_trip = now.duration_since(probe.sent);
        // By the monotonic clock: ours may have been set since.
        let middle = u128::from(probe.unix_millis) + round_trip.as_millis() / 2;
        self.heard = Some(Heard {
            at: now,
            round_trip,
            ahead_millis: difference(their_millis, u64::try_from(middle).unwrap_or(u64::MAX)),
            services: reply.services,
            hears_us: reply.hears_you,
        });
        true
    }

    /// The partner serves nothing any more. Replies under way may be older than that.
    pub(super) fn take_leaving(&mut self) {
        self.outstanding = [None; OUTSTANDING_MAX];
        if let Some(heard) = &mut self.heard {
            heard.services = Services::default();
        }
    }

    /// Plans the next probe after a reply or a leaving that left us in `state`.
    pub(super) fn plan(&mut self, state: &PartnerState, now: Instant) {
        if matches!(state, PartnerState::Down(DownReason::NotHeard | DownReason::PartnerNotServing)) {
            self.next_probe = self.next_probe.min(now + self.retry);
            self.retry = (self.retry * 2).min(PROBE_INTERVAL);
        } else {
            self.retry = RETRY_FIRST;
        }
    }

    /// Whether the partner sends for us, who serve `here`.
    pub(super) fn state(&self, here: &Services, now: Instant) -> PartnerState {
        self.verdict(here, now).map_or_else(PartnerState::Down, |()| PartnerState::Up)
    }

    fn verdict(&self, here: &Services, now: Instant) -> Result<(), DownReason> {
        if here.is_empty() {
            return Err(DownReason::NotServing);
        }
        if now.saturating_duration_since(self.last_sign()) >= SILENCE_MAX {
            return Err(DownReason::NoReply);
        }
        let heard = self.heard.ok_or(DownReason::Starting)?;
        if u128::from(heard.ahead_millis.unsigned_abs()) > CLOCK_DIFFERENCE_MAX.as_millis() {
            return Err(DownReason::ClocksDiffer { ahead_millis: heard.ahead_millis });
        }
        if heard.services.is_empty() {
            return Err(DownReason::PartnerNotServing);
        }
        let (ours, theirs) = (here.common_with(&heard.services), heard.services.common_with(here));
        if ours.is_empty() {
            return Err(DownReason::NoCommonFamily);
        }
        for (our, their) in [(ours.ipv4, theirs.ipv4), (ours.ipv6, theirs.ipv6)] {
            let (Some(our), Some(their)) = (our, their) else { continue };
            if our.ip == their.ip {
                return Err(DownReason::SameAddress { ip: our.ip });
            }
            if our.ports != their.ports {
                return Err(DownReason::PortsDiffer { here: our.ports, partner: their.ports });
            }
        }
        if !heard.hears_us {
            return Err(DownReason::NotHeard);
        }
        Ok(())
    }
}

/// `a - b` in full range.
pub(super) fn difference(a: u64, b: u64) -> i64 {
    let magnitude = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { magnitude } else { -magnitude }
}
