//! What the tests share.

#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod requests;

use std::net::SocketAddr;
use std::time::Instant;

use data_encoding::HEXLOWER;
use ferry_stun::{
    Alternates, Arrival, AttributeType, Budgets, Limits, MessageType, MessageWriter, Options, Outcome,
    Profile, Responder, TransactionId,
};

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

/// What a responder of the profile says to one datagram while no budget is short.
pub(crate) fn answer(profile: Profile, datagram: &[u8], source: SocketAddr) -> (Outcome, Vec<u8>) {
    ask(Options { profile, ..Options::default() }, datagram, &Arrival::from(source), Limits::default())
}

/// What a responder with fresh budgets says to one datagram.
pub(crate) fn ask(
    options: Options,
    datagram: &[u8],
    arrival: &Arrival,
    limits: Limits,
) -> (Outcome, Vec<u8>) {
    let mut out = Vec::new();
    let mut budgets = Budgets::new(limits, 1, Instant::now());
    let outcome = Responder::new(options).answer(datagram, arrival, &mut budgets, &mut out);
    (outcome, out)
}

/// A server with two addresses and two ports of the client's family, asked at the first of each.
pub(crate) fn two_addresses(source: SocketAddr) -> Alternates {
    let [first, second] = if source.ip().to_canonical().is_ipv4() {
        ["192.0.2.1:3478", "192.0.2.2:3479"]
    } else {
        ["[2001:db8::1]:3478", "[2001:db8::2]:3479"]
    }
    .map(address);
    Alternates { asked: first, other_port: second.port(), other_ip: Some(second.ip()) }
}

/// The same with the second port only.
pub(crate) fn one_address(source: SocketAddr) -> Alternates {
    Alternates { other_ip: None, ..two_addresses(source) }
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
