//! What cannot be meant, and what to type instead.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ferry_stun::partner::PartnerKeyError;

/// Flags that contradict each other, or name what is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{address} is given twice with {flag}; give it once")]
    Twice { flag: &'static str, address: SocketAddr },
    #[error(
        "--alternate {alternate} has no --listen of its family beside it; add --listen with the first {} address, \
         or give a port alone (--alternate :{})", family(alternate.ip()), alternate.port()
    )]
    NoListenOfFamily { alternate: SocketAddr },
    #[error(
        "--listen {listen} stands for every address, so {alternate} is no other; give --listen one address of this \
         machine, or a port alone (--alternate :{})", alternate.port()
    )]
    Wildcard { listen: SocketAddr, alternate: SocketAddr },
    #[error(
        "--alternate {alternate} could belong to {first} or to {second}; give one --listen for each family with it"
    )]
    SeveralListens { alternate: SocketAddr, first: SocketAddr, second: SocketAddr },
    #[error(
        "--alternate {alternate} needs another port than --listen {listen} (RFC 5780 needs two); usual are 3478 and 3479"
    )]
    SamePort { alternate: SocketAddr, listen: SocketAddr },
    #[error("--alternate needs a port, the second one: {ip}:3479")]
    NoPort { ip: IpAddr },
    #[error("--alternate is given twice for {family}; give one for each family")]
    AlternateTwice { family: &'static str },
    #[error(
        "--advertise {internal}=...: neither --listen nor --alternate has that address; add --listen {internal}:3478"
    )]
    AdvertisedNowhere { internal: IpAddr },
    #[error("--advertise {internal}=... is given twice; one address has one outside")]
    AdvertisedTwice { internal: IpAddr },
    #[error(
        "--advertise changes only what behaviour discovery tells; add --alternate (or leave --advertise out)"
    )]
    AdvertisedWithoutAlternate,
    #[error("--partner needs a second port here too: add --alternate :3479")]
    PartnerWithoutPort,
    #[error("--partner has the other address, so --alternate {alternate} cannot have it too; give a port alone (--alternate :{})", alternate.port())]
    PartnerAndAddress { alternate: SocketAddr },
    #[error("--partner {partner} is this machine's own --partner-listen; give the other machine's")]
    PartnerIsSelf { partner: SocketAddr },
    #[error("partner key file {} cannot be read: {source}", path.display())]
    PartnerKeyFile { path: PathBuf, source: io::Error },
    #[error("partner key file {}: {source}", path.display())]
    PartnerKey { path: PathBuf, source: PartnerKeyError },
}

impl ConfigError {
    /// Whether the flags are at fault, and not the machine.
    pub(crate) const fn is_usage(&self) -> bool {
        !matches!(self, Self::PartnerKeyFile { .. } | Self::PartnerKey { .. })
    }
}

/// The name of an address's family.
pub(super) const fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}
