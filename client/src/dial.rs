//! How a relay is reached: which node, by which addresses, through which proxy, and what failed where.
//!
//! [`Dial`] is one walk through the nodes of a region as a state machine, without a socket, a clock or randomness of its own: it
//! asks for names and for TCP connections, and takes the bytes of the one that it got, until the relay's ServerInfo is there.
//!
//! # The rules
//!
//! - **Nodes** are tried in the map's order, without those that are no relay or have no address. Unlike Tailscale's client, which
//!   gives up when the first node that takes TCP fails at TLS, the next node is tried whatever failed.
//! - **Addresses** are the map's, or DNS's for a family that the map leaves open. Both families are tried at once; where IPv6 is thought to
//!   work, IPv4 starts [200 ms](IPV4_DELAY) later. Of several addresses of one family, the next starts [250 ms](ADDRESS_DELAY) after the
//!   one before, or at once when that failed. The first that takes the connection wins.
//! - **A proxy** gets the node's name, not its address, even where the map has addresses (`dialNodeUsingProxy`).
//! - **WebSocket** is what is left where a proxy in the way eats the upgrade: a node that answers it with something else than
//!   101, or not at all, is tried by WebSocket next.
//! - **A fast start** that believed the wrong certificate, as behind something that ends TLS for several relays, is followed by an
//!   ordinary start with the same node.
//! - **Time** is bounded for each step ([`Step::time_max`]) and for the whole ([10 s](DIAL_TIME_MAX)).

mod endpoint;
mod exceptions;
mod failure;
mod http_connect;
mod machine;
mod proxy;
mod race;
mod socks;
mod stream;
mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use endpoint::Endpoint;
pub use failure::{DialError, Failure, Failures, Step};
pub use machine::{Dial, Output, Settings};
pub use proxy::{Credentials, Proxy, ProxyKind, ProxyRules, ProxySettingError};
pub use tunnel::ProxyError;
#[cfg(feature = "net")]
pub(crate) use tunnel::Tunnel;

/// How long IPv4 waits where IPv6 is thought to work (`dialNode`).
pub const IPV4_DELAY: Duration = Duration::from_millis(200);
/// How long an address is tried before the next of its family (RFC 8305, section 5).
pub const ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// How long a region may take in all (`derphttp.Client.connect`).
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Addresses of one family that are tried; of more, the first.
pub const ADDRESSES_MAX: usize = 4;

/// A question for an address, or a TCP connection, that a [`Dial`] asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Of which dial.
    pub(crate) dial: u64,
    /// Which of that dial's.
    pub(crate) number: u32,
}

/// A relay connection that was established, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The node's name in the map, or the relay's URL.
    pub node: String,
    /// Where TCP goes: to the relay or the proxy.
    pub address: SocketAddr,
    /// It goes through a proxy.
    pub proxied: bool,
    /// It is spoken in WebSocket messages.
    pub websocket: bool,
    /// From the first name that was asked for to ServerInfo.
    pub took: Duration,
}

/// Whether an address is of IPv6, for sorting.
const fn is_ipv6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(_))
}
