//! Addresses of well-known names, for clients whose own DNS does not work: `/bootstrap-dns`.
//!
//! Names of the published list are told to everybody. Names of the unpublished list are told only to those who ask for
//! them, and while a name is being rolled out only to a share of client addresses.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::{
    config::{self, UnpublishedName},
    metrics::FrontCounters,
};

mod rollout;
mod txt;

use self::rollout::Rollout;
pub(crate) use self::txt::Resolvers;

/// How often names are resolved again; derper's.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// Time for resolving one list; what is not resolved then is left out.
const REFRESH_BUDGET: Duration = Duration::from_secs(60);
/// How many different names asked for are remembered before all are forgotten; derper's.
const QUERIED_NAMES_MAX: usize = 500;
/// Longest name that DNS can hold; longer ones are not remembered.
const NAME_BYTES_MAX: usize = 253;

/// Names with their addresses, as JSON shows them.
type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// The two lists, and what they last resolved to.
#[derive(Debug)]
pub(crate) struct BootstrapDns {
    // Fixed at start.
    /// `-bootstrap-dns-names`.
    published_names: Vec<String>,
    /// `-unpublished-bootstrap-dns-names`.
    unpublished_names: Vec<UnpublishedName>,
    /// Where to ask for rollout percentages.
    resolvers: Resolvers,
    /// Counts what is asked.
    front: Arc<FrontCounters>,
    // Written by the refresh, read by requests.
    /// The published list.
    published: RwLock<Published>,
    /// The unpublished list.
    unpublished: RwLock<BTreeMap<String, Unpublished>>,
    // Written by requests; at most `QUERIED_NAMES_MAX` names.
    /// Different names asked for.
    queried: Mutex<HashSet<String>>,
}

/// What the published list last resolved to.
#[derive(Debug, Default)]
struct Published {
    /// The names with addresses.
    addresses: Addresses,
    /// The same as the body of an answer: empty before the first refresh.
    body: String,
}

/// One unpublished name.
#[derive(Debug)]
struct Unpublished {
    /// Its addresses, at least one.
    addresses: Vec<IpAddr>,
    /// Who is told.
    rollout: Rollout,
}

impl BootstrapDns {
    /// Both lists, with nothing resolved yet.
    pub(crate) fn new(names: config::BootstrapDns, resolvers: Resolvers, front: Arc<FrontCounters>) -> Self {
        Self {
            published_names: names.published,
            unpublished_names: names.unpublished,
            resolvers,
            front,
            published: RwLock::default(),
            unpublished: RwLock::default(),
            queried: Mutex::default(),
        }
    }

    /// Whether there is anything to resolve.
    pub(crate) fn is_configured(&self) -> bool {
        !self.published_names.is_empty() || !self.unpublished_names.is_empty()
    }

    /// Resolves both lists now and every ten minutes. Ends at once if there is nothing to resolve.
    pub(crate) async fn refresh_forever(self: Arc<Self>) {
        while self.is_configured() {
            self.refresh(&mut StdRng::from_os_rng()).await;
            sleep(REFRESH_INTERVAL).await;
        }
    }

    /// Resolves both lists once.
    async fn refresh(&self, rng: &mut StdRng) {
        if !self.published_names.is_empty() {
            let deadline = Instant::now() + REFRESH_BUDGET;
            let mut addresses = Addresses::new();
            for name in &self.published_names {
                let Some(mut found) = resolve(name, deadline).await else { continue };
                // Clients try the first address first: spread them, and do not favour IPv6.
                found.shuffle(rng);
                addresses.insert(name.clone(), found);
            }
            // Go prints a map that nothing was put in as `null`.
            let body = if addresses.is_empty() { "null".to_owned() } else { json(&addresses) };
            *self.published.write().unwrap_or_else(PoisonError::into_inner) = Published { addresses, body };
        }
        if !self.unpublished_names.is_empty() {
            let deadline = Instant::now() + REFRESH_BUDGET;
            let mut names = BTreeMap::new();
            for entry in &self.unpublished_names {
                let Some(addresses) = resolve(&entry.name, deadline).await else { continue };
                let rollout = match &entry.rollout {
                    None => Rollout::EVERYBODY,
                    Some(name) => self.rollout(name, deadline).await,
                };
                names.insert(entry.name.clone(), Unpublished { addresses, rollout });
            }
            *self.unpublished.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
    }

    /// The percentage in the TXT record of `name`; nobody if there is none.
    async fn rollout(&self, name: &str, deadline: Instant) -> Rollout {
        match timeout_at(deadline, self.resolvers.txt(name)).await {
            Ok(Ok(texts)) => Rollout::from_texts(&texts),
            Ok(Err(error)) => {
                warn!(name, %error, "bootstrap DNS rollout not found, nobody is told the name");
                Rollout::NOBODY
            }
            Err(_) => {
                warn!(name, "bootstrap DNS rollout not found in time, nobody is told the name");
                Rollout::NOBODY
            }
        }
    }

    /// The body for a client at `client` asking for `name`. `roll` draws from [0, 1), for clients on this machine.
    pub(crate) fn answer(&self, name: Option<&str>, client: IpAddr, roll: impl FnOnce() -> f64) -> String {
        FrontCounters::count(&self.front.bootstrap_dns_requests);
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = name.filter(|name| !name.is_empty()) else { return published.body.clone() };
        self.remember(name);
        if let Some(entry) = self.unpublished.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            FrontCounters::count(&self.front.bootstrap_dns_unpublished_hits);
            if entry.rollout.includes(client, roll) {
                return json(&BTreeMap::from([(name, &entry.addresses)]));
            }
            FrontCounters::count(&self.front.bootstrap_dns_unpublished_percent_misses);
        }
        // What is in neither list was probably meant for the unpublished one.
        FrontCounters::count(match published.addresses.get(name) {
            Some(addresses) if addresses.is_empty() => &self.front.bootstrap_dns_published_misses,
            Some(_) => &self.front.bootstrap_dns_published_hits,
            None => &self.front.bootstrap_dns_unpublished_misses,
        });
        published.body.clone()
    }

    /// Counts different names. A stranger chooses them, so they are bounded in number and length.
    fn remember(&self, name: &str) {
        let mut queried = self.queried.lock().unwrap_or_else(PoisonError::into_inner);
        if name.len() <= NAME_BYTES_MAX && !queried.contains(name) {
            queried.insert(name.to_owned());
        }
        if queried.len() > QUERIED_NAMES_MAX {
            queried.clear();
        }
        self.front.bootstrap_dns_queried_domains.store(queried.len() as u64, Relaxed);
    }
}

/// The addresses of `name` of both families, by the system's resolver; `None` if there are none.
async fn resolve(name: &str, deadline: Instant) -> Option<Vec<IpAddr>> {
    let found = match timeout_at(deadline, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            warn!(name, %error, "bootstrap DNS name not resolved");
            return None;
        }
        Err(_) => {
            warn!(name, "bootstrap DNS name not resolved in time");
            return None;
        }
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|found| found.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses).filter(|addresses| !addresses.is_empty())
}

/// JSON indented with tabs, as derper sends it.
fn json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
    written.expect("names and addresses are JSON");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn dns(published: &str, unpublished: &str) -> (BootstrapDns, Arc<FrontCounters>) {
        let front = Arc::new(FrontCounters::default());
        let resolvers = Resolvers::new(Vec::new());
        (
            BootstrapDns::new(
                config::BootstrapDns::parse(published, unpublished),
                resolvers,
                Arc::clone(&front),
            ),
            front,
        )
    }

    fn never() -> f64 {
        panic!("chance is only for clients on this machine")
    }

    async fn refreshed(published: &str, unpublished: &str) -> (BootstrapDns, Arc<FrontCounters>) {
        let (dns, front) = dns(published, unpublished);
        dns.refresh(&mut StdRng::seed_from_u64(1)).await;
        (dns, front)
    }

    #[test]
    fn nothing_configured_is_an_empty_body() {
        let (dns, front) = dns("", "");
        assert!(!dns.is_configured());
        assert_eq!(dns.answer(None, OUTSIDE, never), "");
        assert_eq!(dns.answer(Some("x"), OUTSIDE, never), "");
        let totals = front.totals();
        assert_eq!((totals.bootstrap_dns_requests, totals.bootstrap_dns_unpublished_misses), (2, 1));
    }

    #[tokio::test]
    async fn a_published_name_is_told_to_everybody() {
        // Literals are addresses to the system's resolver, so nothing is asked of any network.
        let (dns, front) = refreshed("192.0.2.53,2001:db8::53", "").await;
        let body = "{\n\t\"192.0.2.53\": [\n\t\t\"192.0.2.53\"\n\t],\n\t\"2001:db8::53\": [\n\t\t\"2001:db8::53\"\n\t]\n}";
        assert_eq!(dns.answer(None, OUTSIDE, never), body);
        assert_eq!(dns.answer(Some("192.0.2.53"), OUTSIDE, never), body, "the whole list");
        assert_eq!(dns.answer(Some("other"), OUTSIDE, never), body);
        let totals = front.totals();
        assert_eq!((totals.bootstrap_dns_published_hits, totals.bootstrap_dns_unpublished_misses), (1, 1));
        assert_eq!(totals.bootstrap_dns_queried_domains, 2);
    }

    #[tokio::test]
    async fn an_unpublished_name_is_told_only_to_those_who_ask_for_it() {
        let (dns, front) = refreshed("192.0.2.53", "192.0.2.54").await;
        assert!(!dns.answer(None, OUTSIDE, never).contains("192.0.2.54"));
        assert_eq!(
            dns.answer(Some("192.0.2.54"), OUTSIDE, never),
            "{\n\t\"192.0.2.54\": [\n\t\t\"192.0.2.54\"\n\t]\n}"
        );
        assert_eq!(front.totals().bootstrap_dns_unpublished_hits, 1);
    }

    #[tokio::test]
    async fn a_rollout_without_record_tells_nobody() {
        let (dns, front) = refreshed("192.0.2.53", "192.0.2.54/rollout.example").await;
        let body = dns.answer(Some("192.0.2.54"), OUTSIDE, never);
        assert!(body.contains("192.0.2.53") && !body.contains("192.0.2.54"));
        let totals = front.totals();
        // derper counts such a query three times, and so do we.
        assert_eq!(totals.bootstrap_dns_unpublished_hits, 1);
        assert_eq!(totals.bootstrap_dns_unpublished_percent_misses, 1);
        assert_eq!(totals.bootstrap_dns_unpublished_misses, 1);
    }

    #[tokio::test]
    async fn when_no_name_resolves_the_body_is_null() {
        let (dns, _) = refreshed("not a name", "").await;
        assert_eq!(dns.answer(None, OUTSIDE, never), "null");
    }

    #[test]
    fn names_asked_for_are_bounded() {
        let (dns, front) = dns("", "");
        for n in 0..QUERIED_NAMES_MAX {
            dns.answer(Some(&n.to_string()), OUTSIDE, never);
            dns.answer(Some("0"), OUTSIDE, never);
        }
        assert_eq!(front.totals().bootstrap_dns_queried_domains, 500);
        dns.answer(Some(&"x".repeat(254)), OUTSIDE, never);
        assert_eq!(front.totals().bootstrap_dns_queried_domains, 500, "no name is that long");
        dns.answer(Some("one more"), OUTSIDE, never);
        assert_eq!(front.totals().bootstrap_dns_queried_domains, 0);
    }
}
