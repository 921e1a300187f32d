//! A way through a proxy, whichever kind it is.

use ferry_protocol::HeadError;

use super::http_connect::HttpConnect;
use super::socks::Socks;
use super::{Proxy, ProxyKind};

/// Why a proxy does not let us through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It wants a user and a password, or others.
    #[error("it wants a user and a password that it knows; write them into its URL")]
    Credentials,
    /// It answered CONNECT with no.
    #[error("it answered {status} to CONNECT, want 200")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// What answers CONNECT is no HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The answer's head does not end.
    #[error("its answer to CONNECT has {bytes} bytes and no end")]
    HeadTooLong {
        /// How many came.
        bytes: usize,
    },
    /// It speaks another version, or no SOCKS.
    #[error("its SOCKS version is {got}, want {want}")]
    Version {
        /// The version it named.
        got: u8,
        /// The version that is right at this place.
        want: u8,
    },
    /// It could or would not connect.
    #[error("it could not connect: {}", reply_text(*.reply))]
    Reply {
        /// RFC 1928, section 6.
        reply: u8,
    },
    /// It has an address of a kind that there is none of.
    #[error("it connected from an address of the unknown kind {kind}")]
    AddressKind {
        /// RFC 1928, section 5.
        kind: u8,
    },
    /// A host, a user or a password that SOCKS cannot carry.
    #[error("a host, user or password of {bytes} bytes, want 1 to {max}")]
    Text {
        /// How long it is.
        bytes: usize,
        /// The most it may be.
        max: usize,
    },
}

/// What a reply of SOCKS says.
const fn reply_text(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "its rules do not allow it",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "it does not know CONNECT",
        8 => "it does not know this kind of address",
        _ => "for a reason that has no name",
    }
}

/// A tunnel that is being made.
#[derive(Debug)]
pub(crate) struct Tunnel {
    protocol: Protocol,
    /// What waits for the socket; 520 bytes at most.
    outgoing: Vec<u8>,
}

#[derive(Debug)]
enum Protocol {
    HttpConnect(HttpConnect),
    Socks(Socks),
}

impl Tunnel {
    /// Asks `proxy` for a connection to this host, a name or an address without brackets.
    pub(crate) fn start(proxy: &Proxy, host: &str, port: u16) -> Result<Self, ProxyError> {
        let (protocol, outgoing) = match proxy.kind {
            ProxyKind::HttpConnect => {
                let authority =
                    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                let (connect, request) = HttpConnect::start(proxy, &authority);
                (Protocol::HttpConnect(connect), request)
            }
            ProxyKind::Socks5 => {
                let (socks, greeting) = Socks::start(proxy, host, port)?;
                (Protocol::Socks(socks), greeting)
            }
        };
        Ok(Self { protocol, outgoing })
    }

    /// Takes what the proxy sent; answers how many bytes of it were the proxy's own, once the tunnel is there.
    pub(crate) fn receive(&mut self, input: &[u8]) -> Result<Option<usize>, ProxyError> {
        match &mut self.protocol {
            Protocol::HttpConnect(connect) => connect.receive(input),
            Protocol::Socks(socks) => socks.receive(input, &mut self.outgoing),
        }
    }

    /// What the socket should take.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// The socket took so many.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes.min(self.outgoing.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RelayUrl;

    #[test]
    fn connect_names_the_relay_and_says_who_asks() {
        let tunnel = tunnel("http://user:p%40ss@proxy:3128", "https://relay.example.net");
        assert_eq!(
            String::from_utf8_lossy(tunnel.outgoing()),
            "CONNECT relay.example.net:443 HTTP/1.1\r\nHost: relay.example.net:443\r\n\
             Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"
        );
        let tunnel = self::tunnel("http://proxy:3128", "https://[2001:db8::1]:8443");
        assert!(tunnel.outgoing().starts_with(b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n"));
    }

    #[test]
    fn what_follows_a_yes_is_the_relays() {
        for (proxy, answers) in [
            ("http://proxy", &[&b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"[..]][..]),
            ("socks5://proxy", &[b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"]),
            ("socks5://proxy", &[b"\x05\x00", b"\x05\x00\x00\x03\x04name\x12\x34"]),
            (
                "socks5://u:p@proxy",
                &[b"\x05\x02", b"\x01\x00", &[&b"\x05\x00\x00\x04"[..], &[0; 18]].concat()],
            ),
        ] {
            let mut stream = answers.concat();
            let own = stream.len();
            stream.extend_from_slice(b"\x16\x03");
            for piece in [1, 2, 3, stream.len()] {
                assert_eq!(
                    run(&mut tunnel(proxy, "https://relay"), &stream, piece),
                    Ok(Some(own)),
                    "{proxy}, {piece}"
                );
            }
        }
    }

    #[test]
    fn socks_sends_what_is_asked_for_and_no_more() {
        let mut tunnel = tunnel("socks5://user:secret@proxy", "https://relay:8443");
        assert_eq!(take(&mut tunnel), b"\x05\x02\x00\x02");
        assert_eq!(tunnel.receive(b"\x05\x02"), Ok(None));
        assert_eq!(take(&mut tunnel), b"\x01\x04user\x06secret");
        assert_eq!(tunnel.receive(b"\x01\x00"), Ok(None));
        assert_eq!(take(&mut tunnel), b"\x05\x01\x00\x03\x05relay\x20\xfb");
        let mut tunnel = self::tunnel("socks5://proxy", "https://192.0.2.1");
        assert_eq!(take(&mut tunnel), b"\x05\x01\x00");
        tunnel.receive(b"\x05\x00").unwrap();
        assert_eq!(take(&mut tunnel), b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb");
    }

    #[test]
    fn a_refusal_is_named() {
        for (proxy, answer, error) in [
            ("http://proxy", &b"HTTP/1.1 407 Who are you\r\n\r\n"[..], ProxyError::Credentials),
            ("http://proxy", b"HTTP/1.1 403 No\r\n\r\n", ProxyError::Status { status: 403 }),
            ("socks5://proxy", b"\x05\xff", ProxyError::Credentials),
            ("socks5://proxy", b"\x05\x02", ProxyError::Credentials),
            ("socks5://proxy", b"\x04\x00", ProxyError::Version { got: 4, want: 5 }),
            ("socks5://u:p@proxy", b"\x05\x02\x01\x01", ProxyError::Credentials),
            ("socks5://proxy", b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0", ProxyError::Reply { reply: 5 }),
            ("socks5://proxy", b"\x05\x00\x05\x02\x00\x00\0", ProxyError::Reply { reply: 2 }),
            ("socks5://proxy", b"\x05\x00\x05\x00\x00\x07\0", ProxyError::AddressKind { kind: 7 }),
        ] {
            assert_eq!(run(&mut tunnel(proxy, "https://relay"), answer, 1), Err(error));
        }
        let long = "h".repeat(256);
        let proxy: Proxy = "socks5://proxy".parse().unwrap();
        assert_eq!(Tunnel::start(&proxy, &long, 443).unwrap_err(), ProxyError::Text { bytes: 256, max: 255 });
    }

    #[test]
    fn a_head_without_an_end_is_refused() {
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(5000)].concat();
        let error = run(&mut tunnel("http://proxy", "https://relay"), &endless, 1000).unwrap_err();
        assert_eq!(error, ProxyError::HeadTooLong { bytes: 16 * 1024 });
    }

    proptest! {
        #[test]
        fn garbage_is_taken_or_refused_and_never_kept(garbage: Vec<u8>, piece in 1..64_usize, socks: bool) {
            let mut tunnel = tunnel(if socks { "socks5://u:p@proxy" } else { "http://proxy" }, "https://relay");
            if let Ok(Some(own)) = run(&mut tunnel, &garbage, piece) {
                prop_assert!(own <= garbage.len());
            }
            prop_assert!(tunnel.outgoing().len() <= 1024);
        }

        #[test]
        fn an_answer_means_the_same_in_any_pieces(cuts in 1..40_usize, tail: Vec<u8>, socks: bool) {
            let (proxy, answer) = match socks {
                true => ("socks5://proxy", &b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"[..]),
                false => ("http://proxy", &b"HTTP/1.1 200 OK\r\n\r\n"[..]),
            };
            let stream = [answer, &tail].concat();
            prop_assert_eq!(run(&mut tunnel(proxy, "https://relay"), &stream, cuts), Ok(Some(answer.len())));
        }
    }

    fn tunnel(proxy: &str, relay: &str) -> Tunnel {
        let RelayUrl { host, port, .. } = relay.parse().unwrap();
        Tunnel::start(&proxy.parse().unwrap(), &host, port).unwrap()
    }

    /// Where in the stream the tunnel begins.
    fn run(tunnel: &mut Tunnel, stream: &[u8], piece: usize) -> Result<Option<usize>, ProxyError> {
        let mut before = 0;
        for input in stream.chunks(piece) {
            if let Some(own) = tunnel.receive(input)? {
                return Ok(Some(before + own));
            }
            before += input.len();
        }
        Ok(None)
    }

    fn take(tunnel: &mut Tunnel) -> Vec<u8> {
        let bytes = tunnel.outgoing().to_vec();
        tunnel.written(bytes.len());
        bytes
    }
}
