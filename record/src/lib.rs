//! TLS records after a rustls handshake: opened where they were received, sealed where they are sent.
//!
//! rustls shakes hands, and then hands out the traffic secrets ([`rustls::kernel`], the seam that kernel TLS needs
//! too). It stays behind for what must not be written twice: the key schedule of KeyUpdate, and the store of session
//! tickets. What is here is RFC 8446 section 5.2 for TLS 1.3, and RFC 5288 and RFC 7905 for TLS 1.2, over the AEADs of
//! ring: nothing is copied or allocated for a record's sake, and an idle connection holds two keys instead of a
//! TLS stack.
//!
//! 1. [`Handshake`] drives rustls' unbuffered connection with one record more at a time, so that nothing behind the
//!    handshake is rustls'. It needs a configuration with `enable_secret_extraction`.
//! 2. [`TlsSession`] takes over: [`open`](TlsSession::open) and [`seal`](TlsSession::seal).
//!
//! Both are the same for either end, which is a type: [`Side`]. No socket, clock or log; the buffers are the caller's.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod error;
mod handshake;
mod keys;
mod messages;
mod session;
mod side;
#[cfg(test)]
mod support;

pub use error::RecordError;
pub use handshake::{Handshake, Proceeded, Progress};
pub use session::{Opened, RecordStart, TlsSession};
pub use side::Side;

/// The most plaintext in one record (RFC 8446 section 5.1).
pub const PLAINTEXT_BYTES_MAX: usize = 16_384;
/// The most bytes of a whole record on the wire: a header, and TLS 1.2's allowance of 2,048 over the plaintext.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAINTEXT_BYTES_MAX + 2_048;
/// Content type, version and length.
pub const HEADER_BYTES: usize = 5;

/// Content types (RFC 8446 section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The client's end of a handshake.
pub type ClientHandshake = Handshake<rustls::client::ClientConnectionData>;
/// The server's end of a handshake.
pub type ServerHandshake = Handshake<rustls::server::ServerConnectionData>;
/// The client's end of an established connection.
pub type ClientSession = TlsSession<rustls::client::ClientConnectionData>;
/// The server's end of an established connection.
pub type ServerSession = TlsSession<rustls::server::ServerConnectionData>;
