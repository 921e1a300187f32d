//! The partner's addresses, for threads that must not wait.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Two addresses that one thread sets, seldom, and that any reads, for each batch of requests. A reader never waits:
/// while they change it is told that there is none, as if the partner were down for that instant.
#[derive(Debug, Default)]
pub(super) struct PublishedAddresses {
    /// Odd while the rest changes.
    version: AtomicU64,
    /// 0 for none, else bit 32 and the address.
    ipv4: AtomicU64,
    /// All 0 for none: the unspecified address is nobody's.
    ipv6: [AtomicU64; 2],
}

impl PublishedAddresses {
    /// The address of a family.
    pub(super) fn address(&self, ipv4: bool) -> Option<IpAddr> {
        let version = self.version.load(Acquire);
        let address = if ipv4 { self.ipv4() } else { self.ipv6() };
        fence(Acquire);
        let whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        address.filter(|_| whole)
    }

    fn ipv4(&self) -> Option<IpAddr> {
        let bits = self.ipv4.load(Relaxed);
        (bits != 0).then(|| Ipv4Addr::from_bits(bits as u32).into())
    }

    fn ipv6(&self) -> Option<IpAddr> {
        let [high, low] = self.ipv6.each_ref().map(|half| u128::from(half.load(Relaxed)));
        let bits = high << 64 | low;
        (bits != 0).then(|| Ipv6Addr::from_bits(bits).into())
    }

    /// Sets both. Only ever called by one thread at a time.
    pub(super) fn set(&self, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Relaxed);
        fence(Release);
        self.ipv4.store(ipv4.map_or(0, |ip| 1 << 32 | u64::from(ip.to_bits())), Relaxed);
        let bits = ipv6.map_or(0, Ipv6Addr::to_bits);
        let [high, low] = &self.ipv6;
        high.store((bits >> 64) as u64, Relaxed);
        low.store(bits as u64, Relaxed);
        self.version.store(version + 2, Release);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_set_is_read_until_it_is_taken_back() {
        let published = PublishedAddresses::default();
        assert_eq!((published.address(true), published.address(false)), (None, None));
        // An address of zeros but for the bit that says that it is there.
        for ipv4 in [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::UNSPECIFIED] {
            published.set(Some(ipv4), Some(Ipv6Addr::LOCALHOST));
            assert_eq!(published.address(true), Some(ipv4.into()));
            assert_eq!(published.address(false), Some(Ipv6Addr::LOCALHOST.into()));
        }
        published.set(None, None);
        assert_eq!((published.address(true), published.address(false)), (None, None));
    }

    #[test]
    fn no_reader_sees_half_an_address() {
        let published = PublishedAddresses::default();
        let whole = [Ipv6Addr::from_bits(u128::MAX), Ipv6Addr::from_bits(1 << 64 | 1)];
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..200_000 {
                    published.set(None, Some(whole[round % 2]));
                }
            });
            while !writer.is_finished() {
                if let Some(IpAddr::V6(ip)) = published.address(false) {
                    assert!(whole.contains(&ip), "{ip}");
                }
            }
        });
    }
}
