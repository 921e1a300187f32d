//! Answers to STUN, without a limit.

use std::io;
use std::time::Instant;

use ferry_stun::{Arrival, Budgets, Limits, Options, Outcome, Responder};
use mio::net::UdpSocket;

/// Datagrams answered before the relay's clients get their turn.
const DATAGRAMS_PER_TURN: usize = 1_024;
/// Longer than any request; what is longer is cut, and then no STUN.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// The STUN server.
#[derive(Debug)]
pub(super) struct Stun {
    socket: UdpSocket,
    responder: Responder,
    budgets: Budgets,
    datagram: Vec<u8>,
    answer: Vec<u8>,
}

impl Stun {
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            responder: Responder::new(Options::default()),
            // Without limits there is no sketch to be seeded, and no time in it.
            budgets: Budgets::new(Limits::NONE, 0, Instant::now()),
            datagram: vec![0; DATAGRAM_BYTES_MAX],
            answer: Vec::new(),
        }
    }

    pub(super) const fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Answers what is there; says whether there may be more.
    pub(super) fn answer(&mut self) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            let (length, source) = match self.socket.recv_from(&mut self.datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // What an earlier answer met on its way (ICMP) is told here.
                Err(_) => continue,
            };
            let arrival = Arrival::from(source);
            let datagram = &self.datagram[..length];
            let outcome = self.responder.answer(datagram, &arrival, &mut self.budgets, &mut self.answer);
            if let Outcome::Answer(reply) | Outcome::Error(reply, _) = outcome {
                // A full socket loses datagrams, as anybody's would.
                let _ = self.socket.send_to(&self.answer, reply.to);
            }
        }
        true
    }
}
