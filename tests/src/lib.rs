//! The harness of the tests that cross crates: a relay in this process, and a client that can say anything.
//!
//! ```no_run
//! use ferry_tests::{Client, TestRelay};
//!
//! let relay = TestRelay::plain();
//! let (mut alice, mut bob) = (Client::join(&relay), Client::join(&relay));
//! alice.send(&bob.key(), b"hello");
//! bob.expect_packet(&alice.key(), b"hello");
//! ```
//!
//! Everything panics with what was expected and what came: this is for tests alone. Nothing waits for a while and hopes;
//! each wait is for an event and ends in a panic after [`PATIENCE`].
//!
//! Beside it, `interop/` and `lab/` are Go modules that hold a relay against peers that are not ours.
#![forbid(unsafe_code)]

mod client;
mod packet;
mod relay;
mod stream;

pub use client::{Client, Event, Join, Sender};
pub use packet::{Numbered, disco_packet, pattern};
pub use relay::{LOCALHOST, TestRelay};
pub use stream::{Stream, TlsPeer};

use ferry_protocol::NodePrivateKey;

/// How long an event may take that must come: far more than it takes, for machines that are busy with other tests.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A key of nobody yet.
pub fn new_key() -> NodePrivateKey {
    NodePrivateKey::from_random(random())
}

/// As many random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}
