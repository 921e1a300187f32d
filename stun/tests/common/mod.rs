//! What the tests share.

#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod requests;

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use ferry_stun::{AttributeType, MessageType, MessageWriter, TransactionId};

/// The transaction ID of our own vectors.
pub(crate) const TRANSACTION: TransactionId = TransactionId::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);

/// What a Tailscale client sends, with that transaction ID; a live derper answers it.
pub(crate) const TAILSCALE_REQUEST: &str =
    "000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f";

pub(crate) fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("test vectors are lower-case hex")
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("test addresses are addresses")
}

/// A Binding request with these attributes.
pub(crate) fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(0x0001, attributes)
}

/// The same with a FINGERPRINT.
pub(crate) fn request_with_fingerprint(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, 0x0001, attributes).finish_with_fingerprint();
    bytes
}

pub(crate) fn message(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, message_type, attributes).finish();
    bytes
}

fn write<'b>(bytes: &'b mut Vec<u8>, message_type: u16, attributes: &[(u16, &[u8])]) -> MessageWriter<'b> {
    let message_type = MessageType::from_bits(message_type).expect("a message type");
    attributes.iter().fold(MessageWriter::new(bytes, message_type, TRANSACTION), |writer, (kind, value)| {
        writer.attribute(AttributeType::new(*kind), value)
    })
}
