//! The DERP wire, version 2, as Tailscale's derper and its clients speak it, from both ends.
//!
//! Bytes in, values out, and back: no sockets, no clock, no randomness, no async. Nonces and random
//! bytes are arguments, buffers belong to the caller, and whatever the network sends is an error
//! with a name and never a panic.
//!
//! # A connection
//!
//! 1. [`upgrade`]: an HTTP/1.1 request asks for DERP; the answer is `101`, or nothing at all if the
//!    client knew the relay's key from its certificate ([`meta_cert`]) and started fast.
//! 2. [`handshake`]: ServerKey, ClientInfo, ServerInfo. Each end shows that it holds its private
//!    [`key`], by a box ([`seal`]) that only the two can make. [`admission`] may be asked in between.
//! 3. [`frame`]: packets and a few words about them, until either end hangs up. Which packets are
//!    [`disco`] is all that a relay may know of them.
//!
//! Which relays there are is in the [`derp_map`].
//!
//! # Frames
//!
//! A type `u8`, the body's length `u32` (big-endian, without these five bytes), the body. `key` is 32
//! bytes, `packet` 0 to 65,536. "Refused" closes the connection; a type that the receiver does not
//! know is skipped, however long it is.
//!
//! | Type | Name | To | Body | Wrong length |
//! |---|---|---|---|---|
//! | 0x01 | ServerKey | client | magic\[8\] key | below 40 or, as first frame, above 1024: refused |
//! | 0x02 | ClientInfo | relay | key nonce\[24\] box(JSON) | not 56 to 262,144: refused |
//! | 0x03 | ServerInfo | client | nonce\[24\] box(JSON) | below 24: refused |
//! | 0x04 | SendPacket | relay | dst key, packet | not 32 to 65,568: refused |
//! | 0x05 | RecvPacket | client | src key, packet | below 32: ignored |
//! | 0x06 | KeepAlive | client | – | rest skipped |
//! | 0x07 | NotePreferred | relay | 0 or not 0 | not 1: refused |
//! | 0x08 | PeerGone | client | key, reason u8 | below 32: ignored; 32: Disconnected |
//! | 0x09 | PeerPresent | mesh peer | key, ip\[16\], port u16, flags u8 | below 32: ignored; below 50: key alone; 50: no flags |
//! | 0x0a | ForwardPacket | relay, by mesh peer | src key, dst key, packet | not 64 to 65,600: refused |
//! | 0x10 | WatchConns | relay, by mesh peer | – | not 0: refused |
//! | 0x11 | ClosePeer | relay, by mesh peer | key | not 32: refused |
//! | 0x12 | Ping | both | data\[8\] | relay: not 8 to 1000 refused; client: below 8 ignored |
//! | 0x13 | Pong | both | data\[8\] | client: below 8 ignored; unknown to the relay |
//! | 0x14 | Health | client | UTF-8, empty for "well again" | – |
//! | 0x15 | Restarting | client | reconnect in u32 ms, try for u32 ms | below 8: ignored |
//!
//! A client refuses any frame above 1 MiB. A relay refuses nothing by length that it does not know.
//!
//! ```
//! use ferry_protocol::{ClientFrame, ClientFrameDecoder, NodePublicKey, Step, send_packet_header};
//!
//! let dst = NodePublicKey::from_bytes([7; 32]);
//! let mut wire = send_packet_header(&dst, 5).to_vec();
//! wire.extend_from_slice(b"hello");
//!
//! let mut decoder = ClientFrameDecoder::new();
//! let step = decoder.next(&wire[..20]).unwrap();
//! assert_eq!(step, Step::Incomplete { consumed: 0, needed: 42 });
//! let step = decoder.next(&wire).unwrap();
//! let frame = ClientFrame::SendPacket { dst, packet: b"hello" };
//! assert_eq!(step, Step::Frame { frame, consumed: 42 });
//! ```
//!
//! # What is deliberately absent
//!
//! - Protocol versions 0 and 1, whose RecvPacket has no source key: nothing has spoken them for
//!   years. derper still falls back to the form without key for a forwarded packet of the zero key;
//!   a relay drops that packet.
//! - PeerGone's reason 0xf0: Go's mesh client says it to itself, it never travels.
//! - Names in snake case in ClientInfo. The official Rust client sends `"mesh_key":"none"`; an
//!   alias would make that a bad mesh key and lose the client.
//! - A look for points of low order in keys: derper has none, and refuses only the zero key.
//! - Who may send what: whether a client is a mesh peer is the relay's to know.
//! - Limits in time and number: deadlines, rates and queues are where the clock is.
//! - What is inside disco packets: a relay must not care.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod admission;
pub mod derp_map;
pub mod disco;
pub mod frame;
mod go_json;
pub mod handshake;
pub mod key;
pub mod meta_cert;
pub mod seal;
pub mod upgrade;

pub use disco::looks_like_disco;
pub use frame::*;
pub use handshake::{
    AcceptedClient, ClientHandshake, ClientInfo, HandshakeError, ServerHandshake, ServerInfo,
};
pub use key::{KeyError, MeshKey, NodePrivateKey, NodePublicKey};
pub use seal::{OpenError, SharedBox};
pub use upgrade::{HeadError, RequestHead, UpgradeKind, switching_protocols, upgrade_request};
