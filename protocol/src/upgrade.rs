//! The HTTP/1.1 heads around a DERP connection.
//!
//! A relay reads the request head itself, because a fast start is answered with no HTTP at all and
//! because what follows the head already belongs to DERP.

use httparse::{EMPTY_HEADER, Status};

use crate::frame::PROTOCOL_VERSION;
use crate::key::NodePublicKey;

/// The longest head that is read, as in Go's HTTP server.
pub const HEAD_LEN_MAX: usize = 1 << 20;
/// The most header lines in a head, as in hyper.
pub const HEADERS_MAX: usize = 100;

/// The head of a request: all before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// `GET`, `POST`, …: derper upgrades on any.
    pub method: String,
    /// The request target as sent: path and query, an absolute URL, or CONNECT's host and port.
    pub target: String,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub version_minor: u8,
    /// Header lines in order, values without surrounding white space.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Bytes of the head; what follows is the body, or DERP.
    pub len: usize,
}

/// What a client wants instead of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeKind {
    /// DERP on the bare byte stream.
    Derp {
        /// Send no HTTP at all: the first byte is the ServerKey frame's.
        fast_start: bool,
    },
    /// DERP inside WebSocket messages.
    WebSocket,
}

impl RequestHead {
    /// The head at the front of `input`; None while its end is not there.
    ///
    /// An incomplete head costs one look for the end of it; a caller that has looked already
    /// (with [`head_ends`]) need not call.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, HeadError> {
        if !is_worth_parsing(input)? {
            return Ok(None);
        }
        let mut lines = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut lines);
        let Status::Complete(len) = request.parse(input)? else { return Ok(None) };
        Ok(Some(Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            version_minor: request.version.unwrap_or_default(),
            headers: owned(request.headers),
            len,
        }))
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        find(&self.headers, name)
    }

    /// The target's path, without query, and without scheme and host if it is an absolute URL.
    pub fn path(&self) -> &str {
        let after_scheme = self.target.split_once("://").filter(|_| !self.target.starts_with('/'));
        let path = match after_scheme {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => &self.target,
        };
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// Which kind of DERP connection is asked for, if any. Like derper it looks at nothing but
    /// `Upgrade`, `Sec-WebSocket-Protocol` and `Derp-Fast-Start`: not at the method, the version,
    /// `Connection`, nor the [`path`](Self::path), which must be `/derp`.
    pub fn upgrade(&self) -> Option<UpgradeKind> {
        let wanted = self.header("Upgrade")?;
        let websocket = wanted.eq_ignore_ascii_case(b"websocket");
        if !websocket && !wanted.eq_ignore_ascii_case(b"derp") {
            return None;
        }
        // Ancient clients say `websocket` and mean DERP: only those that name it get messages.
        let protocols = self.header("Sec-WebSocket-Protocol").unwrap_or_default();
        if websocket && protocols.windows(4).any(|part| part == b"derp") {
            return Some(UpgradeKind::WebSocket);
        }
        let fast_start = self.header("Derp-Fast-Start") == Some(b"1");
        Some(UpgradeKind::Derp { fast_start })
    }

    /// Whether the client would rather be on another node of the region; which one, it does not
    /// matter. Not for WebSocket, where derper does not look.
    pub fn ideal_node(&self) -> bool {
        self.header("Ideal-Node").is_some_and(|name| !name.is_empty())
    }
}

/// The head of a response, for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status; anything but 101 means that DERP is not spoken.
    pub status: u16,
    /// Header lines in order, values without surrounding white space.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Bytes of the head; what follows a 101 is DERP.
    pub len: usize,
}

impl ResponseHead {
    /// The head at the front of `input`; None while its end is not there.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, HeadError> {
        if !is_worth_parsing(input)? {
            return Ok(None);
        }
        let mut lines = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut lines);
        let Status::Complete(len) = response.parse(input)? else { return Ok(None) };
        Ok(Some(Self { status: response.code.unwrap_or_default(), headers: owned(response.headers), len }))
    }

    /// The value of the first header of that name, in any case. `Derp-Public-Key` is better
    /// ignored: headscale writes it with a prefix.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        find(&self.headers, name)
    }
}

/// The answer to an ordinary start, these five lines and no others.
pub fn switching_protocols(key: &NodePublicKey) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: DERP\r\n\
         Connection: Upgrade\r\n\
         Derp-Version: {PROTOCOL_VERSION}\r\n\
         Derp-Public-Key: {}\r\n\r\n",
        key.untyped_hex()
    )
}

/// The request of the Go client, byte for byte. `host` has the port if it is not 443; `ideal_node`
/// names the region's first node when connecting to another one.
pub fn upgrade_request(host: &str, fast_start: bool, ideal_node: Option<&str>) -> String {
    let mut head = String::from("GET /derp HTTP/1.1\r\n");
    let mut line = |name: &str, value: &str| {
        // Names come from a DERP map: a line break in one must not become a header of its own.
        let value: String = value.chars().filter(char::is_ascii_graphic).collect();
        head.push_str(&format!("{name}: {value}\r\n"));
    };
    line("Host", host);
    line("User-Agent", "Go-http-client/1.1");
    line("Connection", "Upgrade");
    if fast_start {
        line("Derp-Fast-Start", "1");
    }
    if let Some(name) = ideal_node {
        line("Ideal-Node", name);
    }
    line("Upgrade", "DERP");
    head.push_str("\r\n");
    head
}

/// Whether the blank line that ends a head is in `input`, of which the first `checked` bytes were
/// looked at before: reading a head piece by piece then stays linear in its length.
pub fn head_ends(input: &[u8], checked: usize) -> bool {
    // Three bytes back: the end may have begun before.
    let fresh = input.get(checked.saturating_sub(3)..).unwrap_or_default();
    let mut line_ends = fresh.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    line_ends.any(|(at, _)| {
        let next_line = fresh.get(at + 1..).unwrap_or_default();
        next_line.starts_with(b"\n") || next_line.starts_with(b"\r\n")
    })
}

/// Why a head was refused; answer 400, or 431 where it is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It does not end within the limit.
    #[error("head of more than {HEAD_LEN_MAX} bytes")]
    TooLong,
    /// It has too many lines.
    #[error("head of more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// It is not HTTP/1.
    #[error("head is not HTTP/1: {0}")]
    Malformed(httparse::Error),
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        if error == httparse::Error::TooManyHeaders {
            return Self::TooManyHeaders;
        }
        Self::Malformed(error)
    }
}

/// False while a head is incomplete but may still become one. What can be none is refused early:
/// a TLS hello on a plain port must not wait for a blank line. A line break at the very start is
/// refused too, as by Go.
fn is_worth_parsing(input: &[u8]) -> Result<bool, HeadError> {
    if input.first().is_some_and(|byte| !byte.is_ascii_graphic()) {
        return Err(HeadError::Malformed(httparse::Error::Token));
    }
    let within = input.get(..HEAD_LEN_MAX).unwrap_or(input);
    let ends = head_ends(within, 0);
    if !ends && input.len() > HEAD_LEN_MAX {
        return Err(HeadError::TooLong);
    }
    Ok(ends)
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|line| (line.name.to_owned(), line.value.to_vec())).collect()
}

fn find<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let line = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(&line.1)
}
