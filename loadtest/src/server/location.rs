//! Where a server, or its page of counters, is.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// DERP or a page over TLS.
    Https,
    /// DERP or a page without TLS.
    Http,
    /// DERP over WebSocket and TLS.
    Wss,
    /// DERP over WebSocket without TLS.
    Ws,
    /// STUN over UDP.
    Stun,
}

impl Scheme {
    /// TLS is below it.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    /// A page can be asked for.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Https | Self::Http)
    }

    fn port(self) -> u16 {
        match self {
            Self::Https | Self::Wss => 443,
            Self::Http | Self::Ws => 80,
            Self::Stun => 3478,
        }
    }
}

/// A server's URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The name or the address, without brackets.
    pub host: String,
    /// The port; the scheme's own where the URL has none.
    pub port: u16,
    /// The path with what follows it; `/` at the least.
    pub path: String,
}

/// Why a text is no server's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL with a host.
    #[error("{0:?} is not SCHEME://HOST:PORT")]
    Form(String),
    /// A scheme that no server here speaks.
    #[error("{url:?}: {scheme} is not spoken; write https, http, wss, ws or stun")]
    Scheme {
        /// The whole text.
        url: String,
        /// What it has.
        scheme: String,
    },
}

impl FromStr for Location {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let form = || UrlError::Form(text.to_owned());
        let url: http::Uri = text.parse().map_err(|_| form())?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else { return Err(form()) };
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "wss" => Scheme::Wss,
            "ws" => Scheme::Ws,
            "stun" => Scheme::Stun,
            other => return Err(UrlError::Scheme { url: text.to_owned(), scheme: other.to_owned() }),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // `http` takes a port that is none for no port.
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| form())?,
            _ => scheme.port(),
        };
        if host.is_empty() || port == 0 || authority.as_str().contains('@') {
            return Err(form());
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { scheme, host, port, path })
    }
}

impl Location {
    /// All addresses of the host, with the port. What may be loaded is decided on all of them.
    ///
    /// # Errors
    ///
    /// The system's, where the name is unknown.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().expect("a URL")
    }

    #[test]
    fn a_url_is_taken_apart() {
        let page = location("https://127.0.0.1:8443/debug/varz?a=b");
        assert_eq!((page.scheme, page.host.as_str(), page.port), (Scheme::Https, "127.0.0.1", 8443));
        assert_eq!(page.path, "/debug/varz?a=b");
        assert_eq!(location("stun://[::1]:3479").host, "::1");
        assert_eq!(location("stun://[::1]:3479").port, 3479);
    }

    #[test]
    fn a_port_that_is_left_out_is_the_schemes() {
        for (text, port) in [("https://a", 443), ("ws://a", 80), ("stun://[::1]", 3478), ("wss://a/x", 443)] {
            assert_eq!(location(text).port, port, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "127.0.0.1:80",
            "https://",
            "http://a:b",
            "http://a:0",
            "http://user@a",
            "/x",
            "http://a:70000",
        ] {
            assert_eq!(text.parse::<Location>(), Err(UrlError::Form(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_scheme_that_nobody_speaks_is_named() {
        let error = "quic://a:1".parse::<Location>().expect_err("no QUIC here");
        assert_eq!(
            error.to_string(),
            "\"quic://a:1\": quic is not spoken; write https, http, wss, ws or stun"
        );
    }

    #[test]
    fn an_address_is_its_own_only_address() {
        let addresses = location("http://[::1]:9").addresses().expect("no name to look up");
        assert_eq!(addresses, ["[::1]:9".parse().expect("an address")]);
    }
}
