//! Whether a captive portal answers in the place of relays.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::RegionId;

use super::names::{Found, Names};
use super::target::Target;
use super::{Family, Output, Progress};

/// When relays are asked over HTTP at the earliest: most reports know by then that UDP works.
pub const PORTAL_AFTER: Duration = Duration::from_millis(200);
/// What one request is given.
pub const PORTAL_TIME_MAX: Duration = Duration::from_millis(1500);
/// Relays that are asked at most.
const PORTAL_PROBES_MAX: usize = 5;
/// Bytes of a header that are looked at.
const HEADER_BYTES_MAX: usize = 256;
/// The port.
const HTTP_PORT: u16 = 80;
/// What the relay answers.
const NO_CONTENT: u16 = 204;

/// One captive-portal probe of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortalId(u32);

/// A request to make: `GET /generate_204` over plain HTTP, with `X-Tailscale-Challenge`, without following anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalProbe {
    /// To be named with the answer.
    pub id: PortalId,
    /// Where to.
    pub to: SocketAddr,
    /// `Host`.
    pub host: String,
    /// `X-Tailscale-Challenge`.
    pub challenge: String,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortalAnswer {
    /// The status.
    pub status: u16,
    /// `X-Tailscale-Response`.
    pub response: Option<String>,
    /// `Location`.
    pub location: Option<String>,
}

/// What the probes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Portal {
    /// Nobody was asked: UDP worked, or no relay of the map answers on port 80.
    NotChecked,
    /// Nobody answered: the port is blocked, or no relay is there.
    NoAnswer {
        /// Relays that were asked.
        asked: usize,
    },
    /// A relay answered as only it can.
    Clear {
        /// Which.
        by: SocketAddr,
    },
    /// Somebody else answered.
    Captive {
        /// In whose place.
        instead_of: SocketAddr,
        /// The status that a relay does not send.
        status: u16,
        /// Where the browser would be sent.
        location: Option<String>,
    },
}

impl Portal {
    /// Whether there is one; None if nobody was asked. Silence is none, as for Tailscale's client.
    pub const fn is_captive(&self) -> Option<bool> {
        match self {
            Self::NotChecked => None,
            Self::NoAnswer { .. } | Self::Clear { .. } => Some(false),
            Self::Captive { .. } => Some(true),
        }
    }
}

/// The probes of a report.
#[derive(Debug)]
pub(super) struct PortalCheck {
    /// Not before this.
    due: Option<Instant>,
    flying: Vec<(PortalId, SocketAddr, Instant)>,
    asked: usize,
    verdict: Option<Portal>,
}

impl PortalCheck {
    /// One that starts in time, or never.
    pub(super) const fn new(due: Option<Instant>) -> Self {
        Self { due, flying: Vec::new(), asked: 0, verdict: None }
    }

    /// Asks nobody who was not asked.
    pub(super) fn cancel(&mut self) {
        self.due = None;
    }

    /// Asks when it is time, and gives up what takes too long.
    pub(super) fn step(
        &mut self,
        now: Instant,
        home: Option<RegionId>,
        names: &Names,
        targets: &[Target],
        queue: &mut VecDeque<Output>,
    ) -> Progress {
        self.flying.retain(|(_, _, since)| *since + PORTAL_TIME_MAX > now);
        if let Some(due) = self.due {
            if due > now {
                return Progress::Until(due);
            }
            self.due = None;
            self.ask(now, home, names, targets, queue);
        }
        if matches!(self.verdict, Some(Portal::Captive { .. })) {
            return Progress::Settled;
        }
        let ends = self.flying.iter().map(|(_, _, since)| Progress::Until(*since + PORTAL_TIME_MAX));
        ends.fold(Progress::Settled, Progress::and)
    }

    fn ask(
        &mut self,
        now: Instant,
        home: Option<RegionId>,
        names: &Names,
        targets: &[Target],
        queue: &mut VecDeque<Output>,
    ) {
        let mut nodes: Vec<_> =
            targets.iter().filter(|node| node.port80 && node.derp_port.is_some()).collect();
        nodes.sort_by_key(|node| Some(node.region) != home);
        let mut asked: Vec<IpAddr> = Vec::new();
        for node in nodes {
            let Found::At(ip) = names.find(node.derp.ipv4, Family::Ipv4) else { continue };
            if asked.contains(&ip) || asked.len() >= PORTAL_PROBES_MAX {
                continue;
            }
            let id = PortalId(asked.len() as u32);
            asked.push(ip);
            let to = SocketAddr::new(ip, HTTP_PORT);
            self.flying.push((id, to, now));
            let host = ip.to_string();
            let challenge = challenge(ip);
            queue.push_back(Output::Portal(PortalProbe { id, to, host, challenge }));
        }
        self.asked = asked.len();
    }

    /// What came of a probe: None if nobody answered.
    pub(super) fn answered(&mut self, id: PortalId, answer: Option<PortalAnswer>) {
        let Some(place) = self.flying.iter().position(|(flying, _, _)| *flying == id) else { return };
        let (_, to, _) = self.flying.swap_remove(place);
        let Some(answer) = answer else { return };
        if matches!(self.verdict, Some(Portal::Captive { .. })) {
            return;
        }
        self.verdict = Some(judge(to, answer));
    }

    /// What the probes said.
    pub(super) fn verdict(&self) -> Portal {
        match &self.verdict {
            Some(verdict) => verdict.clone(),
            None if self.asked == 0 => Portal::NotChecked,
            None => Portal::NoAnswer { asked: self.asked },
        }
    }
}

/// What a relay repeats: `response ` and this.
fn challenge(ip: IpAddr) -> String {
    format!("ts_{ip}")
}

fn judge(to: SocketAddr, answer: PortalAnswer) -> Portal {
    let expected = format!("response {}", challenge(to.ip()));
    if answer.status == NO_CONTENT && answer.response.as_ref() == Some(&expected) {
        return Portal::Clear { by: to };
    }
    let location = answer.location.map(|mut location| {
        location.retain(|letter| letter.is_ascii_graphic());
        location.truncate(HEADER_BYTES_MAX);
        location
    });
    Portal::Captive { instead_of: to, status: answer.status, location }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relay_repeats_the_challenge() {
        let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let judged = |status, response: Option<&str>| {
            let response = response.map(str::to_owned);
            judge(to, PortalAnswer { status, response, location: None }).is_captive()
        };
        assert_eq!(judged(204, Some("response ts_192.0.2.1")), Some(false));
        assert_eq!(judged(204, Some("response ts_192.0.2.2")), Some(true));
        assert_eq!(judged(204, None), Some(true), "a portal that lets others' probes pass");
        assert_eq!(judged(302, Some("response ts_192.0.2.1")), Some(true));
        assert_eq!(judged(200, None), Some(true));
    }

    #[test]
    fn a_portals_words_are_short_and_plain() {
        let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let location = Some(format!("http://login.example/\x1b[2J{}", "ä".repeat(9000)));
        let Portal::Captive { location, .. } =
            judge(to, PortalAnswer { status: 302, response: None, location })
        else {
            panic!("a portal")
        };
        assert_eq!(location.as_deref(), Some("http://login.example/[2J"));
    }
}
