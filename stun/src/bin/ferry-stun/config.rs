//! What the flags of the server mean together, checked before anything is opened.

mod behaviour;
mod error;
mod partner;

pub(crate) use behaviour::{Behaviour, UdpListener};
pub(crate) use error::ConfigError;
pub(crate) use partner::Partner;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use ferry_stun::{CertificateFiles, Limits, Options, Profile};

use crate::cli::{ProfileName, Serve};
use crate::values::{ListenAddress, STUN_PORT};

/// The port of STUN over TLS.
pub(crate) const TLS_PORT: u16 = 5349;
/// Where the page of metrics is if only an address was given.
const METRICS_PORT: u16 = 9478;

/// What to serve. Flags that contradict each other are none.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// At least one.
    pub(crate) udp: Vec<UdpListener>,
    /// TCP on the addresses of [`udp`](Self::udp), the alternate ones included.
    pub(crate) tcp_beside_udp: bool,
    /// TCP elsewhere.
    pub(crate) tcp: Vec<SocketAddr>,
    /// TLS; empty without a certificate.
    pub(crate) tls: Vec<SocketAddr>,
    pub(crate) certificate: Option<CertificateFiles>,
    /// With it, every listener that does behaviour discovery has a second port and no second address.
    pub(crate) partner: Option<Partner>,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    /// `None` is one for each core.
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) drain: Duration,
}

/// Reads the text of a small file.
pub(crate) type ReadText<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

impl Config {
    /// Checks the flags.
    pub(crate) fn check(flags: &Serve, read: ReadText<'_>) -> Result<Self, ConfigError> {
        let listen: Vec<_> = match flags.listen.as_slice() {
            [] => vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, STUN_PORT))],
            given => given.iter().map(|address| address.or_port(STUN_PORT)).collect(),
        };
        refuse_twice("--listen", &listen)?;
        let udp = behaviour::listeners(&listen, flags)?;
        let partner = partner::check(flags, &udp, read)?;

        let (beside_udp, elsewhere): (Vec<ListenAddress>, Vec<ListenAddress>) =
            flags.tcp.iter().partition(|address| address.ip.is_none() && address.port.is_none());
        let tcp: Vec<_> = elsewhere.iter().map(|address| address.or_port(STUN_PORT)).collect();
        let tls: Vec<_> = match (&flags.tls_cert, flags.tls.as_slice()) {
            (None, _) => Vec::new(),
            (Some(_), []) => tls_of(&listen),
            (Some(_), given) => given.iter().map(|address| address.or_port(TLS_PORT)).collect(),
        };
        let streams: Vec<_> = tcp.iter().chain(&tls).copied().collect();
        refuse_twice("--tcp and --tls", &streams)?;
        let certificate = match (&flags.tls_cert, &flags.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(CertificateFiles { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };

        Ok(Self {
            udp,
            tcp_beside_udp: !beside_udp.is_empty(),
            tcp,
            tls,
            certificate,
            partner,
            options: Options {
                profile: match flags.profile {
                    ProfileName::Open => Profile::Open,
                    ProfileName::Tailscale => Profile::Tailscale,
                },
                rfc3489: flags.rfc3489,
            },
            limits: Limits {
                requests_per_second: flags.source_rate.0,
                surplus_bytes_per_second: flags.source_surplus.0,
                redirects_per_second: flags.redirect_rate.0,
            },
            threads: flags.threads.and_then(|threads| NonZeroUsize::new(threads.into())),
            metrics: flags.metrics.map(|address| address.or_port(METRICS_PORT)),
            drain: flags.drain.0,
        })
    }
}

/// The TLS port of each address that UDP is on, once.
fn tls_of(listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for address in listen {
        if !ips.contains(&address.ip()) {
            ips.push(address.ip());
        }
    }
    ips.into_iter().map(|ip| SocketAddr::new(ip, TLS_PORT)).collect()
}

/// Port 0 is a port of its own each time.
fn refuse_twice(flag: &'static str, addresses: &[SocketAddr]) -> Result<(), ConfigError> {
    let mut rest = addresses;
    while let Some((&address, others)) = rest.split_first() {
        if address.port() != 0 && others.contains(&address) {
            return Err(ConfigError::Twice { flag, address });
        }
        rest = others;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
