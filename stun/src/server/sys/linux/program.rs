//! Programs (classic BPF) that the kernel runs for each datagram: which sources to drop, which reader to choose.

use libc::sock_filter;

use crate::source::Source;

/// A load at the IP header's beginning. The kernel calls it a negative offset and takes it as 32 bits.
const IP_HEADER: u32 = libc::SKF_NET_OFF as u32;
/// Where an IPv4 header has the source.
const IPV4_SOURCE: u32 = IP_HEADER + 12;
/// Where an IPv6 header has the source's /64, in two words.
const IPV6_SOURCE: [u32; 2] = [IP_HEADER + 8, IP_HEADER + 12];

/// The answer that keeps a datagram whole.
const KEEP: u32 = u32::MAX;
/// The answer that drops it.
const DROP: u32 = 0;

/// Drops what these sources send and keeps the rest. At most 16: jumps reach 255 instructions.
pub(super) fn without(sources: &[Source]) -> Vec<sock_filter> {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::Ipv4(address) => ipv4.push(*address),
            Source::Ipv6(network) => ipv6.push([(network >> 32) as u32, *network as u32]),
        }
    }
    // The addresses follow the head, IPv4's first, and the two answers come last.
    let ipv4_len = 1 + ipv4.len() + 1;
    let drop_at = HEAD_LEN + ipv4_len + 4 * ipv6.len() + 1;
    let to_drop = |from: usize| distance(from, drop_at);

    let mut program = head(ipv4_len);
    program.push(load(IPV4_SOURCE));
    for address in ipv4 {
        program.push(jump_if(address, to_drop(program.len()), 0));
    }
    program.push(answer(KEEP));
    for [high, low] in ipv6 {
        program.extend([load(IPV6_SOURCE[0]), jump_if(high, 0, 2), load(IPV6_SOURCE[1])]);
        program.push(jump_if(low, to_drop(program.len()), 0));
    }
    program.extend([answer(KEEP), answer(DROP)]);
    program
}

/// Answers with a number below `readers` that is always the same for a source, so that its budgets are
/// counted in one place. The seed keeps strangers from choosing sources that meet at one reader.
pub(super) fn reader_by_source(readers: u32, seed: u64) -> Vec<sock_filter> {
    // An odd factor loses nothing.
    let factor = seed as u32 | 1;
    let offset = (seed >> 32) as u32;
    // Over the jump to the end, over IPv6's part.
    let mut program = head(2);
    program.extend([load(IPV4_SOURCE), jump(6)]);
    program.extend([
        load(IPV6_SOURCE[0]),
        compute(libc::BPF_MUL, factor),
        compute(libc::BPF_ADD, offset),
        instruction(libc::BPF_MISC | libc::BPF_TAX, 0),
        load(IPV6_SOURCE[1]),
        instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
    ]);
    // The upper half of a product depends on all bits of the source.
    program.extend([
        compute(libc::BPF_MUL, factor),
        compute(libc::BPF_RSH, 16),
        compute(libc::BPF_MOD, readers),
        instruction(libc::BPF_RET | BPF_A, 0),
    ]);
    program
}

/// `BPF_A`, which libc has not: answer with what has been computed.
const BPF_A: u32 = 0x10;

/// Instructions of [`head`].
const HEAD_LEN: usize = 3;

/// Reads the IP version: goes on for IPv4, and by `ipv4_len` instructions further for IPv6.
fn head(ipv4_len: usize) -> Vec<sock_filter> {
    vec![
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, IP_HEADER),
        compute(libc::BPF_RSH, 4),
        jump_if(4, 0, distance(0, ipv4_len + 1)),
    ]
}

/// From the instruction at `from` over those between to the one at `to`.
fn distance(from: usize, to: usize) -> u8 {
    u8::try_from(to - from - 1).expect("16 sources make at most 70 instructions")
}

fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

fn compute(operation: u32, with: u32) -> sock_filter {
    instruction(libc::BPF_ALU | operation | libc::BPF_K, with)
}

fn jump(over: u32) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, over)
}

fn jump_if(equals: u32, then: u8, or_else: u8) -> sock_filter {
    sock_filter { jt: then, jf: or_else, ..instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, equals) }
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value)
}

/// Operation codes are 16 bits wide.
fn instruction(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};
    use std::time::Duration;

    use crate::server::flood::SOURCES_MAX;
    use crate::server::sys::drop_sources;

    use super::*;

    fn source(ip: &str) -> Source {
        ip.parse::<IpAddr>().expect("test address").into()
    }

    /// Which of these addresses' datagrams come through, in order.
    fn let_through(sources: &[Source], senders: &[&str]) -> Vec<String> {
        let receiver = UdpSocket::bind("[::]:0").expect("binds");
        receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        drop_sources(&receiver, sources).expect("the kernel takes the program");
        let port = receiver.local_addr().expect("bound").port();
        // The last one is sent when the filter is gone, and so ends the wait for the others.
        for (number, sender) in senders.iter().chain(&["127.0.0.1"]).enumerate() {
            if number == senders.len() {
                drop_sources(&receiver, &[]).expect("the kernel takes the program away");
            }
            let socket = UdpSocket::bind((*sender, 0)).expect("loopback binds");
            let to = if sender.contains(':') { "::1" } else { "127.0.0.1" };
            socket.send_to(&[number as u8], (to, port)).expect("loopback sends");
        }
        let mut through = Vec::new();
        loop {
            let mut number = [0];
            receiver.recv(&mut number).expect("the last one comes");
            match senders.get(usize::from(number[0])) {
                Some(sender) => through.push((*sender).to_owned()),
                None => return through,
            }
        }
    }

    #[test]
    fn only_the_named_sources_are_dropped() {
        let senders = ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.3"];
        assert_eq!(let_through(&[source("127.0.0.2")], &senders), ["127.0.0.1", "::1", "127.0.0.3"]);
        assert_eq!(let_through(&[source("::1")], &senders), ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
        let several = [source("2001:db8::1"), source("127.0.0.3"), source("::1"), source("127.0.0.1")];
        assert_eq!(let_through(&several, &senders), ["127.0.0.2"]);
        assert_eq!(let_through(&[source("2001:db8::1")], &senders), senders);
    }

    #[test]
    fn as_many_sources_as_there_can_be_are_dropped() {
        let mut ipv4: Vec<_> = (1..SOURCES_MAX).map(|host| source(&format!("192.0.2.{host}"))).collect();
        ipv4.push(source("127.0.0.2"));
        assert_eq!(let_through(&ipv4, &["127.0.0.2", "::1"]), ["::1"]);
        let mut ipv6: Vec<_> = (1..SOURCES_MAX).map(|net| source(&format!("2001:db8:0:{net}::"))).collect();
        ipv6.push(source("::1"));
        assert_eq!(let_through(&ipv6, &["127.0.0.2", "::1"]), ["127.0.0.2"]);
    }
}
