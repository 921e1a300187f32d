//! The requests that a server is asked, sound ones and odd ones.

use std::net::SocketAddr;

use crate::client;
use crate::message::{AttributeType, MessageType, MessageWriter, TransactionId};

/// One request of the audit.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What people call it.
    pub name: &'static str,
    /// By what an answer is judged.
    pub(super) rule: Rule,
    /// Writes the datagram.
    write: fn(&Sender) -> Vec<u8>,
}

impl Request {
    /// The datagram to send.
    #[must_use]
    pub fn datagram(&self, sender: &Sender) -> Vec<u8> {
        (self.write)(sender)
    }

    /// Whether a lost datagram would be taken for a property of the server: such a request is repeated before
    /// silence is believed.
    #[must_use]
    pub const fn deserves_answer(&self) -> bool {
        !matches!(
            self.rule,
            Rule::Answer
                | Rule::Indication
                | Rule::Malformed
                | Rule::Fingerprint
                | Rule::OtherMethod
                | Rule::ResponseAddress
        )
    }
}

/// What a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Fresh for each datagram: it tells which one an answer is to.
    pub transaction_id: TransactionId,
    /// A second socket of the sender, as the server sees it: where RESPONSE-PORT and RESPONSE-ADDRESS point.
    pub witness: SocketAddr,
}

/// What an answer to a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A Binding request that nothing is wrong with.
    Binding,
    /// An attribute that no server knows and that must be understood.
    UnknownMandatory,
    /// FINGERPRINT does not fit.
    Fingerprint,
    /// An indication.
    Indication,
    /// An answer.
    Answer,
    /// Not a STUN message.
    Malformed,
    /// Another method than Binding.
    OtherMethod,
    /// A request of RFC 3489.
    Rfc3489,
    /// CHANGE-REQUEST (RFC 5780).
    Change {
        /// "Change IP".
        ip: bool,
        /// "Change port".
        port: bool,
    },
    /// RESPONSE-PORT (RFC 5780).
    ResponsePort,
    /// RESPONSE-ADDRESS (RFC 3489).
    ResponseAddress,
    /// PADDING (RFC 5780).
    Padding,
    /// PADDING and RESPONSE-PORT, which RFC 5780 section 7.6 forbids.
    PaddingAndResponsePort,
}

/// All of them, in the order in which they are asked.
pub const REQUESTS: [Request; 30] = [
    row("bare 20 bytes", Rule::Binding, |s| request(s, &[])),
    row("tailnode and FINGERPRINT", Rule::Binding, tailscale),
    row("bare and FINGERPRINT", Rule::Binding, |s| {
        let mut out = Vec::new();
        MessageWriter::new(&mut out, MessageType::BINDING_REQUEST, s.transaction_id)
            .finish_with_fingerprint();
        out
    }),
    row("unknown optional attribute", Rule::Binding, |s| request(s, &[(0xF777, b"any")])),
    row("unknown mandatory attribute", Rule::UnknownMandatory, |s| request(s, &[(UNKNOWN, &[])])),
    row("wrong FINGERPRINT", Rule::Fingerprint, |s| flip_last(tailscale(s))),
    row("indication", Rule::Indication, |s| message(0x0011, s, &[])),
    row("success response", Rule::Answer, |s| message(0x0101, s, &[])),
    row("error response", Rule::Answer, |s| message(0x0111, s, &[])),
    row("junk", Rule::Malformed, |_| b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec()),
    row("junk with a top bit", Rule::Malformed, |_| vec![0xFF; 40]),
    row("empty datagram", Rule::Malformed, |_| Vec::new()),
    row("19 bytes", Rule::Malformed, |s| {
        let mut bytes = request(s, &[]);
        bytes.pop();
        bytes
    }),
    row("Allocate (TURN)", Rule::OtherMethod, |s| message(0x0003, s, &[])),
    row("unknown method", Rule::OtherMethod, |s| message(0x0EEF, s, &[])),
    row("trailing bytes", Rule::Malformed, |s| {
        let mut bytes = request(s, &[]);
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }),
    row("length no multiple of four", Rule::Malformed, |s| {
        let mut bytes = set(request(s, &[]), 3, 2);
        bytes.extend_from_slice(&[0; 2]);
        bytes
    }),
    row("attribute overruns", Rule::Malformed, |s| set(request(s, &[(0x8022, b"four")]), 23, 5)),
    row("no cookie (RFC 3489)", Rule::Rfc3489, |s| without_cookie(request(s, &[]))),
    row("RESPONSE-ADDRESS (RFC 3489)", Rule::ResponseAddress, |s| {
        without_cookie(request(s, &[(0x0002, &response_address(s.witness))]))
    }),
    row("CHANGE-REQUEST nothing", Rule::Binding, |s| change(s, 0)),
    row("CHANGE-REQUEST port", Rule::Change { ip: false, port: true }, |s| change(s, 2)),
    row("CHANGE-REQUEST IP", Rule::Change { ip: true, port: false }, |s| change(s, 4)),
    row("CHANGE-REQUEST both", Rule::Change { ip: true, port: true }, |s| change(s, 6)),
    row("RESPONSE-PORT length 4", Rule::ResponsePort, |s| {
        let [p0, p1] = s.witness.port().to_be_bytes();
        request(s, &[(0x0027, &[p0, p1, 0, 0])])
    }),
    row("RESPONSE-PORT length 2", Rule::ResponsePort, |s| {
        request(s, &[(0x0027, &s.witness.port().to_be_bytes())])
    }),
    row("PADDING empty", Rule::Padding, |s| request(s, &[(0x0026, &[])])),
    row("PADDING 64 bytes", Rule::Padding, |s| request(s, &[(0x0026, &[0; 64])])),
    row("PADDING and RESPONSE-PORT", Rule::PaddingAndResponsePort, |s| {
        request(s, &[(0x0026, &[]), (0x0027, &s.witness.port().to_be_bytes())])
    }),
    // Last, so that the first and the last row tell whether the server was there all the time.
    row("tailnode and FINGERPRINT again", Rule::Binding, tailscale),
];

/// A comprehension-required attribute type that nobody has registered.
pub(super) const UNKNOWN: u16 = 0x7777;

const fn row(name: &'static str, rule: Rule, write: fn(&Sender) -> Vec<u8>) -> Request {
    Request { name, rule, write }
}

fn request(sender: &Sender, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(0x0001, sender, attributes)
}

fn message(message_type: u16, sender: &Sender, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let message_type = MessageType::from_bits(message_type).expect("the table has message types");
    let writer = MessageWriter::new(&mut out, message_type, sender.transaction_id);
    attributes
        .iter()
        .fold(writer, |writer, (kind, value)| writer.attribute(AttributeType::new(*kind), value))
        .finish();
    out
}

fn tailscale(sender: &Sender) -> Vec<u8> {
    let mut out = Vec::new();
    client::write_tailscale_request(sender.transaction_id, &mut out);
    out
}

fn change(sender: &Sender, bits: u8) -> Vec<u8> {
    request(sender, &[(0x0003, &[0, 0, 0, bits])])
}

/// An address attribute's value in the clear.
fn response_address(address: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_REQUEST, TransactionId::new([0; 12]))
        .mapped_address(address)
        .finish();
    out.split_off(VALUE_OFFSET)
}

/// Where the value of a message's first attribute starts.
const VALUE_OFFSET: usize = 24;

/// RFC 3489's transaction ID starts where the cookie is now; other bytes there, and the 12 that answers are
/// told apart by, stay.
fn without_cookie(bytes: Vec<u8>) -> Vec<u8> {
    set(bytes, 4, 0x22)
}

fn set(mut bytes: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to;
    }
    bytes
}

fn flip_last(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}
