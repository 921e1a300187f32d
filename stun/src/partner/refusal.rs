//! Why a datagram of the channel came to nothing.

use super::wire::WireError;

/// Why a datagram of the channel came to nothing. Each refused datagram has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerRefusal {
    /// Too short, too long, or nonsense under a right seal.
    Malformed,
    /// Another version: the machines run different releases, or it is noise.
    Version,
    /// Not sealed with the key.
    Forged,
    /// For another life of this machine, or this machine's own, sent back.
    Misdirected,
    /// Sent more than 5 s ago, or 5 s in the future, by this machine's clock.
    Stale,
    /// Seen before.
    Replay,
    /// A forward or leaving of a machine, or of a life of it, that has not proven to be there.
    UnknownSender,
    /// A reply to no probe that is under way.
    UnexpectedReply,
    /// More probes a second than anybody needs.
    ProbeRate,
    /// A forward to what is no client: this machine, multicast, the port of another UDP service.
    ClientAddress,
    /// A forward from a port, or over a family, that this machine does not serve.
    NotServed,
    /// A forward of something else than a Binding response that is for the client's address.
    NotAnswer,
    /// The client's network had too many answers sent from here.
    RedirectRate,
    /// All clients together had too many answers sent from here.
    TotalRate,
}

impl PartnerRefusal {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Version,
        Self::Forged,
        Self::Misdirected,
        Self::Stale,
        Self::Replay,
        Self::UnknownSender,
        Self::UnexpectedReply,
        Self::ProbeRate,
        Self::ClientAddress,
        Self::NotServed,
        Self::NotAnswer,
        Self::RedirectRate,
        Self::TotalRate,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Forged => "forged",
            Self::Misdirected => "misdirected",
            Self::Stale => "stale",
            Self::Replay => "replay",
            Self::UnknownSender => "unknown_sender",
            Self::UnexpectedReply => "unexpected_reply",
            Self::ProbeRate => "probe_rate",
            Self::ClientAddress => "client_address",
            Self::NotServed => "not_served",
            Self::NotAnswer => "not_answer",
            Self::RedirectRate => "redirect_rate",
            Self::TotalRate => "total_rate",
        }
    }
}

impl From<WireError> for PartnerRefusal {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Length { .. } | WireError::Malformed { .. } => Self::Malformed,
            WireError::Version { .. } => Self::Version,
            WireError::Forged => Self::Forged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_own_name() {
        for (place, reason) in PartnerRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        let mut names = PartnerRefusal::ALL.map(PartnerRefusal::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
