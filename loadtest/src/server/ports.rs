//! Ports that nobody else has.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// The least port tried; below it live services that may be started later.
const PORT_LEAST: u16 = 10_000;
/// Ports tried before the system is blamed.
const TRIES: u32 = 200;
/// Where Linux says which ports outgoing connections get.
const EPHEMERAL_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Linux' own default, for systems that do not say; lower than others', so that it fits them too.
const EPHEMERAL_DEFAULT: (u16, u16) = (32_768, 60_999);

/// `N` different ports that are free on 127.0.0.1 in TCP and UDP.
///
/// They lie below those that outgoing connections get: while a server restarts, thousands of clients knock at its port, and on
/// loopback a connection whose own port is the one it knocks at connects to itself.
pub(super) fn free<const N: usize>() -> io::Result<[u16; N]> {
    let below = ephemeral().0.max(PORT_LEAST + 1_000);
    let mut ports = [0; N];
    let mut found = 0;
    for _ in 0..TRIES {
        if found == N {
            return Ok(ports);
        }
        let mut random = [0; 2];
        getrandom::fill(&mut random)?;
        let port = PORT_LEAST + u16::from_le_bytes(random) % (below - PORT_LEAST);
        if !ports.contains(&port) && is_free(port) {
            ports[found] = port;
            found += 1;
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no free port in {TRIES} tries below {below}")))
}

/// The first and the last port that outgoing connections get by themselves.
pub(crate) fn ephemeral() -> (u16, u16) {
    std::fs::read_to_string(EPHEMERAL_FILE).ok().and_then(|text| range(&text)).unwrap_or(EPHEMERAL_DEFAULT)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) if first <= last => Some((first, last)),
        _ => None,
    }
}

/// Bound for a moment, and let go: whoever comes first afterwards has it, so the caller has to bear losing it.
fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_not_for_outgoing_connections() {
        let [a, b] = free().expect("ports");
        assert_ne!(a, b);
        assert!(a >= PORT_LEAST && a < ephemeral().0, "{a}");
    }

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        assert!(!is_free(taken.local_addr().expect("bound").port()));
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        assert!(!is_free(taken.local_addr().expect("bound").port()));
    }

    #[test]
    fn the_range_is_read_as_the_kernel_writes_it() {
        assert_eq!(range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(range("9 1\n"), None);
        assert_eq!(range("x"), None);
    }
}
