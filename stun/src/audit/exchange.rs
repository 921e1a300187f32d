//! A datagram that was sent and what came back.

use std::fmt;
use std::net::SocketAddr;

use super::request::{Request, Sender};
use crate::message::{
    AttributeType, Class, ErrorCode, HEADER_BYTES, MAGIC_COOKIE, Message, Method, TransactionId,
};

/// Answers to one datagram that are looked into; of more only the bytes are counted.
const ANSWERS_MAX: usize = 8;

/// One datagram, and the answers to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    transaction_id: TransactionId,
    datagram: Vec<u8>,
    answers: Vec<Answer>,
    answer_bytes: u64,
    answer_wire_bytes: u64,
}

impl Exchange {
    /// Nothing has come back yet.
    #[must_use]
    pub fn new(request: &Request, sender: &Sender) -> Self {
        Self {
            transaction_id: sender.transaction_id,
            datagram: request.datagram(sender),
            answers: Vec::new(),
            answer_bytes: 0,
            answer_wire_bytes: 0,
        }
    }

    /// What to send.
    #[must_use]
    pub fn datagram(&self) -> &[u8] {
        &self.datagram
    }

    /// Whether a datagram names this exchange: its bytes 8 to 19 are the transaction ID.
    #[must_use]
    pub fn is_named_by(&self, datagram: &[u8]) -> bool {
        datagram.get(8..HEADER_BYTES) == Some(self.transaction_id.as_bytes().as_slice())
    }

    /// Adds an answer.
    pub fn record(&mut self, bytes: &[u8], from: SocketAddr, at: Socket) {
        self.answer_bytes += bytes.len() as u64;
        self.answer_wire_bytes += wire_bytes(bytes.len(), from);
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push(Answer { from, at, said: Said::read(bytes, self.transaction_id) });
        }
    }

    /// Whether anything came back.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(super) fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Payload bytes out and in.
    pub(super) fn payload(&self) -> Volume {
        Volume { sent: self.datagram.len() as u64, received: self.answer_bytes }
    }

    /// The same with IP and UDP headers.
    pub(super) fn wire(&self, server: SocketAddr) -> Volume {
        Volume { sent: wire_bytes(self.datagram.len(), server), received: self.answer_wire_bytes }
    }
}

/// Where an answer arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// At the socket that asked.
    Asker,
    /// At the other one, which a request named.
    Witness,
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) from: SocketAddr,
    pub(super) at: Socket,
    pub(super) said: Said,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A success response with the address that it saw.
    Success {
        /// The address, or `None` if the response has none that can be read.
        mapped: Option<SocketAddr>,
    },
    /// An error response.
    Error {
        /// 300 to 699, or `None` if the response has none.
        code: Option<u16>,
        /// The attribute types that it says it does not know.
        unknown: Vec<u16>,
    },
    /// A datagram that is no answer to the request.
    Other,
}

impl Said {
    fn read(bytes: &[u8], transaction_id: TransactionId) -> Self {
        // An RFC 3489 answer repeats what stood in the cookie's place.
        let mut repaired = bytes.to_vec();
        if let Some(cookie) = repaired.get_mut(4..8) {
            cookie.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        let Ok(message) = Message::parse(bytes).or_else(|_| Message::parse(&repaired)) else {
            return Self::Other;
        };
        if message.transaction_id() != transaction_id {
            return Self::Other;
        }
        match message.class() {
            Class::Success if message.method() == Method::BINDING => {
                Self::Success { mapped: mapped(&message) }
            }
            Class::Error => Self::Error {
                code: message
                    .attribute(AttributeType::ERROR_CODE)
                    .and_then(|attribute| ErrorCode::decode(attribute.value))
                    .map(ErrorCode::code),
                unknown: unknown(&message),
            },
            Class::Success | Class::Request | Class::Indication => Self::Other,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success { mapped: Some(_) } => f.write_str("ok"),
            Self::Success { mapped: None } => f.write_str("ok, no address"),
            Self::Error { code: None, .. } => f.write_str("error without code"),
            Self::Error { code: Some(code), unknown } => {
                write!(f, "{code}")?;
                unknown.iter().try_for_each(|kind| write!(f, " {kind:#06x}"))
            }
            Self::Other => f.write_str("not an answer"),
        }
    }
}

fn mapped(message: &Message<'_>) -> Option<SocketAddr> {
    [AttributeType::XOR_MAPPED_ADDRESS, AttributeType::XOR_MAPPED_ADDRESS_OLD]
        .into_iter()
        .find_map(|kind| message.xor_address(message.attribute(kind)?))
        .or_else(|| message.plain_address(message.attribute(AttributeType::MAPPED_ADDRESS)?))
}

fn unknown(message: &Message<'_>) -> Vec<u16> {
    let Some(list) = message.attribute(AttributeType::UNKNOWN_ATTRIBUTES) else { return Vec::new() };
    let (kinds, _) = list.value.as_chunks::<2>();
    kinds.iter().map(|kind| u16::from_be_bytes(*kind)).collect()
}

/// Bytes that went one way and came back the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Volume {
    /// To the server.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

impl Volume {
    /// How many times as much came back; 0 if nothing did.
    #[must_use]
    pub fn factor(self) -> f64 {
        // An empty datagram that is answered counts as one byte: a factor must stay a number.
        self.received as f64 / self.sent.max(1) as f64
    }

    /// Whether more than this many times as much came back.
    #[must_use]
    pub const fn exceeds(self, times: u64) -> bool {
        self.received > self.sent.saturating_mul(times)
    }
}

/// Bytes on a path with an MTU of 1,500: IP and UDP headers, and the headers of fragments.
fn wire_bytes(payload: usize, peer: SocketAddr) -> u64 {
    let datagram = payload as u64 + 8;
    if peer.ip().to_canonical().is_ipv4() {
        return datagram + 20 * datagram.div_ceil(1480);
    }
    if datagram <= 1460 {
        return datagram + 40;
    }
    datagram + 48 * datagram.div_ceil(1448)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_fragments_count_on_the_wire() {
        let (ipv4, ipv6) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
        assert_eq!((wire_bytes(20, ipv4), wire_bytes(32, ipv4)), (48, 60));
        assert_eq!((wire_bytes(20, ipv6), wire_bytes(44, ipv6)), (68, 92));
        assert_eq!((wire_bytes(1472, ipv4), wire_bytes(1473, ipv4)), (1500, 1521));
        assert_eq!((wire_bytes(1452, ipv6), wire_bytes(1453, ipv6)), (1500, 1557));
    }

    #[test]
    fn an_answer_to_an_empty_datagram_has_a_factor() {
        let volume = Volume { sent: 0, received: 32 };
        assert!(volume.exceeds(3) && volume.factor() > 3.0);
        assert!(!Volume::default().exceeds(3));
    }
}
