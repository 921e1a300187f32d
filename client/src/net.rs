//! Relay connections on tokio's sockets: [`Relays`] sends packets through the relays of a map, [`Packets`] is where they come out.
//!
//! [`HomeKeeper`] keeps their home where it is best.
//!
//! Each region in use has one task, which drives its [`Line`](crate::relays::Line). Nothing is global: a program may have several `Relays`,
//! each with its own key. Dropping the last clone of one closes its connections and ends its tasks.
//!
//! ```
//! use std::sync::Arc;
//! use ferry_client::net::Relays;
//! use ferry_protocol::NodePrivateKey;
//! use ferry_protocol::derp_map::{DerpMap, RegionId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let json = br#"{"Regions":{"900":{"RegionID":900,"Nodes":[
//!     {"Name":"900a","RegionID":900,"HostName":"relay.example.net","IPv4":"127.0.0.1","IPv6":"none","DERPPort":1,
//!      "InsecureForTests":true}]}}}"#;
//! let key = NodePrivateKey::from_random([7; 32]);
//! let own = key.public();
//! let roots = Arc::new(rustls::RootCertStore::empty());
//! let (relays, mut packets) =
//!     Relays::builder(key).roots(roots).map(&DerpMap::from_json(json)?).home(RegionId(900)).spawn();
//!
//! // Packets wait for the connection, a few seconds at most.
//! let mut events = relays.events();
//! relays.send(RegionId(900), &own, b"to myself")?;
//! # // Nobody listens at this port.
//! let event = events.next().await.expect("there are events as long as there are relays");
//! println!("{event:?}");
//!
//! // Dropped: the tasks end, and with them the packets.
//! drop(relays);
//! while let Some(batch) = packets.recv().await {
//!     for packet in batch.iter() {
//!         println!("{} bytes from {} by region {}", packet.bytes.len(), packet.source, batch.region());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod batch;
mod builder;
mod clock;
mod desk;
mod handle;
mod home;
mod sockets;
mod task;

pub use batch::{Batch, Packet};
pub use builder::Builder;
pub use handle::{Events, Packets, Relays, SendError};
pub use home::{CHECK_EVERY, CHECK_JITTER, HomeEvent, HomeEvents, HomeKeeper};

/// Events that wait for a slow listener; of more, the oldest are lost and [counted](crate::relays::Event::Missed).
pub const EVENTS_MAX: usize = 256;
/// Batches that wait for a slow receiver. Then nothing more is read, and TCP slows the relay down.
pub const BATCHES_MAX: usize = 16;
