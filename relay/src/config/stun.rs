//! What STUN does beyond derper's: NAT behaviour discovery (RFC 5780), by a second port here and another relay's address.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ferry_stun::partner::{PartnerAddressError, PartnerKeyError};
use ferry_stun::{PartnerAddress, PartnerConfig, PartnerKey};

use super::listen::{self, ListenError};
use crate::cli::Cli;

/// The UDP port of the channel between partners, if none is given.
const PARTNER_PORT: u16 = 3480;

/// NAT behaviour discovery: what clients can find out about their NAT with this relay.
#[derive(Debug, Clone)]
pub struct StunDiscovery {
    /// The second UDP port of STUN.
    pub second_port: u16,
    /// What clients see as the relay's address, if STUN listens on another or on all: of both IP versions, or of one
    /// twice.
    pub advertise: Option<(IpAddr, IpAddr)>,
    /// The relay that has the other address.
    pub partner: Option<PartnerConfig>,
}

impl StunDiscovery {
    /// Works out what the flags mean for a STUN server that listens on `stun`, if there is one. Reads the key file.
    pub(super) fn check(cli: &Cli, stun: Option<SocketAddr>) -> Result<Option<Self>, StunError> {
        let Some(second_port) = cli.stun_second_port else {
            let flags = [
                ("-stun-advertise", cli.stun_advertise.is_some()),
                ("-stun-partner", cli.stun_partner.is_some()),
                ("-stun-partner-listen", cli.stun_partner_listen.is_some()),
                ("-stun-partner-key-file", cli.stun_partner_key_file.is_some()),
            ];
            return match flags.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(StunError::NoSecondPort { flag }),
                None => Ok(None),
            };
        };
        let stun = stun.ok_or(StunError::NoStun)?;
        let second_port =
            u16::try_from(second_port).ok().filter(|port| *port != 0).ok_or(StunError::Port(second_port))?;
        if second_port == stun.port() {
            return Err(StunError::SamePort(second_port));
        }
        let advertise = cli.stun_advertise.as_deref().map(|text| advertise(text, stun)).transpose()?;
        let partner = partner(cli, stun)?;
        if partner.is_some() && advertise.is_none() && stun.ip().is_unspecified() {
            return Err(StunError::NoAddress);
        }
        Ok(Some(Self { second_port, advertise, partner }))
    }
}

fn advertise(text: &str, stun: SocketAddr) -> Result<(IpAddr, IpAddr), StunError> {
    let error = || StunError::Advertise(text.to_owned());
    let ips: Vec<IpAddr> =
        text.split(',').map(|ip| ip.trim().parse()).collect::<Result<_, _>>().map_err(|_| error())?;
    let (first, second) = match *ips {
        [ip] => (ip, ip),
        [first, second] if first.is_ipv4() != second.is_ipv4() => (first, second),
        _ => return Err(error()),
    };
    for ip in [first, second] {
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(error());
        }
        if !stun.ip().is_unspecified() && ip.is_ipv4() != stun.is_ipv4() {
            return Err(StunError::AdvertiseFamily { advertised: ip, stun });
        }
    }
    Ok((first, second))
}

fn partner(cli: &Cli, stun: SocketAddr) -> Result<Option<PartnerConfig>, StunError> {
    let Some(partner) = &cli.stun_partner else {
        let flags = [
            ("-stun-partner-listen", cli.stun_partner_listen.is_some()),
            ("-stun-partner-key-file", cli.stun_partner_key_file.is_some()),
        ];
        return match flags.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(StunError::NoPartner { flag }),
            None => Ok(None),
        };
    };
    let partner: PartnerAddress = partner.parse()?;
    let listen = match &cli.stun_partner_listen {
        Some(text) => listen::resolve(text).map_err(StunError::Listen)?,
        None => SocketAddr::from((Ipv6Addr::UNSPECIFIED, PARTNER_PORT)),
    };
    if [stun.port(), cli.stun_second_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0)]
        .contains(&listen.port())
    {
        return Err(StunError::ChannelOnStunPort(listen.port()));
    }
    let path = cli.stun_partner_key_file.as_deref().ok_or(StunError::NoKeyFile)?;
    Ok(Some(PartnerConfig::new(listen, partner, key(Path::new(path))?)))
}

fn key(path: &Path) -> Result<PartnerKey, StunError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StunError::KeyUnreadable { path: path.to_owned(), source })?;
    text.trim().parse().map_err(|source| StunError::Key { path: path.to_owned(), source })
}

/// Flags about STUN that make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// STUN is off.
    #[error("-stun-second-port is of no use with -stun=false; leave one of them out")]
    NoStun,
    /// Discovery starts with a second port.
    #[error(
        "{flag} needs a second STUN port (RFC 5780); give -stun-second-port 3479 too, or leave {flag} out"
    )]
    NoSecondPort {
        /// The flag that was given.
        flag: &'static str,
    },
    /// No port.
    #[error("-stun-second-port {0} is no port; give a number from 1 to 65535")]
    Port(i64),
    /// The ports have to differ.
    #[error("-stun-second-port {0} is the STUN port itself; give another")]
    SamePort(u16),
    /// Not one or two addresses.
    #[error(
        "-stun-advertise '{0}' is no address that clients could see; give an IPv4 or an IPv6 address, or one of each \
         with a comma between them"
    )]
    Advertise(String),
    /// Clients of that IP version cannot reach the server.
    #[error("-stun-advertise {advertised} is of another IP version than {stun}, where STUN listens (-a)")]
    AdvertiseFamily {
        /// The address given.
        advertised: IpAddr,
        /// Where STUN listens.
        stun: SocketAddr,
    },
    /// A flag about a partner, and no partner.
    #[error("{flag} needs a partner; give -stun-partner HOST:PORT too, or leave {flag} out")]
    NoPartner {
        /// The flag that was given.
        flag: &'static str,
    },
    /// The partner's address.
    #[error("-stun-partner: {0}")]
    Partner(#[from] PartnerAddressError),
    /// Where the channel listens.
    #[error("-stun-partner-listen: {0}")]
    Listen(#[source] ListenError),
    /// The channel wants a port of its own.
    #[error("-stun-partner-listen takes port {0}, on which STUN is answered; give another")]
    ChannelOnStunPort(u16),
    /// The partner could not tell clients where this relay is.
    #[error(
        "with -stun-partner clients have to be told this relay's address, and it listens on all; give -stun-advertise IP, \
         or an ip with -a"
    )]
    NoAddress,
    /// No secret.
    #[error(
        "-stun-partner needs a secret that both relays have; make a file with: openssl rand -hex 32, and give \
         -stun-partner-key-file FILE"
    )]
    NoKeyFile,
    /// The file cannot be read.
    #[error("partner key file {} cannot be read; give another -stun-partner-key-file: {source}", path.display())]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file has no key in it.
    #[error("partner key file {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PartnerKeyError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    const KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

    fn check(words: &str, stun: &str) -> Result<Option<StunDiscovery>, StunError> {
        StunDiscovery::check(&cli(words), Some(address(stun)))
    }

    fn cli(words: &str) -> Cli {
        Cli::parse_from(["ferry-relay"].into_iter().chain(words.split_whitespace()))
            .expect("flags that parse")
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("test address")
    }

    #[test]
    fn without_flags_there_is_derpers_stun() {
        assert!(check("", "[::]:3478").expect("fine").is_none());
    }

    #[test]
    fn two_relays_with_one_address_each_are_configured_by_four_flags() {
        let dir = TestDir::new("stun-partner");
        let file = dir.path().join("partner.key");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        let line = format!(
            "-stun-second-port 3479 -stun-partner relay2.example.net:3480 -stun-partner-key-file {}",
            file.display()
        );
        let here = check(&line, "192.0.2.1:3478").expect("fine").expect("discovery");
        let partner = here.partner.expect("a partner");
        assert_eq!((here.second_port, here.advertise), (3479, None));
        assert_eq!(partner.partner.to_string(), "relay2.example.net:3480");
        assert_eq!(partner.listen, "[::]:3480".parse().unwrap());

        let text = check(&line, "[::]:3478").unwrap_err().to_string();
        assert!(text.contains("give -stun-advertise IP"), "{text}");
        let line = format!("{line} -stun-advertise 192.0.2.1,2001:db8::1 -stun-partner-listen 10.0.0.1:9");
        let here = check(&line, "[::]:3478").expect("fine").expect("discovery");
        let (ipv4, ipv6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(here.advertise, Some((ipv4, ipv6)));
        assert_eq!(here.partner.expect("a partner").listen, "10.0.0.1:9".parse().unwrap());
    }

    #[test]
    fn a_second_port_alone_needs_no_more() {
        let here = check("-stun-second-port=3479", "[::]:3478").expect("fine").expect("discovery");
        assert!(here.partner.is_none() && here.advertise.is_none());
    }

    #[test]
    fn flags_that_make_no_sense_are_refused_with_the_fix() {
        let dir = TestDir::new("stun-partner-key");
        let file = dir.path().join("short.key");
        std::fs::write(&file, &KEY[1..]).unwrap();
        let short =
            format!("-stun-second-port 3479 -stun-partner b:3480 -stun-partner-key-file {}", file.display());
        for (words, part) in [
            ("-stun-partner b:3480", "-stun-partner needs a second STUN port"),
            ("-stun-advertise 192.0.2.1", "give -stun-second-port 3479 too"),
            ("-stun-partner-listen :3480", "give -stun-second-port 3479 too"),
            ("-stun-second-port 0", "from 1 to 65535"),
            ("-stun-second-port 65536", "from 1 to 65535"),
            ("-stun-second-port 3478", "the STUN port itself"),
            ("-stun-second-port 3479 -stun-advertise relay", "is no address"),
            ("-stun-second-port 3479 -stun-advertise 192.0.2.1,192.0.2.2", "is no address"),
            ("-stun-second-port 3479 -stun-advertise 0.0.0.0", "is no address"),
            ("-stun-second-port 3479 -stun-advertise 2001:db8::1", "of another IP version"),
            ("-stun-second-port 3479 -stun-partner-listen :3480", "give -stun-partner HOST:PORT too"),
            ("-stun-second-port 3479 -stun-partner-key-file f", "give -stun-partner HOST:PORT too"),
            ("-stun-second-port 3479 -stun-partner b", "is no HOST:PORT"),
            ("-stun-second-port 3479 -stun-partner b:3480", "openssl rand -hex 32"),
            (
                "-stun-second-port 3479 -stun-partner b:3480 -stun-partner-listen :3479",
                "port 3479, on which STUN",
            ),
            (
                "-stun-second-port 3479 -stun-partner b:3480 -stun-partner-listen 3480",
                "-stun-partner-listen: listen address",
            ),
            (
                "-stun-second-port 3479 -stun-partner b:3480 -stun-partner-key-file /no/file",
                "/no/file cannot be read",
            ),
            (&short, "has 63 characters instead of 64"),
        ] {
            let text = check(words, "192.0.2.1:3478").expect_err(words).to_string();
            assert!(text.contains(part), "{words}: {text}");
            assert!(!text.contains(&KEY[1..]), "the key is in the message: {text}");
        }
        let off = cli("-stun=false -stun-second-port 3479");
        assert!(matches!(StunDiscovery::check(&off, None), Err(StunError::NoStun)));
    }
}
