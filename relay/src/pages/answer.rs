//! The shapes of answers that Go's HTTP server and derper's helpers give.

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{
        CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::path::escape_html;

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// `Content-Type` of pages.
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// `Content-Type` of everything that is neither page nor JSON.
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What a browser is told about every page that a person may see. No style may be inline here.
const BROWSER_HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'",
    ),
    (hyper::header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (hyper::header::X_FRAME_OPTIONS, "DENY"),
];

/// The policy of pages below `/debug/`, which may have inline style.
const DEBUG_POLICY: &str = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'; style-src 'self' 'unsafe-inline'";

/// An answer with nothing but a status.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// A refusal or failure in words: plain text and an end of line, Go's `http.Error`.
pub(super) fn plain_error(status: StatusCode, message: &str) -> Answer {
    let mut answer = with_body(TEXT, format!("{message}\n"));
    *answer.status_mut() = status;
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Go's `http.NotFound`.
pub(super) fn not_found() -> Answer {
    plain_error(StatusCode::NOT_FOUND, "404 page not found")
}

/// Status 200 with a body.
pub(super) fn with_body(content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// What Go's server says of a request that it cannot read.
pub(super) fn bad_request() -> Answer {
    let mut answer = with_body(TEXT, "400 Bad Request");
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Go's `http.Redirect`: a link in the body for those who read it.
pub(super) fn redirect(status: StatusCode, method: &Method, location: &str) -> Answer {
    let location = ascii(location);
    let Ok(value) = HeaderValue::from_str(&location) else { return bad_request() };
    let readable = *method == Method::GET || *method == Method::HEAD;
    let mut answer = if readable {
        let reason = status.canonical_reason().unwrap_or_default();
        with_body(HTML, format!("<a href=\"{}\">{reason}</a>.\n\n", escape_html(&location)))
    } else {
        Answer::default()
    };
    *answer.status_mut() = status;
    answer.headers_mut().insert(LOCATION, value);
    answer
}

/// `location` with bytes above ASCII as percent escapes: a header field may not have them.
fn ascii(location: &str) -> String {
    location.bytes().fold(String::with_capacity(location.len()), |mut text, byte| {
        match byte.is_ascii() {
            true => text.push(byte.into()),
            false => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// Adds the headers for browsers.
pub(super) fn for_browsers(mut answer: Answer) -> Answer {
    for (name, value) in BROWSER_HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Adds the headers for browsers that look at a debug page.
pub(super) fn for_debugging(answer: Answer) -> Answer {
    let mut answer = for_browsers(answer);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(DEBUG_POLICY));
    answer
}
