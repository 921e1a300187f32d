//! Two nodes, a clock, and a network that loses and records.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use ferry_stun::partner::{
    Content, Envelope, Forward, Here, Node, Now, PartnerKey, PartnerLimits, PartnerRefusal, PartnerState,
    Sealer, Seeds, Service, Services,
};
use ferry_stun::{MessageType, MessageWriter, TransactionId};

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

pub(crate) const CLIENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 41641));

/// A forward that lacks its answer.
pub(crate) const FORWARD: Forward<'static> = Forward { to: CLIENT, from_port: 3478, answer: &[] };

pub(crate) struct Network {
    pub(crate) nodes: [Node; 2],
    pub(crate) epochs: [u64; 2],
    pub(crate) here: [Here; 2],
    /// Each machine's wall clock minus the true time.
    pub(crate) ahead_millis: [i64; 2],
    /// Whether what each machine sends is lost.
    pub(crate) cut: [bool; 2],
    /// Whatever was sent, and to whom.
    pub(crate) recorded: Vec<(usize, Vec<u8>)>,
    limits: PartnerLimits,
    delay: Duration,
    begin: Instant,
    elapsed: Duration,
    /// On its way: when it arrives, to whom.
    flying: Vec<(Duration, usize, Vec<u8>)>,
}

impl Network {
    /// Two machines that have just started, and serve IPv4.
    pub(crate) fn new(delay: Duration) -> Self {
        Self::with_limits(delay, PartnerLimits::default())
    }

    pub(crate) fn with_limits(delay: Duration, limits: PartnerLimits) -> Self {
        let begin = Instant::now();
        let epochs = [11, 22];
        let node = |epoch| Node::new(&key(), limits, Seeds { epoch, budgets: epoch }, begin);
        let here = |ip| Here { services: Services { ipv4: service(ip), ipv6: None }, bound: [None; 2] };
        let mut network = Self {
            nodes: epochs.map(node),
            epochs,
            here: [here("192.0.2.1"), here("192.0.2.2")],
            ahead_millis: [0; 2],
            cut: [false; 2],
            recorded: Vec::new(),
            limits,
            delay,
            begin,
            elapsed: Duration::ZERO,
            flying: Vec::new(),
        };
        for machine in [A, B] {
            network.set_services(machine, network.here[machine].services);
        }
        network
    }

    /// Two machines that have long found each other.
    pub(crate) fn up() -> Self {
        let mut network = Self::new(Duration::from_millis(1));
        network.run(Duration::from_millis(10_500));
        assert_eq!((network.state(A), network.state(B)), (PartnerState::Up, PartnerState::Up));
        network
    }

    pub(crate) fn state(&self, machine: usize) -> PartnerState {
        self.nodes[machine].state().clone()
    }

    pub(crate) fn set_services(&mut self, machine: usize, services: Services) {
        self.here[machine].services = services;
        let (now, mut sent) = (self.now(machine), Vec::new());
        let here = self.here[machine];
        self.nodes[machine].set_here(here, now, &mut |datagram| sent.push(datagram.to_vec()));
        self.send(machine, sent);
    }

    /// The machine's channel is closed; the node goes on, so a test cuts it off.
    pub(crate) fn leave(&mut self, machine: usize) {
        let (now, mut sent) = (self.now(machine), Vec::new());
        self.nodes[machine].leave(now, &mut |datagram| sent.push(datagram.to_vec()));
        self.send(machine, sent);
        self.cut[machine] = true;
    }

    /// The machine's program starts again: it has forgotten everything.
    pub(crate) fn restart(&mut self, machine: usize) {
        self.epochs[machine] += 1000;
        let seeds = Seeds { epoch: self.epochs[machine], budgets: 1 };
        self.nodes[machine] = Node::new(&key(), self.limits, seeds, self.begin + self.elapsed);
        self.set_services(machine, self.here[machine].services);
    }

    /// Lives through a time.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.elapsed + time;
        loop {
            for machine in [A, B] {
                let now = self.now(machine);
                let mut sent = Vec::new();
                self.nodes[machine].poll(now, &mut |datagram| sent.push(datagram.to_vec()));
                self.send(machine, sent);
            }
            let arrival = self.flying.iter().map(|(at, ..)| *at).min();
            let now = self.begin + self.elapsed;
            let wakes = self.nodes.each_ref().map(|node| node.next_wake(now) - self.begin);
            let next = wakes.into_iter().chain(arrival).min().expect("two wakes");
            if next > end {
                break;
            }
            self.elapsed = next;
            while let Some(place) = self.flying.iter().position(|(at, ..)| *at <= next) {
                let (_, machine, datagram) = self.flying.remove(place);
                let _ = self.deliver(machine, &datagram);
            }
        }
        self.elapsed = end;
        for machine in [A, B] {
            let now = self.now(machine);
            let mut sent = Vec::new();
            self.nodes[machine].poll(now, &mut |datagram| sent.push(datagram.to_vec()));
            self.send(machine, sent);
        }
    }

    /// Hands a datagram to a machine; the client of a forward that it takes.
    pub(crate) fn deliver(
        &mut self,
        machine: usize,
        datagram: &[u8],
    ) -> Result<Option<SocketAddr>, PartnerRefusal> {
        let (now, mut sent) = (self.now(machine), Vec::new());
        let taken = self.nodes[machine].receive(datagram, now, &mut |datagram| sent.push(datagram.to_vec()));
        let taken = taken.map(|forward| forward.map(|forward| forward.to));
        self.send(machine, sent);
        taken
    }

    /// What a machine would send to have the other answer the client.
    pub(crate) fn sealed_forward(&self, from: usize, number: u64) -> Vec<u8> {
        let unix_millis = self.unix_millis(from);
        let envelope = Envelope { unix_millis, from: self.epochs[from], to: self.epochs[1 - from], number };
        self.seal(&envelope, &Content::Forward(Forward { answer: &answer(), ..FORWARD }))
    }

    pub(crate) fn seal(&self, envelope: &Envelope, content: &Content<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Sealer::new(&key()).seal(envelope, content, &mut out);
        out
    }

    pub(crate) fn unix_millis(&self, machine: usize) -> u64 {
        (1_700_000_000_000 + self.elapsed.as_millis() as u64)
            .saturating_add_signed(self.ahead_millis[machine])
    }

    fn now(&self, machine: usize) -> Now {
        Now { instant: self.begin + self.elapsed, unix_millis: self.unix_millis(machine) }
    }

    fn send(&mut self, from: usize, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            self.recorded.push((1 - from, datagram.clone()));
            if !self.cut[from] {
                self.flying.push((self.elapsed + self.delay, 1 - from, datagram));
            }
        }
    }
}

fn key() -> PartnerKey {
    PartnerKey::from_bytes([1; 32]).expect("not zero")
}

pub(crate) fn service(ip: &str) -> Option<Service> {
    Some(Service::new(ip.parse::<IpAddr>().expect("test address"), [3478, 3479]))
}

/// What the client is to get.
pub(crate) fn answer() -> Vec<u8> {
    answer_to(CLIENT)
}

pub(crate) fn answer_to(client: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, TransactionId::new([7; 12]))
        .xor_mapped_address(client)
        .finish();
    out
}
