//! One socket of a load: a client of the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;

use super::StunError;
use super::answer::Reader;
use super::request::Transactions;
use super::under_way::UnderWay;
use crate::ledger::{FlowTally, Tally};

/// The first of a load's own source addresses.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// Asked for, for answers that come while the thread is busy; the system may give less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Requests that are remembered per thread, at most; with more the oldest are forgotten before their time.
const REMEMBERED_MOST: usize = 1 << 22;

/// A client of the server.
#[derive(Debug)]
pub(super) struct Socket {
    /// Its place among all sockets of the load.
    pub(super) index: u32,
    pub(super) udp: UdpSocket,
    pub(super) reader: Reader,
    pub(super) under_way: UnderWay,
    /// What became of its requests; `lost` only at the end.
    pub(super) tally: Tally,
    /// The last of its requests, by number, that was answered.
    last_answered: Option<u32>,
    /// It may have datagrams that were not read.
    pub(super) readable: bool,
}

impl Socket {
    /// The `index`th socket of a load that has so many per thread, connected to the server: answers from elsewhere are not seen.
    pub(super) fn open(
        index: u32,
        target: SocketAddr,
        sources: u32,
        per_thread: usize,
        transactions: Transactions,
    ) -> Result<Self, StunError> {
        let from = source(index, target, sources);
        let udp = connect(from, target).map_err(|error| StunError::Socket { from, target, error })?;
        // Elsewhere something on the way may change addresses.
        let own = udp.local_addr().ok().filter(|_| target.ip().to_canonical().is_loopback());
        Ok(Self {
            index,
            udp: UdpSocket::from_std(udp),
            reader: Reader::new(transactions, index, own),
            under_way: UnderWay::new(REMEMBERED_MOST / per_thread.max(1)),
            tally: Tally::default(),
            last_answered: None,
            readable: false,
        })
    }

    /// Books a right answer.
    pub(super) fn delivered(&mut self, number: u32, bytes: usize) {
        self.tally.delivered += 1;
        self.tally.delivered_bytes += bytes as u64;
        // Numbers start again after 2³²; half of them are past.
        let ahead = self.last_answered.map_or(1, |last| number.wrapping_sub(last) as i32);
        if ahead > 0 {
            self.last_answered = Some(number);
            return;
        }
        self.tally.reordered += 1;
        self.tally.reordered_by_most = self.tally.reordered_by_most.max(u64::from(ahead.unsigned_abs()));
    }

    /// What became of its requests, as a flow; foreign datagrams belong to none.
    pub(super) fn flow(&self) -> FlowTally {
        let mut tally = Tally { foreign: 0, ..self.tally.clone() };
        tally.settle();
        FlowTally { from: self.index, to: self.index, tally }
    }
}

/// Where a socket asks from: 127.0.1.1 and on in turns if the load has sources of its own, else as the system likes it.
pub(super) fn source(index: u32, target: SocketAddr, sources: u32) -> IpAddr {
    match target {
        SocketAddr::V4(_) if sources > 0 => Ipv4Addr::from(u32::from(FIRST_SOURCE) + index % sources).into(),
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A socket that does not block and hears nobody but the server.
pub(super) fn connect(source: IpAddr, target: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let udp = std::net::UdpSocket::bind((source, 0))?;
    // What the system gives is seen in the datagrams it drops.
    let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    udp.connect(target)?;
    udp.set_nonblocking(true)?;
    Ok(udp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Socket {
        let target = "127.0.0.1:9".parse().unwrap();
        Socket::open(3, target, 2, 1, Transactions::new(1)).unwrap()
    }

    #[test]
    fn sources_come_in_turns() {
        let v4 = "127.0.0.1:9".parse().unwrap();
        let sources: Vec<_> = (0..4).map(|index| source(index, v4, 3).to_string()).collect();
        assert_eq!(sources, ["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.1"]);
        assert_eq!(source(7, v4, 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(source(7, "[::1]:9".parse().unwrap(), 0), Ipv6Addr::UNSPECIFIED);
        assert_eq!(socket().udp.local_addr().unwrap().ip(), Ipv4Addr::new(127, 0, 1, 2));
    }

    #[test]
    fn an_answer_after_a_later_one_is_reordered() {
        let mut socket = socket();
        for number in [0, 3, 1, 2, 4] {
            socket.delivered(number, 32);
        }
        let Tally { delivered, reordered, reordered_by_most, delivered_bytes, .. } = socket.tally;
        assert_eq!((delivered, reordered, reordered_by_most, delivered_bytes), (5, 2, 2, 160));
    }

    #[test]
    fn what_was_sent_is_delivered_lost_or_wrong() {
        let mut socket = socket();
        socket.tally = Tally { sent: 10, delivered: 6, corrupt: 1, foreign: 9, ..Tally::default() };
        let flow = socket.flow();
        assert_eq!((flow.from, flow.tally.lost, flow.tally.foreign), (3, 3, 0));
    }
}
