//! Which addresses a host has.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context as _, bail};

use crate::cli::Family;
use crate::values::{Host, STUN_PORT};

/// The addresses of a host, in the resolver's order, of the wanted family.
pub(crate) fn addresses(host: &Host, family: Family) -> anyhow::Result<Vec<SocketAddr>> {
    let found = (host.name.as_str(), host.port.unwrap_or(STUN_PORT))
        .to_socket_addrs()
        .with_context(|| format!("{host} has no address"))?;
    let wanted: Vec<_> = found
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .filter(|address| !(family.ipv4 && address.is_ipv6() || family.ipv6 && address.is_ipv4()))
        .collect();
    if wanted.is_empty() {
        bail!("{host} has no {} address", if family.ipv4 { "IPv4" } else { "IPv6" });
    }
    Ok(wanted)
}

/// The first of them.
pub(crate) fn address(host: &Host, family: Family) -> anyhow::Result<SocketAddr> {
    addresses(host, family)?.first().copied().with_context(|| format!("{host} has no address"))
}
