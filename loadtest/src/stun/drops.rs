//! Answers that this process' own sockets dropped: the generator's fault, which would look like the server's.

use std::net::{IpAddr, SocketAddr};

/// Datagrams that the system dropped because a socket's receive buffer was full, all of `sockets` together; None where the
/// system does not tell.
pub(super) fn dropped(sockets: impl Iterator<Item = SocketAddr>) -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let names: std::collections::HashSet<String> = sockets.map(name).collect();
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    let texts = tables.into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.map(|text| count(&text, |socket| names.contains(socket))).reduce(|sum, one| sum + one)
}

/// The sum of the last column of the lines whose second is one of ours.
fn count(table: &str, is_ours: impl Fn(&str) -> bool) -> u64 {
    let lines = table.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(&is_ours));
    lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// An address as the table has it: words of four bytes in the machine's order, then the port.
fn name(address: SocketAddr) -> String {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(bytes))
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0101007F:0D96 0100007F:0E10 01 00000000:00000000 00:00000000 00000000     0        0 7 2 0000000000000000 12
  101: 0201007F:0D96 0100007F:0E10 01 00000000:00000000 00:00000000 00000000     0        0 8 2 0000000000000000 30
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_our_own_sockets_drops_count() {
        let ours = name("127.0.1.1:3478".parse().unwrap());
        assert_eq!(count(TABLE, |socket| socket == ours), 12);
        assert_eq!(name("[::1]:3478".parse().unwrap()), "00000000000000000000000001000000:0D96");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_receive_buffer_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], address).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let kept = std::iter::repeat_with(|| socket.recv(&mut [0; 1000])).take_while(Result::is_ok).count();
        assert_eq!(dropped([address].into_iter()), Some(100 - kept as u64));
    }
}
