//! NATs by the words of RFC 4787, and firewalls.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferry_stun::discovery::{Filtering, Mapping, PortAllocation};

use super::Random;

/// What stands between the host and the servers.
#[derive(Clone, Debug)]
pub(crate) struct Nat {
    pub(crate) mapping: Mapping,
    pub(crate) filtering: Filtering,
    pub(crate) allocation: PortAllocation,
    /// Whether datagrams to an external address come back in, and with which source.
    pub(crate) hairpin: Option<HairpinSource>,
    /// The external addresses; a socket gets one of them. Empty: no translation.
    pub(crate) external_ips: Vec<IpAddr>,
    /// The host's address inside.
    pub(crate) host: IpAddr,
    /// How long a binding lives without a datagram from inside.
    pub(crate) lifetime: Duration,
    /// Nothing passes.
    pub(crate) blocked: bool,
    bindings: Vec<Binding>,
    next_port: u16,
    random: Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HairpinSource {
    External,
    Internal,
}

#[derive(Clone, Debug)]
struct Binding {
    internal: SocketAddr,
    external: SocketAddr,
    /// The destination, or as much of it as the mapping depends on.
    towards: Option<(IpAddr, Option<u16>)>,
    /// Where was sent to.
    sent_to: Vec<SocketAddr>,
    last_used: Instant,
}

impl Nat {
    /// A NAT with one external address, ports in random order and no hairpinning.
    pub(crate) fn new(mapping: Mapping, filtering: Filtering, seed: u64) -> Self {
        Self {
            mapping,
            filtering,
            allocation: PortAllocation::Random,
            hairpin: None,
            external_ips: vec![IpAddr::from([203, 0, 113, 7])],
            host: IpAddr::from([192, 168, 1, 2]),
            lifetime: Duration::from_secs(120),
            blocked: false,
            bindings: Vec::new(),
            next_port: 20_000,
            random: Random::new(seed ^ 0x4E41_5400),
        }
    }

    /// A firewall that translates nothing.
    pub(crate) fn firewall(filtering: Filtering) -> Self {
        let mut firewall = Self::new(Mapping::EndpointIndependent, filtering, 0);
        firewall.external_ips.clear();
        firewall
    }

    pub(crate) const fn host(&self) -> IpAddr {
        self.host
    }

    /// Whether an address is the NAT's own.
    pub(crate) fn is_external(&self, address: SocketAddr) -> bool {
        self.external_ips.contains(&address.ip())
    }

    /// Where a datagram seems to come from, outside.
    pub(crate) fn outbound(&mut self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        if self.blocked {
            return None;
        }
        let lifetime = self.lifetime;
        self.bindings.retain(|binding| now.duration_since(binding.last_used) < lifetime);
        let towards = match self.mapping {
            Mapping::EndpointIndependent => None,
            Mapping::AddressDependent => Some((to.ip(), None)),
            Mapping::AddressAndPortDependent => Some((to.ip(), Some(to.port()))),
        };
        let found = self.bindings.iter().position(|it| it.internal == from && it.towards == towards);
        let place = found.unwrap_or_else(|| {
            let external = self.allocate(from);
            let binding = Binding { internal: from, external, towards, sent_to: Vec::new(), last_used: now };
            self.bindings.push(binding);
            self.bindings.len() - 1
        });
        let binding = &mut self.bindings[place];
        binding.last_used = now;
        binding.sent_to.push(to);
        Some(binding.external)
    }

    /// Which socket of the host gets a datagram from outside, if any.
    pub(crate) fn inbound(&self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let binding = self.bindings.iter().find(|binding| {
            binding.external == to && now.duration_since(binding.last_used) < self.lifetime
        })?;
        let open = match self.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => binding.sent_to.iter().any(|sent| sent.ip() == from.ip()),
            Filtering::AddressAndPortDependent => binding.sent_to.contains(&from),
        };
        open.then_some(binding.internal)
    }

    /// What the receiver of a hairpinned datagram sees as its source; `None` without hairpinning.
    pub(crate) fn hairpin_source(&self, internal: SocketAddr, external: SocketAddr) -> Option<SocketAddr> {
        self.hairpin.map(|source| match source {
            HairpinSource::External => external,
            HairpinSource::Internal => internal,
        })
    }

    fn allocate(&mut self, internal: SocketAddr) -> SocketAddr {
        let Some(last) = self.external_ips.len().checked_sub(1) else { return internal };
        let ip = self.external_ips[self.random.below(last as u64 + 1) as usize];
        let mut port = match self.allocation {
            PortAllocation::Preserved => internal.port(),
            PortAllocation::Parity => self.random_port() & !1 | internal.port() & 1,
            PortAllocation::Sequential { step } => {
                self.next_port = self.next_port.wrapping_add(step);
                self.next_port
            }
            PortAllocation::Random => self.random_port(),
        };
        // Taken, by another socket or by another destination of the same.
        while self.bindings.iter().any(|binding| binding.external == SocketAddr::new(ip, port)) {
            port = self.random_port();
        }
        SocketAddr::new(ip, port)
    }

    fn random_port(&mut self) -> u16 {
        1024 + self.random.below(64_000) as u16
    }
}
