//! What single words of the command line mean.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// The port of STUN over UDP and TCP.
pub(crate) const STUN_PORT: u16 = 3478;

/// An address to listen on, either half of which may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    /// `None` is "every address", or whatever the context has.
    pub(crate) ip: Option<IpAddr>,
    /// `None` is the default of the flag.
    pub(crate) port: Option<u16>,
}

impl ListenAddress {
    /// The address with the flag's default port, on every address if none is given.
    pub(crate) fn or_port(self, port: u16) -> SocketAddr {
        let ip = self.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        SocketAddr::new(ip, self.port.unwrap_or(port))
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Ok(Self { ip: None, port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: Some(address.ip()), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self { ip: Some(ip), port: None });
        }
        match text.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => Ok(Self { ip: None, port: Some(port) }),
            _ => Err(ValueError::Listen),
        }
    }
}

/// A host to ask, with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name, or an address without brackets.
    pub(crate) name: String,
    /// `None` is the default.
    pub(crate) port: Option<u16>,
}

impl FromStr for Host {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.strip_prefix("stun:").unwrap_or(text);
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self { name: text.to_owned(), port: None });
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, rest) = rest.split_once(']').ok_or(ValueError::Host)?;
                ip.parse::<Ipv6Addr>().map_err(|_| ValueError::Host)?;
                match rest {
                    "" => (ip, None),
                    rest => (ip, Some(rest.strip_prefix(':').ok_or(ValueError::Host)?)),
                }
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => return Err(ValueError::Host),
        };
        if name.is_empty() || name.contains(['/', ' ', '@']) {
            return Err(ValueError::Host);
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Two addresses of one machine: the one it knows and the one the world sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisePair {
    /// The address that is listened on.
    pub(crate) internal: IpAddr,
    /// What clients see in its place.
    pub(crate) external: IpAddr,
}

impl FromStr for AdvertisePair {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (internal, external) = text.split_once('=').ok_or(ValueError::Advertise)?;
        let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| ValueError::Advertise);
        let pair = Self { internal: ip(internal)?, external: ip(external)? };
        if pair.internal.is_ipv4() != pair.external.is_ipv4() {
            return Err(ValueError::AdvertiseFamilies);
        }
        Ok(pair)
    }
}

/// A limit per second, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u32>);

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|rate| Self(Some(rate))).map_err(|_| ValueError::Rate)
    }
}

/// How long the end may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain(pub(crate) Duration);

/// A longer drain than an hour is a typing error.
const DRAIN_MAX: Duration = Duration::from_secs(3600);

impl FromStr for Drain {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u32 = number.parse().map_err(|_| ValueError::Duration)?;
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "" if number == 0 => Duration::ZERO,
            _ => return Err(ValueError::Duration),
        };
        match unit.checked_mul(number) {
            Some(duration) if duration <= DRAIN_MAX => Ok(Self(duration)),
            _ => Err(ValueError::Duration),
        }
    }
}

/// A word that means nothing; clap says which, and of which flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error(
        "write an address of this machine, like 192.0.2.1:3478, [2001:db8::1]:3478 or :3478 for every address"
    )]
    Listen,
    #[error("write HOST or HOST:PORT, an IPv6 address with a port in brackets: [2001:db8::1]:3478")]
    Host,
    #[error("write INTERNAL=EXTERNAL, two addresses without ports, like 10.0.0.5=203.0.113.5")]
    Advertise,
    #[error("the two addresses are of different families")]
    AdvertiseFamilies,
    #[error("write a whole number, or off for no limit")]
    Rate,
    #[error("write a time of at most an hour, like 500ms, 30s or 2m")]
    Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_may_lack_either_half() {
        let at = |text: &str| text.parse::<ListenAddress>().expect(text).or_port(STUN_PORT).to_string();
        assert_eq!(at("192.0.2.1:3479"), "192.0.2.1:3479");
        assert_eq!(at("192.0.2.1"), "192.0.2.1:3478");
        assert_eq!(at("[2001:db8::1]:443"), "[2001:db8::1]:443");
        assert_eq!(at("[2001:db8::1]"), "[2001:db8::1]:3478");
        assert_eq!(at("2001:db8::1"), "[2001:db8::1]:3478");
        assert_eq!(at(":3479"), "[::]:3479");
        assert_eq!(at("0.0.0.0:3478"), "0.0.0.0:3478");
        for text in ["3478", "localhost:3478", ":", ":65536", "192.0.2.1:", "[::1:3478"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ValueError::Listen), "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, name, port) in [
            ("stun.example.net", "stun.example.net", None),
            ("stun.example.net:19302", "stun.example.net", Some(19302)),
            ("stun:stun.example.net:19302", "stun.example.net", Some(19302)),
            ("192.0.2.1:1", "192.0.2.1", Some(1)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:2", "2001:db8::1", Some(2)),
        ] {
            let host: Host = text.parse().expect(text);
            assert_eq!((host.name.as_str(), host.port), (name, port), "{text}");
        }
        for text in ["", ":3478", "host:", "host:0", "host:65536", "[host]:1", "[::1", "[::1]1", "a b", "a/b"]
        {
            assert_eq!(text.parse::<Host>(), Err(ValueError::Host), "{text}");
        }
    }

    #[test]
    fn an_advertised_pair_is_of_one_family() {
        let pair: AdvertisePair = "10.0.0.5=203.0.113.5".parse().unwrap();
        assert_eq!(pair.external.to_string(), "203.0.113.5");
        assert_eq!("10.0.0.5=2001:db8::1".parse::<AdvertisePair>(), Err(ValueError::AdvertiseFamilies));
        for text in ["10.0.0.5", "10.0.0.5=", "10.0.0.5:1=10.0.0.6:1"] {
            assert_eq!(text.parse::<AdvertisePair>(), Err(ValueError::Advertise), "{text}");
        }
    }

    #[test]
    fn limits_are_numbers_or_off() {
        assert_eq!(
            ("5000".parse(), "0".parse(), "off".parse()),
            (Ok(Rate(Some(5000))), Ok(Rate(Some(0))), Ok(Rate(None)))
        );
        for text in ["", "-1", "1k", "4294967296", "none"] {
            assert_eq!(text.parse::<Rate>(), Err(ValueError::Rate), "{text}");
        }
    }

    #[test]
    fn a_drain_has_a_unit_and_an_end() {
        for (text, millis) in [("0", 0), ("500ms", 500), ("1s", 1000), ("2m", 120_000)] {
            assert_eq!(text.parse(), Ok(Drain(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1h", "61m", "4294967295m"] {
            assert_eq!(text.parse::<Drain>(), Err(ValueError::Duration), "{text}");
        }
    }
}
