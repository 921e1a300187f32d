//! A network in memory: a host, the NAT or firewall before it, servers, and time that is only counted.

#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod nat;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferry_stun::discovery::{Machine, Output, SocketId};
use ferry_stun::{AttributeType, ErrorCode, Message, MessageType, MessageWriter, TransactionId};

use nat::Nat;
use server::Server;

/// splitmix64: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, `end` excluded.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn transaction_id(&mut self) -> TransactionId {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes()[..4]);
        TransactionId::new(bytes)
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) nat: Nat,
    pub(crate) servers: Vec<Server>,
    /// Lost per thousand datagrams, each way.
    pub(crate) loss_permille: u64,
    /// One way.
    pub(crate) latency: Duration,
    /// Sockets that cannot be opened.
    pub(crate) unopenable: Vec<usize>,
    /// Strangers who cannot read the path send forged answers ahead of each real one, and one who can
    /// read it answers plain requests from his own address.
    pub(crate) hostile: bool,
    /// Transaction IDs of requests with CHANGE-REQUEST, whose answers may come from anywhere.
    changes: Vec<TransactionId>,
    /// Datagrams that the host sent.
    pub(crate) sent: usize,
    random: Random,
    host: std::net::IpAddr,
    sockets: Vec<(SocketId, SocketAddr)>,
    /// By arrival, then in the order of sending.
    in_flight: BTreeMap<(Instant, usize), Datagram>,
    pub(crate) now: Instant,
}

impl World {
    pub(crate) fn new(nat: Nat, servers: Vec<Server>, seed: u64) -> Self {
        Self {
            host: nat.host(),
            nat,
            servers,
            loss_permille: 0,
            latency: Duration::from_millis(20),
            unopenable: Vec::new(),
            hostile: false,
            changes: Vec::new(),
            sent: 0,
            random: Random::new(seed),
            sockets: Vec::new(),
            in_flight: BTreeMap::new(),
            now: Instant::now(),
        }
    }

    /// Lives through a whole run.
    pub(crate) fn run<M: Machine>(&mut self, machine: &mut M) -> M::Found {
        loop {
            match machine.poll(self.now) {
                Output::Open(id) if self.unopenable.contains(&id.index()) => machine.failed(id),
                Output::Open(id) => {
                    let local = SocketAddr::new(self.host, self.free_port());
                    self.sockets.push((id, local));
                    machine.opened(id, local);
                }
                Output::Send { socket, to, payload } => {
                    let from = self.sockets.iter().find(|(id, _)| *id == socket).expect("an open socket").1;
                    self.sent += 1;
                    self.leave_host(Datagram { from, to, payload });
                }
                Output::Wait(until) => {
                    assert!(until > self.now, "a wait for what has been");
                    self.wait(machine, until);
                }
                Output::Done(found) => return found,
            }
        }
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = 32_768 + self.random.below(28_000) as u16;
            if self.sockets.iter().all(|(_, local)| local.port() != port) {
                return port;
            }
        }
    }

    /// Lets time pass to the next arrival or to `until`.
    fn wait<M: Machine>(&mut self, machine: &mut M, until: Instant) {
        match self.in_flight.first_key_value() {
            Some(((at, _), _)) if *at <= until => {
                let ((at, _), datagram) = self.in_flight.pop_first().expect("looked at above");
                self.now = at;
                self.arrive(machine, datagram);
            }
            _ => self.now = until,
        }
    }

    fn arrive<M: Machine>(&mut self, machine: &mut M, datagram: Datagram) {
        let Datagram { from, to, payload } = datagram;
        if let Some(&(socket, _)) = self.sockets.iter().find(|(_, local)| *local == to) {
            if self.hostile {
                self.forge(machine, socket, from, &payload);
            }
            machine.handle(self.now, socket, from, &payload);
            return;
        }
        let Some(server) = self.servers.iter_mut().find(|server| server.listens_on(to)) else { return };
        if let Some((origin, destination, answer)) = server.answer(self.now, from, to, &payload) {
            self.travel_in(Datagram { from: origin, to: destination, payload: answer });
        }
    }

    /// What must not change anything.
    fn forge<M: Machine>(&mut self, machine: &mut M, socket: SocketId, from: SocketAddr, payload: &[u8]) {
        let Ok(message) = Message::parse(payload) else { return };
        let lie = |message_type, id| {
            let mut bytes = Vec::new();
            MessageWriter::new(&mut bytes, message_type, id)
                .xor_mapped_address(SocketAddr::from(([6, 6, 6, 6], 666)))
                .error_code(ErrorCode::UNKNOWN_ATTRIBUTE)
                .finish();
            bytes
        };
        for message_type in [MessageType::BINDING_SUCCESS, MessageType::BINDING_ERROR] {
            // From the right address, but the transaction ID can only be guessed.
            let guess = self.random.transaction_id();
            machine.handle(self.now, socket, from, &lie(message_type, guess));
            if self.changes.contains(&message.transaction_id()) {
                continue;
            }
            // The right ID from the wrong address, or to the wrong socket.
            let id = message.transaction_id();
            let elsewhere = SocketAddr::from(([6, 6, 6, 6], 3478));
            machine.handle(self.now, socket, elsewhere, &lie(message_type, id));
            let other_port = SocketAddr::new(from.ip(), from.port() ^ 1);
            machine.handle(self.now, socket, other_port, &lie(message_type, id));
            for (other, _) in self.sockets.iter().filter(|(other, _)| *other != socket) {
                machine.handle(self.now, *other, from, &lie(message_type, id));
            }
        }
        let end = self.random.below(payload.len() as u64) as usize;
        machine.handle(self.now, socket, from, &payload[..end]);
        machine.handle(self.now, socket, from, &[payload, &[0; 2000]].concat());
    }

    /// From a socket of the host through the NAT.
    fn leave_host(&mut self, datagram: Datagram) {
        let Datagram { from, to, payload } = datagram;
        let request = Message::parse(&payload).expect("our requests are messages");
        if request.attribute(AttributeType::CHANGE_REQUEST).is_some() {
            self.changes.push(request.transaction_id());
        }
        let Some(external) = self.nat.outbound(self.now, from, to) else { return };
        if !self.nat.is_external(to) {
            return self.travel(Datagram { from: external, to, payload });
        }
        let seen_from = self.nat.hairpin_source(from, external);
        if let Some((seen_from, to)) = seen_from.zip(self.nat.inbound(self.now, external, to)) {
            self.travel(Datagram { from: seen_from, to, payload });
        }
    }

    /// From outside to the NAT; filtered now, though it gets there later.
    fn travel_in(&mut self, datagram: Datagram) {
        let Datagram { from, to, payload } = datagram;
        if let Some(internal) = self.nat.inbound(self.now + self.latency, from, to) {
            self.travel(Datagram { from, to: internal, payload });
        }
    }

    fn travel(&mut self, datagram: Datagram) {
        if self.random.below(1000) < self.loss_permille {
            return;
        }
        let jitter = Duration::from_micros(self.random.below(3000));
        let sequence = self.random.next() as usize;
        self.in_flight.insert((self.now + self.latency + jitter, sequence), datagram);
    }
}
