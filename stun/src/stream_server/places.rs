//! How many connections there may be, in all and for each source.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::ConnectionEnd;
use crate::source::Source;

/// Hands out places for connections. The table has an entry for each source that is connected, so it is
/// never larger than the limit of connections.
#[derive(Debug)]
pub(super) struct Places {
    connections_max: usize,
    connections_per_source_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<Source, usize>,
}

impl Places {
    pub(super) fn new(connections_max: usize, connections_per_source_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, connections_per_source_max, taken: Mutex::default() })
    }

    /// Takes a place, which is free again when the [`Place`] is dropped.
    ///
    /// # Errors
    ///
    /// How the connection is to end if there is none.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Result<Place, ConnectionEnd> {
        let source = Source::from(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // The source first: it is the reason that says whose fault it is.
        let from_source = taken.by_source.get(&source).copied().unwrap_or(0);
        if from_source >= self.connections_per_source_max {
            return Err(ConnectionEnd::TooManyFromSource);
        }
        if taken.all >= self.connections_max {
            return Err(ConnectionEnd::TooMany);
        }
        taken.all += 1;
        taken.by_source.insert(source, from_source + 1);
        Ok(Place { source, places: Arc::clone(self) })
    }
}

/// A connection's place among all.
#[derive(Debug)]
pub(super) struct Place {
    source: Source,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Entry::Occupied(mut count) = taken.by_source.entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a test address")
    }

    #[test]
    fn a_source_has_its_share_and_others_have_theirs() {
        let places = Places::new(3, 2);
        let first = places.take(ip("192.0.2.1")).expect("a place");
        let _second = places.take(ip("::ffff:192.0.2.1")).expect("a place");
        assert_eq!(places.take(ip("192.0.2.1")).unwrap_err(), ConnectionEnd::TooManyFromSource);
        let _other = places.take(ip("192.0.2.2")).expect("a place");
        assert_eq!(places.take(ip("192.0.2.3")).unwrap_err(), ConnectionEnd::TooMany);
        drop(first);
        let _third = places.take(ip("192.0.2.3")).expect("the place that came free");
    }

    #[test]
    fn an_ipv6_source_is_a_64() {
        let places = Places::new(8, 1);
        let _first = places.take(ip("2001:db8::1")).expect("a place");
        assert_eq!(places.take(ip("2001:db8::ffff:1")).unwrap_err(), ConnectionEnd::TooManyFromSource);
        let _other = places.take(ip("2001:db8:0:1::1")).expect("a place");
    }

    #[test]
    fn a_source_that_left_is_forgotten() {
        let places = Places::new(8, 8);
        drop([places.take(ip("192.0.2.1")), places.take(ip("192.0.2.1"))]);
        let taken = places.taken.lock().expect("nobody panicked");
        assert_eq!((taken.all, taken.by_source.len()), (0, 0));
    }
}
