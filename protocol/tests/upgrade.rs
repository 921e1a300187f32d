//! Request and response heads: what asks for DERP, what does not, and what is no head.

use ferry_protocol::upgrade::{HEAD_LEN_MAX, ResponseHead, head_ends};
use ferry_protocol::{
    HeadError, NodePublicKey, RequestHead, UpgradeKind, switching_protocols, upgrade_request,
};
use proptest::prelude::*;

const SLOW: Option<UpgradeKind> = Some(UpgradeKind::Derp { fast_start: false });
const FAST: Option<UpgradeKind> = Some(UpgradeKind::Derp { fast_start: true });

#[test]
fn the_upgrade_header_alone_decides() {
    let table = [
        ("Upgrade: DERP", SLOW),
        ("Upgrade: derp", SLOW),
        ("upgrade:   dErP  ", SLOW),
        ("Connection: Upgrade\r\nUpgrade: DERP", SLOW),
        ("Upgrade: DERP\r\nDerp-Fast-Start: 1", FAST),
        ("DERP-FAST-START: 1\r\nUpgrade: DERP", FAST),
        ("Upgrade: DERP\r\nDerp-Fast-Start: 0", SLOW),
        ("Upgrade: DERP\r\nDerp-Fast-Start: true", SLOW),
        ("Upgrade: DERP\r\nDerp-Fast-Start: 11", SLOW),
        ("Upgrade: DERP\r\nDerp-Fast-Start:", SLOW),
        ("Upgrade: DERP\r\nSec-WebSocket-Protocol: derp", SLOW),
        ("Upgrade: websocket\r\nSec-WebSocket-Protocol: derp", Some(UpgradeKind::WebSocket)),
        ("Upgrade: WebSocket\r\nSec-WebSocket-Protocol: a, derp2", Some(UpgradeKind::WebSocket)),
        ("Upgrade: websocket\r\nSec-WebSocket-Protocol: DERP", SLOW),
        ("Upgrade: websocket\r\nSec-WebSocket-Protocol: chat", SLOW),
        ("Upgrade: websocket", SLOW),
        ("Upgrade: websocket\r\nDerp-Fast-Start: 1", FAST),
        // The first of equal names counts, as in Go.
        ("Upgrade: h2c\r\nUpgrade: DERP", None),
        ("Upgrade: DERP\r\nUpgrade: h2c", SLOW),
        ("Upgrade: derp, websocket", None),
        ("Upgrade: h2c", None),
        ("Upgrade:", None),
        ("Connection: Upgrade", None),
    ];
    for (lines, expected) in table {
        assert_eq!(head(lines).upgrade(), expected, "{lines}");
    }
}

#[test]
fn method_version_and_host_do_not_matter() {
    for first in ["GET /derp HTTP/1.1", "POST /derp HTTP/1.1", "BREW /derp HTTP/1.0"] {
        let head = parse(format!("{first}\r\nUpgrade: DERP\r\n\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!((head.path(), head.upgrade()), ("/derp", SLOW), "{first}");
    }
    let head = parse(b"BREW /derp HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.method.as_str(), head.version_minor), ("BREW", 0));
}

#[test]
fn any_value_of_ideal_node_counts_but_none_does_not() {
    assert!(head("Ideal-Node: 900a").ideal_node());
    assert!(head("ideal-node: 0").ideal_node());
    assert!(!head("Ideal-Node:").ideal_node());
    assert!(!head("Upgrade: DERP").ideal_node());
}

#[test]
fn the_path_is_without_query_and_origin() {
    let table = [
        ("/derp", "/derp"),
        ("/derp?x=1", "/derp"),
        ("/derp/", "/derp/"),
        ("/derp?a=http://b/", "/derp"),
        ("/a://b", "/a://b"),
        ("http://relay.example.net/derp?x", "/derp"),
        ("http://relay.example.net", "/"),
        ("*", "*"),
        ("relay.example.net:443", "relay.example.net:443"),
    ];
    for (target, path) in table {
        let head = parse(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!((head.target.as_str(), head.path()), (target, path));
    }
}

#[test]
fn what_follows_the_head_is_left() {
    let input = b"GET /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n\x02\0\0\0\x68";
    for len in 0..input.len() - 5 {
        assert_eq!(parse(&input[..len]).unwrap(), None, "{len} bytes");
    }
    for len in input.len() - 5..=input.len() {
        assert_eq!(parse(&input[..len]).unwrap().unwrap().len, input.len() - 5);
    }
    let bare = parse(b"GET / HTTP/1.1\nUpgrade: DERP\n\n").unwrap().unwrap();
    assert_eq!(bare.upgrade(), SLOW, "line feeds alone, as Go takes them");
}

#[test]
fn what_can_be_no_head_is_refused_at_its_first_byte() {
    for first in [0x16, 0x00, 0x02, b' ', b'\n', b'\r', 0xff] {
        assert!(matches!(parse(&[first]), Err(HeadError::Malformed(_))), "byte 0x{first:02x}");
    }
    assert_eq!(parse(b""), Ok(None));
}

#[test]
fn malformed_heads_are_named() {
    for refused in [
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nspace : x\r\n\r\n",
        "GET / HTTP/1.1\r\na: \0\r\n\r\n",
    ] {
        assert!(matches!(parse(refused.as_bytes()), Err(HeadError::Malformed(_))), "{refused:?}");
    }
}

#[test]
fn a_hundred_headers_are_read_and_one_more_is_not() {
    let with = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
    assert_eq!(parse(with(100).as_bytes()).unwrap().unwrap().headers.len(), 100);
    assert_eq!(parse(with(101).as_bytes()), Err(HeadError::TooManyHeaders));
}

#[test]
fn a_mebibyte_is_read_and_more_is_not() {
    let with = |len: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\na: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(len - start.len() - end.len()))
    };
    assert_eq!(parse(with(HEAD_LEN_MAX).as_bytes()).unwrap().unwrap().len, HEAD_LEN_MAX);
    assert_eq!(parse(with(HEAD_LEN_MAX + 1).as_bytes()), Err(HeadError::TooLong));
    assert_eq!(parse(&with(HEAD_LEN_MAX + 9).as_bytes()[..HEAD_LEN_MAX]), Ok(None));
}

#[test]
fn the_end_is_found_wherever_the_last_look_stopped() {
    for input in [&b"GET / HTTP/1.1\r\na: b\r\n\r\nrest"[..], b"GET / HTTP/1.1\na: b\n\nrest"] {
        let end = input.len() - 4;
        for len in 0..=input.len() {
            for checked in 0..end.min(len + 1) {
                assert_eq!(head_ends(&input[..len], checked), len >= end, "{len} bytes, {checked} checked");
            }
        }
    }
}

#[test]
fn the_answer_is_read_by_the_client() {
    let answer = switching_protocols(&NodePublicKey::from_bytes([0xab; 32]));
    let input = [answer.as_bytes(), b"\x01"].concat();
    let head = ResponseHead::parse(&input).unwrap().unwrap();
    assert_eq!((head.status, head.len), (101, answer.len()));
    assert_eq!(head.header("derp-version"), Some(&b"2"[..]));
    assert_eq!(ResponseHead::parse(&input[..40]), Ok(None));
    let refused = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ResponseHead::parse(refused).unwrap().unwrap().status, 426);
    assert!(ResponseHead::parse(b"\x16\x03\x01").is_err());
}

#[test]
fn a_line_break_in_a_name_is_no_header() {
    let text = upgrade_request("a\r\nEvil: 1", true, Some("b\nDerp-Fast-Start: 0"));
    let head = parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(head.header("Evil"), None);
    assert_eq!(head.header("Host"), Some(&b"aEvil:1"[..]));
    assert_eq!(head.upgrade(), FAST);
    assert!(head.ideal_node());
}

proptest! {
    #[test]
    fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = b"GET /".to_vec();
        input.extend_from_slice(&garbage);
        input.extend_from_slice(b"\r\n\r\n");
        let _ = parse(&garbage);
        let _ = parse(&input);
        let _ = ResponseHead::parse(&input);
    }

    #[test]
    fn our_own_request_is_read_back(host in "[a-z0-9.:-]{1,40}", fast_start: bool, ideal in proptest::option::of("[0-9a-z]{1,8}")) {
        let text = upgrade_request(&host, fast_start, ideal.as_deref());
        let head = parse(text.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(head.len, text.len());
        prop_assert_eq!(head.path(), "/derp");
        prop_assert_eq!(head.header("Host"), Some(host.as_bytes()));
        prop_assert_eq!(head.upgrade(), Some(UpgradeKind::Derp { fast_start }));
        prop_assert_eq!(head.ideal_node(), ideal.is_some());
    }
}

fn parse(input: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    RequestHead::parse(input)
}

fn head(lines: &str) -> RequestHead {
    let text = format!("GET /derp HTTP/1.1\r\n{lines}\r\n\r\n");
    parse(text.as_bytes()).expect("well-formed").expect("whole")
}
