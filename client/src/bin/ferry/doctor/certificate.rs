//! What a certificate is worth to a client.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ferry_client::derp_map::Identity;
use ferry_client::{FastStart, is_relay_mark};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::finding::{Code, Finding};
use super::target::plural;

/// A certificate that is valid for less than this is about to be a fault: derpprobe's own limit.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 86_400);
/// Names in issuers of those who open TLS to look inside.
const INSPECTORS: [&str; 18] = [
    "zscaler",
    "fortinet",
    "fortigate",
    "palo alto",
    "netskope",
    "blue coat",
    "symantec web",
    "sophos",
    "cisco umbrella",
    "check point",
    "mcafee web",
    "forcepoint",
    "barracuda",
    "kaspersky",
    "avast",
    "eset ssl",
    "mitmproxy",
    "charles proxy",
];

/// What it is checked for.
#[derive(Debug)]
pub(super) struct Check<'a> {
    /// The relay's host.
    pub(super) host: &'a str,
    /// What a client checks.
    pub(super) identity: &'a Identity,
    /// Whom this machine believes.
    pub(super) roots: &'a RootCertStore,
    /// This machine's time.
    pub(super) now: SystemTime,
}

/// What was seen, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// One thing a line.
    pub(super) evidence: Vec<String>,
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
}

impl Check<'_> {
    /// Looks at a chain, the relay's own certificate first.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Judgement {
        // derper's own mark, which says which relay it is and certifies nothing.
        let (marks, chain): (Vec<_>, Vec<_>) = chain.iter().partition(|der| is_relay_mark(der));
        let Some((leaf, rest)) = chain.split_first() else {
            return invalid("the relay shows no certificate", "no certificate came");
        };
        let parsed = X509Certificate::from_der(leaf).map_err(|error| error.to_string());
        let (facts, entity) = match (parsed, ParsedCertificate::try_from(*leaf)) {
            (Ok((_, facts)), Ok(entity)) => (facts, entity),
            (Err(error), _) => return invalid("the certificate cannot be read", &error),
            (_, Err(error)) => return invalid("the certificate cannot be read", &error.to_string()),
        };
        let intermediates: Vec<CertificateDer<'_>> = rest.iter().map(|der| (*der).clone()).collect();
        let mut findings = Vec::new();
        findings.extend(self.dates(&facts));
        findings.extend(self.name(&facts, &entity));
        findings.extend(match self.identity {
            Identity::Pinned(pin) => wrong_pin(leaf, pin).or_else(|| not_alone(rest.len())),
            Identity::Malformed => Some(malformed_pin()),
            Identity::Unchecked => None,
            Identity::HostName | Identity::CertName(_) => self.chain(&facts, leaf, &entity, &intermediates),
        });
        Judgement { evidence: evidence(&facts, leaf, !marks.is_empty()), findings }
    }

    fn dates(&self, facts: &X509Certificate<'_>) -> Option<Finding> {
        if *self.identity == Identity::Unchecked {
            return None;
        }
        let now = seconds(self.now);
        let (from, to) = (facts.validity().not_before, facts.validity().not_after);
        let clock = "check that this machine's clock is right";
        if now > to.timestamp() {
            return Some(
                Finding::new(
                    Code::CertificateExpired,
                    "the certificate has expired",
                    format!(
                        "renew it (look why it was not renewed: port 80 or 443 for ACME, a cron job); {clock}"
                    ),
                )
                .seen(format!("valid until {to}, it is {}", utc(self.now))),
            );
        }
        if now < from.timestamp() {
            return Some(
                Finding::new(Code::CertificateNotYetValid, "the certificate is not yet valid", clock)
                    .seen(format!("valid from {from}, it is {}", utc(self.now))),
            );
        }
        let left = Duration::from_secs(u64::try_from(to.timestamp() - now).unwrap_or_default());
        let whole = Duration::from_secs(u64::try_from(to.timestamp() - from.timestamp()).unwrap_or_default());
        // One that lives for days only is renewed later.
        (left < EXPIRES_SOON.min(whole / 3)).then(|| {
            Finding::new(
                Code::CertificateExpiresSoon,
                format!(
                    "the certificate expires in {}",
                    plural(usize::try_from(left.as_secs() / 86_400).unwrap_or(0), "day")
                ),
                "see to its renewal",
            )
            .seen(format!("valid until {to}"))
        })
    }

    fn name(&self, facts: &X509Certificate<'_>, entity: &ParsedCertificate<'_>) -> Option<Finding> {
        let wanted = match self.identity {
            Identity::CertName(name) => name.as_str(),
            // Who dials an address and pins asks for no name.
            Identity::Pinned(_) if self.host.parse::<IpAddr>().is_ok() => return None,
            Identity::HostName | Identity::Pinned(_) => self.host,
            Identity::Malformed | Identity::Unchecked => return None,
        };
        let matches =
            ServerName::try_from(wanted).is_ok_and(|name| verify_server_name(entity, &name).is_ok());
        (!matches).then(|| {
            Finding::new(
                Code::CertificateWrongName,
                format!("the certificate is not for {wanted}"),
                "get one for that name; or write a name that it is for into the map, as HostName or as \
                 CertName",
            )
            .seen(format!("it is for {}", names(facts)))
        })
    }

    fn chain(
        &self,
        facts: &X509Certificate<'_>,
        leaf: &CertificateDer<'_>,
        entity: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Option<Finding> {
        // What is too old or too new was said already: the rest is looked at on a day when it was neither.
        let day = seconds(self.now)
            .max(facts.validity().not_before.timestamp())
            .min(facts.validity().not_after.timestamp());
        let day = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(day).unwrap_or_default()));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let verified =
            verify_server_cert_signed_by_trust_anchor(entity, self.roots, intermediates, day, algorithms.all);
        let why = match verified {
            Ok(()) => return None,
            Err(Error::InvalidCertificate(why)) => why,
            Err(other) => return Some(not_checkable(&other.to_string())),
        };
        let issuer = facts.issuer().to_string();
        let finding = if is_inspector(&issuer) {
            Finding::new(
                Code::TlsIntercepted,
                "somebody on the way opens TLS: the certificate is not the relay's",
                "have the relay's name exempted from TLS inspection: nodes behind it cannot use the relay",
            )
        } else if why != CertificateError::UnknownIssuer {
            not_checkable(&Error::InvalidCertificate(why).to_string())
        } else if facts.issuer() == facts.subject() {
            self_signed(leaf)
        } else {
            unknown_issuer(intermediates.len())
        };
        Some(finding.seen(format!("issued by {issuer}")))
    }
}

fn self_signed(leaf: &CertificateDer<'_>) -> Finding {
    let fix = format!(
        "write \"CertName\": \"sha256-raw:{}\" into the map; or get a certificate from an authority",
        pin_of(leaf)
    );
    Finding::new(
        Code::CertificateSelfSigned,
        "the certificate signed itself, and the map does not pin it",
        fix,
    )
}

fn unknown_issuer(others: usize) -> Finding {
    let own = "if the authority is your own, nodes need it among their roots (here: --ca FILE); if you do not know the \
        issuer, somebody on the way opens TLS";
    let fix = match others {
        0 => format!("serve the whole chain (the issuer's own certificate is missing); {own}"),
        _ => own.to_owned(),
    };
    Finding::new(
        Code::CertificateUnknownIssuer,
        "nobody whom this machine believes has signed the certificate",
        fix,
    )
    .seen(format!("{} came with it", plural(others, "further one")))
}

fn invalid(what: &str, evidence: &str) -> Judgement {
    let fix = "give the relay (or the proxy before it) a certificate that openssl x509 can read";
    let finding = Finding::new(Code::CertificateInvalid, what, fix).seen(evidence);
    Judgement { evidence: Vec::new(), findings: vec![finding] }
}

fn not_checkable(why: &str) -> Finding {
    Finding::new(
        Code::CertificateInvalid,
        "the certificate does not pass a client's checks",
        "get a new one from a public authority",
    )
    .seen(why)
}

fn wrong_pin(leaf: &CertificateDer<'_>, pin: &[u8; 32]) -> Option<Finding> {
    let found = pin_of(leaf);
    let wanted = HEXLOWER.encode(pin);
    (found != wanted).then(|| {
        Finding::new(
            Code::PinMismatch,
            "the certificate is not the one that the map pins",
            "if it was renewed on purpose, write the new pin into the map; if not, somebody on the way \
             opens TLS",
        )
        .seen(format!("pinned sha256-raw:{wanted}"))
        .seen(format!("shown sha256-raw:{found}"))
    })
}

fn not_alone(others: usize) -> Option<Finding> {
    (others > 0).then(|| {
        Finding::new(
            Code::PinNotAlone,
            "other certificates come with the one that the map pins, which Tailscale's nodes refuse",
            "serve the pinned certificate without a chain; or pin none, and let nodes check the chain",
        )
        .seen(format!("{} came with it", plural(others, "further one")))
    })
}

fn malformed_pin() -> Finding {
    Finding::new(
        Code::PinMalformed,
        "the CertName is a pin that no certificate matches",
        "write sha256-raw: and 64 hex digits in lower case",
    )
}

/// What there is to say of a fast start, where the relay's mark came.
pub(super) fn fast_start(offer: FastStart) -> Option<String> {
    match offer {
        FastStart::Offered(_) => Some("fast start: offered".to_owned()),
        FastStart::OldTls => Some("fast start: not offered, it takes TLS 1.3".to_owned()),
        FastStart::Malformed => Some("fast start: not offered, the relay's mark cannot be read".to_owned()),
        FastStart::OtherVersion(version) => {
            Some(format!("fast start: not offered, the relay's mark is for version {version} of DERP"))
        }
        FastStart::NoMark => None,
    }
}

fn evidence(facts: &X509Certificate<'_>, leaf: &CertificateDer<'_>, marked: bool) -> Vec<String> {
    vec![
        format!("for {}, issued by {}", names(facts), facts.issuer()),
        format!("valid {} to {}", facts.validity().not_before, facts.validity().not_after),
        format!("sha256-raw:{}", pin_of(leaf)),
        if marked {
            "the relay's own mark came with it: TLS ends at the relay".to_owned()
        } else {
            "no relay's mark came with it: TLS may end at a proxy before the relay".to_owned()
        },
    ]
}

/// What a `CertName` pins.
fn pin_of(leaf: &CertificateDer<'_>) -> String {
    HEXLOWER.encode(digest(&SHA256, leaf).as_ref())
}

fn names(facts: &X509Certificate<'_>) -> String {
    let alternatives = facts.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| {
            if let GeneralName::IPAddress(bytes) = name {
                return address(bytes);
            }
            if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
        })
        .take(8)
        .collect();
    if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string());
    v4.or(v6).ok()
}

fn is_inspector(issuer: &str) -> bool {
    let issuer = issuer.to_lowercase();
    INSPECTORS.iter().any(|name| issuer.contains(name))
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

fn utc(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    const HOST: &str = "relay.example.net";

    /// A day in 2024.
    fn day(month: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_704_067_200 + 30 * 86_400 * month)
    }

    fn params(names: &[&str]) -> CertificateParams {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2025, 1, 1);
        params
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(by: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> CertificateDer<'static> {
        params(names).signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
    }

    fn codes(
        identity: &Identity,
        roots: &[&CertificateDer<'_>],
        now: SystemTime,
        chain: &[CertificateDer<'_>],
    ) -> Vec<&'static str> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add((*root).clone().into_owned()).unwrap();
        }
        let check = Check { host: HOST, identity, roots: &store, now };
        check.judge(chain).findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn a_certificate_for_the_host_by_a_root_is_sound() {
        let root = authority("Root");
        let chain = [issued(&root, &[HOST])];
        assert_eq!(codes(&Identity::HostName, &[root.der()], day(3), &chain), [""; 0]);
        let front = Identity::CertName("front.example.net".to_owned());
        assert_eq!(codes(&front, &[root.der()], day(3), &chain), ["certificate-wrong-name"]);
        assert_eq!(codes(&front, &[root.der()], day(3), &[issued(&root, &["front.example.net"])]), [""; 0]);
    }

    #[test]
    fn dates_are_looked_at_by_themselves() {
        let root = authority("Root");
        let chain = [issued(&root, &[HOST])];
        let on = |now| codes(&Identity::HostName, &[root.der()], now, &chain);
        assert_eq!(on(day(13)), ["certificate-expired"]);
        assert_eq!(on(UNIX_EPOCH), ["certificate-not-yet-valid"]);
        assert_eq!(on(day(12) + Duration::from_secs(86_400)), ["certificate-expires-soon"]);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let stranger = authority("Somebody");
        let chain = [issued(&stranger, &["other.example.net"])];
        assert_eq!(
            codes(&Identity::HostName, &[authority("Root").der()], day(13), &chain),
            ["certificate-expired", "certificate-wrong-name", "certificate-unknown-issuer"]
        );
    }

    #[test]
    fn who_signed_is_told_apart() {
        let root = authority("Root");
        let of = |chain: &[CertificateDer<'_>]| codes(&Identity::HostName, &[root.der()], day(3), chain);
        let own = params(&[HOST]).self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(of(&[own.der().clone()]), ["certificate-self-signed"]);
        assert_eq!(of(&[issued(&authority("Zscaler Inc."), &[HOST])]), ["tls-intercepted"]);
        assert_eq!(of(&[issued(&authority("Own"), &[HOST])]), ["certificate-unknown-issuer"]);
    }

    #[test]
    fn a_pin_needs_no_authority_but_the_name_and_the_date() {
        let own = params(&[HOST]).self_signed(&KeyPair::generate().unwrap()).unwrap();
        let chain = [own.der().clone()];
        let pin = Identity::Pinned(digest(&SHA256, own.der()).as_ref().try_into().unwrap());
        assert_eq!(codes(&pin, &[], day(3), &chain), [""; 0]);
        assert_eq!(codes(&pin, &[], day(13), &chain), ["certificate-expired"]);
        assert_eq!(codes(&Identity::Pinned([7; 32]), &[], day(3), &chain), ["pin-mismatch"]);
        assert_eq!(codes(&Identity::Malformed, &[], day(3), &chain), ["pin-malformed"]);
        assert_eq!(codes(&Identity::Unchecked, &[], day(13), &chain), [""; 0]);
    }

    #[test]
    fn a_pinned_certificate_is_for_its_host_unless_that_is_an_address_and_comes_alone() {
        let root = authority("Root");
        let chain = [issued(&root, &["other.example.net"])];
        let pin = Identity::Pinned(digest(&SHA256, &chain[0]).as_ref().try_into().unwrap());
        assert_eq!(codes(&pin, &[], day(3), &chain), ["certificate-wrong-name"]);
        let check = Check { host: "192.0.2.1", identity: &pin, roots: &RootCertStore::empty(), now: day(3) };
        assert_eq!(check.judge(&chain).findings, []);
        let chain = [chain[0].clone(), root.der().clone()];
        let findings = check.judge(&chain).findings;
        assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::PinNotAlone]);
        assert_eq!(findings[0].evidence, ["1 further one came with it"]);
    }

    #[test]
    fn why_there_is_no_fast_start_is_told_where_the_mark_does_not_say_it() {
        let of = |offer| fast_start(offer).unwrap_or_default();
        assert_eq!(
            of(FastStart::Offered(ferry_protocol::NodePublicKey::from_bytes([1; 32]))),
            "fast start: offered"
        );
        assert_eq!(of(FastStart::OldTls), "fast start: not offered, it takes TLS 1.3");
        assert!(of(FastStart::OtherVersion(3)).ends_with("version 3 of DERP"));
        assert_eq!(of(FastStart::NoMark), "");
    }

    #[test]
    fn what_is_no_certificate_is_invalid() {
        assert_eq!(codes(&Identity::HostName, &[], day(3), &[]), ["certificate-invalid"]);
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(codes(&Identity::HostName, &[], day(3), &[garbage]), ["certificate-invalid"]);
    }
}
