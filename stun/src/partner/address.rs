//! Where the partner's end of the channel is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a partner that is not heard is looked up again: it may have moved.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);

/// Where the partner's end of the channel is: `HOST:PORT`, an IPv6 address in brackets. A name is looked up at the
/// start, and again every 10 s while the partner is not heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerAddress {
    /// An address, never looked up.
    Literal(SocketAddr),
    /// A name.
    Name {
        /// The host.
        host: String,
        /// The UDP port.
        port: u16,
    },
}

impl From<SocketAddr> for PartnerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Literal(address)
    }
}

impl fmt::Display for PartnerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for PartnerAddress {
    type Err = PartnerAddressError;

    fn from_str(text: &str) -> Result<Self, PartnerAddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.ip().is_unspecified() || address.port() == 0 {
                return Err(PartnerAddressError::Nowhere { text: text.to_owned() });
            }
            return Ok(Self::Literal(address));
        }
        let malformed = || PartnerAddressError::Malformed { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(malformed)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) {
            return Err(malformed());
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

/// Why a text is no place of a partner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartnerAddressError {
    /// No host and port.
    #[error(
        "partner {text:?} is no HOST:PORT; write for example stun2.example.net:3480 or [2001:db8::1]:3480"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// An address that nobody has.
    #[error(
        "partner {text:?} is nowhere; give the other machine's address and the port its channel listens on"
    )]
    Nowhere {
        /// What was given.
        text: String,
    },
}

/// Which addresses a socket can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Ipv4,
    Ipv6,
    /// IPv6, and IPv4 as mapped addresses.
    Both,
}

impl Reach {
    /// Of a socket that is to be bound there.
    pub(super) fn of(listen: SocketAddr) -> Self {
        match listen {
            SocketAddr::V4(_) => Self::Ipv4,
            SocketAddr::V6(_) if listen.ip().is_unspecified() => Self::Both,
            SocketAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The address as the socket wants it, if it can be reached.
    pub(super) fn to(self, address: SocketAddr) -> Option<SocketAddr> {
        match (self, address) {
            (Self::Ipv4, SocketAddr::V4(_)) | (Self::Ipv6 | Self::Both, SocketAddr::V6(_)) => Some(address),
            (Self::Both, SocketAddr::V4(v4)) => Some((v4.ip().to_ipv6_mapped(), v4.port()).into()),
            (Self::Ipv4, SocketAddr::V6(_)) | (Self::Ipv6, SocketAddr::V4(_)) => None,
        }
    }
}

/// Looks the partner up without making the channel wait: a resolver may take half a minute to give up.
#[derive(Debug)]
pub(super) struct Lookup {
    host: String,
    port: u16,
    reach: Reach,
    next: Instant,
    /// At most one at a time. Its thread is not waited for, as nothing can end a look-up early; it holds nothing.
    pending: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
    /// Counts look-ups, to take another address of several each time.
    round: usize,
}

impl Lookup {
    pub(super) fn new(host: String, port: u16, reach: Reach, now: Instant) -> Self {
        Self { host, port, reach, next: now, pending: None, round: 0 }
    }

    /// Starts a look-up if one is `wanted` and it is time; what a look-up has brought, once. `wake` is called when
    /// there is something to collect.
    pub(super) fn poll(
        &mut self,
        wanted: bool,
        now: Instant,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Result<SocketAddr, String>> {
        if let Some(pending) = &self.pending {
            let found = match pending.try_recv() {
                Ok(found) => found,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Err(io::Error::other("the look-up broke off")),
            };
            self.pending = None;
            return Some(found.map_err(|error| error.to_string()).and_then(|all| self.choose(&all)));
        }
        if !wanted || now < self.next {
            return None;
        }
        self.next = now + LOOKUP_INTERVAL;
        let (sender, receiver) = sync_channel(1);
        let (host, port) = (self.host.clone(), self.port);
        let started = thread::Builder::new().name("stun-lookup".to_owned()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // It fails if the channel has been closed since.
            let _ = sender.send(found);
            wake();
        });
        match started {
            Ok(_) => self.pending = Some(receiver),
            Err(error) => return Some(Err(format!("no thread for the look-up: {error}"))),
        }
        None
    }

    fn choose(&mut self, all: &[SocketAddr]) -> Result<SocketAddr, String> {
        let usable: Vec<_> = all.iter().filter_map(|address| self.reach.to(*address)).collect();
        let place = self.round.checked_rem(usable.len());
        self.round = self.round.wrapping_add(1);
        place.and_then(|place| usable.get(place).copied()).ok_or_else(|| {
            format!("{} has {} addresses and none of the IP version of the channel", self.host, all.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn names_and_literals_are_told_apart() {
        let parse = |text: &str| text.parse::<PartnerAddress>();
        for text in ["192.0.2.1:3480", "[2001:db8::1]:3480", "stun2.example.net:3480", "localhost:1"] {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            let literal = text.starts_with(['1', '[']);
            assert_eq!(matches!(address, PartnerAddress::Literal(_)), literal, "{text}");
        }
        for text in
            ["", ":", "host", "host:", "host:0", "host:65536", ":3480", "2001:db8::1:3480", "a b:1", "[::1]"]
        {
            assert_eq!(parse(text), Err(PartnerAddressError::Malformed { text: text.to_owned() }));
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.0.2.1:0"] {
            assert_eq!(parse(text), Err(PartnerAddressError::Nowhere { text: text.to_owned() }));
        }
    }

    #[test]
    fn a_socket_reaches_its_own_ip_version_and_a_dual_one_both() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (ipv4, ipv6) = (address("192.0.2.1:5"), address("[2001:db8::1]:5"));
        let reach = |listen: &str, to| Reach::of(address(listen)).to(to);
        assert_eq!((reach("0.0.0.0:1", ipv4), reach("0.0.0.0:1", ipv6)), (Some(ipv4), None));
        assert_eq!((reach("[::1]:1", ipv4), reach("[::1]:1", ipv6)), (None, Some(ipv6)));
        let mapped = address("[::ffff:192.0.2.1]:5");
        assert_eq!((reach("[::]:1", ipv4), reach("[::]:1", ipv6)), (Some(mapped), Some(ipv6)));
    }

    #[test]
    fn a_name_is_looked_up_when_wanted_and_not_again_at_once() {
        let now = Instant::now();
        let mut lookup = Lookup::new("localhost".to_owned(), 9, Reach::Ipv4, now);
        let (sender, woken) = channel();
        let mut poll = |wanted, at| {
            let sender = sender.clone();
            lookup.poll(wanted, at, move || sender.send(()).expect("the test waits"))
        };
        assert_eq!(poll(false, now), None);
        assert_eq!(poll(true, now), None);
        woken.recv_timeout(Duration::from_secs(30)).expect("the look-up ends");
        let found = poll(true, now).expect("it has been said that there is something");
        assert!(found.is_ok_and(|address| address.ip().is_loopback() && address.port() == 9));
        assert_eq!(poll(true, now + LOOKUP_INTERVAL / 2), None);
        assert!(woken.try_recv().is_err(), "no second look-up yet");
        assert_eq!(poll(true, now + LOOKUP_INTERVAL), None);
        woken.recv_timeout(Duration::from_secs(30)).expect("a second look-up");
    }
}
