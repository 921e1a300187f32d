//! What failed where, for a person to read.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;

use super::ProxyError;
use crate::{ConnectionError, PinnedNotAlone, Stage, TlsError};

/// Failures of one dial that are kept; of more, the first.
const FAILURES_MAX: usize = 32;

/// A step on the way to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Asking for the addresses of a name.
    Dns,
    /// Connecting to an address.
    Tcp,
    /// Getting through a proxy.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// From HTTP to DERP, or to WebSocket.
    Upgrade,
    /// The DERP handshake.
    Handshake,
}

impl Step {
    /// How long the step may take with one node. For TCP it is Tailscale's (`dialNodeTimeout`), and that of a proxy is like that of a
    /// name server: one that is far away, and asked twice.
    pub const fn time_max(self) -> Duration {
        match self {
            Self::Dns | Self::Proxy => Duration::from_secs(6),
            Self::Tcp => Duration::from_millis(1500),
            Self::Tls | Self::Upgrade | Self::Handshake => Duration::from_secs(4),
        }
    }

    /// The step that a connection is at.
    pub(super) const fn of(stage: Stage) -> Self {
        match stage {
            Stage::Tls => Self::Tls,
            Stage::Upgrade => Self::Upgrade,
            Stage::Handshake | Stage::Established | Stage::Closed => Self::Handshake,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
            Self::Upgrade => "upgrade",
            Self::Handshake => "DERP handshake",
        })
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address that may be used.
    #[error("{host} has no address of a family that the map allows")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// What the system said to a name, a connection or a socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The other end closed without a word.
    #[error("it closed the connection")]
    Closed,
    /// The proxy refused, or does not speak its protocol.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// There is no TLS configuration for the node.
    #[error(transparent)]
    Config(#[from] TlsError),
    /// TLS, upgrade or handshake was refused.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// A step that failed.
#[derive(Debug)]
pub struct Failure {
    /// The node's name in the map, or the relay's URL.
    pub node: String,
    /// Where TCP went or was to go, once that was known: to the relay or the proxy.
    pub address: Option<SocketAddr>,
    /// It was tried by WebSocket.
    pub websocket: bool,
    /// Which step.
    pub step: Step,
    /// Why.
    pub error: DialError,
}

impl Failure {
    /// What a person may do about it, where the error does not say; None where nothing is known.
    pub fn hint(&self) -> Option<&'static str> {
        let DialError::Connection(ConnectionError::Tls(error)) = &self.error else { return None };
        let is = |wanted: CertificateError| *error == rustls::Error::InvalidCertificate(wanted);
        if is(CertificateError::UnknownIssuer) {
            return Some("nobody who is believed has signed it; believe its authority too, or pin it");
        }
        if is(CertificateError::ApplicationVerificationFailure) {
            return Some(
                "it is not the one that is pinned: the relay has a new one, or somebody is in the way",
            );
        }
        if let rustls::Error::InvalidCertificate(CertificateError::Other(why)) = error
            && why.0.is::<PinnedNotAlone>()
        {
            return Some(
                "a pinned certificate is served without a chain; or pin none, and believe its authority",
            );
        }
        matches!(error, rustls::Error::InvalidMessage(_)).then_some("what answers here does not speak TLS")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)?;
        if let Some(address) = self.address {
            write!(f, " ({address})")?;
        }
        if self.websocket {
            f.write_str(" by WebSocket")?;
        }
        write!(f, ": {}: {}", self.step, self.error)?;
        match self.hint() {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All that failed in one dial, in the order in which it did.
#[derive(Debug, Clone)]
pub struct Failures(Arc<Vec<Failure>>);

impl Failures {
    pub(super) fn new(mut failures: Vec<Failure>) -> Self {
        failures.truncate(FAILURES_MAX);
        Self(Arc::new(failures))
    }

    /// Each by itself; none if the region has no relay that can be reached.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none of the region's nodes is a relay that can be reached");
        }
        for (index, failure) in self.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustls::OtherError;

    use super::*;

    #[test]
    fn a_failure_says_where_it_was_what_it_was_and_what_to_do() {
        let failure = |error: rustls::Error| Failure {
            node: "900a".to_owned(),
            address: Some(([192, 0, 2, 1], 443).into()),
            websocket: true,
            step: Step::Tls,
            error: DialError::Connection(error.into()),
        };
        let unpinned = failure(CertificateError::ApplicationVerificationFailure.into());
        assert_eq!(
            unpinned.to_string(),
            "900a (192.0.2.1:443) by WebSocket: TLS: invalid peer certificate: ApplicationVerificationFailure \
             (it is not the one that is pinned: the relay has a new one, or somebody is in the way)"
        );
        assert!(failure(CertificateError::UnknownIssuer.into()).hint().is_some());
        let in_company = OtherError(Arc::new(PinnedNotAlone { others: 1 }));
        assert!(failure(CertificateError::Other(in_company).into()).hint().is_some());
        assert_eq!(failure(rustls::Error::DecryptError).hint(), None, "the error says all there is");
    }

    #[test]
    fn no_more_failures_are_kept_than_a_person_reads() {
        let failure = |_| Failure {
            node: String::new(),
            address: None,
            websocket: false,
            step: Step::Tcp,
            error: DialError::Closed,
        };
        assert_eq!(Failures::new((0..100).map(failure).collect()).iter().count(), FAILURES_MAX);
    }
}
