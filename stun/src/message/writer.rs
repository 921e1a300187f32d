//! Writing messages.

use std::net::SocketAddr;

use super::address::{AddressValue, Mask};
use super::{
    AttributeType, ErrorCode, HEADER_BYTES, MAGIC_COOKIE, Message, MessageType, TransactionId, fingerprint,
};

/// Writes one message into a buffer that the caller keeps for the next one: after the first message
/// nothing is allocated.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    transaction_id: TransactionId,
}

impl<'b> MessageWriter<'b> {
    /// Empties `out` and writes the header.
    pub fn new(out: &'b mut Vec<u8>, message_type: MessageType, transaction_id: TransactionId) -> Self {
        Self::with_cookie(out, message_type, MAGIC_COOKIE, transaction_id)
    }

    /// The same for an answer: with the request's transaction ID, all 16 bytes of it for an RFC 3489 client.
    pub fn answer_to(request: &Message<'_>, out: &'b mut Vec<u8>, message_type: MessageType) -> Self {
        Self::with_cookie(out, message_type, request.cookie, request.transaction_id)
    }

    #[inline]
    fn with_cookie(
        out: &'b mut Vec<u8>,
        message_type: MessageType,
        cookie: u32,
        transaction_id: TransactionId,
    ) -> Self {
        out.clear();
        out.extend_from_slice(&message_type.bits().to_be_bytes());
        // The length is filled in as attributes come.
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&cookie.to_be_bytes());
        out.extend_from_slice(transaction_id.as_bytes());
        Self { out, transaction_id }
    }

    /// Appends an attribute, padded with zeros. Values are ours and short: at most 65,535 bytes, and
    /// a message at most as many.
    #[must_use]
    pub fn attribute(self, kind: AttributeType, value: &[u8]) -> Self {
        self.out.extend_from_slice(&kind.number().to_be_bytes());
        self.out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self
    }

    /// Appends XOR-MAPPED-ADDRESS.
    #[must_use]
    pub fn xor_mapped_address(self, address: SocketAddr) -> Self {
        let value = AddressValue::encode(address, Mask::xor(self.transaction_id));
        self.attribute(AttributeType::XOR_MAPPED_ADDRESS, value.as_bytes())
    }

    /// Appends MAPPED-ADDRESS.
    #[must_use]
    pub fn mapped_address(self, address: SocketAddr) -> Self {
        self.plain_address(AttributeType::MAPPED_ADDRESS, address)
    }

    /// Appends RESPONSE-ORIGIN, OTHER-ADDRESS or another attribute whose value is an address in the clear.
    #[must_use]
    pub fn plain_address(self, kind: AttributeType, address: SocketAddr) -> Self {
        let value = AddressValue::encode(address, Mask::NONE);
        self.attribute(kind, value.as_bytes())
    }

    /// Appends PADDING, all zeros. At most 65,532 bytes.
    #[must_use]
    pub fn padding(self, bytes: u16) -> Self {
        self.out.extend_from_slice(&AttributeType::PADDING.number().to_be_bytes());
        self.out.extend_from_slice(&bytes.to_be_bytes());
        self.out.resize((self.out.len() + usize::from(bytes)).next_multiple_of(4), 0);
        self
    }

    /// Appends ERROR-CODE with an empty phrase.
    #[must_use]
    pub fn error_code(self, code: ErrorCode) -> Self {
        self.attribute(AttributeType::ERROR_CODE, &code.encode())
    }

    /// Appends UNKNOWN-ATTRIBUTES.
    #[must_use]
    pub fn unknown_attributes(self, kinds: &[AttributeType]) -> Self {
        self.out.extend_from_slice(&AttributeType::UNKNOWN_ATTRIBUTES.number().to_be_bytes());
        self.out.extend_from_slice(&(kinds.len() as u16 * 2).to_be_bytes());
        kinds.iter().for_each(|kind| self.out.extend_from_slice(&kind.number().to_be_bytes()));
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> usize {
        self.out.len()
    }

    /// Ends the message; returns its bytes, which are all of the buffer.
    pub fn finish(mut self) -> &'b [u8] {
        self.set_length(self.out.len() - HEADER_BYTES);
        self.out
    }

    /// Ends the message with FINGERPRINT, which has to be the last attribute.
    pub fn finish_with_fingerprint(mut self) -> &'b [u8] {
        // The CRC covers a header whose length counts FINGERPRINT itself already.
        self.set_length(self.out.len() - HEADER_BYTES + fingerprint::ATTRIBUTE_BYTES);
        let value = fingerprint::checksum(&[], self.out);
        self.attribute(AttributeType::FINGERPRINT, &value.to_be_bytes()).out
    }

    fn set_length(&mut self, length: usize) {
        let field = self.out.get_mut(2..4).expect("the header is written by new");
        field.copy_from_slice(&(length as u16).to_be_bytes());
    }
}
