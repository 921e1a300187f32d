//! Servers under measurement: started as a scenario says, watched, stopped.

mod child;
mod cores;
mod error;
mod exposition;
mod location;
mod placeholders;
pub(crate) mod ports;
mod probe;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use error::ServerError;
pub use exposition::ExpositionError;
pub use location::{Location, Scheme, UrlError};
pub use placeholders::{PlaceholderError, Placeholders};

use crate::process::Watched;
use crate::scenario::{CounterRecipe, ServerRecipe};
use child::{Child, Home};

/// How long a server has for its first answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long one that is said to run already is waited for.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// How long one try for an answer takes at most.
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// The pause between two tries. Too short to matter, long enough to leave a starting server its core.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How long a page of counters may take.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
/// Starts with new ports, if the ports were taken between finding them free and the server's start.
const STARTS_MOST: u32 = 3;

/// A server that runs. One that was started here ends with this value.
///
/// It cannot outlive a command that ends in order or by a signal that is caught; after SIGKILL of ferry-load it goes on, for
/// the system's way to prevent that (`PR_SET_PDEATHSIG`) has to be called in the child before its program starts, which is
/// not safe Rust.
#[derive(Debug)]
pub struct Server {
    recipe: ServerRecipe,
    cores: Vec<usize>,
    /// How long it may take to answer.
    patience: Duration,
    /// Where it is, with its real port.
    url: String,
    location: Location,
    address: SocketAddr,
    pin: Option<[u8; 32]>,
    /// None for a server that ran before.
    ours: Option<Ours>,
}

/// A server that was started here. Fields are dropped in this order: the process ends before its folder goes.
#[derive(Debug)]
struct Ours {
    child: Child,
    home: Home,
}

/// What a server says that it did: its own counters, to be compared with ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets it received from clients.
    pub received: u64,
    /// Packets it sent to clients.
    pub sent: u64,
    /// Packets it dropped.
    pub dropped: u64,
}

impl Server {
    /// Starts it (or finds the one that runs already) and waits until it answers. `cores`: where it may run; empty is anywhere.
    ///
    /// # Errors
    ///
    /// What is missing, or the end of what the server wrote if it ends or is silent for ten seconds; two, if it runs already.
    pub fn start(recipe: &ServerRecipe, cores: &[usize]) -> Result<Self, ServerError> {
        let patience = if recipe.command.is_empty() { FOUND_WITHIN } else { ANSWER_WITHIN };
        Self::start_within(recipe, cores, patience)
    }

    fn start_within(recipe: &ServerRecipe, cores: &[usize], patience: Duration) -> Result<Self, ServerError> {
        if recipe.command.is_empty() {
            let url = fill(recipe, &Placeholders::none(), &recipe.url)?;
            return Self::at(recipe, cores, patience, url, None);
        }
        let mut starts = 1;
        loop {
            match Self::started(recipe, cores, patience) {
                Err(ServerError::Ended { log, .. })
                    if starts < STARTS_MOST && child::port_was_taken(&log) =>
                {
                    starts += 1
                }
                other => return other,
            }
        }
    }

    fn started(recipe: &ServerRecipe, cores: &[usize], patience: Duration) -> Result<Self, ServerError> {
        let home = Home::new(&recipe.name)?;
        let url = fill(recipe, &home.placeholders, &recipe.url)?;
        let child = home.spawn(recipe, cores)?;
        Self::at(recipe, cores, patience, url, Some(Ours { child, home }))
    }

    fn at(
        recipe: &ServerRecipe,
        cores: &[usize],
        patience: Duration,
        url: String,
        ours: Option<Ours>,
    ) -> Result<Self, ServerError> {
        let (location, address) = locate(&recipe.name, &url)?;
        let mut server = Self {
            recipe: recipe.clone(),
            cores: cores.to_vec(),
            patience,
            url,
            location,
            address,
            pin: None,
            ours,
        };
        server.await_answer()?;
        Ok(server)
    }

    fn await_answer(&mut self) -> Result<(), ServerError> {
        let began = Instant::now();
        loop {
            let error = match probe::ask(&self.location, self.address, TRY_WITHIN) {
                Ok(presence) => {
                    self.pin = presence.pin;
                    // Somebody else may have the port; then ours has ended, or is about to.
                    return self.ended().map_or(Ok(()), Err);
                }
                Err(error) => error,
            };
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            if began.elapsed() > self.patience {
                return Err(ServerError::Silent {
                    name: self.recipe.name.clone(),
                    url: self.url.clone(),
                    seconds: self.patience.as_secs(),
                    error,
                    log: self.log_tail(),
                });
            }
            std::thread::sleep(TRY_AGAIN_AFTER);
        }
    }

    fn ended(&mut self) -> Option<ServerError> {
        let status = self.ours.as_mut()?.child.status()?;
        Some(ServerError::Ended {
            name: self.recipe.name.clone(),
            status,
            url: self.url.clone(),
            log: self.log_tail(),
        })
    }

    /// The last lines that it wrote, each on a line of its own; empty if there are none, or if it was not started here.
    pub fn log_tail(&self) -> String {
        self.ours.as_ref().map_or_else(String::new, |ours| ours.home.log_tail())
    }

    /// Stops it and starts it again on the same port with the same keys and certificates: what a restart looks like to clients.
    /// It is asked to end (SIGTERM), and started again as soon as it has; returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`Server::start`], or if it was not started here.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        let Some(ours) = &mut self.ours else {
            return Err(ServerError::NotOurs { name: self.recipe.name.clone() });
        };
        ours.child.stop();
        ours.child = ours.home.spawn(&self.recipe, &self.cores)?;
        self.await_answer()
    }

    /// Its URL for clients, with the port it really has.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where that is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 of its certificate, if it speaks TLS.
    pub fn pin(&self) -> Option<[u8; 32]> {
        self.pin
    }

    /// Its process; None if it was not started here and has no known number.
    pub fn watched(&self) -> Option<Watched> {
        let pid = self.ours.as_ref().map(|ours| ours.child.pid()).or(self.recipe.pid)?;
        Some(Watched { pid })
    }

    /// Its own counters, if the recipe says where they are.
    ///
    /// # Errors
    ///
    /// If the page cannot be had, or has not all three.
    pub fn counters(&self) -> Result<Option<Counters>, ServerError> {
        let Some(recipe) = &self.recipe.counters else { return Ok(None) };
        let none = Placeholders::none();
        let placeholders = self.ours.as_ref().map_or(&none, |ours| &ours.home.placeholders);
        let url = fill(&self.recipe, placeholders, &recipe.url)?;
        self.count(recipe, &url).map(Some)
    }

    fn count(&self, recipe: &CounterRecipe, url: &str) -> Result<Counters, ServerError> {
        let name = &self.recipe.name;
        let (location, address) = locate(name, url)?;
        let page = probe::page(&location, address, PAGE_WITHIN).map_err(|error| ServerError::Page {
            name: name.clone(),
            url: url.to_owned(),
            error,
        })?;
        let sum = |counter: &str| {
            exposition::sum(&page, counter).map_err(|error| ServerError::Counter {
                name: name.clone(),
                url: url.to_owned(),
                error,
            })
        };
        Ok(Counters {
            received: sum(&recipe.received)?,
            sent: sum(&recipe.sent)?,
            dropped: sum(&recipe.dropped)?,
        })
    }

    /// The command line as the recipe writes it: with placeholders, so that a report tells nothing of the machine's folders.
    pub fn describe(&self) -> String {
        self.recipe.describe()
    }

    /// Ends it: SIGTERM, SIGKILL after five seconds. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl ServerRecipe {
    /// The command line as it is written here, with placeholders; of a server that runs already, where that is.
    pub fn describe(&self) -> String {
        if self.command.is_empty() {
            return format!("runs already at {}", self.url);
        }
        self.command.join(" ")
    }
}

impl ServerRecipe {
    /// The host that the recipe loads, and all of its addresses: whether it may is decided before anything is started.
    ///
    /// # Errors
    ///
    /// A URL that is none, or a name that is unknown.
    pub fn host(&self) -> Result<(String, Vec<SocketAddr>), ServerError> {
        // Ports do not matter here, and one that is to be found free is not known yet.
        let url = self.url.replace("{port}", "1").replace("{stun-port}", "1");
        let url = fill(self, &Placeholders::none(), &url)?;
        let location: Location =
            url.parse().map_err(|error| ServerError::Url { name: self.name.clone(), error })?;
        match location.addresses() {
            Ok(addresses) => Ok((location.host, addresses)),
            Err(error) => Err(ServerError::NoAddress { name: self.name.clone(), host: location.host, error }),
        }
    }
}

fn fill(recipe: &ServerRecipe, placeholders: &Placeholders, text: &str) -> Result<String, ServerError> {
    placeholders
        .fill(text, &|name| std::env::var(name).ok())
        .map_err(|error| ServerError::Placeholder { name: recipe.name.clone(), error })
}

/// The first of the host's addresses: what may be loaded was decided on all of them before.
fn locate(name: &str, url: &str) -> Result<(Location, SocketAddr), ServerError> {
    let location: Location =
        url.parse().map_err(|error| ServerError::Url { name: name.to_owned(), error })?;
    let address = location.addresses().and_then(|addresses| {
        addresses.first().copied().ok_or_else(|| std::io::Error::other("the name has none"))
    });
    match address {
        Ok(address) => Ok((location, address)),
        Err(error) => Err(ServerError::NoAddress { name: name.to_owned(), host: location.host, error }),
    }
}

#[cfg(test)]
mod tests;
