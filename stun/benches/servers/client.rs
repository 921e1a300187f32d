//! One socket of the load generator: asks in bursts, and checks every answer.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use ferry_stun::client::{self, BindingResponse};
use ferry_stun::{HEADER_BYTES, MAGIC_COOKIE, TransactionId};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use crate::subject::Expected;

/// A Tailscale client's request: every server here answers it.
const REQUEST_BYTES: usize = 40;
/// Room for one answer.
const ANSWER_BYTES: usize = 2048;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Right answers.
    pub(crate) answers: u64,
    /// Requests whose answer never came, or came after that of a later one.
    pub(crate) lost: u64,
    /// Answers to requests that had been given up.
    pub(crate) late: u64,
    /// Answers that are none.
    pub(crate) wrong: u64,
    /// What was wrong with the first of them.
    pub(crate) first_wrong: Option<String>,
}

/// Where datagrams are read to: a batch at a time, one socket after the other.
pub(crate) struct Inbox<'m> {
    buffers: Vec<IoSliceMut<'m>>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl<'m> Inbox<'m> {
    /// Memory for [`new`](Self::new).
    pub(crate) fn memory() -> Vec<u8> {
        vec![0; BATCH_SIZE * ANSWER_BYTES]
    }

    pub(crate) fn new(memory: &'m mut [u8]) -> Self {
        let buffers = memory.chunks_exact_mut(ANSWER_BYTES).map(IoSliceMut::new).collect();
        Self { buffers, metas: [RecvMeta::default(); BATCH_SIZE] }
    }
}

/// A client of one server.
pub(crate) struct Client {
    socket: UdpSocket,
    state: UdpSocketState,
    target: SocketAddr,
    local_address: SocketAddr,
    expected: Expected,
    /// What every answer of derper to this client ends with, after the header.
    derper_attribute: [u8; 12],
    /// Its place among the clients of this run, in every transaction ID.
    index: u32,
    /// The number of the next request, in its transaction ID.
    next: u32,
    /// Numbers of the requests under way, in the order sent.
    under_way: VecDeque<u32>,
    /// Requests of one burst.
    burst: Vec<u8>,
    request: Vec<u8>,
}

impl Client {
    /// The `index`th client; each has a source address of its own, 127.0.1.1 and on.
    pub(crate) fn new(index: u32, target: SocketAddr, expected: Expected) -> anyhow::Result<Self> {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 1)) + index);
        let socket = UdpSocket::bind((source, 0)).with_context(|| format!("cannot ask from {source}"))?;
        // From then on the kernel drops what comes from elsewhere.
        socket.connect(target)?;
        let SocketAddr::V4(local) = socket.local_addr()? else { anyhow::bail!("bound to IPv4, got IPv6") };
        let state = UdpSocketState::new((&socket).into())?;
        let ip = u32::from(*local.ip()) ^ MAGIC_COOKIE;
        let port = local.port() ^ (MAGIC_COOKIE >> 16) as u16;
        let mut derper_attribute = [0x00, 0x20, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0];
        derper_attribute[6..8].copy_from_slice(&port.to_be_bytes());
        derper_attribute[8..].copy_from_slice(&ip.to_be_bytes());
        Ok(Self {
            socket,
            state,
            target,
            local_address: local.into(),
            expected,
            derper_attribute,
            index,
            next: 0,
            under_way: VecDeque::new(),
            burst: Vec::new(),
            request: Vec::new(),
        })
    }

    /// Requests under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Sends so many requests in one system call. At most 64, which is the kernel's limit too.
    pub(crate) fn ask(&mut self, count: usize) -> io::Result<()> {
        debug_assert!(count <= 64, "{count} segments");
        self.burst.clear();
        for _ in 0..count {
            let id = self.transaction_id(self.next);
            self.burst.extend_from_slice(client::write_tailscale_request(id, &mut self.request));
            self.under_way.push_back(self.next);
            self.next += 1;
        }
        let segment_size = (count > 1).then_some(REQUEST_BYTES);
        let transmit = Transmit {
            destination: self.target,
            ecn: None,
            contents: &self.burst,
            segment_size,
            src_ip: None,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    /// Reads and checks at most a batch of what has come. Pushes the number of each request answered.
    pub(crate) fn receive(
        &mut self,
        inbox: &mut Inbox<'_>,
        tally: &mut Tally,
        answered: &mut Vec<u32>,
    ) -> io::Result<()> {
        let Inbox { buffers, metas } = inbox;
        let count = match self.state.recv((&self.socket).into(), buffers, metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        for (buffer, meta) in buffers.iter().zip(metas.iter()).take(count) {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                match self.check(datagram) {
                    Ok(number) => self.settle(number, tally, answered),
                    Err(wrong) => {
                        tally.wrong += 1;
                        tally.first_wrong.get_or_insert_with(|| format!("{wrong}: {datagram:02x?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits no longer for what is under way.
    pub(crate) fn give_up(&mut self, tally: &mut Tally) {
        tally.lost += self.under_way.len() as u64;
        self.under_way.clear();
    }

    /// Which request it answers, if it answers rightly.
    fn check(&self, datagram: &[u8]) -> Result<u32, &'static str> {
        let Some((header, attributes)) = datagram.split_at_checked(HEADER_BYTES) else {
            return Err("shorter than a header");
        };
        let number = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
        if header[8..] != *self.transaction_id(number).as_bytes() || number >= self.next {
            return Err("transaction ID of no request");
        }
        match self.expected {
            Expected::Echo if datagram.len() != REQUEST_BYTES => return Err("no echo"),
            Expected::Derper => {
                if header[..8] != [0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42]
                    || attributes != self.derper_attribute
                {
                    return Err("not derper's answer");
                }
            }
            Expected::Any => match BindingResponse::parse(datagram) {
                Ok(response) if response.mapped_address == self.local_address => {}
                Ok(_) => return Err("another's address"),
                Err(_) => return Err("no success response"),
            },
            Expected::Echo => {}
        }
        Ok(number)
    }

    /// Takes a request off the list. A server of one thread answers in order, so what was asked before an
    /// answered request and is still under way is lost.
    fn settle(&mut self, number: u32, tally: &mut Tally, answered: &mut Vec<u32>) {
        let Some(before) = self.under_way.iter().position(|&asked| asked == number) else {
            tally.late += 1;
            return;
        };
        self.under_way.drain(..=before);
        tally.lost += before as u64;
        tally.answers += 1;
        answered.push(number);
    }

    fn transaction_id(&self, number: u32) -> TransactionId {
        let mut id = *b"load________";
        id[4..8].copy_from_slice(&self.index.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        TransactionId::new(id)
    }
}
