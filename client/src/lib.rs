//! The client's end of a DERP relay.
//!
//! [`Connection`] is one relay connection as a state machine: TLS, the HTTP upgrade, WebSocket and the DERP handshake,
//! without a socket, a clock or randomness of its own (but TLS draws its keys and WebSocket its masks themselves).
//! [`RelayUrl`] says where a relay is and how it is spoken to, [`Trust`] whom to believe. [`derp_map`] judges the map that
//! says which relays there are, and [`home`] selects the region whose relay is the client's home. [`dial`] is the way to a relay through
//! addresses, families and proxies, and [`relays`] has connections that hold. [`netcheck`] finds out which relays answer, what the NAT
//! does and who stands in the way. With the feature `net` there are sockets: [`net`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod certificate;
mod connection;
pub mod derp_map;
pub mod dial;
pub mod home;
#[cfg(feature = "net")]
pub mod net;
pub mod netcheck;
pub mod relays;
mod tls;
mod url;

pub use certificate::{FastStart, is_relay_mark};
pub use connection::{Connection, ConnectionError, Event, Settings, Stage};
#[cfg(feature = "net")]
pub use tls::system_roots;
pub use tls::{PinnedNotAlone, TlsError, Trust, client_config, node_config};
pub use url::{RelayUrl, UrlError};
