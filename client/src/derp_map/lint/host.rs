//! What a DNS name is, and which addresses the internet routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a text is no host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostError {
    /// `https://` and the like before it.
    #[error("it is a URL")]
    Url,
    /// `/` in it.
    #[error("it has a path")]
    Path,
    /// `:443` behind it.
    #[error("it has a port")]
    Port,
    /// Brackets, as around an IPv6 address in a URL.
    #[error("it has brackets around it")]
    Brackets,
    /// White space in or around it.
    #[error("it has white space in it")]
    Space,
    /// Letters beyond ASCII.
    #[error("it has letters that DNS has not")]
    NotAscii,
    /// Four numbers that are no address.
    #[error("it looks like an address and is none")]
    Numeric,
    /// Longer than DNS takes, or with labels that it does not take.
    #[error("DNS has no such names: labels of 1 to 63 letters, digits and hyphens, 253 in all")]
    Label,
}

impl HostError {
    pub(super) const fn fix(self) -> &'static str {
        match self {
            Self::Url => "write the host alone: relay.example.net, and its port in DERPPort",
            Self::Path => "write the host alone, without a path: relay.example.net",
            Self::Port => "write the port in DERPPort (DERP) and STUNPort (STUN), not behind the host",
            Self::Brackets => "write the address without brackets, and its port in DERPPort",
            Self::Space => "remove the white space",
            Self::NotAscii => "write the name in punycode (xn--…)",
            Self::Numeric => "correct the address: four numbers from 0 to 255",
            Self::Label => "correct the name",
        }
    }
}

/// Whether this is a name that DNS can have, without a dot at its end.
pub(super) fn check_name(text: &str) -> Result<(), HostError> {
    if text.contains("://") {
        return Err(HostError::Url);
    }
    if text.contains(char::is_whitespace) {
        return Err(HostError::Space);
    }
    if text.contains('/') {
        return Err(HostError::Path);
    }
    if text.contains(['[', ']']) {
        return Err(HostError::Brackets);
    }
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if text.split_once(':').is_some_and(|(_, port)| is_port(port)) {
        return Err(HostError::Port);
    }
    if !text.is_ascii() {
        return Err(HostError::NotAscii);
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::Numeric);
    }
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(HostError::Label);
    }
    Ok(())
}

/// With underscores, which names of hosts in cloud networks have.
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Why the internet does not route an address; None if it does, as far as one can tell.
pub(super) fn not_public(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => ipv4_not_public(ip),
        IpAddr::V6(ip) => ipv6_not_public(ip),
    }
}

/// IANA's registry of special addresses (RFC 6890), as far as somebody might write them here.
fn ipv4_not_public(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, ..] = ip.octets();
    if ip.is_loopback() {
        return Some("this machine's own (loopback)");
    }
    if ip.is_private() {
        return Some("private");
    }
    if ip.is_link_local() {
        return Some("link-local");
    }
    if a == 100 && b & 0xc0 == 64 {
        return Some("of a tailnet or a carrier's NAT (100.64.0.0/10)");
    }
    if ip.is_documentation() {
        return Some("for documentation only");
    }
    if a == 198 && b & 0xfe == 18 {
        return Some("for benchmarks only");
    }
    let is_host = a != 0 && a < 224;
    (!is_host).then_some("no host's")
}

fn ipv6_not_public(ip: Ipv6Addr) -> Option<&'static str> {
    let [a, b, ..] = ip.segments();
    if ip.is_loopback() {
        return Some("this machine's own (loopback)");
    }
    if ip.is_unicast_link_local() {
        return Some("link-local");
    }
    if ip.is_unique_local() {
        return Some("private");
    }
    // RFC 3849 and RFC 9637.
    if (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000) {
        return Some("for documentation only");
    }
    // What is given out so far is within 2000::/3; NAT64's prefix serves some networks.
    let is_host = a & 0xe000 == 0x2000 || (a == 0x0064 && b == 0xff9b);
    (!is_host).then_some("no host's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_a_name_and_nothing_around_it() {
        for name in [
            "relay.example.net",
            "localhost",
            "a",
            "relay-1.EXAMPLE.net",
            "x_1.example.net",
            "1.example",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (text, error) in [
            ("https://relay.example.net", HostError::Url),
            ("relay.example.net/derp", HostError::Path),
            ("relay.example.net:443", HostError::Port),
            ("192.0.2.1:443", HostError::Port),
            ("[2001:db8::1]", HostError::Brackets),
            (" relay.example.net", HostError::Space),
            ("relay example", HostError::Space),
            ("bücher.example", HostError::NotAscii),
            ("192.0.2.256", HostError::Numeric),
            ("192.0.2", HostError::Numeric),
            ("a..example", HostError::Label),
            (".example", HostError::Label),
            ("-a.example", HostError::Label),
            ("a-.example", HostError::Label),
            ("a@example.net", HostError::Label),
            ("a:b", HostError::Label),
            ("", HostError::Label),
        ] {
            assert_eq!(check_name(text), Err(error), "{text:?}");
        }
        let label = "a".repeat(63);
        assert_eq!(check_name(&label), Ok(()));
        assert_eq!(check_name(&format!("{label}a")), Err(HostError::Label));
        assert_eq!(check_name(&[label.as_str(); 4].join(".")), Err(HostError::Label), "255 bytes");
    }

    #[test]
    fn addresses_that_the_internet_does_not_route_are_known() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.19.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "fc00::1",
            "2001:db8::1",
            "3fff::1",
            "ff02::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(not_public(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1",
            "64:ff9b::808:808",
        ] {
            assert_eq!(not_public(text.parse().unwrap()), None, "{text}");
        }
    }
}
