//! What may be sent for the partner.

use std::net::{IpAddr, SocketAddr};

use crate::message::{AttributeType, Class, Message, Method, ParseError};

use super::wire::ANSWER_BYTES_MAX;

/// Whether the bytes are a Binding response that tells the client its own address, or an error response: so that a
/// stolen key makes no machine send just anything to anybody.
pub(super) fn is_answer_for(answer: &[u8], client: SocketAddr) -> bool {
    if answer.len() > ANSWER_BYTES_MAX {
        return false;
    }
    let message = match Message::parse(answer) {
        Err(ParseError::Cookie { .. }) => Message::parse_rfc3489(answer),
        parsed => parsed,
    };
    message.is_ok_and(|message| is_response_for(&message, client.ip().to_canonical()))
}

fn is_response_for(message: &Message<'_>, client: IpAddr) -> bool {
    if message.method() != Method::BINDING {
        return false;
    }
    match message.class() {
        Class::Request | Class::Indication => false,
        Class::Error => message.attribute(AttributeType::ERROR_CODE).is_some(),
        Class::Success => {
            // RFC 3489 had none, and nothing to XOR with.
            let xored = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
            if xored.is_some() && message.is_rfc3489() {
                return false;
            }
            let plain = message.attribute(AttributeType::MAPPED_ADDRESS);
            // Its port is that of the request, which RESPONSE-PORT makes another than the answer's.
            let tells =
                |told: Option<SocketAddr>| told.is_some_and(|told| told.ip().to_canonical() == client);
            (xored.is_some() || plain.is_some())
                && xored.is_none_or(|attribute| tells(message.xor_address(attribute)))
                && plain.is_none_or(|attribute| tells(message.plain_address(attribute)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ErrorCode, MessageType, MessageWriter, TransactionId};

    const CLIENT: &str = "203.0.113.7:41641";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("test address")
    }

    fn message(kind: MessageType, write: impl Fn(MessageWriter<'_>) -> MessageWriter<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write(MessageWriter::new(&mut out, kind, TransactionId::new([7; 12]))).finish();
        out
    }

    fn mapped(ip: [u8; 4]) -> [u8; 8] {
        let [a, b, c, d] = ip;
        [0, 1, 0xa2, 0xa9, a, b, c, d]
    }

    #[test]
    fn a_response_with_the_clients_address_is_an_answer() {
        let success = message(MessageType::BINDING_SUCCESS, |w| w.xor_mapped_address(address(CLIENT)));
        let other_port =
            message(MessageType::BINDING_SUCCESS, |w| w.xor_mapped_address(address("203.0.113.7:1")));
        let error = message(MessageType::BINDING_ERROR, |w| w.error_code(ErrorCode::UNKNOWN_ATTRIBUTE));
        let mut rfc3489 = message(MessageType::BINDING_SUCCESS, |w| {
            w.attribute(AttributeType::MAPPED_ADDRESS, &mapped([203, 0, 113, 7]))
        });
        rfc3489[4] = 0;
        for answer in [success, other_port, error, rfc3489] {
            assert!(is_answer_for(&answer, address(CLIENT)), "{answer:x?}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        let success = |told: &str| {
            let told = address(told);
            message(MessageType::BINDING_SUCCESS, move |w| w.xor_mapped_address(told))
        };
        let padded = message(MessageType::BINDING_SUCCESS, |w| {
            w.xor_mapped_address(address(CLIENT)).attribute(AttributeType::PADDING, &[0; ANSWER_BYTES_MAX])
        });
        let two_tales = message(MessageType::BINDING_SUCCESS, |w| {
            w.xor_mapped_address(address(CLIENT))
                .attribute(AttributeType::MAPPED_ADDRESS, &mapped([192, 0, 2, 1]))
        });
        let mut rfc3489_with_xor = success(CLIENT);
        rfc3489_with_xor[4] = 0;
        for (what, bytes) in [
            ("nothing", vec![]),
            ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("a request", message(MessageType::BINDING_REQUEST, |w| w)),
            ("a success without an address", message(MessageType::BINDING_SUCCESS, |w| w)),
            ("an error without a code", message(MessageType::BINDING_ERROR, |w| w)),
            ("another's address", success("203.0.113.8:41641")),
            ("another family's address", success("[2001:db8::1]:41641")),
            ("two addresses that differ", two_tales),
            ("an answer of the old RFC with what only the new has", rfc3489_with_xor),
            ("a byte behind the message", [success(CLIENT), vec![0]].concat()),
            ("more than fits", padded),
        ] {
            assert!(!is_answer_for(&bytes, address(CLIENT)), "{what}");
        }
    }
}
