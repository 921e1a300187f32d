//! Servers: one written from RFC 5780 alone, with the faults that servers have, and the responder.

use std::net::SocketAddr;
use std::time::Instant;

use ferry_stun::{
    Alternates, Arrival, AttributeType, Budgets, Class, ErrorCode, Limits, Message, MessageType,
    MessageWriter, Options, Outcome, Profile, Responder,
};

/// A server with up to two addresses and two ports.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// A1:P1.
    pub(crate) first: SocketAddr,
    /// A2:P2; A1:P2 if it has one address; A1:P1 if it has one of each.
    pub(crate) other: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) fault: Fault,
    /// Redirected answers that are left; `None` is no limit.
    pub(crate) redirects_left: Option<u32>,
    responder: Responder,
    budgets: Budgets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Written for these tests, from the RFC.
    ByTheBook,
    /// The responder of this crate.
    Ferry,
    /// The responder of this crate as derper.
    Tailscale,
}

/// What a server does wrong, or does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answers 420 to RESPONSE-PORT.
    RefusesResponsePort,
    /// Answers the source whatever RESPONSE-PORT says.
    IgnoresResponsePort,
    /// Answers from where it was asked whatever CHANGE-REQUEST says.
    IgnoresChange,
    /// Its other address neither answers nor sends, though it is advertised.
    OtherAddressDead,
    /// Its other address answers, but nothing is sent from it for the first.
    PartnerDead,
    /// Sends from the other port no more after this many redirected answers. (Counted elsewhere.)
    AnswersFromWrongAddress,
    /// Its plain address attribute is rewritten by a box on the way.
    PayloadsRewritten,
}

impl Server {
    pub(crate) fn new(kind: Kind, first: &str, other: &str) -> Self {
        let profile = if kind == Kind::Tailscale { Profile::Tailscale } else { Profile::Open };
        Self {
            first: first.parse().expect("test address"),
            other: other.parse().expect("test address"),
            kind,
            fault: Fault::None,
            redirects_left: None,
            responder: Responder::new(Options { profile, ..Options::default() }),
            budgets: Budgets::new(Limits::default(), 7, Instant::now()),
        }
    }

    pub(crate) fn with(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    pub(crate) fn listens_on(&self, to: SocketAddr) -> bool {
        let own_ip = to.ip() == self.first.ip() || to.ip() == self.other.ip();
        let own_port = to.port() == self.first.port() || to.port() == self.other.port();
        own_ip && own_port
    }

    /// Where the answer is sent from, where to, and its bytes.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        if self.fault == Fault::OtherAddressDead && to.ip() != self.first.ip() {
            return None;
        }
        let (origin, destination, answer) = match self.kind {
            Kind::ByTheBook => self.by_the_book(from, to, datagram)?,
            Kind::Ferry | Kind::Tailscale => self.by_responder(now, from, to, datagram)?,
        };
        let crossed = origin.ip() != to.ip();
        if crossed && matches!(self.fault, Fault::OtherAddressDead | Fault::PartnerDead) {
            return None;
        }
        if origin != to || destination != from {
            if self.redirects_left == Some(0) {
                return None;
            }
            self.redirects_left = self.redirects_left.map(|left| left - 1);
        }
        if self.fault == Fault::AnswersFromWrongAddress {
            return Some((SocketAddr::new([192, 0, 2, 99].into(), origin.port()), destination, answer));
        }
        Some((origin, destination, answer))
    }

    fn has_other_ip(&self) -> bool {
        self.other.ip() != self.first.ip()
    }

    fn swapped(&self, address: SocketAddr, ip: bool, port: bool) -> SocketAddr {
        let swap = |here: bool| if here { self.first } else { self.other };
        let at_first_ip = (address.ip() == self.first.ip()) != ip;
        let at_first_port = (address.port() == self.first.port()) != port;
        SocketAddr::new(swap(at_first_ip).ip(), swap(at_first_port).port())
    }

    fn by_responder(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let alternates = (self.other.port() != self.first.port()).then(|| Alternates {
            asked: to,
            other_port: self.swapped(to, false, true).port(),
            other_ip: self.has_other_ip().then(|| self.swapped(to, true, false).ip()),
        });
        let mut answer = Vec::new();
        self.budgets.advance(now);
        let arrival = Arrival { source: from, alternates };
        match self.responder.answer(datagram, &arrival, &mut self.budgets, &mut answer) {
            Outcome::Answer(reply) | Outcome::Error(reply, _) => {
                Some((self.swapped(to, reply.from.other_ip, reply.from.other_port), reply.to, answer))
            }
            Outcome::Silence(_) => None,
        }
    }

    fn by_the_book(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let request = Message::parse(datagram).ok().filter(|message| message.class() == Class::Request)?;
        let id = request.transaction_id();
        let value = |kind| request.attribute(kind).map(|attribute| attribute.value.to_vec());
        let change =
            value(AttributeType::CHANGE_REQUEST).and_then(|value| value.last().copied()).unwrap_or(0);
        let port = value(AttributeType::RESPONSE_PORT).map(|value| u16::from_be_bytes([value[0], value[1]]));

        let mut out = Vec::new();
        let one_port = self.other.port() == self.first.port();
        let refused = if change & 4 != 0 && !self.has_other_ip() || change != 0 && one_port {
            Some(AttributeType::CHANGE_REQUEST)
        } else if port.is_some() && self.fault == Fault::RefusesResponsePort {
            Some(AttributeType::RESPONSE_PORT)
        } else {
            None
        };
        if let Some(kind) = refused {
            MessageWriter::new(&mut out, MessageType::BINDING_ERROR, id)
                .error_code(ErrorCode::UNKNOWN_ATTRIBUTE)
                .unknown_attributes(&[kind])
                .finish();
            return Some((to, from, out));
        }
        let change = if self.fault == Fault::IgnoresChange { 0 } else { change };
        let origin = self.swapped(to, change & 4 != 0, change & 2 != 0);
        let port = port.filter(|_| self.fault != Fault::IgnoresResponsePort);
        let destination = SocketAddr::new(from.ip(), port.unwrap_or_else(|| from.port()));
        let plain = if self.fault == Fault::PayloadsRewritten {
            SocketAddr::from(([192, 168, 1, 2], 1))
        } else {
            from
        };
        let mut writer = MessageWriter::new(&mut out, MessageType::BINDING_SUCCESS, id)
            .mapped_address(plain)
            .xor_mapped_address(from)
            .attribute(AttributeType::RESPONSE_ORIGIN, &plain_value(origin));
        if self.has_other_ip() {
            let other = self.swapped(to, true, true);
            writer = writer.attribute(AttributeType::OTHER_ADDRESS, &plain_value(other));
        }
        writer.finish();
        Some((origin, destination, out))
    }
}

/// An address attribute's value, for IPv4.
fn plain_value(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else { panic!("tests are over IPv4") };
    [&[0, 1], &address.port().to_be_bytes()[..], &address.ip().octets()[..]].concat()
}
