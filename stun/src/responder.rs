//! What a server answers to one datagram: a function of the datagram and its source.

mod unknown;

use std::net::{IpAddr, SocketAddr};

use crate::message::{
    AttributeType, Class, ErrorCode, Message, MessageType, MessageWriter, Method, ParseError,
};
use unknown::UnknownAttributes;

/// The value of SOFTWARE in every request of a Tailscale client.
pub const TAILSCALE_SOFTWARE: &[u8] = b"tailnode";

/// Source ports that no client has and that other UDP services answer from: echo, quote of the day,
/// chargen, DNS, NTP. A request "from" there is forged, to make two services talk to each other.
const REFUSED_SOURCE_PORTS: [u16; 6] = [0, 7, 17, 19, 53, 123];

/// Which requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// Every valid Binding request.
    #[default]
    Open,
    /// Those that derper answers, and silence for all others: SOFTWARE is `tailnode` and the last
    /// attribute is a right FINGERPRINT. No answer is then more than 1.1 times its request.
    Tailscale,
}

/// Answers Binding requests. It keeps no state between datagrams: Binding is idempotent, a
/// retransmission is simply answered again.
///
/// A request that derper would answer gets the bytes that derper would send. Any other gets, from
/// [`Profile::Open`], XOR-MAPPED-ADDRESS and, if it had one, a FINGERPRINT. Answers never exceed the
/// request by more than 12 bytes over IPv4 and 24 over IPv6, so the worst reflection is that of the bare
/// request: 20 bytes get 32 or 44.
#[derive(Clone, Copy, Debug, Default)]
pub struct Responder {
    profile: Profile,
}

impl Responder {
    /// A responder for one profile.
    #[must_use]
    pub const fn new(profile: Profile) -> Self {
        Self { profile }
    }

    /// Decides on one datagram. If there is an answer it is all of `out` afterwards, to be sent to
    /// `source` from the address that the datagram was sent to.
    pub fn answer(&self, datagram: &[u8], source: SocketAddr, out: &mut Vec<u8>) -> Outcome {
        if let Some(reason) = refused_source(source) {
            return Outcome::Silence(reason);
        }
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(error) => return Outcome::Silence(RefusalReason::from(error)),
        };
        // An answer is never answered, so two servers cannot loop.
        if message.class() != Class::Request {
            return Outcome::Silence(RefusalReason::NotRequest);
        }
        if message.method() != Method::BINDING {
            return Outcome::Silence(RefusalReason::NotBinding);
        }

        let survey = Survey::of(&message);
        // derper looks at no other attribute of such a request, not even at one that has to be understood.
        if survey.tailnode && message.has_fingerprint() {
            let answer = MessageWriter::new(out, MessageType::BINDING_SUCCESS, message.transaction_id())
                .xor_mapped_address(source)
                .finish();
            return Outcome::Answer { len: answer.len() };
        }
        if self.profile == Profile::Tailscale {
            return Outcome::Silence(RefusalReason::NotTailscale);
        }

        if !survey.unknown.as_slice().is_empty() {
            let error = MessageWriter::new(out, MessageType::BINDING_ERROR, message.transaction_id())
                .error_code(ErrorCode::UNKNOWN_ATTRIBUTE)
                .unknown_attributes(survey.unknown.as_slice());
            let len = finish_like(&message, error);
            return Outcome::Error { len, reason: RefusalReason::UnknownAttribute };
        }
        let success = MessageWriter::new(out, MessageType::BINDING_SUCCESS, message.transaction_id())
            .xor_mapped_address(source);
        Outcome::Answer { len: finish_like(&message, success) }
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success response is to be sent.
    Answer {
        /// Bytes in the buffer.
        len: usize,
    },
    /// An error response is to be sent.
    Error {
        /// Bytes in the buffer.
        len: usize,
        /// Why.
        reason: RefusalReason,
    },
    /// Nothing is to be sent, and the buffer says nothing.
    Silence(RefusalReason),
}

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
    /// Valid, but the profile is [`Profile::Tailscale`] and the request is not from Tailscale's client.
    NotTailscale,
    /// An attribute that has to be understood and is not; answered with 420.
    UnknownAttribute,
    /// The source is no host: unspecified, multicast, broadcast, or the server itself.
    SourceAddress,
    /// The source port belongs to another UDP service.
    SourcePort,
}

impl RefusalReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::NoCookie,
        Self::Fingerprint,
        Self::NotRequest,
        Self::NotBinding,
        Self::NotTailscale,
        Self::UnknownAttribute,
        Self::SourceAddress,
        Self::SourcePort,
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

/// What one walk over a request's attributes finds.
struct Survey {
    /// SOFTWARE is Tailscale's.
    tailnode: bool,
    /// What has to be understood and is not.
    unknown: UnknownAttributes,
}

impl Survey {
    fn of(message: &Message<'_>) -> Self {
        let mut survey = Self { tailnode: false, unknown: UnknownAttributes::default() };
        for attribute in message.attributes() {
            if attribute.kind == AttributeType::SOFTWARE {
                survey.tailnode |= attribute.value == TAILSCALE_SOFTWARE;
            } else if !is_understood(attribute.kind, attribute.value) {
                survey.unknown.note(attribute.kind);
            }
        }
        survey
    }
}

/// Whether a request may carry the attribute. Most of these mean nothing to an open server: credentials
/// are not checked (a 401 would only add a larger answer), ICE's are between the peers, and attributes
/// that belong in answers are known and skipped (RFC 8489 section 6.3). What RFC 5780 needs a second
/// address for is not understood, and neither is RFC 3489's RESPONSE-ADDRESS, which made servers send
/// to whomever a client named.
fn is_understood(kind: AttributeType, value: &[u8]) -> bool {
    match kind {
        AttributeType::MAPPED_ADDRESS
        | AttributeType::USERNAME
        | AttributeType::MESSAGE_INTEGRITY
        | AttributeType::ERROR_CODE
        | AttributeType::UNKNOWN_ATTRIBUTES
        | AttributeType::REALM
        | AttributeType::NONCE
        | AttributeType::MESSAGE_INTEGRITY_SHA256
        | AttributeType::PASSWORD_ALGORITHM
        | AttributeType::USERHASH
        | AttributeType::XOR_MAPPED_ADDRESS
        | AttributeType::PRIORITY
        | AttributeType::USE_CANDIDATE => true,
        // "Change nothing" needs no second address, and many clients say it.
        AttributeType::CHANGE_REQUEST => value == [0; 4],
        _ => !kind.is_comprehension_required(),
    }
}

/// Ends an answer with FINGERPRINT if the request had one (RFC 8489 section 14.7: such a client shares
/// its port between protocols and sorts by it).
fn finish_like(request: &Message<'_>, answer: MessageWriter<'_>) -> usize {
    if request.has_fingerprint() { answer.finish_with_fingerprint().len() } else { answer.finish().len() }
}

/// Sources that no client can have.
fn refused_source(source: SocketAddr) -> Option<RefusalReason> {
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
