//! What a client sends, when, and what it makes of the answer. Sockets and the clock are the caller's.
//!
//! - [`BindingRequest`] writes a request, [`BindingResponse`] reads the answer.
//! - [`Transaction`] is one question to one server: when to ask again, and which datagram is the answer.

mod request;
mod response;
mod schedule;
mod transaction;

pub use request::{BindingRequest, Change, PADDING_BYTES_MAX, write_bare_request, write_tailscale_request};
pub use response::{BindingResponse, ResponseError};
pub use schedule::{SENDS_MAX, Schedule};
pub(crate) use transaction::same_endpoint;
pub use transaction::{ANSWER_BYTES_MAX, Answer, Identity, RoundTrip, Step, Transaction};
