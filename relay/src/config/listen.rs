//! Listen addresses in Go's form, and what to say when one cannot be bound.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Works out a listen address: `[host]:port`, the host a name, an address or nothing.
///
/// For Go an unspecified address of either family listens on all addresses of both, so it does here: `[::]`.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, ListenError> {
    let no_port = || ListenError::NoPort(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(no_port)?;
            (host, rest.strip_prefix(':').ok_or_else(no_port)?)
        }
        None => text.rsplit_once(':').ok_or_else(no_port)?,
    };
    if host.contains(':') && !text.starts_with('[') {
        return Err(ListenError::Brackets(text.to_owned()));
    }
    let port = match port {
        "https" => 443,
        "http" => 80,
        _ => port.parse().map_err(|_| ListenError::Port { text: text.to_owned(), port: port.to_owned() })?,
    };
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    if host.is_empty() {
        return Ok(any);
    }
    let resolve = |source| ListenError::Resolve { host: host.to_owned(), text: text.to_owned(), source };
    let addrs: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(resolve)?.collect();
    // Go prefers IPv4 where a name has both.
    let first = addrs.iter().find(|addr| addr.is_ipv4()).or_else(|| addrs.first()).copied();
    let addr = first.ok_or_else(|| resolve(io::Error::other("it has no address")))?;
    Ok(if addr.ip().is_unspecified() { any } else { addr })
}

/// A listen address that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Only a host.
    #[error("listen address '{0}' has no port; write [ip]:port, for example -a :443 or -a 127.0.0.1:8080")]
    NoPort(String),
    /// A bare IPv6 address: its end and the port's start cannot be told apart.
    #[error(
        "listen address '{0}' has more than one colon; write an IPv6 address in brackets, for example -a [::1]:443"
    )]
    Brackets(String),
    /// A port that is no number.
    #[error("port '{port}' of listen address '{text}' is no number from 0 to 65535")]
    Port {
        /// The whole text.
        text: String,
        /// What stands after the colon.
        port: String,
    },
    /// A host name the resolver does not know.
    #[error(
        "host '{host}' of listen address '{text}' cannot be resolved; give an ip of this machine, or none for all of them (-a :443): {source}"
    )]
    Resolve {
        /// The name.
        host: String,
        /// The whole text.
        text: String,
        /// The resolver's words.
        source: io::Error,
    },
}

/// One of the relay's sockets, known by the flag that moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// `-a`, TCP.
    Main,
    /// `-http-port`, TCP.
    Http,
    /// `-stun-port`, UDP.
    Stun,
    /// `-stun-partner-listen`, UDP.
    Partner,
}

impl Listener {
    /// What to do to have the listener elsewhere or not at all.
    const fn advice(self) -> &'static str {
        match self {
            Self::Main => "give another address with -a",
            Self::Http => "give another port with -http-port, or -http-port -1 for none",
            Self::Stun => "give another port with -stun-port, or -stun=false for none",
            Self::Partner => "give another address with -stun-partner-listen",
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "clients (TCP)",
            Self::Http => "plain HTTP (TCP)",
            Self::Stun => "STUN (UDP)",
            Self::Partner => "the STUN partner (UDP)",
        })
    }
}

/// A socket that cannot be bound, and the flag that helps.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for {listener}: {source}; {}{}", reason(source, addr.port()), listener.advice())]
pub struct BindError {
    /// Which socket.
    pub listener: Listener,
    /// Where it should have been.
    pub addr: SocketAddr,
    /// The kernel's word.
    pub source: io::Error,
}

/// What usually is behind the kernel's word, with what to do before resorting to the flag.
fn reason(error: &io::Error, port: u16) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        return "stop the program that has it, or ";
    }
    if error.kind() == io::ErrorKind::AddrNotAvailable {
        return "the ip is not of this machine: ";
    }
    if error.kind() == io::ErrorKind::PermissionDenied && port < 1024 {
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE: grant it, or ";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_forms_are_read() {
        for (text, addr) in [
            (":443", "[::]:443"),
            (":https", "[::]:443"),
            (":http", "[::]:80"),
            (":0", "[::]:0"),
            ("0.0.0.0:443", "[::]:443"),
            ("[::]:443", "[::]:443"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("localhost:3340", "127.0.0.1:3340"),
        ] {
            assert_eq!(resolve(text).unwrap(), addr.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_with_the_fix() {
        for (text, part) in [
            ("", "has no port"),
            ("443", "has no port; write [ip]:port"),
            ("127.0.0.1", "has no port"),
            ("[::1]", "has no port"),
            ("[::1", "has no port"),
            ("::1:443", "in brackets"),
            (":65536", "port '65536' of listen address ':65536' is no number"),
            (":-1", "port '-1'"),
            (":", "port ''"),
            (":smtp", "port 'smtp'"),
            ("no such host:443", "cannot be resolved"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_socket_that_cannot_be_bound_names_its_flag() {
        let taken = BindError {
            listener: Listener::Stun,
            addr: "127.0.0.1:3478".parse().unwrap(),
            source: io::ErrorKind::AddrInUse.into(),
        };
        assert_eq!(
            taken.to_string(),
            "cannot listen on 127.0.0.1:3478 for STUN (UDP): address in use; stop the program that has it, or \
             give another port with -stun-port, or -stun=false for none"
        );
        let low = BindError {
            listener: Listener::Main,
            addr: "[::]:443".parse().unwrap(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert!(
            low.to_string().contains("CAP_NET_BIND_SERVICE: grant it, or give another address with -a"),
            "{low}"
        );
    }
}
