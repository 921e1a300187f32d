//! Which proxy is asked, as a person or an environment sets it.

use std::fmt;
use std::str::FromStr;

use super::exceptions::Exceptions;

/// A proxy: `http://[USER:PASSWORD@]HOST[:PORT]` or `socks5://…`.
///
/// ```
/// use ferry_client::dial::{Proxy, ProxyKind};
///
/// let proxy: Proxy = "socks5://ann:secret@proxy.example.net".parse()?;
/// assert_eq!((proxy.kind, proxy.port), (ProxyKind::Socks5, 1080));
/// assert_eq!(proxy.to_string(), "socks5://proxy.example.net:1080", "no secret is shown");
/// # Ok::<(), ferry_client::dial::ProxySettingError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whom it lets through, if it asks.
    pub credentials: Option<Credentials>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// HTTP's CONNECT.
    HttpConnect,
    /// SOCKS version 5.
    Socks5,
}

/// A user and a password. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password; may be empty.
    pub password: String,
}

/// Why a text is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxySettingError {
    /// A scheme that is not spoken.
    #[error("a proxy of the kind {0}:// is not spoken to; write http:// or socks5:// before its host")]
    Scheme(String),
    /// No host, or a port that is none. The text is not repeated: it may have a password.
    #[error(
        "a proxy is [http://|socks5://][USER:PASSWORD@]HOST[:PORT]; this one has no host, or no such port"
    )]
    Authority,
    /// `%` without two hex digits, or what they stand for is no text.
    #[error("the proxy's user or password has a % that is not followed by two hex digits of a UTF-8 text")]
    Escape,
}

impl Proxy {
    const fn default_port(kind: ProxyKind) -> u16 {
        match kind {
            // Go's: that of the scheme http.
            ProxyKind::HttpConnect => 80,
            ProxyKind::Socks5 => 1080,
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxySettingError;

    fn from_str(text: &str) -> Result<Self, ProxySettingError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyKind::HttpConnect,
            "socks5" | "socks5h" => ProxyKind::Socks5,
            _ => return Err(ProxySettingError::Scheme(scheme.to_owned())),
        };
        let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (userinfo, authority) = match rest.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, rest),
        };
        let (host, port) = crate::url::split_authority(authority).ok_or(ProxySettingError::Authority)?;
        let credentials =
            userinfo.filter(|userinfo| !userinfo.is_empty()).map(Credentials::parse).transpose()?;
        let port = port.unwrap_or_else(|| Self::default_port(kind));
        Ok(Self { kind, host: host.to_owned(), port, credentials })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::HttpConnect => "http",
            ProxyKind::Socks5 => "socks5",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Credentials {
    fn parse(userinfo: &str) -> Result<Self, ProxySettingError> {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        Ok(Self { user: unescape(user)?, password: unescape(password)? })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Percent-encoding undone (RFC 3986, section 2.1).
fn unescape(text: &str) -> Result<String, ProxySettingError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(ProxySettingError::Escape) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| ProxySettingError::Escape)
}

/// Which relays are reached through which proxy: one for all but some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyRules {
    proxy: Option<Proxy>,
    exceptions: Exceptions,
}

impl ProxyRules {
    /// No proxy for anybody.
    pub const fn none() -> Self {
        Self { proxy: None, exceptions: Exceptions::none() }
    }

    /// This proxy for all, this machine itself not excepted.
    pub fn all(proxy: Proxy) -> Self {
        Self { proxy: Some(proxy), exceptions: Exceptions::none() }
    }

    /// What an environment says in `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, as Go's programs read it: loopback addresses
    /// and `localhost` are never reached through a proxy.
    ///
    /// ```
    /// use ferry_client::dial::ProxyRules;
    ///
    /// let environment = |name: &str| match name {
    ///     "HTTPS_PROXY" => Some("proxy.example.net:3128".to_owned()),
    ///     "NO_PROXY" => Some("example.org, 10.0.0.0/8".to_owned()),
    ///     _ => None,
    /// };
    /// let rules = ProxyRules::from_env(environment)?;
    /// assert!(rules.proxy_for("relay.example.net", 443).is_some());
    /// assert!(rules.proxy_for("relay.example.org", 443).is_none());
    /// assert!(rules.proxy_for("10.1.2.3", 443).is_none());
    /// # Ok::<(), ferry_client::dial::ProxySettingError>(())
    /// ```
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxySettingError> {
        let either = |upper: &str| {
            let set = variable(upper).filter(|value| !value.is_empty());
            set.or_else(|| variable(&upper.to_ascii_lowercase()).filter(|value| !value.is_empty()))
        };
        let Some(proxy) = either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")) else {
            return Ok(Self::none());
        };
        let exceptions = Exceptions::parse(&either("NO_PROXY").unwrap_or_default());
        Ok(Self { proxy: Some(proxy.parse()?), exceptions })
    }

    /// The proxy for this host and port, if there is one.
    pub fn proxy_for(&self, host: &str, port: u16) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.exceptions.contains(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_in_every_form() {
        for (text, shown, user, password) in [
            ("proxy", "http://proxy:80", None, None),
            ("proxy:3128", "http://proxy:3128", None, None),
            ("HTTP://proxy:3128/", "http://proxy:3128", None, None),
            ("http://ann@[::1]:3128", "http://[::1]:3128", Some("ann"), Some("")),
            ("socks5h://a%20b:c%3ad@proxy", "socks5://proxy:1080", Some("a b"), Some("c:d")),
            ("http://a:b@c@proxy", "http://proxy:80", Some("a"), Some("b@c")),
        ] {
            let proxy: Proxy = text.parse().unwrap();
            let credentials = proxy.credentials.as_ref();
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(credentials.map(|credentials| &*credentials.user), user, "{text}");
            assert_eq!(credentials.map(|credentials| &*credentials.password), password, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_no_password_shown() {
        let error = |text: &str| text.parse::<Proxy>().unwrap_err();
        assert_eq!(error("https://proxy"), ProxySettingError::Scheme("https".to_owned()));
        for text in ["", "http://", "http://ann:secret@", "http://ann:secret@proxy:0", "proxy:port"] {
            assert_eq!(error(text), ProxySettingError::Authority, "{text}");
        }
        assert_eq!(error("http://a%2:b@proxy"), ProxySettingError::Escape);
        assert_eq!(error("http://a%ff@proxy"), ProxySettingError::Escape);
        let proxy: Proxy = "http://ann:secret@proxy".parse().unwrap();
        assert!(!format!("{proxy:?} {proxy} {:?}", proxy.credentials).contains("secret"));
    }

    #[test]
    fn the_environment_is_read_in_either_case() {
        let rules = |set: &[(&str, &str)]| {
            let set: Vec<_> = set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            ProxyRules::from_env(|name| {
                set.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
            })
        };
        let host = |rules: &ProxyRules| rules.proxy_for("relay", 443).map(|proxy| proxy.host.clone());
        assert_eq!(host(&rules(&[]).unwrap()), None);
        assert_eq!(host(&rules(&[("https_proxy", "a"), ("HTTPS_PROXY", "")]).unwrap()), Some("a".to_owned()));
        assert_eq!(
            host(&rules(&[("https_proxy", "a"), ("HTTPS_PROXY", "b")]).unwrap()),
            Some("b".to_owned())
        );
        assert_eq!(host(&rules(&[("ALL_PROXY", "socks5://c")]).unwrap()), Some("c".to_owned()));
        assert_eq!(host(&rules(&[("HTTPS_PROXY", "a"), ("no_proxy", "relay")]).unwrap()), None);
        assert!(rules(&[("HTTPS_PROXY", "ftp://a")]).is_err());
    }
}
