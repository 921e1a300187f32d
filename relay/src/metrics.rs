//! What the relay counts, and the three pages that show it.
//!
//! Data threads write plain relaxed stores into their own [`ShardCounters`]; everything before a connection belongs to a
//! data thread goes to the one shared [`FrontCounters`]. A scrape adds them up into a [`Snapshot`], and a renderer turns
//! that into derper's `/debug/vars`, derper's `/debug/varz`, or our own `/metrics`.

mod counters;
mod front;
mod histogram;
mod labels;
mod partner;
mod process;
mod prometheus;
mod series;
mod snapshot;
mod text;
mod vars;
mod varz;

pub(crate) use counters::{ShardCounters, ShardTotals, add, sub};
pub(crate) use front::{FrontCounters, FrontTotals, HandshakeFailure, TlsVersion};
pub(crate) use histogram::{Histogram, HistogramTotals};
pub(crate) use labels::{DropReason, End, PacketKind, TcpRtt};
pub(crate) use process::{Process, ProcessFacts};
pub(crate) use prometheus::Exporter;
pub(crate) use snapshot::{PartnerReadings, RegistryReadings, Snapshot, StunReadings};
pub(crate) use vars::render_vars;
pub(crate) use varz::render_varz;
