//! Writing frames.
//!
//! Packets are not copied here: their frames come as a header in an array, the packet follows it in
//! the caller's own write. All other frames are small and are appended to a buffer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{FrameType, HEADER_LEN, MAGIC, PACKET_LEN_MAX, PING_DATA_LEN, PeerGoneReason, PeerPresentFlags};
use crate::key::{KEY_LEN, NodePublicKey};

/// Header and source of a RecvPacket; `packet_len` bytes of packet must follow.
pub fn recv_packet_header(src: &NodePublicKey, packet_len: usize) -> [u8; HEADER_LEN + KEY_LEN] {
    packet_header(FrameType::RecvPacket, src, packet_len)
}

/// Header and destination of a SendPacket; `packet_len` bytes of packet must follow.
pub fn send_packet_header(dst: &NodePublicKey, packet_len: usize) -> [u8; HEADER_LEN + KEY_LEN] {
    packet_header(FrameType::SendPacket, dst, packet_len)
}

/// Header, source and destination of a ForwardPacket; `packet_len` bytes of packet must follow.
pub fn forward_packet_header(
    src: &NodePublicKey,
    dst: &NodePublicKey,
    packet_len: usize,
) -> [u8; HEADER_LEN + 2 * KEY_LEN] {
    debug_assert!(packet_len <= PACKET_LEN_MAX, "packet of {packet_len} bytes");
    let mut frame = [0; HEADER_LEN + 2 * KEY_LEN];
    let (head, keys) = frame.split_at_mut(HEADER_LEN);
    let (first, second) = keys.split_at_mut(KEY_LEN);
    head.copy_from_slice(&header(FrameType::ForwardPacket, 2 * KEY_LEN + packet_len));
    first.copy_from_slice(src.as_bytes());
    second.copy_from_slice(dst.as_bytes());
    frame
}

/// Appends a ServerKey: the relay's greeting.
pub fn encode_server_key(out: &mut Vec<u8>, key: &NodePublicKey) {
    put_header(out, FrameType::ServerKey, MAGIC.len() + KEY_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(key.as_bytes());
}

/// Appends a ServerInfo around an already sealed box.
pub fn encode_server_info(out: &mut Vec<u8>, sealed: &[u8]) {
    put_header(out, FrameType::ServerInfo, sealed.len());
    out.extend_from_slice(sealed);
}

/// Appends a KeepAlive.
pub fn encode_keep_alive(out: &mut Vec<u8>) {
    put_header(out, FrameType::KeepAlive, 0);
}

/// Appends a PeerGone, always with its reason: the official Rust client panics without.
pub fn encode_peer_gone(out: &mut Vec<u8>, key: &NodePublicKey, reason: PeerGoneReason) {
    put_header(out, FrameType::PeerGone, KEY_LEN + 1);
    out.extend_from_slice(key.as_bytes());
    out.push(reason.into());
}

/// Appends a PeerPresent; without an address its bytes are zero, as derper's are.
pub fn encode_peer_present(
    out: &mut Vec<u8>,
    key: &NodePublicKey,
    addr: Option<SocketAddr>,
    flags: PeerPresentFlags,
) {
    let (ip, port) = match addr {
        Some(addr) => (mapped(addr.ip()), addr.port()),
        None => (Ipv6Addr::UNSPECIFIED, 0),
    };
    put_header(out, FrameType::PeerPresent, KEY_LEN + 16 + 2 + 1);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&port.to_be_bytes());
    out.push(flags.bits());
}

/// Appends a Ping.
pub fn encode_ping(out: &mut Vec<u8>, data: [u8; PING_DATA_LEN]) {
    put_header(out, FrameType::Ping, data.len());
    out.extend_from_slice(&data);
}

/// Appends a Pong with the data of the Ping it answers.
pub fn encode_pong(out: &mut Vec<u8>, data: [u8; PING_DATA_LEN]) {
    put_header(out, FrameType::Pong, data.len());
    out.extend_from_slice(&data);
}

/// Appends a NotePreferred: whether this relay is the client's home.
pub fn encode_note_preferred(out: &mut Vec<u8>, home: bool) {
    put_header(out, FrameType::NotePreferred, 1);
    out.push(home.into());
}

/// Appends a WatchConns.
pub fn encode_watch_conns(out: &mut Vec<u8>) {
    put_header(out, FrameType::WatchConns, 0);
}

/// Appends a ClosePeer for all connections of `key`.
pub fn encode_close_peer(out: &mut Vec<u8>, key: &NodePublicKey) {
    put_header(out, FrameType::ClosePeer, KEY_LEN);
    out.extend_from_slice(key.as_bytes());
}

/// Appends a Health; an empty `problem` says that all is well again.
pub fn encode_health(out: &mut Vec<u8>, problem: &str) {
    put_header(out, FrameType::Health, problem.len());
    out.extend_from_slice(problem.as_bytes());
}

/// Appends a Restarting: wait `reconnect_in`, then try for `try_for`. Cut to whole milliseconds and
/// to the 49 days that fit.
pub fn encode_restarting(out: &mut Vec<u8>, reconnect_in: Duration, try_for: Duration) {
    put_header(out, FrameType::Restarting, 8);
    out.extend_from_slice(&millis(reconnect_in).to_be_bytes());
    out.extend_from_slice(&millis(try_for).to_be_bytes());
}

/// Appends a header; the caller appends `len` bytes of body.
pub(crate) fn put_header(out: &mut Vec<u8>, kind: FrameType, len: usize) {
    out.reserve(HEADER_LEN + len);
    out.extend_from_slice(&header(kind, len));
}

fn packet_header(kind: FrameType, key: &NodePublicKey, packet_len: usize) -> [u8; HEADER_LEN + KEY_LEN] {
    debug_assert!(packet_len <= PACKET_LEN_MAX, "packet of {packet_len} bytes");
    let mut frame = [0; HEADER_LEN + KEY_LEN];
    let (head, tail) = frame.split_at_mut(HEADER_LEN);
    head.copy_from_slice(&header(kind, KEY_LEN + packet_len));
    tail.copy_from_slice(key.as_bytes());
    frame
}

fn header(kind: FrameType, len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(u32::try_from(len).is_ok(), "body of {len} bytes");
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [kind as u8, a, b, c, d]
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_headers_count_keys_and_packet() {
        let (a, b) = (NodePublicKey::from_bytes([0xaa; 32]), NodePublicKey::from_bytes([0xbb; 32]));
        let recv = recv_packet_header(&a, PACKET_LEN_MAX);
        assert_eq!(recv[..5], [0x05, 0, 1, 0, 0x20]);
        assert_eq!(recv[5..], [0xaa; 32]);
        let send = send_packet_header(&b, 0);
        assert_eq!(send[..5], [0x04, 0, 0, 0, 0x20]);
        assert_eq!(send[5..], [0xbb; 32]);
        let forward = forward_packet_header(&a, &b, 1);
        assert_eq!(forward[..5], [0x0a, 0, 0, 0, 0x41]);
        assert_eq!(forward[5..37], [0xaa; 32]);
        assert_eq!(forward[37..], [0xbb; 32]);
    }

    #[test]
    fn a_peer_without_address_is_51_bytes_with_zeros() {
        let mut out = Vec::new();
        encode_peer_present(&mut out, &NodePublicKey::from_bytes([1; 32]), None, PeerPresentFlags::REGULAR);
        assert_eq!(out.len(), 5 + 51);
        assert_eq!(out[37..], [&[0; 18][..], &[1]].concat());
    }

    #[test]
    fn a_long_wait_is_cut_to_what_fits() {
        let mut out = Vec::new();
        encode_restarting(&mut out, Duration::MAX, Duration::from_micros(1999));
        assert_eq!(out[5..], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
    }
}
