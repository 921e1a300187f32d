//! The server's half of RFC 6455 section 4.2, for requests that ask for the `derp` subprotocol.

use data_encoding::BASE64;
use ferry_protocol::upgrade::RequestHead;

const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const SUBPROTOCOL: &str = "derp";

/// The 101 answer, or the refusal to send instead. Any origin is welcome: the keys are the authority, not cookies.
pub(super) fn answer(head: &RequestHead) -> Result<String, String> {
    if head.method != "GET" || head.version_minor < 1 {
        return Err(refusal("405 Method Not Allowed", "", "WebSocket handshake must be GET over HTTP/1.1\n"));
    }
    if !lists(head, "connection", "upgrade") {
        let body = "WebSocket handshake needs the header Connection: Upgrade\n";
        return Err(refusal("426 Upgrade Required", "Connection: Upgrade\r\nUpgrade: websocket\r\n", body));
    }
    if head.header("sec-websocket-version") != Some(b"13") {
        let body = "unsupported WebSocket version, only 13 is spoken\n";
        return Err(refusal("400 Bad Request", "Sec-WebSocket-Version: 13\r\n", body));
    }
    let key = head
        .header("sec-websocket-key")
        .filter(|key| matches!(BASE64.decode(key), Ok(nonce) if nonce.len() == 16));
    let Some(key) = key else {
        return Err(refusal("400 Bad Request", "", "Sec-WebSocket-Key must be 16 bytes in base64\n"));
    };
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, ACCEPT_GUID].concat());
    let accept = BASE64.encode(digest.as_ref());
    let subprotocol = if speaks_derp(head) { "Sec-WebSocket-Protocol: derp\r\n" } else { "" };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
    ))
}

/// Whether the client offers the `derp` subprotocol itself, not only a name that contains it.
pub(super) fn speaks_derp(head: &RequestHead) -> bool {
    lists(head, "sec-websocket-protocol", SUBPROTOCOL)
}

/// Whether one of the header's comma-separated tokens is `token`, in any case.
fn lists(head: &RequestHead, name: &str, token: &str) -> bool {
    head.headers
        .iter()
        .filter(|(header, _)| header.eq_ignore_ascii_case(name))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn refusal(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
