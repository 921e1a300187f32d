//! A tunnel through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6) with Basic authentication (RFC 7617).

use data_encoding::BASE64;
use ferry_protocol::upgrade::{ResponseHead, head_ends};

use super::tunnel::ProxyError;
use super::{Credentials, Proxy};

/// The longest head that a proxy may answer with.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A CONNECT that was asked for.
#[derive(Debug)]
pub(super) struct HttpConnect {
    /// What came of the answer; at most [`HEAD_BYTES_MAX`].
    head: Vec<u8>,
}

impl HttpConnect {
    /// Asks for `authority`, a host and a port; answers the request too.
    pub(super) fn start(proxy: &Proxy, authority: &str) -> (Self, Vec<u8>) {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(Credentials { user, password }) = &proxy.credentials {
            let basic = BASE64.encode(format!("{user}:{password}").as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
        }
        request.push_str("\r\n");
        (Self { head: Vec::new() }, request.into_bytes())
    }

    /// Reads on in the answer; answers how many bytes of `input` belong to it, once it has ended and says yes.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<Option<usize>, ProxyError> {
        let before = self.head.len();
        let room = HEAD_BYTES_MAX - before;
        self.head.extend_from_slice(input.get(..room).unwrap_or(input));
        // What can be no head is refused at its first byte.
        let is_worth_a_look = before == 0 || head_ends(&self.head, before);
        let head = if is_worth_a_look { ResponseHead::parse(&self.head)? } else { None };
        match head {
            Some(head) if (200..300).contains(&head.status) => Ok(Some(head.len.saturating_sub(before))),
            Some(head) if head.status == 407 => Err(ProxyError::Credentials),
            Some(head) => Err(ProxyError::Status { status: head.status }),
            None if self.head.len() >= HEAD_BYTES_MAX => {
                Err(ProxyError::HeadTooLong { bytes: self.head.len() })
            }
            None => Ok(None),
        }
    }
}
