//! The head of an HTTP request from anybody, and of a response from anything that is not a relay.
#![no_main]

use ferry_protocol::RequestHead;
use ferry_protocol::upgrade::{HEADERS_MAX, ResponseHead, head_ends};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(Some(head)) = ResponseHead::parse(input) {
        assert!(head.len <= input.len() && head.headers.len() <= HEADERS_MAX);
    }
    let Ok(Some(head)) = RequestHead::parse(input) else { return };
    assert!(head.len <= input.len() && head.headers.len() <= HEADERS_MAX);
    assert!(head_ends(&input[..head.len], head.len.saturating_sub(1)));
    assert!(head.target.contains(head.path()) || head.path() == "/");
    let _ = (head.upgrade(), head.ideal_node());
    // What follows the head has no say in it, and nothing less than the head is one.
    assert_eq!(RequestHead::parse(&input[..head.len]), Ok(Some(head.clone())));
    assert!(!matches!(RequestHead::parse(&input[..head.len - 1]), Ok(Some(_))));
});
