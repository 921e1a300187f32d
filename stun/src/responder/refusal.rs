//! Why a datagram is not answered, or answered with an error.

use std::net::{IpAddr, SocketAddr};

use crate::message::ParseError;

/// Source ports that no client has and that other UDP services answer from: echo, quote of the day,
/// chargen, DNS, NTP. A request "from" there is forged, to make two services talk to each other.
pub(super) const REFUSED_SOURCE_PORTS: [u16; 6] = [0, 7, 17, 19, 53, 123];

/// Why a datagram got no success response. Each refused datagram has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Not a STUN message: too short, wrong lengths, another protocol.
    Malformed,
    /// No magic cookie: an RFC 3489 client, or noise.
    NoCookie,
    /// FINGERPRINT is wrong or not the last attribute.
    Fingerprint,
    /// An indication or an answer.
    NotRequest,
    /// Another method than Binding, of TURN for example.
    NotBinding,
    /// Valid, but the profile is [`Profile::Tailscale`](super::Profile::Tailscale) and the request is not from Tailscale's client.
    NotTailscale,
    /// An attribute that has to be understood and is not; answered with 420.
    UnknownAttribute,
    /// The source is no host: unspecified, multicast, broadcast, or the server itself.
    SourceAddress,
    /// The source port belongs to another UDP service.
    SourcePort,
    /// The source asks more often than its budget allows.
    SourceRate,
    /// The answer would be larger than the request by more than the source's budget allows.
    Surplus,
    /// The source had too many answers sent from, or to, another address or port.
    RedirectRate,
    /// A combination that RFC 5780 forbids, or one that means nothing over TCP; answered with 400.
    BadRequest,
}

impl RefusalReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::NoCookie,
        Self::Fingerprint,
        Self::NotRequest,
        Self::NotBinding,
        Self::NotTailscale,
        Self::UnknownAttribute,
        Self::SourceAddress,
        Self::SourcePort,
        Self::SourceRate,
        Self::Surplus,
        Self::RedirectRate,
        Self::BadRequest,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoCookie => "no_cookie",
            Self::Fingerprint => "fingerprint",
            Self::NotRequest => "not_request",
            Self::NotBinding => "not_binding",
            Self::NotTailscale => "not_tailscale",
            Self::UnknownAttribute => "unknown_attribute",
            Self::SourceAddress => "source_address",
            Self::SourcePort => "source_port",
            Self::SourceRate => "source_rate",
            Self::Surplus => "surplus",
            Self::RedirectRate => "redirect_rate",
            Self::BadRequest => "bad_request",
        }
    }
}

impl From<ParseError> for RefusalReason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::TooShort { .. }
            | ParseError::TopBits { .. }
            | ParseError::Length { .. }
            | ParseError::AttributeOverrun { .. } => Self::Malformed,
            ParseError::Cookie { .. } => Self::NoCookie,
            ParseError::FingerprintNotLast { .. }
            | ParseError::FingerprintLength { .. }
            | ParseError::Fingerprint { .. } => Self::Fingerprint,
        }
    }
}

/// Sources that no client can have.
pub(crate) fn refused_source(source: SocketAddr) -> Option<RefusalReason> {
    if REFUSED_SOURCE_PORTS.contains(&source.port()) {
        return Some(RefusalReason::SourcePort);
    }
    let nobody = match source.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    nobody.then_some(RefusalReason::SourceAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_own_name() {
        for (place, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        let mut names = RefusalReason::ALL.map(RefusalReason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn sources_that_no_client_has_get_nothing() {
        let refusal = |source: &str| refused_source(source.parse().expect("test address"));
        for port in REFUSED_SOURCE_PORTS {
            assert_eq!(refusal(&format!("192.0.2.1:{port}")), Some(RefusalReason::SourcePort));
        }
        for source in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1"] {
            assert_eq!(refusal(source), Some(RefusalReason::SourceAddress), "{source}");
        }
        for source in ["[::ffff:224.0.0.1]:1", "[::ffff:0.0.0.0]:1"] {
            assert_eq!(refusal(source), Some(RefusalReason::SourceAddress), "{source}");
        }
        for source in ["127.0.0.1:3478", "10.0.0.1:1", "[fe80::1]:65535", "[::ffff:192.0.2.1]:1"] {
            assert_eq!(refusal(source), None, "{source}");
        }
    }
}
