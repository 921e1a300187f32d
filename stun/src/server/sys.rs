//! What std cannot ask of the system: many datagrams a call, the address a datagram was sent to, and filters.
//! Linux has it all; other systems get the same interface around one `recv_from` and one `send_to`.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use std::net::SocketAddr;

use crate::responder::ANSWER_BYTES_MAX;

#[cfg(target_os = "linux")]
pub(super) use linux::{BATCH, Control, Inbox, Outbox, drop_sources, steer_by_source, tell_local_address};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{BATCH, Control, Inbox, Outbox, drop_sources, steer_by_source, tell_local_address};

/// Room for one datagram: 2 KiB, more than any client of STUN sends, and one byte, so that a longer datagram
/// is cut to a length that no STUN message has.
const READ_BYTES: usize = 2049;

/// Capacity of an answer's buffer: 1.1 times the largest request, and then some for the smallest.
const ANSWER_BYTES: usize = 2304;

// The largest answer never grows its buffer, and the request that it takes, which is as large, is read whole.
const _: () = assert!(ANSWER_BYTES_MAX <= ANSWER_BYTES && ANSWER_BYTES_MAX < READ_BYTES);

/// A datagram that was read.
#[derive(Debug)]
pub(super) struct Received<'i> {
    /// What it says; cut to 2,049 bytes.
    pub(super) bytes: &'i [u8],
    /// Who sent it.
    pub(super) source: SocketAddr,
    /// Where it was sent to; told of a wildcard socket's datagrams.
    pub(super) control: Option<&'i Control>,
}
