//! From what each destination saw to a verdict on the mapping.

use std::net::SocketAddr;

use super::verdict::{Mapping, Reason};

/// One destination that a socket asked, and the address that it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) destination: SocketAddr,
    pub(super) mapped: SocketAddr,
}

/// How one socket's mapping differs between destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Variation {
    /// Between ports of one address; `None` if no address was asked on two ports.
    by_port: Option<bool>,
    /// Between addresses.
    by_address: Option<bool>,
    /// Between two answers of one destination, which no mapping does.
    contradicts: bool,
}

impl Variation {
    /// Compares every destination with every other.
    pub(super) fn of(observations: &[Observation]) -> Self {
        let mut variation = Self::default();
        for (index, a) in observations.iter().enumerate() {
            for b in observations.iter().skip(index + 1) {
                let differs = a.mapped != b.mapped;
                let seen = if a.destination == b.destination {
                    variation.contradicts |= differs;
                    continue;
                } else if a.destination.ip() == b.destination.ip() {
                    &mut variation.by_port
                } else {
                    &mut variation.by_address
                };
                *seen = Some(seen.unwrap_or(false) || differs);
            }
        }
        variation
    }

    /// Whether destinations see different addresses at all.
    pub(super) fn by_destination(self) -> Option<bool> {
        match (self.by_address, self.by_port) {
            (_, Some(true)) => Some(true),
            (by_address, _) => by_address,
        }
    }

    /// RFC 5780 section 4.3, for as many destinations as there are. A mapping that differs between ports of
    /// one address is taken for the strictest kind.
    pub(super) fn verdict(self) -> Result<Mapping, Reason> {
        if self.contradicts {
            return Err(Reason::Contradiction);
        }
        match (self.by_address, self.by_port) {
            (_, Some(true)) => Ok(Mapping::AddressAndPortDependent),
            (Some(false), _) => Ok(Mapping::EndpointIndependent),
            (Some(true), Some(false)) => Ok(Mapping::AddressDependent),
            (Some(true), None) => Err(Reason::OnePort),
            (None, _) => Err(Reason::OneAddress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(seen: &[(&str, u16)]) -> Result<Mapping, Reason> {
        let observations: Vec<_> = seen
            .iter()
            .map(|(destination, port)| Observation {
                destination: destination.parse().expect("test address"),
                mapped: SocketAddr::from(([203, 0, 113, 1], *port)),
            })
            .collect();
        Variation::of(&observations).verdict()
    }

    #[test]
    fn each_kind_is_told_by_what_differs() {
        let (a, b, c) = ("192.0.2.1:3478", "192.0.2.2:3478", "192.0.2.2:3479");
        assert_eq!(verdict(&[(a, 1), (b, 1), (c, 1)]), Ok(Mapping::EndpointIndependent));
        assert_eq!(verdict(&[(a, 1), (b, 2), (c, 2)]), Ok(Mapping::AddressDependent));
        assert_eq!(verdict(&[(a, 1), (b, 2), (c, 3)]), Ok(Mapping::AddressAndPortDependent));
        // A port-preserving NAT that only gives way on a collision.
        assert_eq!(verdict(&[(a, 1), (b, 1), (c, 3)]), Ok(Mapping::AddressAndPortDependent));
    }

    #[test]
    fn what_was_not_asked_is_not_known() {
        let (a, p, b) = ("192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478");
        assert_eq!(verdict(&[]), Err(Reason::OneAddress));
        assert_eq!(verdict(&[(a, 1)]), Err(Reason::OneAddress));
        assert_eq!(verdict(&[(a, 1), (p, 1)]), Err(Reason::OneAddress));
        assert_eq!(verdict(&[(a, 1), (p, 2)]), Ok(Mapping::AddressAndPortDependent));
        assert_eq!(verdict(&[(a, 1), (b, 1)]), Ok(Mapping::EndpointIndependent));
        assert_eq!(verdict(&[(a, 1), (b, 2)]), Err(Reason::OnePort));
        assert_eq!(verdict(&[(a, 1), (a, 2), (b, 2)]), Err(Reason::Contradiction));
    }
}
