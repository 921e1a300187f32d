//! What the doctor finds: a code that never changes, what is wrong, what shows it, and what to do.

use std::fmt;

use ferry_client::derp_map::Severity;
use serde::{Serialize, Serializer};

/// Something that is wrong with a relay, or on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What kind it is; never renamed.
    pub(crate) code: Code,
    /// How bad; follows from the code.
    pub(crate) severity: Severity,
    /// What is wrong, in a sentence.
    pub(crate) what: String,
    /// What was seen, one thing a line.
    pub(crate) evidence: Vec<String>,
    /// What to do about it, in a sentence.
    pub(crate) fix: String,
}

impl Finding {
    pub(crate) fn new(code: Code, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), what: what.into(), evidence: Vec::new(), fix: fix.into() }
    }

    /// With one more thing that was seen.
    pub(crate) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }
}

/// What kind of finding: its name is stable, for scripts and search engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// The map itself has errors.
    MapErrors,
    /// The host name has no address.
    DnsFailed,
    /// Nothing listens on the port.
    TcpRefused,
    /// Nobody answers a connect.
    TcpSilent,
    /// There is no way to the address.
    TcpUnreachable,
    /// Some of the host's addresses do not answer.
    AddressDead,
    /// All IPv6 addresses fail, IPv4 works.
    Ipv6Broken,
    /// This machine has no IPv6, so the relay's was not tried.
    Ipv6AbsentHere,
    /// All IPv4 addresses fail, IPv6 works.
    Ipv4Broken,
    /// Something else than TLS answers.
    TlsNotSpoken,
    /// The other end refuses the TLS handshake.
    TlsRefused,
    /// The connection is cut in the TLS handshake.
    TlsCut,
    /// Nobody answers the TLS handshake.
    TlsSilent,
    /// The certificate is no longer valid.
    CertificateExpired,
    /// The certificate is not yet valid.
    CertificateNotYetValid,
    /// The certificate is valid for less than a week.
    CertificateExpiresSoon,
    /// The certificate is for other names.
    CertificateWrongName,
    /// The certificate signed itself, and no pin says that it is meant.
    CertificateSelfSigned,
    /// Nobody here knows who signed the certificate.
    CertificateUnknownIssuer,
    /// The certificate is one of those that inspect traffic.
    TlsIntercepted,
    /// The certificate cannot be checked for another reason.
    CertificateInvalid,
    /// Not the certificate that is pinned.
    PinMismatch,
    /// The pinned certificate comes with others.
    PinNotAlone,
    /// The pin is none.
    PinMalformed,
    /// The clock here and the relay's differ.
    ClockOff,
    /// The answer has no date to compare the clock with.
    ClockUnknown,
    /// No HTTP answers the upgrade.
    NotHttp,
    /// A proxy did not pass the upgrade on.
    UpgradeEaten,
    /// A proxy has nobody behind it.
    ProxyNoUpstream,
    /// The request is sent elsewhere.
    UpgradeRedirected,
    /// The request is refused.
    UpgradeForbidden,
    /// A web server, but no relay.
    NotARelay,
    /// Nobody answers the upgrade.
    UpgradeSilent,
    /// WebSocket works where the upgrade does not.
    OnlyWebSocket,
    /// What follows the upgrade is no DERP.
    NotDerp,
    /// The relay says nothing after the client introduced itself.
    HandshakeSilent,
    /// The relay hangs up on a client that it does not know.
    AdmissionRefused,
    /// Two connections find two relays.
    ServerKeyChanges,
    /// The relay takes packets and does not deliver them.
    PacketsLost,
    /// Packets arrive that were not sent.
    PacketsDamaged,
    /// Another relay of the region cannot be connected to.
    MeshNodeDown,
    /// Packets do not pass from one relay of the region to another.
    MeshBroken,
    /// Nobody answers STUN over IPv4.
    StunSilent,
    /// Nobody answers STUN over IPv6.
    StunSilentIpv6,
    /// STUN sees this machine where it cannot be.
    StunSeesProxy,
    /// Port 80 does not answer.
    Port80Closed,
    /// Port 80 answers as no relay does.
    Port80NotOurs,
}

impl Code {
    /// The name, in kebab case.
    pub(crate) const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// How bad it is.
    pub(crate) const fn severity(self) -> Severity {
        self.row().1
    }

    const fn row(self) -> (&'static str, Severity) {
        use Severity::{Error, Hint, Warning};

        match self {
            Self::MapErrors => ("map-errors", Warning),
            Self::DnsFailed => ("dns-failed", Error),
            Self::TcpRefused => ("tcp-refused", Error),
            Self::TcpSilent => ("tcp-silent", Error),
            Self::TcpUnreachable => ("tcp-unreachable", Error),
            Self::AddressDead => ("address-dead", Warning),
            Self::Ipv6Broken => ("ipv6-broken", Warning),
            Self::Ipv6AbsentHere => ("ipv6-absent-here", Hint),
            Self::Ipv4Broken => ("ipv4-broken", Warning),
            Self::TlsNotSpoken => ("tls-not-spoken", Error),
            Self::TlsRefused => ("tls-refused", Error),
            Self::TlsCut => ("tls-cut", Error),
            Self::TlsSilent => ("tls-silent", Error),
            Self::CertificateExpired => ("certificate-expired", Error),
            Self::CertificateNotYetValid => ("certificate-not-yet-valid", Error),
            Self::CertificateExpiresSoon => ("certificate-expires-soon", Warning),
            Self::CertificateWrongName => ("certificate-wrong-name", Error),
            Self::CertificateSelfSigned => ("certificate-self-signed", Error),
            Self::CertificateUnknownIssuer => ("certificate-unknown-issuer", Error),
            Self::TlsIntercepted => ("tls-intercepted", Error),
            Self::CertificateInvalid => ("certificate-invalid", Error),
            Self::PinMismatch => ("pin-mismatch", Error),
            Self::PinNotAlone => ("pin-not-alone", Error),
            Self::PinMalformed => ("pin-malformed", Error),
            Self::ClockOff => ("clock-off", Warning),
            Self::ClockUnknown => ("clock-unknown", Hint),
            Self::NotHttp => ("not-http", Error),
            Self::UpgradeEaten => ("upgrade-eaten", Error),
            Self::ProxyNoUpstream => ("proxy-no-upstream", Error),
            Self::UpgradeRedirected => ("upgrade-redirected", Error),
            Self::UpgradeForbidden => ("upgrade-forbidden", Error),
            Self::NotARelay => ("not-a-relay", Error),
            Self::UpgradeSilent => ("upgrade-silent", Error),
            Self::OnlyWebSocket => ("only-websocket", Warning),
            Self::NotDerp => ("not-derp", Error),
            Self::HandshakeSilent => ("handshake-silent", Error),
            Self::AdmissionRefused => ("admission-refused", Error),
            Self::ServerKeyChanges => ("server-key-changes", Error),
            Self::PacketsLost => ("packets-lost", Error),
            Self::PacketsDamaged => ("packets-damaged", Error),
            Self::MeshNodeDown => ("mesh-node-down", Error),
            Self::MeshBroken => ("mesh-broken", Error),
            Self::StunSilent => ("stun-silent", Error),
            Self::StunSilentIpv6 => ("stun-silent-ipv6", Warning),
            Self::StunSeesProxy => ("stun-sees-proxy", Error),
            Self::Port80Closed => ("port80-closed", Hint),
            Self::Port80NotOurs => ("port80-not-ours", Warning),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
