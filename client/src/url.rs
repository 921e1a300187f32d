//! Where a relay is, and how it is spoken to.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A relay's address: `https://HOST[:PORT]`, `http://`, `wss://` or `ws://`.
///
/// ```
/// use ferry_client::RelayUrl;
///
/// let url: RelayUrl = "wss://[2001:db8::1]:8443".parse()?;
/// assert!(url.secure && url.websocket);
/// assert_eq!((url.host.as_str(), url.port), ("2001:db8::1", 8443));
/// assert_eq!("https://relay.example.net:443/".parse::<RelayUrl>()?.to_string(), "https://relay.example.net");
/// # Ok::<(), ferry_client::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayUrl {
    /// TLS below it.
    pub secure: bool,
    /// WebSocket with the subprotocol `derp` in place of the upgrade to `DERP`.
    pub websocket: bool,
    /// The name or the address, without brackets.
    pub host: String,
    /// The TCP port; 443 or 80 where the text has none.
    pub port: u16,
}

/// Why a text is no relay's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not one of the four schemes.
    #[error(
        "{0:?} has no scheme that a relay speaks; write https://, http://, wss:// or ws:// before the host"
    )]
    Scheme(String),
    /// No host, or a path, or a port that is none.
    #[error("{0:?} is not SCHEME://HOST[:PORT]")]
    Authority(String),
}

impl RelayUrl {
    const fn scheme(&self) -> &'static str {
        match (self.secure, self.websocket) {
            (true, false) => "https",
            (false, false) => "http",
            (true, true) => "wss",
            (false, true) => "ws",
        }
    }

    const fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// Host and port as in a `Host` header: brackets around IPv6, no port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]", self.host),
            Err(_) => self.host.clone(),
        };
        if self.port == Self::default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for RelayUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let (secure, websocket) = match scheme.to_ascii_lowercase().as_str() {
            "https" => (true, false),
            "http" => (false, false),
            "wss" => (true, true),
            "ws" => (false, true),
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        // The empty path, as browsers write it, is none.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_authority(rest).ok_or_else(|| UrlError::Authority(text.to_owned()))?;
        let port = port.unwrap_or_else(|| Self::default_port(secure));
        Ok(Self { secure, websocket, host: host.to_owned(), port })
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

pub(crate) fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || !host.bytes().all(plain) {
                return None;
            }
            (host, port)
        }
    };
    let Some(port) = port else { return Some((host, None)) };
    // Not `+443`, which a number's own parser takes.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_has_its_port_and_survives_being_shown() {
        for (text, secure, websocket, port) in [
            ("https://relay.example.net", true, false, 443),
            ("http://127.0.0.1", false, false, 80),
            ("wss://[::1]", true, true, 443),
            ("ws://relay_1.example.net:8080", false, true, 8080),
            ("https://127.0.0.1:80", true, false, 80),
        ] {
            let url: RelayUrl = text.parse().unwrap();
            assert_eq!((url.secure, url.websocket, url.port), (secure, websocket, port), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn the_scheme_has_no_case_and_a_lone_slash_is_no_path() {
        let url: RelayUrl = "HTTPS://relay.example.net:443/".parse().unwrap();
        assert_eq!(url.to_string(), "https://relay.example.net");
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        for text in ["relay.example.net", "derp://relay.example.net", "://x", ""] {
            assert_eq!(text.parse::<RelayUrl>(), Err(UrlError::Scheme(text.to_owned())));
        }
    }

    #[test]
    fn what_is_more_or_less_than_host_and_port_is_refused() {
        for rest in [
            "", ":443", "/", "a/derp", "a//", "a:", "a:0", "a:65536", "a:+1", "a:b", "a b", "a@b", "a?b",
            "a#b", "::1", "[::1", "[::1]443", "[a]", "[]", "ä",
        ] {
            let text = format!("https://{rest}");
            assert_eq!(text.parse::<RelayUrl>(), Err(UrlError::Authority(text.clone())), "{text}");
        }
    }
}
