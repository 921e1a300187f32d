//! Bytes that others have written down: RFC 5769, RFC 8489 appendix B, and derper.

mod common;

use common::{TAILSCALE_REQUEST, TRANSACTION, address, answer, hex, request, request_with_fingerprint};
use data_encoding::HEXLOWER;
use ferry_stun::client::{self, BindingResponse};
use ferry_stun::{
    AttributeType, Class, Message, MessageType, MessageWriter, Method, Outcome, Profile, RefusalReason,
    TransactionId,
};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

const RFC5769_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const RFC5769_TRANSACTION: &str = "b7e7a701bc34d686fa87dfae";
const RFC5769_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
const RFC5769_IPV4_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RFC5769_IPV6_RESPONSE: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
const RFC5769_LONG_TERM_REQUEST: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

#[test]
fn rfc5769_request_parses_and_its_integrity_agrees() {
    let bytes = hex(RFC5769_REQUEST);
    let message = Message::parse(&bytes).expect("valid");
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.transaction_id().as_bytes()[..], hex(RFC5769_TRANSACTION)[..]);
    assert!(message.has_fingerprint());
    let kinds: Vec<_> = message.attributes().map(|attribute| attribute.kind.number()).collect();
    assert_eq!(kinds, [0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028]);
    assert_eq!(value(&message, AttributeType::SOFTWARE), b"STUN test client");
    assert_eq!(value(&message, AttributeType::PRIORITY), [0x6E, 0, 1, 0xFF]);
    assert_eq!(value(&message, AttributeType::USERNAME), b"evtj:h6vY");
    assert_eq!(hmac_sha1(&message, RFC5769_PASSWORD), value(&message, AttributeType::MESSAGE_INTEGRITY));
}

#[test]
fn rfc5769_responses_parse_and_their_integrity_agrees() {
    for (response, mapped) in [
        (RFC5769_IPV4_RESPONSE, "192.0.2.1:32853"),
        (RFC5769_IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = hex(response);
        let parsed = BindingResponse::parse(&bytes).expect("valid");
        assert_eq!(parsed.mapped_address, address(mapped));
        assert_eq!(parsed.transaction_id.as_bytes()[..], hex(RFC5769_TRANSACTION)[..]);
        let message = Message::parse(&bytes).expect("valid");
        assert!(message.has_fingerprint());
        assert_eq!(value(&message, AttributeType::SOFTWARE), b"test vector");
        assert_eq!(hmac_sha1(&message, RFC5769_PASSWORD), value(&message, AttributeType::MESSAGE_INTEGRITY));

        // The other direction, where the padding of these vectors (spaces) does not reach: the address.
        let mut out = Vec::new();
        MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, message.transaction_id())
            .xor_mapped_address(address(mapped))
            .finish();
        let xor_mapped = value(&message, AttributeType::XOR_MAPPED_ADDRESS);
        assert_eq!(out[24..], *xor_mapped);
    }
}

#[test]
fn rfc5769_long_term_request_parses_and_its_integrity_agrees() {
    let bytes = hex(RFC5769_LONG_TERM_REQUEST);
    let message = Message::parse(&bytes).expect("valid");
    assert!(!message.has_fingerprint());
    assert_eq!(value(&message, AttributeType::USERNAME), "マトリックス".as_bytes());
    assert_eq!(value(&message, AttributeType::REALM), b"example.org");
    assert_eq!(value(&message, AttributeType::NONCE), b"f//499k954d6OL34oL9FSTvy64sA");
    // MD5 of "user:realm:password", as the RFC prints it.
    let key = hex("e8ca7ad59d5eb0518e312911d2dab2a9");
    assert_eq!(hmac_sha1(&message, &key), value(&message, AttributeType::MESSAGE_INTEGRITY));

    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_REQUEST, message.transaction_id())
        .attribute(AttributeType::USERNAME, "マトリックス".as_bytes())
        .attribute(AttributeType::NONCE, b"f//499k954d6OL34oL9FSTvy64sA")
        .attribute(AttributeType::REALM, b"example.org")
        .attribute(AttributeType::MESSAGE_INTEGRITY, value(&message, AttributeType::MESSAGE_INTEGRITY))
        .finish();
    assert_eq!(HEXLOWER.encode(&out), RFC5769_LONG_TERM_REQUEST);
}

/// The vector of RFC 8489 B.1 as erratum 6268 corrects it.
#[test]
fn rfc8489_request_is_written_and_its_integrity_agrees() {
    let userhash = Sha256::digest("マトリックス:example.org");
    assert_eq!(
        HEXLOWER.encode(&userhash),
        "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    );
    let key = Sha256::digest("マトリックス:example.org:TheMatrIX");
    assert_eq!(HEXLOWER.encode(&key), "dd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1");
    let integrity = hex("b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65");
    let transaction_id: [u8; 12] = hex("78ad3433c6ad72c029da412e").try_into().expect("12 bytes");

    let mut bytes = Vec::new();
    MessageWriter::new(&mut bytes, MessageType::BINDING_REQUEST, TransactionId::new(transaction_id))
        .attribute(AttributeType::USERHASH, &userhash)
        .attribute(AttributeType::NONCE, b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
        .attribute(AttributeType::REALM, b"example.org")
        .attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
        .attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &integrity)
        .finish();
    assert_eq!(bytes.len(), 164);

    let message = Message::parse(&bytes).expect("valid");
    let attribute = message.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256).expect("just written");
    let covered = message.covered_by(attribute);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(&covered.head);
    mac.update(covered.rest);
    assert_eq!(mac.finalize().into_bytes()[..], integrity);
}

#[test]
fn credentials_are_known_to_an_open_server_and_ignored() {
    for request in [RFC5769_REQUEST, RFC5769_LONG_TERM_REQUEST] {
        let (outcome, _) = answer(Profile::Open, &hex(request), address("192.0.2.1:32853"));
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
    }
}

#[test]
fn own_requests_are_written_byte_for_byte() {
    let mut out = Vec::new();
    assert_eq!(HEXLOWER.encode(client::write_tailscale_request(TRANSACTION, &mut out)), TAILSCALE_REQUEST);
    assert_eq!(
        HEXLOWER.encode(client::write_bare_request(TRANSACTION, &mut out)),
        "000100002112a4420102030405060708090a0b0c"
    );
    assert_eq!(
        HEXLOWER.encode(&request_with_fingerprint(&[])),
        "000100082112a4420102030405060708090a0b0c802800045b20f9cc"
    );
}

/// TV6: what a live derper sends for its clients' request, under either profile.
#[test]
fn tailscale_requests_are_answered_with_the_bytes_of_derper() {
    for (source, expected) in [
        ("203.0.113.7:41641", "0101000c2112a4420102030405060708090a0b0c00200008000183bbea12d545"),
        (
            "[2001:db8::1234]:41641",
            "010100182112a4420102030405060708090a0b0c00200014000283bb0113a9fa0102030405060708090a1938",
        ),
        ("192.0.2.1:54321", "0101000c2112a4420102030405060708090a0b0c002000080001f523e112a643"),
        (
            "[2001:db8::1]:54321",
            "010100182112a4420102030405060708090a0b0c002000140002f5230113a9fa0102030405060708090a0b0d",
        ),
        // As a dual-stack socket reports IPv4; derper answers family 2 here, and its clients undo it.
        ("[::ffff:192.0.2.1]:54321", "0101000c2112a4420102030405060708090a0b0c002000080001f523e112a643"),
    ] {
        for profile in [Profile::Open, Profile::Tailscale] {
            let (outcome, out) = answer(profile, &hex(TAILSCALE_REQUEST), address(source));
            assert!(matches!(outcome, Outcome::Answer(reply) if reply.len == out.len()), "{outcome:?}");
            assert_eq!(HEXLOWER.encode(&out), expected, "{source} {profile:?}");
            let response = BindingResponse::parse_for(&out, TRANSACTION).expect("valid");
            assert_eq!(response.mapped_address.ip(), address(source).ip().to_canonical());
        }
    }
}

/// TV6, the other half: what derper is silent to.
#[test]
fn the_tailscale_profile_is_silent_where_derper_is() {
    let tailscale = hex(TAILSCALE_REQUEST);
    let mut wrong_checksum = tailscale.clone();
    wrong_checksum[36] ^= 1;
    for (request, reason) in [
        (request(&[]), RefusalReason::NotTailscale),
        (request_with_fingerprint(&[]), RefusalReason::NotTailscale),
        (request(&[(0x8022, b"tailnode")]), RefusalReason::NotTailscale),
        (request_with_fingerprint(&[(0x8022, b"tailnode2")]), RefusalReason::NotTailscale),
        (request(&[(0x7777, b"")]), RefusalReason::NotTailscale),
        (wrong_checksum, RefusalReason::Fingerprint),
        ([&tailscale[..], &[0]].concat(), RefusalReason::Malformed),
    ] {
        let (outcome, _) = answer(Profile::Tailscale, &request, address("192.0.2.1:1"));
        assert_eq!(outcome, Outcome::Silence(reason), "{}", HEXLOWER.encode(&request));
    }
}

/// derper takes nothing else in such a request into account, so a client of tomorrow is answered as well.
#[test]
fn a_tailscale_request_with_a_new_mandatory_attribute_is_answered_as_derper_does() {
    for profile in [Profile::Open, Profile::Tailscale] {
        let request = request_with_fingerprint(&[(0x8022, b"tailnode"), (0x7777, b"new")]);
        let (outcome, _) = answer(profile, &request, address("192.0.2.1:1"));
        assert!(matches!(outcome, Outcome::Answer(reply) if reply.len == 32), "{profile:?} {outcome:?}");
    }
}

/// The vector has a phrase; ours is the same without.
#[test]
fn a_420_with_a_phrase_is_read_and_written_without() {
    let with_phrase = hex(
        "011100242112a4420102030405060708090a0b0c0009001500000414556e6b6e6f776e20417474726962757465000000000a000277770000",
    );
    let error = BindingResponse::parse_for(&with_phrase, TRANSACTION).expect_err("a refusal");
    assert_eq!(error.to_string(), "server refuses the request with error 420");

    let (outcome, out) = answer(Profile::Open, &request(&[(0x7777, b"")]), address("203.0.113.7:41641"));
    assert!(matches!(outcome, Outcome::Error(_, RefusalReason::UnknownAttribute)), "{outcome:?}");
    assert_eq!(
        HEXLOWER.encode(&out),
        "011100102112a4420102030405060708090a0b0c0009000400000414000a000277770000"
    );
}

#[test]
fn every_single_byte_change_to_a_fingerprinted_message_is_noticed() {
    for vector in [TAILSCALE_REQUEST, RFC5769_REQUEST, RFC5769_IPV4_RESPONSE, RFC5769_IPV6_RESPONSE] {
        let bytes = hex(vector);
        // The header of FINGERPRINT is left out: with another type it is no FINGERPRINT.
        for at in (0..bytes.len() - 8).chain(bytes.len() - 4..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x01;
            assert!(Message::parse(&changed).is_err(), "byte {at} of {vector}");
        }
    }
}

#[test]
fn errors_name_the_numbers() {
    let reason = |bytes: &[u8]| Message::parse(bytes).expect_err("not a message").to_string();
    assert_eq!(reason(&[0; 19]), "19 bytes are too few for a STUN header of 20");
    assert_eq!(
        reason(&hex("000100042112a4420102030405060708090a0b0c")),
        "length field says 4 where 0 bytes follow the header (multiples of 4)"
    );
    assert_eq!(
        reason(&hex("000100002112a4430102030405060708090a0b0c")),
        "magic cookie is 0x2112a443 instead of 0x2112a442"
    );
    assert_eq!(
        reason(&hex("000100042112a4420102030405060708090a0b0c80220001")),
        "attribute 0x8022 says 1 bytes where 0 are left"
    );
}

fn value<'a>(message: &Message<'a>, kind: AttributeType) -> &'a [u8] {
    message.attribute(kind).expect("the vector has it").value
}

fn hmac_sha1(message: &Message<'_>, key: &[u8]) -> Vec<u8> {
    let attribute = message.attribute(AttributeType::MESSAGE_INTEGRITY).expect("the vector has it");
    let covered = message.covered_by(attribute);
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key");
    mac.update(&covered.head);
    mac.update(covered.rest);
    mac.finalize().into_bytes().to_vec()
}
