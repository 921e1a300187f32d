//! What a client makes of a server's answer.

use std::net::SocketAddr;

use crate::message::{AttributeType, Class, ErrorCode, Message, Method, ParseError, TransactionId};

/// A server's success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingResponse {
    /// Which request it answers.
    pub transaction_id: TransactionId,
    /// Where the server saw the request come from; never an IPv4-mapped IPv6 address.
    pub mapped_address: SocketAddr,
    /// MAPPED-ADDRESS, the same in the clear. If it differs from `mapped_address`, a box on the way
    /// rewrites addresses in payloads (an application layer gateway).
    pub plain_mapped_address: Option<SocketAddr>,
    /// RESPONSE-ORIGIN: where the server says it answers from (RFC 5780 section 7.3).
    pub response_origin: Option<SocketAddr>,
    /// OTHER-ADDRESS: the server's other address and other port (RFC 5780 section 7.4).
    pub other_address: Option<SocketAddr>,
}

impl BindingResponse {
    /// Reads an answer to any request: for a client with many under way, which then finds the request
    /// by `transaction_id`. Whether the answer came from where the request went is the caller's to check.
    ///
    /// The address is that of XOR-MAPPED-ADDRESS (or its old number), else that of MAPPED-ADDRESS.
    /// Bytes after the message and attributes that mean nothing here are skipped.
    ///
    /// # Errors
    ///
    /// When the datagram is no success response with an address.
    pub fn parse(datagram: &[u8]) -> Result<Self, ResponseError> {
        let message = Message::parse_front(datagram)?;
        if message.method() != Method::BINDING {
            return Err(ResponseError::NotResponse { class: message.class() });
        }
        match message.class() {
            Class::Success => {}
            Class::Error => return Err(refusal(&message)),
            class @ (Class::Request | Class::Indication) => {
                return Err(ResponseError::NotResponse { class });
            }
        }
        let xored = message
            .attribute(AttributeType::XOR_MAPPED_ADDRESS)
            .or_else(|| message.attribute(AttributeType::XOR_MAPPED_ADDRESS_OLD))
            .and_then(|attribute| message.xor_address(attribute));
        let plain = |kind| message.attribute(kind).and_then(|attribute| message.plain_address(attribute));
        let plain_mapped_address = plain(AttributeType::MAPPED_ADDRESS);
        let mapped_address = xored.or(plain_mapped_address).ok_or(ResponseError::NoAddress)?;
        Ok(Self {
            transaction_id: message.transaction_id(),
            mapped_address,
            plain_mapped_address,
            response_origin: plain(AttributeType::RESPONSE_ORIGIN),
            other_address: plain(AttributeType::OTHER_ADDRESS),
        })
    }

    /// Reads the answer to one request.
    ///
    /// # Errors
    ///
    /// As [`BindingResponse::parse`], or when the answer is to another request. A refusal counts only
    /// if it names the request too.
    pub fn parse_for(datagram: &[u8], expected: TransactionId) -> Result<Self, ResponseError> {
        let response = Self::parse(datagram);
        let found = match response {
            Ok(response) => response.transaction_id,
            Err(ResponseError::Refused { transaction_id, .. }) => transaction_id,
            Err(_) => return response,
        };
        if found != expected {
            return Err(ResponseError::OtherTransaction { found, expected });
        }
        response
    }
}

fn refusal(message: &Message<'_>) -> ResponseError {
    let code =
        message.attribute(AttributeType::ERROR_CODE).and_then(|attribute| ErrorCode::decode(attribute.value));
    match code {
        Some(code) => ResponseError::Refused { transaction_id: message.transaction_id(), code },
        None => ResponseError::NoErrorCode,
    }
}

/// Why a datagram is no answer to a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not STUN.
    #[error("datagram is not a STUN message: {0}")]
    Parse(#[from] ParseError),
    /// STUN, but no answer to a Binding request.
    #[error("message is not a response to a binding request (class {class:?})")]
    NotResponse {
        /// What it is.
        class: Class,
    },
    /// The server refuses.
    #[error("server refuses the request with error {code}")]
    Refused {
        /// Which request.
        transaction_id: TransactionId,
        /// Why. 300 (try another server) counts as a refusal: it is only to be followed from a server
        /// that has proven who it is.
        code: ErrorCode,
    },
    /// An error response without a readable reason.
    #[error("error response carries no ERROR-CODE")]
    NoErrorCode,
    /// A success response without an address of a known family.
    #[error("success response carries no mapped address")]
    NoAddress,
    /// Late, or from somebody who guesses.
    #[error("answer is to {found:?}, not to {expected:?}")]
    OtherTransaction {
        /// What the datagram names.
        found: TransactionId,
        /// What was asked.
        expected: TransactionId,
    },
}
