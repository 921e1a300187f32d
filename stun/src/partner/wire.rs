//! The datagrams of the channel.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kind: 1 probe, 2 reply, 3 forward, 4 leaving |
//! | 8 | time of sending, milliseconds since 1970 |
//! | 8 | the sender's epoch: a random number for each start of its program |
//! | 8 | the receiver's epoch, 0 in a probe to a partner that has not been heard yet |
//! | 8 | number: of the probe, of the probe that a reply answers, of the forward, of the leaving (each counted from 1) |
//! | ... | the body: see [`Reply`] and [`Forward`]; the others have none |
//! | 16 | HMAC-SHA256 over all before, its first 16 bytes |
//!
//! Integers are big endian. Both epochs are under the HMAC, so a datagram means something only to one life of one
//! machine: sent back to its sender, or to either after a restart, it is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::key::{KEY_BYTES, PartnerKey};
use super::service::{Service, Services};
use crate::responder;

/// The largest answer that is forwarded: the largest that a responder makes, which has as much PADDING as an
/// Ethernet frame holds. The forward around it travels in two fragments, as the answer does.
pub const ANSWER_BYTES_MAX: usize = responder::ANSWER_BYTES_MAX;

/// The largest datagram of the channel.
pub const DATAGRAM_BYTES_MAX: usize = HEAD_BYTES + FORWARD_HEAD_BYTES_MAX + ANSWER_BYTES_MAX + TAG_BYTES;

// What the answer's two fragments hold on Ethernet: 1,480 bytes each, and UDP's header.
const _: () = assert!(ANSWER_BYTES_MAX < DATAGRAM_BYTES_MAX && DATAGRAM_BYTES_MAX + 8 <= 2 * 1480);

/// Another version is another protocol.
const VERSION: u8 = 1;

/// Version, kind, time, two epochs and the number.
const HEAD_BYTES: usize = 2 + 4 * 8;

/// Family, client's address and port, port to send from.
const FORWARD_HEAD_BYTES_MAX: usize = 1 + 16 + 2 + 2;

/// Of 32: one guess in 2^128 is right.
const TAG_BYTES: usize = 16;

/// Keeps the tags from meaning anything in another protocol, should somebody use one secret for two.
const KEY_CONTEXT: &[u8] = b"ferry stun partner channel 1";

const KIND_PROBE: u8 = 1;
const KIND_REPLY: u8 = 2;
const KIND_FORWARD: u8 = 3;
const KIND_LEAVING: u8 = 4;

/// The reply's flag "your forwards are accepted".
const FLAG_HEARS_YOU: u8 = 1;

/// What every datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// When it was sent, in milliseconds since 1970, by the sender's clock.
    pub unix_millis: u64,
    /// The life of the machine that sends.
    pub from: u64,
    /// The life of the machine it is for; 0 if the sender knows none.
    pub to: u64,
    /// Of the probe, of the probe that is answered, of the forward, or of the leaving.
    pub number: u64,
}

/// What a datagram is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// "Are you there?"
    Probe,
    /// The answer to a probe.
    Reply(Reply),
    /// "Send this from your address."
    Forward(Forward<'a>),
    /// "From now on I send nothing for you", until a later reply tells services again.
    Leaving,
}

/// What a machine tells its partner about itself. Body: a byte of flags; then for IPv4 and IPv6 each a byte 0, or
/// a byte 1, the address and two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The replying machine has had a reply from the asking one, and accepts its forwards.
    pub hears_you: bool,
    /// Where the replying machine serves STUN.
    pub services: Services,
}

/// An answer to a client that is to leave from the receiver's address. Body: family (4 or 6), the client's address
/// and port, the port to send from, the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward<'a> {
    /// The client.
    pub to: SocketAddr,
    /// Which of the receiver's two ports it is to leave from.
    pub from_port: u16,
    /// The STUN message, at most [`ANSWER_BYTES_MAX`].
    pub answer: &'a [u8],
}

/// Writes and checks datagrams with one key.
#[derive(Clone)]
pub struct Sealer {
    mac: Hmac<Sha256>,
}

impl Sealer {
    /// For the channel of those who know the key.
    #[must_use]
    pub fn new(key: &PartnerKey) -> Self {
        let derived = keyed(key.as_bytes()).chain_update(KEY_CONTEXT).finalize().into_bytes();
        Self { mac: keyed(&derived.into()) }
    }

    /// Writes a datagram; it is all of `out` afterwards.
    pub fn seal(&self, envelope: &Envelope, content: &Content<'_>, out: &mut Vec<u8>) {
        out.clear();
        let kind = match content {
            Content::Probe => KIND_PROBE,
            Content::Reply(_) => KIND_REPLY,
            Content::Forward(_) => KIND_FORWARD,
            Content::Leaving => KIND_LEAVING,
        };
        out.extend_from_slice(&[VERSION, kind]);
        for field in [envelope.unix_millis, envelope.from, envelope.to, envelope.number] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        match content {
            Content::Probe | Content::Leaving => {}
            Content::Reply(reply) => reply.write(out),
            Content::Forward(forward) => forward.write(out),
        }
        self.sign(out);
    }

    /// Seals arbitrary bytes behind a version, as a stolen key could: for tests.
    #[cfg(any(test, fuzzing))]
    pub fn seal_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = [&[VERSION], bytes].concat();
        self.sign(&mut out);
        out
    }

    fn sign(&self, out: &mut Vec<u8>) {
        let tag = self.mac.clone().chain_update(&out).finalize().into_bytes();
        out.extend(tag.into_iter().take(TAG_BYTES));
    }

    /// Checks and reads a datagram.
    ///
    /// # Errors
    ///
    /// When it is of another version, not from a holder of the key, or makes no sense.
    pub fn open<'d>(&self, datagram: &'d [u8]) -> Result<(Envelope, Content<'d>), WireError> {
        if !(HEAD_BYTES + TAG_BYTES..=DATAGRAM_BYTES_MAX).contains(&datagram.len()) {
            return Err(WireError::Length { bytes: datagram.len() });
        }
        let malformed = WireError::Malformed { bytes: datagram.len() };
        let (sealed, tag) = datagram.split_last_chunk::<TAG_BYTES>().ok_or(malformed)?;
        let mut reader = Reader(sealed);
        let version = reader.byte().ok_or(malformed)?;
        if version != VERSION {
            return Err(WireError::Version { found: version });
        }
        // In constant time.
        self.mac.clone().chain_update(sealed).verify_truncated_left(tag).map_err(|_| WireError::Forged)?;
        reader.message().ok_or(malformed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    // HMAC's own way of taking a key shorter than a block of the hash: zeros behind it (RFC 2104 section 2).
    let mut block = [0; 64];
    if let Some(front) = block.first_chunk_mut() {
        *front = *key;
    }
    Hmac::new(&block.into())
}

impl Reply {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(if self.hears_you { FLAG_HEARS_YOU } else { 0 });
        for service in [self.services.ipv4, self.services.ipv6] {
            let Some(Service { ip, ports }) = service else {
                out.push(0);
                continue;
            };
            out.push(1);
            write_ip(ip, out);
            for port in ports {
                out.extend_from_slice(&port.to_be_bytes());
            }
        }
    }
}

impl Forward<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let ip = self.to.ip().to_canonical();
        out.push(if ip.is_ipv4() { 4 } else { 6 });
        write_ip(ip, out);
        out.extend_from_slice(&self.to.port().to_be_bytes());
        out.extend_from_slice(&self.from_port.to_be_bytes());
        out.extend_from_slice(self.answer);
    }
}

fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

/// What is left to read.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn ip(&mut self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 {
            return self.take::<4>().map(|octets| Ipv4Addr::from(octets).into());
        }
        // One form for each address, so that no check is got around by writing IPv4 as IPv6.
        self.take::<16>()
            .map(|octets| IpAddr::from(Ipv6Addr::from(octets)))
            .filter(|ip| ip.to_canonical() == *ip)
    }

    /// All behind the version.
    fn message(&mut self) -> Option<(Envelope, Content<'d>)> {
        let kind = self.byte()?;
        let envelope = Envelope {
            unix_millis: self.long()?,
            from: self.long()?,
            to: self.long()?,
            number: self.long()?,
        };
        let content = match kind {
            KIND_PROBE => Content::Probe,
            KIND_REPLY => Content::Reply(self.reply()?),
            KIND_FORWARD => Content::Forward(self.forward()?),
            KIND_LEAVING => Content::Leaving,
            _ => return None,
        };
        self.0.is_empty().then_some((envelope, content))
    }

    fn reply(&mut self) -> Option<Reply> {
        let hears_you = match self.byte()? {
            0 => false,
            FLAG_HEARS_YOU => true,
            _ => return None,
        };
        let services = Services { ipv4: self.service(true)?, ipv6: self.service(false)? };
        Some(Reply { hears_you, services })
    }

    fn service(&mut self, ipv4: bool) -> Option<Option<Service>> {
        match self.byte()? {
            0 => Some(None),
            1 => {
                let (ip, ports) = (self.ip(ipv4)?, [self.port()?, self.port()?]);
                let service = Service::new(ip, ports);
                (service.ports == ports).then_some(Some(service))
            }
            _ => None,
        }
    }

    fn forward(&mut self) -> Option<Forward<'d>> {
        let ipv4 = match self.byte()? {
            4 => true,
            6 => false,
            _ => return None,
        };
        let to = SocketAddr::new(self.ip(ipv4)?, self.port()?);
        let from_port = self.port()?;
        let answer = std::mem::take(&mut self.0);
        (answer.len() <= ANSWER_BYTES_MAX).then_some(Forward { to, from_port, answer })
    }
}

/// Why a datagram was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter or longer than any datagram of the channel.
    #[error("{bytes} bytes are no datagram of the channel ({} to {DATAGRAM_BYTES_MAX})", HEAD_BYTES + TAG_BYTES)]
    Length {
        /// Its size.
        bytes: usize,
    },
    /// Of another protocol, or of another version of this one.
    #[error("version {found} instead of {VERSION}; run the same version on both machines")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// From somebody who does not know the key, or damaged.
    #[error("not sealed with the key of this channel; give both machines the same key")]
    Forged,
    /// Sealed with the key and yet no sense in it.
    #[error("{bytes} sealed bytes are no probe, reply, forward or leaving")]
    Malformed {
        /// Its size.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests;
