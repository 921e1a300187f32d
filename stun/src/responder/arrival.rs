//! Where a datagram came from and went to, and where its answer leaves from and goes.

use std::net::{IpAddr, SocketAddr};

/// A datagram's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it came from, as the socket says (IPv4-mapped on a dual-stack socket).
    pub source: SocketAddr,
    /// Where it was sent to and what else the server has, if it does RFC 5780.
    pub alternates: Option<Alternates>,
}

impl Arrival {
    /// A datagram to a server without RFC 5780.
    #[must_use]
    pub const fn from(source: SocketAddr) -> Self {
        Self { source, alternates: None }
    }
}

/// The server's addresses as the client of one datagram sees them (RFC 5780 section 6.1's Da, Dp, Ca, Cp):
/// outside addresses, if the server stands behind a 1:1 NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternates {
    /// The address and port that the datagram was sent to (Da:Dp).
    pub asked: SocketAddr,
    /// The other port (Cp), which every address of the server has.
    pub other_port: u16,
    /// The other address (Ca). `None` for a server with one address, or while the partner that has the
    /// other is out of reach: "change IP" is refused then, so that nobody takes silence for filtering.
    pub other_ip: Option<IpAddr>,
}

impl Alternates {
    /// The address and port of an origin; `None` if it takes the other address and there is none.
    pub(super) fn address(&self, origin: Origin) -> Option<SocketAddr> {
        let ip = if origin.other_ip { self.other_ip? } else { self.asked.ip() };
        let port = if origin.other_port { self.other_port } else { self.asked.port() };
        Some(SocketAddr::new(ip, port))
    }
}

/// An answer ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes in the buffer.
    pub len: usize,
    /// From which of the server's addresses and ports it has to leave.
    pub from: Origin,
    /// Where to: the source, or another port of it (RESPONSE-PORT).
    pub to: SocketAddr,
}

/// One of the server's (up to) four transport addresses, as seen from the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The other address.
    pub other_ip: bool,
    /// The other port.
    pub other_port: bool,
}

impl Origin {
    /// The one that was asked.
    pub const ASKED: Self = Self { other_ip: false, other_port: false };
    /// The one that differs in both (Ca:Cp), which every success response names.
    pub(super) const OPPOSITE: Self = Self { other_ip: true, other_port: true };
}
