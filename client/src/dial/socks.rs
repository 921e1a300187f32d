//! A tunnel through a SOCKS5 proxy (RFC 1928), with user and password (RFC 1929); names are the proxy's to resolve.

use std::net::IpAddr;

use super::tunnel::ProxyError;
use super::{Credentials, Proxy};

/// The version of SOCKS.
const VERSION: u8 = 5;
/// The version of its negotiation of a password.
const PASSWORD_VERSION: u8 = 1;
/// No authentication.
const METHOD_NONE: u8 = 0;
/// User and password.
const METHOD_PASSWORD: u8 = 2;
/// CONNECT.
const COMMAND_CONNECT: u8 = 1;
/// An IPv4 address follows.
const ADDRESS_IPV4: u8 = 1;
/// A length and a name follow.
const ADDRESS_NAME: u8 = 3;
/// An IPv6 address follows.
const ADDRESS_IPV6: u8 = 4;
/// The longest name, user or password: its length is one byte.
const TEXT_BYTES_MAX: usize = 255;

/// A CONNECT that was asked for.
#[derive(Debug)]
pub(super) struct Socks {
    awaited: Awaited,
    /// What came of the awaited answer; 262 bytes at most.
    answer: Vec<u8>,
    /// User and password, ready to be sent; empty without.
    password: Vec<u8>,
    /// The request, ready to be sent.
    request: Vec<u8>,
}

/// Which answer comes next.
#[derive(Debug, Clone, Copy)]
enum Awaited {
    /// Which method of authentication.
    Method,
    /// Whether the password is right.
    Password,
    /// Whether there is a connection.
    Connection,
}

impl Socks {
    /// Asks for `host` and `port`; answers the first bytes too.
    pub(super) fn start(proxy: &Proxy, host: &str, port: u16) -> Result<(Self, Vec<u8>), ProxyError> {
        let mut request = vec![VERSION, COMMAND_CONNECT, 0];
        match host.parse() {
            Ok(IpAddr::V4(ip)) => {
                request.push(ADDRESS_IPV4);
                request.extend(ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                request.push(ADDRESS_IPV6);
                request.extend(ip.octets());
            }
            Err(_) => {
                request.push(ADDRESS_NAME);
                push_text(&mut request, host)?;
            }
        }
        request.extend(port.to_be_bytes());
        let mut password = Vec::new();
        let mut greeting = vec![VERSION, 1, METHOD_NONE];
        if let Some(credentials) = &proxy.credentials {
            let Credentials { user, password: secret } = credentials;
            password.push(PASSWORD_VERSION);
            push_text(&mut password, user)?;
            push_text(&mut password, secret)?;
            greeting = vec![VERSION, 2, METHOD_NONE, METHOD_PASSWORD];
        }
        Ok((Self { awaited: Awaited::Method, answer: Vec::new(), password, request }, greeting))
    }

    /// Reads on, and appends what is to be sent; answers how many bytes of `input` were the proxy's own, once the tunnel is there.
    pub(super) fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ProxyError> {
        for (byte, taken) in input.iter().zip(1..) {
            self.answer.push(*byte);
            if self.answer.len() < self.needed()? {
                continue;
            }
            if self.step(out)? {
                return Ok(Some(taken));
            }
            self.answer.clear();
        }
        Ok(None)
    }

    /// How long the awaited answer is, as far as that is known.
    fn needed(&self) -> Result<usize, ProxyError> {
        let (Awaited::Connection, &[_, reply, _, kind, first, ..]) = (self.awaited, &*self.answer) else {
            return Ok(if matches!(self.awaited, Awaited::Connection) { 5 } else { 2 });
        };
        match kind {
            ADDRESS_IPV4 => Ok(10),
            ADDRESS_IPV6 => Ok(22),
            ADDRESS_NAME => Ok(7 + usize::from(first)),
            // Some proxies have no address to give when they refuse.
            _ if reply != 0 => Ok(5),
            _ => Err(ProxyError::AddressKind { kind }),
        }
    }

    /// Takes in a whole answer; answers whether it was the last.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, ProxyError> {
        let &[version, verdict, ..] = &*self.answer else { return Ok(false) };
        let want = if matches!(self.awaited, Awaited::Password) { PASSWORD_VERSION } else { VERSION };
        if version != want {
            return Err(ProxyError::Version { got: version, want });
        }
        match (self.awaited, verdict) {
            (Awaited::Method, METHOD_PASSWORD) if !self.password.is_empty() => {
                out.append(&mut self.password);
                self.awaited = Awaited::Password;
                Ok(false)
            }
            (Awaited::Method, METHOD_NONE) | (Awaited::Password, 0) => {
                out.append(&mut self.request);
                self.awaited = Awaited::Connection;
                Ok(false)
            }
            (Awaited::Method | Awaited::Password, _) => Err(ProxyError::Credentials),
            (Awaited::Connection, 0) => Ok(true),
            (Awaited::Connection, reply) => Err(ProxyError::Reply { reply }),
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) -> Result<(), ProxyError> {
    let len = u8::try_from(text.len()).ok().filter(|len| *len > 0);
    let len = len.ok_or(ProxyError::Text { bytes: text.len(), max: TEXT_BYTES_MAX })?;
    out.push(len);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
