//! Any datagram as a message and as a server's answer: no panic, and what is read can be read again.
#![no_main]

use ferry_stun::Message;
use ferry_stun::client::BindingResponse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    if let Ok(message) = Message::parse(datagram) {
        for attribute in message.attributes() {
            let covered = message.covered_by(attribute);
            assert!(covered.rest.len() + 4 + attribute.value.len() <= datagram.len());
            let _ = message.xor_address(attribute);
            let _ = message.plain_address(attribute);
            // The first of a type is what a look-up finds.
            assert!(message.attribute(attribute.kind).is_some());
        }
        assert!(Message::parse_front(datagram).is_ok());
    }
    if let Ok(response) = BindingResponse::parse(datagram) {
        assert_eq!(BindingResponse::parse_for(datagram, response.transaction_id), Ok(response));
    }
});
