//! NAT behaviour discovery (RFC 5780): which listener has which second port and address.

use std::net::{IpAddr, SocketAddr};

use super::ConfigError;
use super::error::family;
use crate::cli::Serve;
use crate::values::AdvertisePair;

/// An address that UDP is served on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpListener {
    /// The first address and port.
    pub(crate) listen: SocketAddr,
    /// What else there is.
    pub(crate) behaviour: Behaviour,
    /// What clients see in place of the first and of the second address, if that is something else.
    pub(crate) advertise: Option<(IpAddr, IpAddr)>,
}

/// What a listener can do for behaviour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Nothing.
    Off,
    /// A second port; the second address is the partner's or nobody's.
    SecondPort(u16),
    /// A second address with a second port, on this machine.
    TwoAddresses(SocketAddr),
}

impl UdpListener {
    /// All addresses and ports of the listener: one, two or four.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let first = self.listen;
        let at = SocketAddr::new;
        match self.behaviour {
            Behaviour::Off => vec![first],
            Behaviour::SecondPort(port) => vec![first, at(first.ip(), port)],
            Behaviour::TwoAddresses(second) => {
                let (a1, p1, a2, p2) = (first.ip(), first.port(), second.ip(), second.port());
                vec![at(a1, p1), at(a1, p2), at(a2, p1), at(a2, p2)]
            }
        }
    }
}

/// Gives each `--listen` what `--alternate` and `--advertise` say about it.
pub(super) fn listeners(listen: &[SocketAddr], flags: &Serve) -> Result<Vec<UdpListener>, ConfigError> {
    let mut listeners: Vec<_> = listen
        .iter()
        .map(|&listen| UdpListener { listen, behaviour: Behaviour::Off, advertise: None })
        .collect();
    for alternate in &flags.alternate {
        let Some(port) = alternate.port else {
            return Err(ConfigError::NoPort { ip: alternate.or_port(0).ip() });
        };
        match alternate.ip.filter(|ip| !ip.is_unspecified()) {
            Some(ip) => add_address(&mut listeners, SocketAddr::new(ip, port))?,
            None => add_port(&mut listeners, port)?,
        }
    }
    advertise(&mut listeners, &flags.advertise)?;
    Ok(listeners)
}

/// An address belongs to the one listener of its family.
fn add_address(listeners: &mut [UdpListener], alternate: SocketAddr) -> Result<(), ConfigError> {
    let wildcard = listeners.iter().map(|listener| listener.listen).find(|listen| {
        // A wildcard of IPv6 stands for IPv4 too.
        listen.ip().is_unspecified() && (listen.is_ipv6() || alternate.is_ipv4())
    });
    let mut same = listeners
        .iter_mut()
        .filter(|listener| listener.listen.is_ipv4() == alternate.is_ipv4())
        .filter(|listener| !listener.listen.ip().is_unspecified());
    let listener = match (same.next(), same.next(), wildcard) {
        (Some(first), Some(second), _) => {
            let (first, second) = (first.listen, second.listen);
            return Err(ConfigError::SeveralListens { alternate, first, second });
        }
        (Some(listener), None, _) => listener,
        (None, _, Some(listen)) => return Err(ConfigError::Wildcard { listen, alternate }),
        (None, _, None) => return Err(ConfigError::NoListenOfFamily { alternate }),
    };
    if listener.listen.port() == alternate.port() && alternate.port() != 0 {
        return Err(ConfigError::SamePort { alternate, listen: listener.listen });
    }
    if listener.behaviour != Behaviour::Off {
        return Err(ConfigError::AlternateTwice { family: family(alternate.ip()) });
    }
    listener.behaviour = match listener.listen.ip() == alternate.ip() {
        true => Behaviour::SecondPort(alternate.port()),
        false => Behaviour::TwoAddresses(alternate),
    };
    Ok(())
}

/// A port alone is for every listener that has nothing better.
fn add_port(listeners: &mut [UdpListener], port: u16) -> Result<(), ConfigError> {
    for listener in listeners {
        match listener.behaviour {
            Behaviour::TwoAddresses(_) => continue,
            Behaviour::SecondPort(_) => {
                return Err(ConfigError::AlternateTwice { family: family(listener.listen.ip()) });
            }
            Behaviour::Off => {}
        }
        if listener.listen.port() == port && port != 0 {
            let alternate = SocketAddr::new(listener.listen.ip(), port);
            return Err(ConfigError::SamePort { alternate, listen: listener.listen });
        }
        listener.behaviour = Behaviour::SecondPort(port);
    }
    Ok(())
}

fn advertise(listeners: &mut [UdpListener], pairs: &[AdvertisePair]) -> Result<(), ConfigError> {
    if !pairs.is_empty() && listeners.iter().all(|listener| listener.behaviour == Behaviour::Off) {
        return Err(ConfigError::AdvertisedWithoutAlternate);
    }
    for (pair, rest) in pairs.iter().zip((1..).map_while(|next| pairs.get(next..))) {
        let internal = pair.internal;
        if rest.iter().any(|other| other.internal == internal) {
            return Err(ConfigError::AdvertisedTwice { internal });
        }
        let mut all = listeners.iter().flat_map(UdpListener::addresses);
        if !all.any(|address| address.ip() == internal) {
            return Err(ConfigError::AdvertisedNowhere { internal });
        }
    }
    let outside = |ip: IpAddr| pairs.iter().find(|pair| pair.internal == ip).map(|pair| pair.external);
    for listener in listeners {
        let first = listener.listen.ip();
        let second = match listener.behaviour {
            Behaviour::Off => continue,
            Behaviour::SecondPort(_) => first,
            Behaviour::TwoAddresses(second) => second.ip(),
        };
        if outside(first).is_some() || outside(second).is_some() {
            listener.advertise = Some((outside(first).unwrap_or(first), outside(second).unwrap_or(second)));
        }
    }
    Ok(())
}
