//! Which request heads are not answered as requests, and what they are answered with.

use std::io;

use ferry_protocol::upgrade::{HeadError, RequestHead};

use super::{HEAD_BYTES_MAX, LARGE_HEAD_BYTES, LARGE_HEADS_MAX};
use crate::pages;

/// Why a request head is not answered as a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadRefused {
    #[error("{0}")]
    Malformed(HeadError),
    #[error("Host or Content-Length is not what HTTP allows")]
    Improper,
    #[error(
        "request head exceeds {HEAD_BYTES_MAX} bytes, or {LARGE_HEAD_BYTES} while {LARGE_HEADS_MAX} such are under way"
    )]
    TooLong,
    #[error("connection failed: {0}")]
    Io(io::Error),
}

impl HeadRefused {
    /// The answer, after which the connection is closed.
    pub(super) const fn answer(&self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed(HeadError::TooLong | HeadError::TooManyHeaders) => {
                "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Connection: close\r\n\r\n431 Request Header Fields Too Large"
            }
            Self::Malformed(_) | Self::Improper => {
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
                 400 Bad Request"
            }
            Self::Io(_) => "",
        }
    }
}

/// `/derp`, however it is escaped.
pub(super) fn is_derp_path(path: &str) -> bool {
    path == "/derp"
        || pages::segments(path)
            .is_some_and(|segments| segments.len() == 1 && segments[0].as_ref() == b"derp")
}

/// What Go's server refuses before anybody sees the request: HTTP/1.1 without exactly one Host, a length that is none.
pub(super) fn is_proper(head: &RequestHead) -> bool {
    let values = |name: &str| {
        head.headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
    };
    let hosts = values("host").len();
    let lengths_are_numbers = values("content-length")
        .iter()
        .all(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
    lengths_are_numbers && (hosts == 1 || hosts == 0 && head.version_minor == 0)
}
