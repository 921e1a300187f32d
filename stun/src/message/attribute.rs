//! Attributes: type, length, value, padded to four bytes (RFC 8489 section 14).

use std::fmt;

use super::ParseError;

/// One attribute of a message that has been parsed; the value is borrowed from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Which attribute it is.
    pub kind: AttributeType,
    /// The value without its padding.
    pub value: &'a [u8],
    /// Where the attribute's header starts, counted from the start of the message.
    pub(super) offset: usize,
}

/// The number of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeType(u16);

impl AttributeType {
    /// The client's address in the clear; RFC 3489 servers and RFC 5780 answers.
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// RFC 3489: answer to this address. It made servers send to whomever a client named; never honoured.
    pub const RESPONSE_ADDRESS: Self = Self(0x0002);
    /// RFC 5780: answer from another address or port.
    pub const CHANGE_REQUEST: Self = Self(0x0003);
    /// RFC 3489 answers: where the answer is sent from.
    pub const SOURCE_ADDRESS: Self = Self(0x0004);
    /// RFC 3489 answers: the server's other address and port.
    pub const CHANGED_ADDRESS: Self = Self(0x0005);
    /// Who asks, for servers that authenticate.
    pub const USERNAME: Self = Self(0x0006);
    /// HMAC-SHA1 over what precedes it.
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// Why a request was refused.
    pub const ERROR_CODE: Self = Self(0x0009);
    /// Which attributes a 420 is about.
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000A);
    /// Long-term credentials: whose users.
    pub const REALM: Self = Self(0x0014);
    /// Long-term credentials: the server's challenge.
    pub const NONCE: Self = Self(0x0015);
    /// HMAC-SHA256 over what precedes it.
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001C);
    /// Long-term credentials: which hash made the key.
    pub const PASSWORD_ALGORITHM: Self = Self(0x001D);
    /// A hash in place of USERNAME.
    pub const USERHASH: Self = Self(0x001E);
    /// The client's address, masked so that no middlebox rewrites it.
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// ICE: how much a candidate is liked.
    pub const PRIORITY: Self = Self(0x0024);
    /// ICE: this pair is chosen.
    pub const USE_CANDIDATE: Self = Self(0x0025);
    /// RFC 5780: fill the answer up to this size.
    pub const PADDING: Self = Self(0x0026);
    /// RFC 5780: answer to this port.
    pub const RESPONSE_PORT: Self = Self(0x0027);
    /// XOR-MAPPED-ADDRESS as drafts before RFC 5389 numbered it; some servers still send it.
    pub const XOR_MAPPED_ADDRESS_OLD: Self = Self(0x8020);
    /// What the sender is; Tailscale's clients say `tailnode`.
    pub const SOFTWARE: Self = Self(0x8022);
    /// A CRC-32 that tells STUN from other traffic on the port.
    pub const FINGERPRINT: Self = Self(0x8028);
    /// RFC 5780 answers: where the answer is sent from.
    pub const RESPONSE_ORIGIN: Self = Self(0x802B);
    /// RFC 5780 answers: the server's other address and port.
    pub const OTHER_ADDRESS: Self = Self(0x802C);

    /// Takes any number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether a receiver that does not know the attribute must refuse the message (0x0000 to 0x7FFF).
    #[must_use]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// The attributes of a parsed message, in order, without those that must be ignored: after
/// MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count, after
/// MESSAGE-INTEGRITY-SHA256 only FINGERPRINT (RFC 8489 sections 14.5 and 14.6).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    walk: Walk<'a>,
    sealed_by: Option<AttributeType>,
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(walk: Walk<'a>) -> Self {
        Self { walk, sealed_by: None }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The message was walked to its end when it was parsed, so an error cannot come back here.
            let attribute = self.walk.next()?.ok()?;
            let counts = match self.sealed_by {
                None => true,
                Some(AttributeType::MESSAGE_INTEGRITY) => matches!(
                    attribute.kind,
                    AttributeType::MESSAGE_INTEGRITY_SHA256 | AttributeType::FINGERPRINT
                ),
                Some(_) => attribute.kind == AttributeType::FINGERPRINT,
            };
            if !counts {
                continue;
            }
            if matches!(
                attribute.kind,
                AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256
            ) {
                self.sealed_by = Some(attribute.kind);
            }
            return Some(attribute);
        }
    }
}

/// The attributes as they stand in the bytes, each checked against the end of the message.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Walk<'a> {
    /// `attributes` are the bytes after the header, a multiple of four; `offset` is where they start.
    pub(super) const fn new(attributes: &'a [u8], offset: usize) -> Self {
        Self { rest: attributes, offset }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Attribute<'a>, ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // What is left is a multiple of four bytes: an attribute's header fits unless nothing is left,
        // and padding fits wherever the value does.
        let (&[k0, k1, l0, l1], after) = self.rest.split_first_chunk()?;
        let kind = AttributeType(u16::from_be_bytes([k0, k1]));
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let (Some(value), Some(rest)) = (after.get(..length), after.get(length.next_multiple_of(4)..)) else {
            self.rest = &[];
            return Some(Err(ParseError::AttributeOverrun { kind, length, left: after.len() }));
        };
        let attribute = Attribute { kind, value, offset: self.offset };
        self.offset += 4 + length.next_multiple_of(4);
        self.rest = rest;
        Some(Ok(attribute))
    }
}
