//! TCP to one host: both families and all addresses, until the first takes the connection.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{ADDRESS_DELAY, ADDRESSES_MAX, IPV4_DELAY, Ticket, is_ipv6};

/// Attempts to connect to the addresses of one host; at most [`ADDRESSES_MAX`] of each family.
#[derive(Debug)]
pub(super) struct Race {
    /// IPv6, IPv4.
    lanes: [Lane; 2],
    /// Attempts that are under way.
    running: Vec<(Ticket, SocketAddr)>,
}

/// The addresses of one family.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<SocketAddr>,
    /// When the next is tried.
    next_at: Instant,
}

/// What a race wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To connect to this address.
    Connect(SocketAddr),
    /// To be asked again at this time, if there is one.
    Wait(Option<Instant>),
    /// Nothing: all addresses failed.
    Lost,
}

impl Race {
    /// A race to these addresses; where IPv6 is thought to work, it has a head start.
    pub(super) fn new(now: Instant, addresses: &[IpAddr], port: u16, prefer_ipv6: bool) -> Self {
        let lane = |ipv6: bool, next_at: Instant| {
            let of_family = addresses.iter().filter(|ip| is_ipv6(ip) == ipv6).take(ADDRESSES_MAX);
            Lane { waiting: of_family.map(|ip| SocketAddr::new(*ip, port)).collect(), next_at }
        };
        let ipv6 = lane(true, now);
        let head_start = prefer_ipv6 && !ipv6.waiting.is_empty();
        let ipv4 = lane(false, if head_start { now + IPV4_DELAY } else { now });
        Self { lanes: [ipv6, ipv4], running: Vec::new() }
    }

    /// What to do next.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let mut wake: Option<Instant> = None;
        for lane in &mut self.lanes {
            if lane.waiting.is_empty() {
                continue;
            }
            if lane.next_at > now {
                wake = Some(wake.map_or(lane.next_at, |wake| wake.min(lane.next_at)));
                continue;
            }
            lane.next_at = now + ADDRESS_DELAY;
            if let Some(address) = lane.waiting.pop_front() {
                return Next::Connect(address);
            }
        }
        if wake.is_none() && self.running.is_empty() { Next::Lost } else { Next::Wait(wake) }
    }

    /// The attempt has this ticket.
    pub(super) fn started(&mut self, ticket: Ticket, address: SocketAddr) {
        self.running.push((ticket, address));
    }

    /// The address of an attempt that is over; None if it is none of this race's.
    pub(super) fn ended(&mut self, now: Instant, ticket: Ticket) -> Option<SocketAddr> {
        let index = self.running.iter().position(|(running, _)| *running == ticket)?;
        let (_, address) = self.running.swap_remove(index);
        // The next of its family need not wait; nor has IPv4 anything to wait for once IPv6 has nothing left.
        let ipv6_is_out =
            !self.running.iter().any(|(_, address)| address.is_ipv6()) && self.lanes[0].waiting.is_empty();
        let [ipv6, ipv4] = &mut self.lanes;
        if address.is_ipv6() {
            ipv6.next_at = now;
        }
        if address.is_ipv4() || ipv6_is_out {
            ipv4.next_at = ipv4.next_at.min(now);
        }
        Some(address)
    }

    /// All that is under way, to be stopped.
    pub(super) fn into_running(self) -> impl Iterator<Item = Ticket> {
        self.running.into_iter().map(|(ticket, _)| ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn both_families_start_at_once_where_nothing_is_known_of_ipv6() {
        let now = Instant::now();
        let mut race = race(now, &["2001:db8::1", "192.0.2.1"], false);
        assert_eq!(connect(&mut race, now, 1), "[2001:db8::1]:443");
        assert_eq!(connect(&mut race, now, 2), "192.0.2.1:443");
        assert_eq!(race.next(now), Next::Wait(None));
    }

    #[test]
    fn ipv6_has_a_head_start_where_it_works_and_loses_it_when_it_fails() {
        let now = Instant::now();
        let mut race = race(now, &["2001:db8::1", "192.0.2.1"], true);
        connect(&mut race, now, 1);
        assert_eq!(race.next(now), Next::Wait(Some(now + 200 * MS)));
        assert!(race.ended(now + 10 * MS, ticket(1)).is_some());
        assert_eq!(connect(&mut race, now + 10 * MS, 2), "192.0.2.1:443");
    }

    #[test]
    fn without_an_ipv6_address_ipv4_waits_for_nothing() {
        let now = Instant::now();
        assert_eq!(connect(&mut race(now, &["192.0.2.1"], true), now, 1), "192.0.2.1:443");
    }

    #[test]
    fn the_next_address_starts_after_250_ms_or_when_the_one_before_failed() {
        let now = Instant::now();
        let mut race = race(now, &["192.0.2.1", "192.0.2.2", "192.0.2.3"], false);
        connect(&mut race, now, 1);
        assert_eq!(race.next(now), Next::Wait(Some(now + 250 * MS)));
        assert_eq!(connect(&mut race, now + 250 * MS, 2), "192.0.2.2:443");
        race.ended(now + 260 * MS, ticket(1));
        assert_eq!(connect(&mut race, now + 260 * MS, 3), "192.0.2.3:443");
        race.ended(now + 270 * MS, ticket(2));
        assert_eq!(race.next(now + 270 * MS), Next::Wait(None), "one is still under way");
        race.ended(now + 280 * MS, ticket(3));
        assert_eq!(race.next(now + 280 * MS), Next::Lost);
    }

    #[test]
    fn of_many_addresses_the_first_four_are_tried() {
        let now = Instant::now();
        let many: Vec<String> = (1..=100).map(|host| format!("192.0.2.{host}")).collect();
        let mut race = race(now, &many.iter().map(String::as_str).collect::<Vec<_>>(), false);
        for number in 1..=4 {
            connect(&mut race, now, number);
            race.ended(now, ticket(number));
        }
        assert_eq!(race.next(now), Next::Lost);
    }

    #[test]
    fn an_attempt_of_another_race_changes_nothing() {
        let now = Instant::now();
        let mut race = race(now, &["192.0.2.1"], false);
        connect(&mut race, now, 1);
        assert_eq!(race.ended(now, ticket(9)), None);
        assert_eq!(race.into_running().collect::<Vec<_>>(), [ticket(1)]);
    }

    fn race(now: Instant, addresses: &[&str], prefer_ipv6: bool) -> Race {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Race::new(now, &addresses, 443, prefer_ipv6)
    }

    fn connect(race: &mut Race, now: Instant, number: u32) -> String {
        let Next::Connect(address) = race.next(now) else { panic!("no address is due") };
        race.started(ticket(number), address);
        address.to_string()
    }

    fn ticket(number: u32) -> Ticket {
        Ticket { dial: 0, number }
    }
}
