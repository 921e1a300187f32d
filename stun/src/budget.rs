//! What one source may cost: how often it is answered, how much more it gets than it sent, and how often what
//! strangers could aim with: an answer sent elsewhere, or one much larger than its request. Fixed memory, no
//! table of clients.

mod sketch;

use std::net::IpAddr;
use std::time::Instant;

use sketch::{Rate, Sketch};

use crate::source::Source;

/// A second's worth: a carrier-grade NAT whose clients all wake at once is not refused, and nobody gets
/// more than two seconds' worth in any one.
const REQUEST_BURST_SECS: u32 = 1;
/// As for requests.
const SURPLUS_BURST_SECS: u32 = 1;
/// Four seconds' worth, 20 by default: a client's whole discovery of NAT behaviour is one burst.
const REDIRECT_BURST_SECS: u32 = 4;

/// The limits of a server's budgets. `None` is no limit, and costs neither time nor memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams looked at per second and source address (IPv4 address, IPv6 /64). A second's worth may
    /// come at once.
    pub requests_per_second: Option<u32>,
    /// Bytes per second and source address (IPv4 address, IPv6 /64) by which answers may exceed 1.1 times
    /// their requests. A second's worth may go at once. 0: no answer is ever larger than that.
    pub surplus_bytes_per_second: Option<u32>,
    /// Answers per second and source network (IPv4 /24, IPv6 /56) that leave from another address or port,
    /// or go to another port, than the request's; or that are more than 3 times their request, which only
    /// RFC 5780's (and RFC 3489's with the server's addresses) can be. Four seconds' worth may go at once,
    /// half of it to what is merely large. 0: no answer is ever redirected or that large.
    pub redirects_per_second: Option<u32>,
}

impl Limits {
    /// No limit at all: for a server that no stranger reaches.
    pub const NONE: Self =
        Self { requests_per_second: None, surplus_bytes_per_second: None, redirects_per_second: None };
}

impl Default for Limits {
    /// What is safe to leave open on the internet. 12 KiB are 1,228 bare requests a second over IPv4 (10
    /// bytes beyond 1.1 times the request each) and 558 over IPv6 (22 bytes each).
    fn default() -> Self {
        Self {
            requests_per_second: Some(5000),
            surplus_bytes_per_second: Some(12 * 1024),
            redirects_per_second: Some(5),
        }
    }
}

/// What is left of the [`Limits`] for every source: 128 KiB for each limit, however many sources there are.
///
/// Sources share counters, so a source is never let past a limit, and seldom refused before it: all four
/// of its counters have to be spent by others. A thousand sources at their limit have fewer than one in
/// 5,000 others refused. Together, all sources get some ten thousand times the limit at most, which bounds
/// what a flood from forged addresses can have redirected.
#[derive(Clone, Debug)]
pub struct Budgets {
    requests: Option<Sketch>,
    surplus: Option<Sketch>,
    redirects: Option<Sketch>,
}

impl Budgets {
    /// Full budgets. The seed keeps strangers from finding sources that share a counter; it is drawn at random.
    #[must_use]
    pub fn new(limits: Limits, seed: u64, now: Instant) -> Self {
        let sketch = |per_second: Option<u32>, burst_secs| {
            per_second.map(|per_second| Sketch::new(Rate { per_second, burst_secs }, seed, now))
        };
        Self {
            requests: sketch(limits.requests_per_second, REQUEST_BURST_SECS),
            surplus: sketch(limits.surplus_bytes_per_second, SURPLUS_BURST_SECS),
            redirects: sketch(limits.redirects_per_second, REDIRECT_BURST_SECS),
        }
    }

    /// Tells the time, once per batch. A time before the last one changes nothing.
    pub fn advance(&mut self, now: Instant) {
        for sketch in [&mut self.requests, &mut self.surplus, &mut self.redirects].into_iter().flatten() {
            sketch.advance(now);
        }
    }

    /// Takes one request from the source's budget; false if it is spent.
    pub fn take_request(&mut self, source: IpAddr) -> bool {
        self.requests.as_mut().is_none_or(|sketch| sketch.take(host_key(source), 1))
    }

    /// Takes bytes beyond 1.1 times the request; false, and nothing taken, if fewer are left.
    pub fn take_surplus(&mut self, source: IpAddr, bytes: usize) -> bool {
        bytes == 0 || self.surplus.as_mut().is_none_or(|sketch| sketch.take(host_key(source), bytes))
    }

    /// Takes one redirected answer, of whatever size; false if none is left.
    pub fn take_redirect(&mut self, source: IpAddr) -> bool {
        self.redirects.as_mut().is_none_or(|sketch| sketch.take(network_key(source), 1))
    }

    /// Takes one answer of more than 3 times its request from what redirected answers are taken from; false if
    /// half of that is spent. A large answer that is refused shrinks, but a redirected one is missed: its client
    /// takes silence for a filter. So a crowd that only asks for its address leaves those the other half.
    pub fn take_large(&mut self, source: IpAddr) -> bool {
        self.redirects.as_mut().is_none_or(|sketch| sketch.take_of_half(network_key(source), 1))
    }
}

/// What has one budget. The IPv4 addresses stand in for the networks 0:0:a.b.c.d::/64, which nobody has.
fn host_key(source: IpAddr) -> u64 {
    match Source::from(source) {
        Source::Ipv4(address) => u64::from(address),
        Source::Ipv6(network) => network,
    }
}

/// An IPv4 /24 or an IPv6 /56: redirected and large answers are what a stranger could aim with, so neighbours
/// share them.
fn network_key(source: IpAddr) -> u64 {
    host_key(source) >> 8
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE_LEFT: Limits = Limits {
        requests_per_second: Some(0),
        surplus_bytes_per_second: Some(0),
        redirects_per_second: Some(0),
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("test address")
    }

    #[test]
    fn a_source_over_the_limit_is_refused_and_another_is_not() {
        let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
        let (greedy, modest) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!((0..6000).filter(|_| budgets.take_request(greedy)).count(), 5000);
        assert!(budgets.take_request(modest));

        assert!(budgets.take_surplus(greedy, 12 * 1024));
        assert!(!budgets.take_surplus(greedy, 1));
        assert!(budgets.take_surplus(modest, 1));
    }

    #[test]
    fn what_is_refused_is_not_taken() {
        let mut budgets = Budgets::new(Limits::default(), 1, Instant::now());
        assert!(!budgets.take_surplus(ip("192.0.2.1"), 12 * 1024 + 1));
        assert!(!budgets.take_surplus(ip("192.0.2.1"), usize::MAX));
        assert!(budgets.take_surplus(ip("192.0.2.1"), 12 * 1024));
    }

    #[test]
    fn budgets_refill_at_their_rate() {
        let start = Instant::now();
        let mut budgets = Budgets::new(Limits::default(), 1, start);
        let source = ip("192.0.2.1");
        assert_eq!((0..40).filter(|_| budgets.take_redirect(source)).count(), 20);
        budgets.advance(start + Duration::from_millis(199));
        assert!(!budgets.take_redirect(source));
        budgets.advance(start + Duration::from_millis(200));
        assert!(budgets.take_redirect(source));
        assert!(!budgets.take_redirect(source));
        budgets.advance(start + Duration::from_secs(60));
        assert_eq!((0..40).filter(|_| budgets.take_redirect(source)).count(), 20);
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let one = Limits { requests_per_second: Some(1), ..Limits::NONE };
        let mut budgets = Budgets::new(one, 1, Instant::now());
        for (source, fresh) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8:0:1::1", true),
            ("2001:db8:0:1:ffff::2", false),
            ("2001:db8:0:2::1", true),
        ] {
            assert_eq!(budgets.take_request(ip(source)), fresh, "{source}");
        }
    }

    #[test]
    fn redirects_are_shared_by_a_24_or_a_56() {
        let one_burst = |budgets: &mut Budgets, source| (0..4).all(|_| budgets.take_redirect(ip(source)));
        let mut budgets =
            Budgets::new(Limits { redirects_per_second: Some(1), ..Limits::NONE }, 1, Instant::now());
        for (source, fresh) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.255", false),
            ("192.0.3.1", true),
            ("2001:db8:0:100::1", true),
            ("2001:db8:0:1ff::1", false),
            ("2001:db8:0:200::1", true),
        ] {
            assert_eq!(one_burst(&mut budgets, source), fresh, "{source}");
        }
    }

    #[test]
    fn large_answers_leave_half_of_a_burst_to_redirected_ones() {
        let start = Instant::now();
        let mut budgets = Budgets::new(Limits::default(), 1, start);
        let source = ip("192.0.2.1");
        assert_eq!((0..40).filter(|_| budgets.take_large(source)).count(), 10);
        assert_eq!((0..40).filter(|_| budgets.take_redirect(source)).count(), 10);
        // Half of the burst is back after two seconds, and only what comes then is for large answers.
        budgets.advance(start + Duration::from_secs(2));
        assert!(!budgets.take_large(source));
        budgets.advance(start + Duration::from_secs(3));
        assert_eq!((0..40).filter(|_| budgets.take_large(ip("192.0.2.2"))).count(), 5);
    }

    #[test]
    fn a_limit_of_zero_gives_nothing_and_no_limit_gives_all() {
        let source = ip("192.0.2.1");
        let mut nothing = Budgets::new(NONE_LEFT, 1, Instant::now());
        nothing.advance(Instant::now() + Duration::from_secs(60));
        assert!(!nothing.take_request(source) && !nothing.take_redirect(source));
        assert!(!nothing.take_large(source));
        assert!(!nothing.take_surplus(source, 1));
        assert!(nothing.take_surplus(source, 0), "no surplus needs no budget");

        let mut all = Budgets::new(Limits::NONE, 1, Instant::now());
        assert!((0..100_000).all(|_| all.take_request(source) && all.take_redirect(source)));
        assert!((0..100_000).all(|_| all.take_large(source)));
        assert!(all.take_surplus(source, usize::MAX));
    }
}
