//! What a measurement of the binding lifetime found.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Reason;

/// How the binding was asked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeMethod {
    /// From outside: the server answered to its port.
    ResponsePort,
    /// From inside, by whether the port had changed: the server does not do RESPONSE-PORT. A NAT that gives
    /// the same port again hides that the binding had died, so there is no lower bound.
    PortComparison,
}

/// How long a binding without traffic lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifetimeReport {
    /// The server that was asked.
    pub server: SocketAddr,
    /// How it was found.
    pub method: LifetimeMethod,
    /// The longest wait that a binding survived.
    pub at_least: Option<Duration>,
    /// The shortest wait that it did not survive.
    pub less_than: Option<Duration>,
    /// Why the search ended early, if it did; the bounds hold all the same.
    pub reason: Option<Reason>,
    /// How long it took.
    pub duration: Duration,
}

impl LifetimeReport {
    /// The report as one JSON object; times are in seconds, what was not found is `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let secs = |time: Option<Duration>| {
            time.map_or_else(|| "null".to_owned(), |time| time.as_secs().to_string())
        };
        let method = match self.method {
            LifetimeMethod::ResponsePort => "response-port",
            LifetimeMethod::PortComparison => "port-comparison",
        };
        let reason = self.reason.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        format!(
            "{{\"server\":\"{}\",\"method\":\"{method}\",\"at_least_secs\":{},\"less_than_secs\":{},\"reason\":{reason},\"duration_secs\":{}}}",
            self.server,
            secs(self.at_least),
            secs(self.less_than),
            self.duration.as_secs()
        )
    }
}

impl fmt::Display for LifetimeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lifetime:   ")?;
        match (self.at_least.map(|time| time.as_secs()), self.less_than.map(|time| time.as_secs())) {
            (Some(low), Some(high)) => write!(f, "between {low} and {high} s without traffic")?,
            (Some(low), None) => write!(f, "at least {low} s without traffic")?,
            (None, Some(high)) => write!(f, "less than {high} s without traffic")?,
            (None, None) => f.write_str("unknown")?,
        }
        if self.method == LifetimeMethod::PortComparison {
            f.write_str(" (from inside only: the server does not do RESPONSE-PORT)")?;
        }
        match self.reason {
            Some(reason) => write!(f, "; ended early: {reason}"),
            None => Ok(()),
        }
    }
}
