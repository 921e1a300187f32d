//! The requests that every known server was asked, and what ours has to say to each. derper is silent to
//! all but the second.

use std::net::SocketAddr;

use ferry_stun::client::BindingResponse;
use ferry_stun::{Alternates, AttributeType, Message, Origin, RefusalReason};

use super::{TAILSCALE_REQUEST, TRANSACTION, hex, message, request, request_with_fingerprint};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// XOR-MAPPED-ADDRESS alone: 32 bytes over IPv4, 44 over IPv6.
    Success,
    /// And FINGERPRINT: 8 bytes more.
    SuccessWithFingerprint,
    /// A 420 with an empty phrase and this list.
    Unknown(Vec<u16>),
    /// A 400 with an empty phrase.
    BadRequest,
    /// All that RFC 5780 tells.
    Told(Told),
    Silence(RefusalReason),
}

/// How a server with RFC 5780 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) from: Origin,
    /// To which port, if not to the one that asked.
    pub(crate) port: Option<u16>,
    pub(crate) fingerprint: bool,
}

/// What a server without RFC 5780 and RFC 3489 has to say.
pub(crate) fn cases() -> Vec<Case> {
    use Expected::{Silence, Success, SuccessWithFingerprint, Unknown};
    use RefusalReason::{Fingerprint, Malformed, NoCookie, NotBinding, NotRequest};
    let case = |name, request, expected| Case { name, request, expected };

    let bare = request(&[]);
    let tailscale = hex(TAILSCALE_REQUEST);
    let change = |bits: u8| request(&[(0x0003, &[0, 0, 0, bits])]);
    vec![
        case("bare 20 bytes", bare.clone(), Success),
        case("tailnode and FINGERPRINT", tailscale.clone(), Success),
        case("bare and FINGERPRINT", request_with_fingerprint(&[]), SuccessWithFingerprint),
        case("wrong FINGERPRINT", edit(&tailscale, 39, 0x0E), Silence(Fingerprint)),
        case("unknown mandatory attribute", request(&[(0x7777, &[])]), Unknown(vec![0x7777])),
        case("unknown optional attribute", request(&[(0xF777, b"any")]), Success),
        case("indication", message(0x0011, &[]), Silence(NotRequest)),
        case("success response", message(0x0101, &[]), Silence(NotRequest)),
        case("error response", message(0x0111, &[]), Silence(NotRequest)),
        case("junk", b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec(), Silence(Malformed)),
        case("junk with a top bit", vec![0xFF; 40], Silence(Malformed)),
        case("19 bytes", bare[..19].to_vec(), Silence(Malformed)),
        case("allocate", message(0x0003, &[]), Silence(NotBinding)),
        case("unknown method", message(0x0EEF, &[]), Silence(NotBinding)),
        case("no cookie (RFC 3489)", edit(&bare, 4, 0x22), Silence(NoCookie)),
        case("trailing bytes", [&bare[..], &[0; 4]].concat(), Silence(Malformed)),
        case("length no multiple of four", [&edit(&bare, 3, 2)[..], &[0; 2]].concat(), Silence(Malformed)),
        case("attribute overruns", edit(&request(&[(0x8022, b"four")]), 23, 5), Silence(Malformed)),
        case("CHANGE-REQUEST nothing", change(0), Success),
        case("CHANGE-REQUEST port", change(2), Unknown(vec![0x0003])),
        case("CHANGE-REQUEST IP", change(4), Unknown(vec![0x0003])),
        case("CHANGE-REQUEST both", change(6), Unknown(vec![0x0003])),
        case("RESPONSE-PORT length 4", request(&[(0x0027, &[0x10, 0, 0, 0])]), Unknown(vec![0x0027])),
        case("RESPONSE-PORT length 2", request(&[(0x0027, &[0x10, 0])]), Unknown(vec![0x0027])),
        case("PADDING", request(&[(0x0026, &[0; 64])]), Unknown(vec![0x0026])),
        case(
            "PADDING and RESPONSE-PORT",
            request(&[(0x0026, &[]), (0x0027, &[0x10, 0])]),
            Unknown(vec![0x0026, 0x0027]),
        ),
    ]
}

/// What a server with RFC 5780 has to say to the same requests.
pub(crate) fn cases_with(alternates: &Alternates) -> Vec<Case> {
    let told = Told { from: Origin::ASKED, port: None, fingerprint: false };
    let from = |other_ip, other_port| {
        if other_ip && alternates.other_ip.is_none() {
            return Expected::Unknown(vec![0x0003]);
        }
        Expected::Told(Told { from: Origin { other_ip, other_port }, ..told })
    };
    let expected = |case: &Case| match case.name {
        // derper's clients get derper's bytes from any server.
        "tailnode and FINGERPRINT" => Expected::Success,
        "bare and FINGERPRINT" => Expected::Told(Told { fingerprint: true, ..told }),
        "CHANGE-REQUEST port" => from(false, true),
        "CHANGE-REQUEST IP" => from(true, false),
        "CHANGE-REQUEST both" => from(true, true),
        "RESPONSE-PORT length 4" | "RESPONSE-PORT length 2" => {
            Expected::Told(Told { port: Some(0x1000), ..told })
        }
        "PADDING" => Expected::Told(told),
        "PADDING and RESPONSE-PORT" => Expected::BadRequest,
        _ if case.expected == Expected::Success => Expected::Told(told),
        _ => case.expected.clone(),
    };
    cases().into_iter().map(|case| Case { expected: expected(&case), ..case }).collect()
}

/// The same bytes but for one.
pub(crate) fn edit(bytes: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] = to;
    bytes
}

/// Compares an answer to the request of a case, sent from `source`.
pub(crate) fn check_answer(name: &str, expected: &Expected, answer: &[u8], source: SocketAddr) {
    let address_bytes = if source.ip().to_canonical().is_ipv4() { 12 } else { 24 };
    let message = Message::parse(answer).unwrap_or_else(|error| panic!("{name}: {error}"));
    match expected {
        Expected::Success => assert_eq!(answer.len(), 20 + address_bytes, "{name}"),
        Expected::SuccessWithFingerprint => {
            assert_eq!(answer.len(), 28 + address_bytes, "{name}");
            assert!(message.has_fingerprint(), "{name}");
        }
        Expected::Unknown(kinds) => {
            let mut list = vec![0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, kinds.len() as u8 * 2];
            kinds.iter().for_each(|kind| list.extend_from_slice(&kind.to_be_bytes()));
            list.resize(list.len().next_multiple_of(4), 0);
            assert_eq!(answer[20..], list, "{name}");
            assert_eq!(message.transaction_id(), TRANSACTION, "{name}");
            return;
        }
        Expected::BadRequest => {
            assert_eq!(answer[20..], [0, 9, 0, 4, 0, 0, 4, 0], "{name}");
            assert_eq!(message.transaction_id(), TRANSACTION, "{name}");
            return;
        }
        Expected::Told(told) => {
            let kinds: Vec<_> = message.attributes().map(|attribute| attribute.kind).collect();
            assert!(
                kinds.starts_with(&[AttributeType::XOR_MAPPED_ADDRESS, AttributeType::MAPPED_ADDRESS]),
                "{name}"
            );
            assert_eq!(message.has_fingerprint(), told.fingerprint, "{name}");
            let mapped = plain_address(&message, AttributeType::MAPPED_ADDRESS);
            assert_eq!(mapped, Some(SocketAddr::new(source.ip().to_canonical(), source.port())), "{name}");
        }
        Expected::Silence(_) => panic!("{name} got {} bytes", answer.len()),
    }
    let response = BindingResponse::parse_for(answer, TRANSACTION);
    let mapped = SocketAddr::new(source.ip().to_canonical(), source.port());
    assert_eq!(response.map(|response| response.mapped_address), Ok(mapped), "{name}");
}

/// Compares what a success response of a server with RFC 5780 tells of the server.
pub(crate) fn check_told(name: &str, told: &Told, answer: &[u8], alternates: &Alternates) {
    let message = Message::parse(answer).expect("a message");
    let ip = if told.from.other_ip {
        alternates.other_ip.expect("it was sent from there")
    } else {
        alternates.asked.ip()
    };
    let port = if told.from.other_port { alternates.other_port } else { alternates.asked.port() };
    let origin = plain_address(&message, AttributeType::RESPONSE_ORIGIN);
    assert_eq!(origin, Some(SocketAddr::new(ip, port)), "{name}");
    let other = plain_address(&message, AttributeType::OTHER_ADDRESS);
    assert_eq!(other, alternates.other_ip.map(|ip| SocketAddr::new(ip, alternates.other_port)), "{name}");
}

fn plain_address(message: &Message<'_>, kind: AttributeType) -> Option<SocketAddr> {
    message.attribute(kind).and_then(|attribute| message.plain_address(attribute))
}
