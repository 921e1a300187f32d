//! The machine that has the other address.

use std::net::SocketAddr;

use ferry_stun::{PartnerAddress, PartnerKey};

use super::behaviour::{Behaviour, UdpListener};
use super::{ConfigError, ReadText};
use crate::cli::Serve;

/// The UDP port of the channel between partners, if none is given.
const PARTNER_PORT: u16 = 3480;

/// How to reach the partner.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    /// The other machine's `--partner-listen`.
    pub(crate) address: PartnerAddress,
    /// Ours.
    pub(crate) listen: SocketAddr,
    /// The secret that both know.
    pub(crate) key: PartnerKey,
}

pub(super) fn check(
    flags: &Serve,
    listeners: &[UdpListener],
    read: ReadText<'_>,
) -> Result<Option<Partner>, ConfigError> {
    // clap has seen to it that they come together.
    let (Some(address), Some(listen), Some(path)) =
        (&flags.partner, flags.partner_listen, &flags.partner_key_file)
    else {
        return Ok(None);
    };
    if listeners.iter().all(|listener| listener.behaviour == Behaviour::Off) {
        return Err(ConfigError::PartnerWithoutPort);
    }
    for listener in listeners {
        if let Behaviour::TwoAddresses(alternate) = listener.behaviour {
            return Err(ConfigError::PartnerAndAddress { alternate });
        }
    }
    let listen = listen.or_port(PARTNER_PORT);
    if *address == PartnerAddress::Literal(listen) {
        return Err(ConfigError::PartnerIsSelf { partner: listen });
    }
    let text = read(path).map_err(|source| ConfigError::PartnerKeyFile { path: path.clone(), source })?;
    let key = text.trim().parse().map_err(|source| ConfigError::PartnerKey { path: path.clone(), source })?;
    Ok(Some(Partner { address: address.clone(), listen, key }))
}
