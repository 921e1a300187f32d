//! The name or address clients reach the relay by.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::{DnsName, ServerName};

/// A host name that a certificate can be for: a DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname {
    /// As the operator wrote it: derper's certificate files are named by that.
    text: String,
    /// The same, checked.
    name: ServerName<'static>,
}

impl Hostname {
    /// Reads `-hostname`.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { text: text.to_owned(), name: server_name(ip) });
        }
        let advice = match text {
            "" => "give the name clients reach this relay by",
            _ if text.contains("://") || text.contains('/') => {
                "write only the host, without https:// and path"
            }
            _ if text.starts_with('[') => "write an IPv6 address without brackets and port",
            _ if text.contains(':') => "write it without a port; the port belongs to -a",
            _ if text.contains('*') => "write one name, not a pattern; a wildcard certificate is fine",
            _ if text.ends_with('.') => "write it without the final dot, which no client sends",
            _ => "a host name has labels of letters, digits and hyphens with dots between",
        };
        let error = || HostnameError { text: text.to_owned(), advice };
        // The DNS type allows the final dot, SNI does not.
        if text.ends_with('.') {
            return Err(error());
        }
        let name = DnsName::try_from(text.to_owned()).map_err(|_| error())?;
        Ok(Self { text: text.to_owned(), name: ServerName::DnsName(name) })
    }

    /// An address as a host name.
    pub fn from_ip(ip: IpAddr) -> Self {
        Self { text: ip.to_string(), name: server_name(ip) }
    }

    /// As the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        if let ServerName::IpAddress(ip) = self.name { Some(ip.into()) } else { None }
    }

    /// As certificates are checked for it.
    pub const fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// What derper calls the certificate files: without any character but letters, digits, hyphens and dots, so that
    /// the colons of an IPv6 address vanish.
    pub fn file_stem(&self) -> String {
        self.text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A host name no certificate can be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("-hostname '{text}' is no host name; {advice}")]
pub struct HostnameError {
    /// The text given.
    text: String,
    /// What to write.
    advice: &'static str,
}

/// An IPv4 address in IPv6 clothes is the IPv4 address, as it is for Go.
fn server_name(ip: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(ip.to_canonical().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read() {
        for (text, ip, stem) in [
            ("relay.example.net", None, "relay.example.net"),
            ("Relay-1.Example.net", None, "Relay-1.Example.net"),
            ("localhost", None, "localhost"),
            ("a_b.example.net", None, "ab.example.net"),
            ("192.0.2.1", Some("192.0.2.1"), "192.0.2.1"),
            ("2001:DB8::1", Some("2001:db8::1"), "2001DB81"),
            ("::ffff:192.0.2.1", Some("192.0.2.1"), "ffff192.0.2.1"),
        ] {
            let hostname = Hostname::parse(text).unwrap();
            assert_eq!(hostname.as_str(), text);
            assert_eq!(hostname.ip(), ip.map(|ip| ip.parse().unwrap()), "{text}");
            assert_eq!(hostname.file_stem(), stem, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_fix() {
        for (text, advice) in [
            ("", "give the name"),
            ("https://relay.example.net", "without https://"),
            ("relay.example.net/derp", "without https:// and path"),
            ("relay.example.net:443", "without a port"),
            ("[2001:db8::1]", "without brackets"),
            ("*.example.net", "not a pattern"),
            ("relay.example.net.", "without the final dot"),
            ("relay example", "labels of letters"),
            ("-relay.example.net", "labels of letters"),
            ("../../etc", "without https:// and path"),
        ] {
            let error = Hostname::parse(text).unwrap_err().to_string();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }
}
