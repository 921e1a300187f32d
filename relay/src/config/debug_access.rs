//! Who may see `/debug/`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::Machine;

/// derper's rules about `/debug/`, from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DebugAccess {
    /// File whose trimmed content, given as `debugkey`, opens the pages to anybody; read at each request, so that it
    /// can be changed (`TS_DEBUG_KEY_PATH`).
    pub key_file: Option<PathBuf>,
    /// One more address that may see them (`TS_ALLOW_DEBUG_IP`).
    pub allowed_ip: Option<IpAddr>,
    /// Networks that may see them (`TS_DEBUG_TRUSTED_CIDRS`).
    pub trusted: Vec<Cidr>,
}

impl DebugAccess {
    /// Reads the three variables.
    pub(super) fn read(machine: &Machine<'_>) -> Result<Self, DebugAccessError> {
        let allowed_ip = machine
            .variable("TS_ALLOW_DEBUG_IP")
            .map(|text| text.parse().map_err(|_| DebugAccessError::Ip(text)))
            .transpose()?;
        let trusted = machine.variable("TS_DEBUG_TRUSTED_CIDRS").unwrap_or_default();
        Ok(Self {
            key_file: machine.variable("TS_DEBUG_KEY_PATH").map(PathBuf::from),
            allowed_ip,
            trusted: trusted
                .split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether a peer may see the pages by its address alone: loopback, Tailscale's own ranges, and what the operator
    /// allowed. The caller has refused forwarded requests before.
    pub fn allows_ip(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback()
            || is_tailscale(peer)
            || self.allowed_ip.is_some_and(|ip| ip.to_canonical() == peer)
            || self.trusted.iter().any(|cidr| cidr.contains(peer))
    }
}

/// A network, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Any address of it.
    ip: IpAddr,
    /// How many leading bits all of its addresses share.
    prefix_len: u8,
}

impl Cidr {
    /// Whether the address is one of it; families never mix.
    pub const fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differing = (net.to_bits() ^ ip.to_bits()).leading_zeros();
                differing >= self.prefix_len as u32
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differing = (net.to_bits() ^ ip.to_bits()).leading_zeros();
                differing >= self.prefix_len as u32
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = DebugAccessError;

    fn from_str(text: &str) -> Result<Self, DebugAccessError> {
        let error = || DebugAccessError::Cidr(text.to_owned());
        let (ip, bits) = text.split_once('/').ok_or_else(error)?;
        let ip: IpAddr = ip.parse().map_err(|_| error())?;
        if !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        let prefix_len = bits.parse().map_err(|_| error())?;
        if prefix_len > if ip.is_ipv4() { 32 } else { 128 } {
            return Err(error());
        }
        Ok(Self { ip, prefix_len })
    }
}

/// A variable about `/debug/` that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DebugAccessError {
    /// `TS_ALLOW_DEBUG_IP`.
    #[error(
        "TS_ALLOW_DEBUG_IP is '{0}', which is no ip address; set it to one, or use TS_DEBUG_TRUSTED_CIDRS for a network"
    )]
    Ip(String),
    /// `TS_DEBUG_TRUSTED_CIDRS`.
    #[error(
        "TS_DEBUG_TRUSTED_CIDRS has '{0}', which is no network; write a comma list like 10.0.0.0/8,2001:db8::/32"
    )]
    Cidr(String),
}

/// Tailscale's addresses: 100.64.0.0/10 without the block ChromeOS uses, and its IPv6 range.
const fn is_tailscale(ip: IpAddr) -> bool {
    const V4: Cidr = Cidr { ip: IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, 0)), prefix_len: 10 };
    const CHROME_OS: Cidr = Cidr { ip: IpAddr::V4(std::net::Ipv4Addr::new(100, 115, 92, 0)), prefix_len: 23 };
    const V6: Cidr = Cidr {
        ip: IpAddr::V6(std::net::Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0)),
        prefix_len: 48,
    };
    (V4.contains(ip) && !CHROME_OS.contains(ip)) || V6.contains(ip)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn derpers_rules_hold_by_address() {
        let access = read(&[
            ("TS_ALLOW_DEBUG_IP", "192.0.2.7"),
            ("TS_DEBUG_TRUSTED_CIDRS", "10.1.2.3/8, 2001:db8::/32,,198.51.100.0/24"),
            ("TS_DEBUG_KEY_PATH", "/run/debug.key"),
        ])
        .unwrap();
        assert_eq!(access.key_file, Some("/run/debug.key".into()));
        for (ip, allowed) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("100.115.92.1", false),
            ("100.115.93.255", false),
            ("100.115.94.0", true),
            ("fd7a:115c:a1e0::1", true),
            ("fd7a:115c:a1e1::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
        ] {
            assert_eq!(access.allows_ip(ip.parse().unwrap()), allowed, "{ip}");
        }
    }

    #[test]
    fn nothing_set_leaves_loopback_and_tailscale() {
        let access = read(&[]).unwrap();
        assert_eq!(access, DebugAccess::default());
        assert!(access.allows_ip("::1".parse().unwrap()) && !access.allows_ip("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_prefix_of_nothing_holds_its_whole_family() {
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let one: Cidr = "2001:db8::1/128".parse().unwrap();
        assert!(
            one.contains("2001:db8::1".parse().unwrap()) && !one.contains("2001:db8::2".parse().unwrap())
        );
    }

    #[test]
    fn variables_that_cannot_be_understood_are_errors() {
        assert!(matches!(read(&[("TS_ALLOW_DEBUG_IP", "10.0.0.0/8")]), Err(DebugAccessError::Ip(_))));
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/", "name/8"] {
            let error = read(&[("TS_DEBUG_TRUSTED_CIDRS", text)]).unwrap_err();
            assert_eq!(error, DebugAccessError::Cidr(text.to_owned()));
        }
    }

    fn read(variables: &[(&str, &str)]) -> Result<DebugAccess, DebugAccessError> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        DebugAccess::read(&Machine::new(&lookup, false, NonZeroUsize::MIN))
    }
}
