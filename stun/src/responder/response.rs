//! The two responses: what they say, where they leave from and where they go.

use std::net::SocketAddr;

use super::arrival::{Alternates, Origin, Reply};
use super::refusal::{REFUSED_SOURCE_PORTS, RefusalReason};
use super::survey::Survey;
use super::unknown::UnknownAttributes;
use crate::message::{AttributeType, ErrorCode, HEADER_BYTES, Message, MessageType, MessageWriter};

/// CHANGE-REQUEST: answer from the other address.
const CHANGE_IP: u8 = 0x04;
/// CHANGE-REQUEST: answer from the other port.
const CHANGE_PORT: u8 = 0x02;

/// The most PADDING in an answer: the MTU of Ethernet, so that the datagram has to be fragmented there
/// (RFC 5780 section 7.6).
const PADDING_BYTES_MAX: usize = 1500;
/// Type and length of PADDING.
const PADDING_HEADER_BYTES: usize = 4;
/// FINGERPRINT, header and value.
const FINGERPRINT_BYTES: usize = 8;
/// An address attribute over IPv6, header and value.
const ADDRESS_BYTES_MAX: usize = 24;

/// The largest answer there is: the client's address twice, two of the server's, PADDING, FINGERPRINT. It has two
/// fragments on Ethernet. Nobody gets it who has not sent as much.
pub const ANSWER_BYTES_MAX: usize =
    HEADER_BYTES + 4 * ADDRESS_BYTES_MAX + PADDING_HEADER_BYTES + PADDING_BYTES_MAX + FINGERPRINT_BYTES;

/// A success response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Success<'a> {
    origin: Origin,
    /// RESPONSE-PORT: where it goes to, if not to the port that asked.
    port: Option<u16>,
    /// The server's addresses to tell of, if any.
    told: Option<&'a Alternates>,
    /// How much PADDING is wanted.
    padding: Option<usize>,
}

impl<'a> Success<'a> {
    /// The address alone, back the way the request came.
    pub(super) const PLAIN: Success<'static> =
        Success { origin: Origin::ASKED, port: None, told: None, padding: None };

    /// What RFC 5780 makes of a request (section 6.1), or of RFC 3489's, which had the same idea.
    pub(super) fn for_discovery(survey: &Survey<'_>, alternates: &'a Alternates) -> Result<Self, Refusal> {
        let origin = match survey.change_request {
            None => Origin::ASKED,
            Some(&[_, _, _, bits]) => {
                Origin { other_ip: bits & CHANGE_IP != 0, other_port: bits & CHANGE_PORT != 0 }
            }
            Some(_) => return Err(Refusal::BadRequest),
        };
        // Not silence: the client would take that for a NAT which filters.
        if alternates.address(origin).is_none() {
            return Err(Refusal::Unknown(UnknownAttributes::from(AttributeType::CHANGE_REQUEST)));
        }
        let port = match survey.response_port {
            None => None,
            // Fragments sent to a port that a stranger chooses: RFC 5780 forbids it, too.
            Some(_) if survey.padding.is_some() => return Err(Refusal::BadRequest),
            Some(value) => Some(response_port(value).ok_or(Refusal::BadRequest)?),
        };
        let padding = survey.padding.map(<[u8]>::len);
        Ok(Self { origin, port, told: Some(alternates), padding })
    }

    /// The same without all that a client can do without; `None` if there is nothing of that.
    pub(super) fn minimal(self) -> Option<Self> {
        self.told.map(|_| Self { told: None, padding: None, ..self })
    }

    /// Whether it goes another way than back the way the request came from `source`.
    pub(super) fn is_redirected(&self, source: SocketAddr) -> bool {
        self.origin != Origin::ASKED || self.port.is_some_and(|port| port != source.port())
    }

    /// Writes it into `out`, and says how long it is; the client's address is `source`.
    pub(super) fn write(&self, request: &Message<'_>, source: SocketAddr, out: &mut Vec<u8>) -> usize {
        let writer = MessageWriter::answer_to(request, out, MessageType::BINDING_SUCCESS);
        let writer = if request.is_rfc3489() {
            let writer = writer.mapped_address(source);
            self.tell(writer, AttributeType::SOURCE_ADDRESS, AttributeType::CHANGED_ADDRESS)
        } else {
            let writer = writer.xor_mapped_address(source);
            match self.told {
                None => writer,
                Some(_) => {
                    let writer = writer.mapped_address(source);
                    self.tell(writer, AttributeType::RESPONSE_ORIGIN, AttributeType::OTHER_ADDRESS)
                }
            }
        };
        finish(self.pad(writer, request), request)
    }

    /// What is to be done with it once it is written.
    pub(super) fn reply(&self, len: usize, source: SocketAddr) -> Reply {
        let mut to = source;
        if let Some(port) = self.port {
            to.set_port(port);
        }
        Reply { len, from: self.origin, to }
    }

    /// Writes where the answer leaves from and where the server can be asked too, if that is to be told.
    fn tell<'b>(
        &self,
        writer: MessageWriter<'b>,
        origin: AttributeType,
        other: AttributeType,
    ) -> MessageWriter<'b> {
        let Some(told) = self.told else { return writer };
        let addresses = [(origin, told.address(self.origin)), (other, told.address(Origin::OPPOSITE))];
        addresses.into_iter().fold(writer, |writer, (kind, address)| match address {
            Some(address) => writer.plain_address(kind, address),
            None => writer,
        })
    }

    /// Pads as wanted, but never beyond the size of the request: whoever wants large answers pays for them.
    fn pad<'b>(&self, writer: MessageWriter<'b>, request: &Message<'_>) -> MessageWriter<'b> {
        let Some(wanted) = self.padding else { return writer };
        let end = if request.has_fingerprint() { FINGERPRINT_BYTES } else { 0 };
        let Some(room) = request.bytes().checked_sub(writer.written() + PADDING_HEADER_BYTES + end) else {
            return writer;
        };
        let bytes = wanted.min(room).min(PADDING_BYTES_MAX);
        writer.padding((bytes - bytes % 4) as u16)
    }
}

/// The port in RESPONSE-PORT: two bytes, or two and two of padding that some count in. `None` if there is
/// none, or none that a client can have.
fn response_port(value: &[u8]) -> Option<u16> {
    let (&[high, low] | &[high, low, _, _]) = value else { return None };
    let port = u16::from_be_bytes([high, low]);
    (!REFUSED_SOURCE_PORTS.contains(&port)).then_some(port)
}

/// An error response. It always goes back the way the request came.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 420.
    Unknown(UnknownAttributes),
    /// 400.
    BadRequest,
}

impl Refusal {
    /// The reason that is counted.
    pub(super) const fn reason(&self) -> RefusalReason {
        match self {
            Self::Unknown(_) => RefusalReason::UnknownAttribute,
            Self::BadRequest => RefusalReason::BadRequest,
        }
    }

    /// Writes it into `out`, and says how long it is.
    pub(super) fn write(self, request: &Message<'_>, out: &mut Vec<u8>) -> usize {
        let writer = MessageWriter::answer_to(request, out, MessageType::BINDING_ERROR);
        let writer = match self {
            Self::Unknown(unknown) => {
                let unknown = if request.is_rfc3489() { unknown.evened() } else { unknown };
                writer.error_code(ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(unknown.as_slice())
            }
            Self::BadRequest => writer.error_code(ErrorCode::BAD_REQUEST),
        };
        finish(writer, request)
    }
}

/// Ends an answer, with FINGERPRINT if the request had one (RFC 8489 section 14.7: such a client shares its
/// port between protocols and sorts by it).
fn finish(writer: MessageWriter<'_>, request: &Message<'_>) -> usize {
    if request.has_fingerprint() { writer.finish_with_fingerprint().len() } else { writer.finish().len() }
}
