//! STUN: "which address do you see me at" ([RFC 8489](https://www.rfc-editor.org/rfc/rfc8489)).
//!
//! - [`Message`] reads one message in a borrowed datagram, [`MessageWriter`] writes one.
//! - [`Responder`] decides what a server answers to a datagram. It has no socket, no clock and no state.
//! - [`client`] writes a client's request and reads the answer.
#![cfg_attr(
    all(unix, feature = "server"),
    doc = "- [`UdpServer`] runs a responder on a UDP socket, in batches, on a thread of its own."
)]
//!
//! A request of a Tailscale client gets the very bytes that derper sends. Any other valid Binding request
//! is answered as shortly as the RFC allows, and everything else gets silence, except that an attribute
//! which has to be understood and is not gets a 420. Left out: authentication (an open server has nobody
//! to authenticate), ALTERNATE-SERVER (which needs it), and TURN.
//!
//! ```
//! use ferry_stun::client::{self, BindingResponse};
//! use ferry_stun::{Outcome, Profile, Responder, TransactionId};
//!
//! // A real client draws these from the operating system's generator.
//! let transaction_id = TransactionId::new([7; 12]);
//! let mut buffer = Vec::new();
//! let request = client::write_tailscale_request(transaction_id, &mut buffer).to_vec();
//!
//! // The server's side: where the datagram came from is what it tells.
//! let source = "203.0.113.7:41641".parse()?;
//! let responder = Responder::new(Profile::Open);
//! let mut answer = Vec::new();
//! let outcome = responder.answer(&request, source, &mut answer);
//! assert_eq!(outcome, Outcome::Answer { len: 32 });
//!
//! let response = BindingResponse::parse_for(&answer, transaction_id)?;
//! assert_eq!(response.mapped_address, source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod client;
mod message;
mod responder;
#[cfg(all(unix, feature = "server"))]
mod server;

pub use message::{
    Attribute, AttributeType, Attributes, Class, Covered, ErrorCode, HEADER_BYTES, MAGIC_COOKIE, Message,
    MessageType, MessageWriter, Method, ParseError, TransactionId,
};
pub use responder::{Outcome, Profile, RefusalReason, Responder, TAILSCALE_SOFTWARE};
#[cfg(all(unix, feature = "server"))]
pub use server::{Counters, UdpServer};
