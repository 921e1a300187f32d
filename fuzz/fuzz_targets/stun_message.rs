//! Any datagram as a message and as a server's answer: no panic, and what is read can be read again.
#![no_main]

use ferry_stun::client::BindingResponse;
use ferry_stun::{HEADER_BYTES, Message, ParseError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let message = Message::parse(datagram);
    if let Ok(message) = message {
        read_all(&message, datagram);
        assert!(Message::parse_front(datagram).is_ok());
        assert!(!message.is_rfc3489());
    }
    // The older reading is the same without cookie and FINGERPRINT.
    match Message::parse_rfc3489(datagram) {
        Ok(old) => {
            read_all(&old, datagram);
            assert_eq!(old.is_rfc3489(), matches!(message, Err(ParseError::Cookie { .. })));
            assert!(!old.has_fingerprint());
        }
        Err(error) => assert!(message.is_err(), "{error}"),
    }
    if let Ok(response) = BindingResponse::parse(datagram) {
        assert_eq!(BindingResponse::parse_for(datagram, response.transaction_id), Ok(response));
    }
});

fn read_all(message: &Message<'_>, datagram: &[u8]) {
    let mut bytes = HEADER_BYTES;
    for attribute in message.attributes() {
        bytes += 4 + attribute.value.len().next_multiple_of(4);
        let covered = message.covered_by(attribute);
        assert!(covered.rest.len() + 4 + attribute.value.len() <= datagram.len());
        let _ = message.xor_address(attribute);
        let _ = message.plain_address(attribute);
        // The first of a type is what a look-up finds.
        assert!(message.attribute(attribute.kind).is_some());
    }
    // Fewer where a MESSAGE-INTEGRITY hides what follows it.
    assert!(bytes <= datagram.len());
}
