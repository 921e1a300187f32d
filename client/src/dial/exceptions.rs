//! Hosts that are reached without the proxy: `NO_PROXY`, as Go's `httpproxy` reads it.

use std::net::IpAddr;

/// Hosts that need no proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exceptions {
    /// Those that were written down; the length of a setting bounds them.
    written: Vec<Exception>,
    /// This machine is reached through the proxy like any other.
    loopback_too: bool,
}

/// One word of `NO_PROXY`, and a port if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// `*`.
    All,
    /// Addresses with the same first bits.
    Network { address: IpAddr, bits: u32 },
    /// `.example.net`, with its dot: names below it.
    Below(String),
    /// `example.net`: it and names below it.
    Name(String),
}

impl Exceptions {
    /// No exception at all.
    pub(super) const fn none() -> Self {
        Self { written: Vec::new(), loopback_too: true }
    }

    /// Those of a list with commas; words that mean nothing are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
        Self { written: words.filter_map(|word| Exception::parse(&word)).collect(), loopback_too: false }
    }

    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if is_loopback && !self.loopback_too {
            return true;
        }
        self.written.iter().any(|exception| exception.covers(&host, address, port))
    }
}

impl Exception {
    fn parse(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        if let Some((address, bits)) = word.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            let bits_max = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= bits_max)
                .then_some(Self { hosts: Hosts::Network { address, bits }, port: None });
        }
        let (host, port) = match word.parse::<IpAddr>() {
            Ok(_) => (word, None),
            Err(_) => split_port(word)?,
        };
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Network { address, bits: if address.is_ipv4() { 32 } else { 128 } },
            Err(_) => Self::names(host)?,
        };
        Some(Self { hosts, port })
    }

    fn names(host: &str) -> Option<Hosts> {
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match host.trim_end_matches('.') {
            "" => None,
            host if host.starts_with('.') => Some(Hosts::Below(host.to_owned())),
            host => Some(Hosts::Name(host.to_owned())),
        }
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match &self.hosts {
            Hosts::All => true,
            Hosts::Network { address: network, bits } => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Hosts::Below(suffix) => host.ends_with(suffix.as_str()),
            Hosts::Name(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

/// A host, perhaps in brackets, and a port, if there is one.
fn split_port(word: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return Some((host, port.strip_prefix(':').map(str::parse).transpose().ok()?));
    }
    match word.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((word, None)),
    }
}

/// Whether the first `bits` of both are the same.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_covers_what_go_says() {
        for (words, host, port, covered) in [
            ("example.net", "example.net", 443, true),
            ("example.net", "a.b.EXAMPLE.net.", 443, true),
            ("example.net", "notexample.net", 443, false),
            (".example.net", "a.example.net", 443, true),
            (".example.net", "example.net", 443, false),
            ("*.example.net", "a.example.net", 443, true),
            ("*.example.net", "example.net", 443, false),
            ("example.net:8443", "example.net", 8443, true),
            ("example.net:8443", "example.net", 443, false),
            ("*", "anything", 443, true),
            ("a, 10.0.0.0/8 ,b", "10.255.0.1", 443, true),
            ("10.0.0.0/8", "11.0.0.1", 443, false),
            ("0.0.0.0/0", "2001:db8::1", 443, false),
            ("2001:db8::/32", "2001:db8:1::1", 443, true),
            ("2001:db8::1", "2001:db8::1", 443, true),
            ("[2001:db8::1]:8443", "2001:db8::1", 443, false),
            ("192.0.2.1:443", "192.0.2.1", 443, true),
            ("", "relay", 443, false),
            ("10.0.0.0/33,:,a:b,[x,.,*.", "relay", 443, false),
        ] {
            assert_eq!(Exceptions::parse(words).contains(host, port), covered, "{words:?} {host}:{port}");
        }
    }

    #[test]
    fn this_machine_needs_no_proxy_unless_one_was_set_for_all() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(Exceptions::parse("").contains(host, 443), "{host}");
            assert!(!Exceptions::none().contains(host, 443), "{host}");
        }
    }
}
