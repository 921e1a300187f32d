//! The home of relay connections, kept where the rules of [`home`](crate::home) say.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferry_protocol::derp_map::{DerpMap, RegionId};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use super::clock::{now, until};
use super::handle::next_of;
use super::{EVENTS_MAX, Events, Relays};
use crate::home::{Explanation, HomeSelector, Input, Output};
use crate::netcheck::{CheckError, Checker, Config, Report, Rounds};
use crate::relays::Event;

/// The network is checked this often, and as much later as is drawn, up to [`CHECK_JITTER`]: the intervals of Tailscale's client.
pub const CHECK_EVERY: Duration = Duration::from_secs(20);
/// See [`CHECK_EVERY`].
pub const CHECK_JITTER: Duration = Duration::from_secs(6);

/// Keeps the home of [`Relays`]: checks the network every [20 s](CHECK_EVERY), all regions every [5 min](crate::netcheck::FULL_EVERY), watches the home's
/// connection, and has the home move when the [rules](crate::home) say so. Dropped, the home stays where it is.
///
/// It holds a clone of the relays, and so their connections.
///
/// ```no_run
/// use std::sync::Arc;
/// use ferry_client::net::{HomeEvent, HomeKeeper, Relays};
/// use ferry_client::netcheck::{Checker, Config};
/// use ferry_protocol::NodePrivateKey;
/// use ferry_protocol::derp_map::DerpMap;
///
/// # async fn node(key: NodePrivateKey, map: DerpMap) -> std::io::Result<()> {
/// let roots = Arc::new(ferry_client::system_roots()?);
/// let (relays, _packets) = Relays::builder(key).roots(Arc::clone(&roots)).map(&map).spawn();
/// let keeper = HomeKeeper::start(&relays, Checker::new(roots), map, Config::full(None));
/// let mut events = keeper.events();
/// while let Some(event) = events.next().await {
///     match event {
///         HomeEvent::Moved(why) => println!("{why}"),
///         HomeEvent::Checked(report) => println!("UDP works: {}", report.udp()),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HomeKeeper {
    wishes: watch::Sender<Wishes>,
    events: broadcast::Sender<HomeEvent>,
    selector: Arc<Mutex<HomeSelector>>,
    task: AbortHandle,
}

/// What a [`HomeKeeper`] did or found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HomeEvent {
    /// The home is another region now, the relays know it, and control and peers are to be told.
    Moved(Arc<Explanation>),
    /// The network was checked.
    Checked(Arc<Report>),
    /// It could not be.
    CheckFailed(CheckError),
    /// Whoever listens was so slow that events were lost.
    Missed {
        /// How many.
        events: u64,
    },
}

/// What is wished; a newer wish takes the older one's place.
#[derive(Debug, Clone)]
struct Wishes {
    map: Arc<DerpMap>,
    control: bool,
    forced: Option<RegionId>,
    /// Counts the networks.
    network: u64,
}

impl HomeKeeper {
    /// Starts on the current tokio runtime. `map` is the one that the relays have, and `checks` says what is checked beside the regions'
    /// latencies: [`Config::full`] for what a node wants to know. Its scope and home are set here.
    pub fn start(relays: &Relays, checker: Checker, map: DerpMap, checks: Config) -> Self {
        let own = relays.public_key();
        let seed = own.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let selector = Arc::new(Mutex::new(HomeSelector::new(seed)));
        let wishes = Wishes { map: Arc::new(map), control: true, forced: None, network: 0 };
        let (wishes, wished) = watch::channel(wishes);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let keeper = Keeper {
            relays: relays.clone(),
            heard: relays.events(),
            checker,
            checks,
            selector: Arc::clone(&selector),
            told: None,
            wished,
            events: events.clone(),
            open: BTreeSet::new(),
            rounds: Rounds::default(),
        };
        let task = tokio::spawn(keeper.run()).abort_handle();
        Self { wishes, events, selector, task }
    }

    /// The relays are those of this map from now on: [`Relays::set_map`], and the home's part of it.
    pub fn set_map(&self, map: DerpMap) {
        self.wishes.send_modify(|wishes| wishes.map = Arc::new(map));
    }

    /// Whether peers can learn of a move, which they can if nothing is said. While they cannot, only a first home is chosen.
    pub fn set_control(&self, connected: bool) {
        self.wishes.send_modify(|wishes| wishes.control = connected);
    }

    /// The user wants this region, or none any more.
    pub fn force(&self, region: Option<RegionId>) {
        self.wishes.send_modify(|wishes| wishes.forced = region);
    }

    /// The machine is in another network: [`Relays::rebind`], and what was measured is forgotten.
    pub fn network_changed(&self) {
        self.wishes.send_modify(|wishes| wishes.network += 1);
    }

    /// The home, once there is one.
    pub fn home(&self) -> Option<RegionId> {
        locked(&self.selector).home()
    }

    /// Why the home is where it is.
    pub fn explanation(&self) -> Explanation {
        locked(&self.selector).explanation(now())
    }

    /// What happens from now on.
    pub fn events(&self) -> HomeEvents {
        HomeEvents { receiver: self.events.subscribe() }
    }
}

impl Drop for HomeKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happens.
#[derive(Debug)]
pub struct HomeEvents {
    receiver: broadcast::Receiver<HomeEvent>,
}

impl HomeEvents {
    /// The next event; None after the [`HomeKeeper`] is dropped. If it is not waited for to the end, nothing is lost.
    pub async fn next(&mut self) -> Option<HomeEvent> {
        next_of(&mut self.receiver, |events| HomeEvent::Missed { events }).await
    }
}

fn locked(selector: &Mutex<HomeSelector>) -> MutexGuard<'_, HomeSelector> {
    selector.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A check that is under way.
type Check = Pin<Box<dyn Future<Output = Result<Report, CheckError>> + Send>>;

/// The task.
struct Keeper {
    relays: Relays,
    heard: Events,
    checker: Checker,
    checks: Config,
    selector: Arc<Mutex<HomeSelector>>,
    wished: watch::Receiver<Wishes>,
    /// What the relays and the selector were told.
    told: Option<Wishes>,
    events: broadcast::Sender<HomeEvent>,
    /// Regions whose relays are connected.
    open: BTreeSet<RegionId>,
    rounds: Rounds,
}

impl Keeper {
    async fn run(mut self) {
        let mut check: Option<Check> = None;
        let mut next_check = now();
        self.obey();
        loop {
            let wake = self.settle();
            tokio::select! {
                event = self.heard.next() => match event {
                    Some(event) => self.take(&event),
                    None => return,
                },
                changed = self.wished.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.obey() {
                        check = None;
                        next_check = now();
                    }
                }
                report = finished(&mut check) => {
                    check = None;
                    next_check = now() + CHECK_EVERY + jitter();
                    self.report(report);
                    self.keep_wanted();
                }
                () = until(Some(next_check)), if check.is_none() => check = Some(self.begin_check()),
                () = until(wake) => {}
            }
        }
    }

    fn handle(&self, input: Input<'_>) {
        locked(&self.selector).handle(now(), input);
    }

    /// Does what the selector says; answers when it says more.
    fn settle(&self) -> Option<Instant> {
        loop {
            let output = locked(&self.selector).poll(now());
            match output {
                Output::Connect(region) if self.open.contains(&region) => {
                    self.handle(Input::Connected(region))
                }
                // It may be connected, and we not know: then it answers a ping.
                Output::Connect(region) => {
                    if self.relays.connect(region).and_then(|()| self.relays.ping(region)).is_err() {
                        self.handle(Input::ConnectFailed(region));
                    }
                }
                Output::Ping(region) => {
                    if self.relays.ping(region).is_err() {
                        self.handle(Input::PingFailed(region));
                    }
                }
                Output::Moved(explanation) => {
                    self.relays.set_home(locked(&self.selector).home());
                    self.tell(HomeEvent::Moved(explanation.into()));
                }
                Output::Wait(wake) => return wake,
            }
        }
    }

    /// Takes in what is wished; answers whether all that was measured is of no use any more.
    fn obey(&mut self) -> bool {
        let wishes = self.wished.borrow_and_update().clone();
        let told = self.told.replace(wishes.clone());
        let Wishes { map, control, forced, network } = wishes;
        // A map, even the same, begins the comparison of regions anew.
        if told.as_ref().is_none_or(|told| !Arc::ptr_eq(&told.map, &map)) {
            self.relays.set_map(&map);
            self.handle(Input::Map(&map));
        }
        self.handle(Input::Control { connected: control });
        self.handle(Input::Forced(forced));
        let is_other_network = told.is_some_and(|told| told.network != network);
        if is_other_network {
            self.relays.rebind();
            self.handle(Input::NetworkChanged);
            self.rounds = Rounds::default();
        }
        is_other_network
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected { region, .. } => {
                self.open.insert(*region);
                self.handle(Input::Connected(*region));
            }
            Event::ConnectFailed { region, .. } => self.handle(Input::ConnectFailed(*region)),
            Event::Disconnected { region, .. } => {
                self.open.remove(region);
                self.handle(Input::Disconnected(*region));
            }
            Event::Pong { region, rtt } => {
                if self.open.insert(*region) {
                    self.handle(Input::Connected(*region));
                }
                self.handle(Input::Pong { region: *region, rtt: *rtt });
            }
            Event::PeersGone { region, .. }
            | Event::PeersPresent { region, .. }
            | Event::Health { region, .. }
            | Event::Restarting { region, .. } => self.handle(Input::Heard(*region)),
            // What is still connected will answer a ping.
            Event::Missed { .. } => {
                for region in std::mem::take(&mut self.open) {
                    self.handle(Input::Disconnected(region));
                }
            }
            Event::Dropped { .. } => {}
        }
    }

    fn begin_check(&mut self) -> Check {
        let (checker, map) = (self.checker.clone(), Arc::clone(&self.wished.borrow().map));
        let (scope, home) = (self.rounds.next(now()), locked(&self.selector).home());
        let config = Config { scope, home, ..self.checks.clone() };
        Box::pin(async move { checker.check(&map, config, |_| {}).await })
    }

    fn report(&mut self, report: Result<Report, CheckError>) {
        let report = match report {
            Ok(report) => report,
            Err(error) => return self.tell(HomeEvent::CheckFailed(error)),
        };
        self.handle(Input::Report { full: report.full, latencies: &report.latencies() });
        self.rounds.done(&report);
        self.tell(HomeEvent::Checked(Arc::new(report)));
    }

    /// Connections that the selector wants are kept, though nobody uses them.
    fn keep_wanted(&self) {
        let now = now();
        for region in &self.open {
            if locked(&self.selector).wants(now, *region) {
                // A region that is gone from the map is wanted by nobody.
                let _ = self.relays.connect(*region);
            }
        }
    }

    fn tell(&self, event: HomeEvent) {
        // It may be that nobody listens.
        let _ = self.events.send(event);
    }
}

/// What a check came to; for ever, if there is none.
async fn finished(check: &mut Option<Check>) -> Result<Report, CheckError> {
    match check {
        Some(check) => check.await,
        None => pending().await,
    }
}

/// So that the clients of a relay do not ask as one.
fn jitter() -> Duration {
    let mut bytes = [0; 1];
    // Without randomness there is no jitter, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    CHECK_JITTER.mul_f64(f64::from(bytes[0]) / 255.0)
}
