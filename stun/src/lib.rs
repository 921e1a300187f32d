//! STUN: "which address do you see me at" ([RFC 8489](https://www.rfc-editor.org/rfc/rfc8489)).
//!
//! - [`Message`] reads one message in a borrowed datagram, [`MessageWriter`] writes one.
//! - [`Responder`] decides what a server answers to a datagram, or to a message of a [`MessageStream`] (TCP,
//!   TLS). It has no socket and no clock, and its only state are the [`Budgets`] of sources.
//! - [`client`] writes a client's request and reads the answer.
//! - [`discovery`] finds out what kind of NAT is on the path (RFC 5780), without sockets or clock too.
#![cfg_attr(
    all(unix, feature = "server"),
    doc = "- [`UdpServer`] runs a responder on UDP sockets, in batches, on a thread per core."
)]
#![cfg_attr(all(unix, feature = "stream"), doc = "- [`StreamServer`] does on TCP and TLS, in tokio tasks.")]
//! - [`audit`] tells what any server answers to odd requests, and how far it could be abused.
#![cfg_attr(
    feature = "partner",
    doc = "- [`partner`] lets two machines with one address each do RFC 5780 together."
)]
//!
//! A request of a Tailscale client gets the very bytes that derper sends. Any other valid Binding request
//! is answered as shortly as the RFC allows, and everything else gets silence, except that an attribute
//! which has to be understood and is not gets a 420. With an alternate address or port the server also does
//! RFC 5780 (NAT behaviour discovery), and RFC 3489 clients can be let in. Answers that are much larger than
//! their requests, or leave from or go elsewhere, are few for each network: see [`Limits`]. Left out:
//! authentication (an open server has nobody to authenticate), ALTERNATE-SERVER (which needs it), and TURN.
//!
//! ```
//! use ferry_stun::client::{self, BindingResponse};
//! use ferry_stun::{Arrival, Budgets, Limits, Options, Outcome, Responder, TransactionId};
//!
//! // A real client draws these from the operating system's generator.
//! let transaction_id = TransactionId::new([7; 12]);
//! let mut buffer = Vec::new();
//! let request = client::write_tailscale_request(transaction_id, &mut buffer).to_vec();
//!
//! // The server's side: where the datagram came from is what it tells.
//! let source = "203.0.113.7:41641".parse()?;
//! let responder = Responder::new(Options::default());
//! let mut budgets = Budgets::new(Limits::default(), 7, std::time::Instant::now());
//! let mut answer = Vec::new();
//! let outcome = responder.answer(&request, &Arrival::from(source), &mut budgets, &mut answer);
//! assert!(matches!(outcome, Outcome::Answer(reply) if reply.len == 32));
//!
//! let response = BindingResponse::parse_for(&answer, transaction_id)?;
//! assert_eq!(response.mapped_address, source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod audit;
mod budget;
pub mod client;
pub mod discovery;
mod message;
#[cfg(feature = "partner")]
pub mod partner;
mod responder;
#[cfg(all(unix, feature = "server"))]
mod server;
mod source;
mod stream;
#[cfg(all(unix, feature = "stream"))]
mod stream_server;

pub use budget::{Budgets, Limits};
pub use message::{
    Attribute, AttributeType, Attributes, Class, Covered, ErrorCode, HEADER_BYTES, MAGIC_COOKIE, Message,
    MessageType, MessageWriter, Method, ParseError, TransactionId,
};
#[cfg(all(unix, feature = "server"))]
pub use partner::{
    PartnerAddress, PartnerChannel, PartnerConfig, PartnerKey, PartnerRegistration, PartnerStatus,
};
pub use responder::{
    ANSWER_BYTES_MAX, Alternates, Arrival, Options, Origin, Outcome, Profile, RefusalReason, Reply,
    Responder, TAILSCALE_SOFTWARE,
};
#[cfg(all(unix, feature = "server"))]
pub use server::{Counters, UdpConfig, UdpServer};
pub use stream::{MessageStream, STREAM_MESSAGE_BYTES_MAX, StreamError};
#[cfg(all(unix, feature = "stream"))]
pub use stream_server::{
    AlternatesAt, Certificate, CertificateError, CertificateFiles, ConnectionEnd, StreamCounters,
    StreamLimits, StreamListener, StreamServer, Transport,
};
