//! RFC 5780 on two machines: each has one address, and has the other send what a client wants to come from there.
//!
//! The machines talk over UDP, each datagram sealed with a secret that both know ([`PartnerKey`]). Each asks the
//! other every second whether it is there; the reply tells where the other serves STUN, so an operator configures no
//! more than where the other's end of the channel is and the key. Nothing is kept for a client.
//!
//! [`Node`] decides everything without socket and clock, [`wire`](Sealer) is the datagrams' form, and
//! `PartnerChannel` runs a node on a socket and a thread.
//!
//! A stranger without the key can do nothing, not even repeat what it has seen. One with the key can have a machine
//! send Binding responses to the addresses that they tell, at most 1,500 bytes, from its two ports and within
//! [`PartnerLimits`].

mod answer;
mod bucket;
mod health;
mod key;
mod node;
mod refusal;
mod replay;
mod service;
mod wire;

#[cfg(all(unix, feature = "server"))]
mod address;
#[cfg(all(unix, feature = "server"))]
mod channel;
#[cfg(all(unix, feature = "server"))]
mod published;
#[cfg(all(unix, feature = "server"))]
mod sockets;
#[cfg(all(unix, feature = "server"))]
mod status;
#[cfg(all(unix, feature = "server"))]
mod thread;

#[cfg(all(unix, feature = "server"))]
pub use address::{PartnerAddress, PartnerAddressError};
#[cfg(all(unix, feature = "server"))]
pub use channel::{PartnerChannel, PartnerConfig, PartnerRegistration};
pub use health::{DownReason, Heard, PartnerState};
pub use key::{KEY_BYTES, PartnerKey, PartnerKeyError};
pub use node::{Here, Node, Now, PartnerLimits, Seeds};
pub use refusal::PartnerRefusal;
pub use service::{Service, Services};
#[cfg(all(unix, feature = "server"))]
pub use sockets::RegisterError;
#[cfg(all(unix, feature = "server"))]
pub use status::PartnerStatus;
pub use wire::{ANSWER_BYTES_MAX, Content, DATAGRAM_BYTES_MAX, Envelope, Forward, Reply, Sealer, WireError};
