//! Whether the router opens ports when it is asked: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP. It is only asked whether it would;
//! nothing is mapped.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use ferry_stun::client::Schedule;

use super::{Output, Progress, SocketId};

/// The port of PCP and NAT-PMP.
const PCP_PORT: u16 = 5351;
/// The port of SSDP.
const SSDP_PORT: u16 = 1900;
/// Where routers listen for SSDP.
const SSDP_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// Between two tries.
const GAPS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];
/// A router that is silent for so long after the last is taken to do none of it.
const PATIENCE: Duration = Duration::from_millis(300);
/// UPnP devices may wait before they answer; this is the shortest that a question can allow (MX, whole seconds), and unicast
/// answers come at once.
const SEARCH_SECS_MAX: u32 = 1;
/// Bytes of a description's URL that are kept.
const LOCATION_BYTES_MAX: usize = 200;

/// NAT-PMP: which external address is there (RFC 6886 section 3.2).
const PMP_QUESTION: [u8; 2] = [0, 0];
/// The version of PCP.
const PCP_VERSION: u8 = 2;
/// The bit of answers, in both protocols.
const ANSWER: u8 = 0x80;

/// Whether the router opens ports when it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// The router that was asked; None if no IPv4 router is known, and nobody was.
    pub gateway: Option<Ipv4Addr>,
    /// It speaks NAT-PMP, and has an external address.
    pub pmp: bool,
    /// It speaks PCP.
    pub pcp: bool,
    /// It is an Internet gateway by UPnP.
    pub upnp: bool,
    /// Its external address, by NAT-PMP.
    pub external: Option<Ipv4Addr>,
    /// Where UPnP describes it.
    pub location: Option<String>,
}

impl PortMapping {
    /// Whether it opens ports in any way; None if nobody was asked.
    pub fn any(&self) -> Option<bool> {
        self.gateway.map(|_| self.pmp || self.pcp || self.upnp)
    }

    /// Whether it does one of them, `works`; None if nobody was asked.
    pub(super) fn said(&self, works: bool) -> Option<bool> {
        self.gateway.map(|_| works)
    }
}

/// The questions of a report.
#[derive(Debug)]
pub(super) struct PortMappingCheck {
    found: PortMapping,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// There is a router to ask, and no socket yet.
    Unopened(Ipv4Addr),
    Opening,
    /// Asked so often since then, from this address.
    Asking {
        from: Ipv4Addr,
        gateway: Ipv4Addr,
        since: Instant,
        times: usize,
    },
    Over,
}

impl PortMappingCheck {
    /// One that asks this router, or none.
    pub(super) fn new(gateway: Option<Ipv4Addr>) -> Self {
        let state = gateway.map_or(State::Over, State::Unopened);
        Self { found: PortMapping { gateway, ..PortMapping::default() }, state }
    }

    pub(super) fn found(&self) -> PortMapping {
        self.found.clone()
    }

    /// The socket is open, with this address here.
    pub(super) fn opened(&mut self, now: Instant, local: SocketAddr) {
        self.state = match (self.state, self.found.gateway, local.ip()) {
            (State::Opening, Some(gateway), IpAddr::V4(from)) => {
                State::Asking { from, gateway, since: now, times: 0 }
            }
            _ => State::Over,
        };
    }

    /// Nobody can be asked: nothing is known.
    pub(super) fn failed(&mut self) {
        self.found = PortMapping::default();
        self.state = State::Over;
    }

    /// Asks when it is time.
    pub(super) fn step(&mut self, now: Instant, end: Instant, queue: &mut VecDeque<Output>) -> Progress {
        let schedule = Schedule::with_gaps(&GAPS, PATIENCE);
        match &mut self.state {
            State::Over => Progress::Settled,
            State::Opening => Progress::Until(end),
            State::Unopened(gateway) => {
                let toward = SocketAddr::from((*gateway, PCP_PORT));
                self.state = State::Opening;
                queue.push_back(Output::Open { socket: SocketId::PortMapping, toward });
                Progress::Until(end)
            }
            State::Asking { from, gateway, since, times } => {
                let all = self.found.pmp && self.found.pcp && self.found.upnp;
                if all || *since + schedule.end() <= now {
                    self.state = State::Over;
                    return Progress::Settled;
                }
                match schedule.delay(*times).map(|delay| *since + delay) {
                    Some(due) if due > now => Progress::Until(due),
                    Some(_) => {
                        *times += 1;
                        let (from, gateway) = (*from, *gateway);
                        self.ask(from, gateway, queue);
                        Progress::Until(now)
                    }
                    None => Progress::Until(*since + schedule.end()),
                }
            }
        }
    }

    /// Asks for what has not been answered.
    fn ask(&self, from: Ipv4Addr, gateway: Ipv4Addr, queue: &mut VecDeque<Output>) {
        let mut send = |to: Ipv4Addr, port, payload: Vec<u8>| {
            let to = SocketAddrV4::new(to, port).into();
            queue.push_back(Output::Send { socket: SocketId::PortMapping, to, payload });
        };
        if !self.found.pcp {
            send(gateway, PCP_PORT, announce(from));
        }
        if !self.found.pmp {
            send(gateway, PCP_PORT, PMP_QUESTION.to_vec());
        }
        if !self.found.upnp {
            // First to the router alone: a firewall of this host then lets its answer in.
            send(gateway, SSDP_PORT, search("ssdp:all"));
            send(SSDP_GROUP, SSDP_PORT, search("urn:schemas-upnp-org:device:InternetGatewayDevice:1"));
        }
    }

    /// Takes a datagram; only the router's own words count.
    pub(super) fn handle(&mut self, from: SocketAddr, datagram: &[u8]) {
        if self.found.gateway.map(IpAddr::V4) != Some(from.ip().to_canonical()) {
            return;
        }
        if from.port() != PCP_PORT {
            if let Some(location) = gateway_location(datagram) {
                self.found.upnp = true;
                self.found.location.get_or_insert(location);
            }
            return;
        }
        match datagram {
            // Version, operation, result, epoch, address. An answer to PCP in this version says that it is not spoken.
            [0, ANSWER, 0, 0, _, _, _, _, a, b, c, d] => {
                let external = Ipv4Addr::new(*a, *b, *c, *d);
                // A router that has no address yet can map nothing.
                if !external.is_unspecified() {
                    self.found.pmp = true;
                    self.found.external = Some(external);
                }
            }
            // Version, operation, reserved, result; 24 bytes at least (RFC 6887 section 7.2).
            [PCP_VERSION, ANSWER, _, 0, rest @ ..] if rest.len() >= 20 => self.found.pcp = true,
            _ => {}
        }
    }
}

/// PCP's ANNOUNCE (RFC 6887 section 14.1), which maps nothing and is answered by every server.
fn announce(from: Ipv4Addr) -> Vec<u8> {
    let mut request = vec![PCP_VERSION, 0, 0, 0, 0, 0, 0, 0];
    request.extend_from_slice(&from.to_ipv6_mapped().octets());
    request
}

/// SSDP's search.
fn search(target: &str) -> Vec<u8> {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {SSDP_GROUP}:{SSDP_PORT}\r\nST: {target}\r\nMAN: \"ssdp:discover\"\r\n\
         MX: {SEARCH_SECS_MAX}\r\n\r\n"
    )
    .into_bytes()
}

/// Where an Internet gateway describes itself, if it is one that speaks.
fn gateway_location(datagram: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(datagram).ok()?;
    let mut lines = text.split("\r\n");
    let answers = lines.next()?.starts_with("HTTP/1.1 200");
    if !answers || !text.contains(":InternetGatewayDevice:") {
        return None;
    }
    let location = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim())
    });
    let plain = location.unwrap_or_default().chars().filter(char::is_ascii_graphic);
    Some(plain.take(LOCATION_BYTES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const UPNP: &str = "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
        Location: http://192.168.1.1:5000/root.xml\r\n\r\n";

    /// A check that has asked once.
    fn asked() -> (PortMappingCheck, Vec<(SocketAddr, Vec<u8>)>, Instant) {
        let now = Instant::now();
        let end = now + Duration::from_secs(9);
        let mut check = PortMappingCheck::new(Some(GATEWAY));
        let mut queue = VecDeque::new();
        let _ = check.step(now, end, &mut queue);
        assert_eq!(queue.pop_front(), Some(Output::Open { socket: SocketId::PortMapping, toward: at(5351) }));
        check.opened(now, "192.168.1.2:40000".parse().unwrap());
        let _ = check.step(now, end, &mut queue);
        let sent = queue.into_iter().map(|output| {
            let Output::Send { to, payload, .. } = output else { panic!("{output:?}") };
            (to, payload)
        });
        (check, sent.collect(), now)
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from((GATEWAY, port))
    }

    #[test]
    fn all_three_are_asked_at_once_and_nothing_is_mapped() {
        let (_, sent, _) = asked();
        let (to, pcp) = &sent[0];
        assert_eq!((*to, pcp.len(), &pcp[..2]), (at(5351), 24, &[2, 0][..]));
        assert_eq!(pcp[18..], [0xff, 0xff, 192, 168, 1, 2]);
        assert_eq!(sent[1], (at(5351), vec![0, 0]));
        assert_eq!((sent[2].0, sent[3].0), (at(1900), "239.255.255.250:1900".parse().unwrap()));
        assert!(sent[2].1.starts_with(b"M-SEARCH * HTTP/1.1\r\n") && sent[2].1.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn what_the_router_says_counts() {
        let (mut check, _, now) = asked();
        check.handle(at(5351), &[0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7]);
        check.handle(at(5351), &[[2, 128, 0, 0].as_slice(), &[0; 20]].concat());
        check.handle(at(4711), UPNP.as_bytes());
        let found = check.found();
        assert_eq!((found.pmp, found.pcp, found.upnp, found.any()), (true, true, true, Some(true)));
        assert_eq!(found.external, Some(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(found.location.as_deref(), Some("http://192.168.1.1:5000/root.xml"));
        assert_eq!(check.step(now, now, &mut VecDeque::new()), Progress::Settled);
    }

    #[test]
    fn refusals_fragments_and_strangers_do_not() {
        let (mut check, _, _) = asked();
        for answer in [
            &[0, 128, 0, 3, 0, 0, 0, 9, 203, 0, 113, 7][..],
            &[0, 128, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0],
            &[0, 128, 0, 1, 0, 0, 0, 9],
            &[2, 128, 0, 0],
            &[[2, 128, 0, 2].as_slice(), &[0; 20]].concat(),
            &[2, 0, 0, 0],
            b"",
        ] {
            check.handle(at(5351), answer);
        }
        check.handle(at(1900), UPNP.replace("InternetGateway", "MediaServer").as_bytes());
        check.handle(at(1900), UPNP.replace("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1").as_bytes());
        check.handle("192.168.1.3:1900".parse().unwrap(), UPNP.as_bytes());
        check.handle("192.168.1.3:5351".parse().unwrap(), &[0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7]);
        assert_eq!(check.found(), PortMapping { gateway: Some(GATEWAY), ..PortMapping::default() });
        assert_eq!(check.found().any(), Some(false));
    }

    #[test]
    fn a_silent_router_is_asked_three_times_and_without_one_nothing_is_known() {
        let (mut check, first, start) = asked();
        let (mut now, mut queue) = (start, VecDeque::new());
        while let Progress::Until(until) = check.step(now, start + Duration::from_secs(9), &mut queue) {
            now = until;
        }
        assert_eq!(queue.len(), 2 * first.len());
        assert_eq!(now - start, Duration::from_millis(600));
        assert_eq!(check.found().any(), Some(false));
        assert_eq!(PortMappingCheck::new(None).found().any(), None);
        let mut check = PortMappingCheck::new(Some(GATEWAY));
        check.failed();
        assert_eq!(check.found().any(), None);
    }
}
