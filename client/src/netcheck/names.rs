//! Host names on their way to addresses.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Family, Output, Progress};

/// A name that is not resolved by then is given up.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_millis(1000);

/// Lookups that are under way at a time at most.
pub const LOOKUPS_AT_ONCE: usize = 32;

/// Addresses of one name that are looked at; more are nobody's need.
const ADDRESSES_MAX: usize = 16;

/// One lookup of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupId(u32);

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// There is none.
    Off,
    /// It is known.
    Literal(IpAddr),
    /// This name's.
    Name(LookupId),
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Its name is still being resolved.
    Pending,
    /// Here it is.
    At(IpAddr),
    /// The name has none of this family, or could not be resolved.
    Nowhere,
}

/// The names of a report, each asked once.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    host: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody needs it so far.
    Idle,
    Unasked,
    Asked(Instant),
    Known(Vec<IpAddr>),
    Failed,
}

impl Names {
    /// The lookup of a host, one for all who may want it.
    pub(super) fn add(&mut self, host: &str) -> LookupId {
        let place = self.names.iter().position(|name| name.host == host).unwrap_or_else(|| {
            self.names.push(Name { host: host.to_owned(), state: State::Idle });
            self.names.len() - 1
        });
        LookupId(place as u32)
    }

    /// Somebody waits for this address.
    pub(super) fn want(&mut self, source: Source) {
        let Source::Name(lookup) = source else { return };
        if let Some(name) = self.names.get_mut(lookup.0 as usize)
            && matches!(name.state, State::Idle)
        {
            name.state = State::Unasked;
        }
    }

    /// Asks for what may be asked for, and gives up what takes too long.
    pub(super) fn step(&mut self, now: Instant, queue: &mut VecDeque<Output>) -> Progress {
        let mut under_way = 0;
        let mut all = Progress::Settled;
        for (place, name) in self.names.iter_mut().enumerate() {
            if let State::Asked(at) = name.state
                && at + LOOKUP_TIME_MAX <= now
            {
                name.state = State::Failed;
            }
            if matches!(name.state, State::Unasked) && under_way < LOOKUPS_AT_ONCE {
                name.state = State::Asked(now);
                queue.push_back(Output::Resolve { lookup: LookupId(place as u32), host: name.host.clone() });
            }
            if let State::Asked(at) = name.state {
                under_way += 1;
                all = all.and(Progress::Until(at + LOOKUP_TIME_MAX));
            }
        }
        all
    }

    /// What came of a lookup; none for a failure. One that was given up stays so.
    pub(super) fn resolved(&mut self, lookup: LookupId, addresses: &[IpAddr]) {
        let Some(name) = self.names.get_mut(lookup.0 as usize) else { return };
        if !matches!(name.state, State::Asked(_)) {
            return;
        }
        let known: Vec<_> = addresses.iter().take(ADDRESSES_MAX).map(IpAddr::to_canonical).collect();
        name.state = if known.is_empty() { State::Failed } else { State::Known(known) };
    }

    /// The address of a family.
    pub(super) fn find(&self, source: Source, family: Family) -> Found {
        match source {
            Source::Off => Found::Nowhere,
            Source::Literal(ip) => Found::At(ip),
            Source::Name(lookup) => match self.names.get(lookup.0 as usize).map(|name| &name.state) {
                Some(State::Idle | State::Unasked | State::Asked(_)) => Found::Pending,
                Some(State::Known(known)) => {
                    let first = known.iter().find(|ip| Family::of(**ip) == family);
                    first.map_or(Found::Nowhere, |ip| Found::At(*ip))
                }
                Some(State::Failed) | None => Found::Nowhere,
            },
        }
    }

    /// All addresses of a name; None while it is being resolved.
    pub(super) fn addresses(&self, lookup: LookupId) -> Option<&[IpAddr]> {
        match &self.names.get(lookup.0 as usize)?.state {
            State::Idle | State::Unasked | State::Asked(_) => None,
            State::Known(known) => Some(known),
            State::Failed => Some(&[]),
        }
    }

    /// The hosts that could not be resolved, `except` left out.
    pub(super) fn failed(&self, except: Option<LookupId>) -> Vec<String> {
        let except = except.map(|except| except.0 as usize);
        let named = self.names.iter().enumerate().filter(|(place, _)| Some(*place) != except);
        let failed = named.filter(|(_, name)| matches!(name.state, State::Failed));
        failed.map(|(_, name)| name.host.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_once_and_given_up_in_time() {
        let now = Instant::now();
        let mut names = Names::default();
        let (a, b) = (names.add("a.example.net"), names.add("b.example.net"));
        assert_eq!(names.add("a.example.net"), a);
        let mut queue = VecDeque::new();
        assert_eq!(names.step(now, &mut queue), Progress::Settled, "nobody wants it");
        names.want(Source::Name(a));
        names.want(Source::Name(b));
        assert_eq!(names.step(now, &mut queue), Progress::Until(now + LOOKUP_TIME_MAX));
        assert_eq!(queue.len(), 2);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        names.resolved(a, &[ip]);
        assert_eq!(names.find(Source::Name(a), Family::Ipv4), Found::At(ip));
        assert_eq!(names.find(Source::Name(a), Family::Ipv6), Found::Nowhere);
        assert_eq!(names.find(Source::Name(b), Family::Ipv4), Found::Pending);
        let late = now + LOOKUP_TIME_MAX;
        assert_eq!(names.step(late, &mut queue), Progress::Settled);
        names.resolved(b, &[ip]);
        assert_eq!(names.find(Source::Name(b), Family::Ipv4), Found::Nowhere, "it was given up");
        assert_eq!(names.failed(Some(a)), ["b.example.net"]);
        assert_eq!(queue.len(), 2, "nothing is asked twice");
    }

    #[test]
    fn only_so_many_are_asked_at_a_time() {
        let now = Instant::now();
        let mut names = Names::default();
        for number in 0..LOOKUPS_AT_ONCE + 1 {
            let lookup = names.add(&format!("{number}.example.net"));
            names.want(Source::Name(lookup));
        }
        let mut queue = VecDeque::new();
        let _ = names.step(now, &mut queue);
        assert_eq!(queue.len(), LOOKUPS_AT_ONCE);
        names.resolved(LookupId(0), &[]);
        let _ = names.step(now, &mut queue);
        assert_eq!(queue.len(), LOOKUPS_AT_ONCE + 1);
    }
}
