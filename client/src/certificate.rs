//! What a client reads in the certificates that a relay shows, beside what the chain is worth.

use std::time::Duration;

use ferry_protocol::frame::PROTOCOL_VERSION;
use ferry_protocol::{NodePublicKey, meta_cert};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, ProtocolVersion};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// Whether a relay's key is known from its certificates, so that a client need not wait for its greeting: what derper
/// and Ferry's relay tell in an extra certificate, the last of those they show ([`meta_cert`]).
///
/// That certificate proves nothing. It is believed because of the TLS connection in which it came, as a greeting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastStart {
    /// This is the relay's key, and it speaks our version of DERP.
    Offered(NodePublicKey),
    /// TLS is older than 1.3: certificates came unencrypted, and Tailscale's client does not look either.
    OldTls,
    /// No certificate is of that kind: another sort of relay, or somebody before it ends TLS.
    NoMark,
    /// One would be, but has no key that can be read or a serial number that is no version.
    Malformed,
    /// The relay speaks another version of DERP, or says that it speaks none (0).
    OtherVersion(u8),
}

impl FastStart {
    /// Looks through the certificates of a handshake, in the order in which they came; the first that is well-formed counts
    /// (`parseMetaCert`). What is no certificate at all is passed over.
    pub fn of(version: Option<ProtocolVersion>, certificates: &[CertificateDer<'_>]) -> Self {
        if version != Some(ProtocolVersion::TLSv1_3) {
            return Self::OldTls;
        }
        let mut found = Self::NoMark;
        for certificate in certificates {
            match Self::of_certificate(certificate) {
                Self::NoMark => {}
                Self::Malformed => found = Self::Malformed,
                answer @ (Self::Offered(_) | Self::OldTls | Self::OtherVersion(_)) => return answer,
            }
        }
        found
    }

    fn of_certificate(der: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::NoMark };
        let Some(name) = mark_of(&certificate) else { return Self::NoMark };
        let version = version_of(certificate.raw_serial());
        match (meta_cert::key_in_common_name(name), version) {
            (Some(key), Some(PROTOCOL_VERSION)) => Self::Offered(key),
            (Some(_), Some(version)) => Self::OtherVersion(version),
            (None, _) | (_, None) => Self::Malformed,
        }
    }
}

/// Whether a certificate is a relay's mark and certifies nothing; whether it is well-formed does not matter.
pub fn is_relay_mark(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| mark_of(&certificate).is_some())
}

/// The common name, if it is a mark's. Of several, the last counts, as in Go.
fn mark_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let name = certificate.subject().iter_common_name().last()?.as_str().ok()?;
    name.starts_with(meta_cert::COMMON_NAME_PREFIX).then_some(name)
}

/// A serial number as a version, if it fits.
fn version_of(serial: &[u8]) -> Option<u8> {
    let (version, leading) = serial.split_last()?;
    leading.iter().all(|byte| *byte == 0).then_some(*version)
}

/// Whether a certificate is valid on this day, whoever signed it.
pub(crate) fn check_dates(der: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    let (not_before, not_after) =
        (unix(validity.not_before.timestamp()), unix(validity.not_after.timestamp()));
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    Ok(())
}

/// A date; what is before 1970 is 1970.
fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    const KEY: NodePublicKey = NodePublicKey::from_bytes([0xab; 32]);
    const TLS13: Option<ProtocolVersion> = Some(ProtocolVersion::TLSv1_3);

    /// A certificate with this common name and this serial number, valid in 2024.
    fn certificate(name: &str, serial: &[u8]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial.to_vec()));
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2025, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn mark(key: &str, serial: &[u8]) -> CertificateDer<'static> {
        certificate(&format!("derpkey{key}"), serial)
    }

    fn good() -> CertificateDer<'static> {
        mark(&KEY.untyped_hex(), &[2])
    }

    #[test]
    fn the_key_is_found_wherever_the_mark_stands() {
        let leaf = certificate("relay.example.net", &[7]);
        for chain in [vec![leaf.clone(), good()], vec![good(), leaf.clone()], vec![good()]] {
            assert_eq!(FastStart::of(TLS13, &chain), FastStart::Offered(KEY));
        }
        assert_eq!(FastStart::of(TLS13, &[leaf]), FastStart::NoMark);
        assert_eq!(FastStart::of(TLS13, &[]), FastStart::NoMark);
        let upper = mark(&KEY.untyped_hex().to_uppercase(), &[2]);
        assert_eq!(FastStart::of(TLS13, &[upper]), FastStart::Offered(KEY), "either case");
    }

    #[test]
    fn only_in_tls_13_is_it_looked_for() {
        for version in [Some(ProtocolVersion::TLSv1_2), None] {
            assert_eq!(FastStart::of(version, &[good()]), FastStart::OldTls);
        }
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_none_and_a_good_one_behind_it_is() {
        let hex = KEY.untyped_hex();
        for (what, malformed) in [
            ("no key", mark("", &[2])),
            ("63 digits", mark(&hex[..63], &[2])),
            ("65 digits", mark(&format!("{hex}a"), &[2])),
            ("no digits", mark(&"xy".repeat(32), &[2])),
            ("digits that are none", mark(&"é".repeat(32), &[2])),
            ("zero key", mark(&"0".repeat(64), &[2])),
            ("a key of 8,000 bytes", mark(&"ab".repeat(8000), &[2])),
            ("serial of 9 bits", mark(&hex, &[1, 2])),
            ("serial of 20 bytes", mark(&hex, &[0x7f; 20])),
        ] {
            assert_eq!(
                FastStart::of(TLS13, std::slice::from_ref(&malformed)),
                FastStart::Malformed,
                "{what}"
            );
            assert!(is_relay_mark(&malformed), "{what}");
            assert_eq!(FastStart::of(TLS13, &[malformed, good()]), FastStart::Offered(KEY), "{what}");
        }
        let garbage = CertificateDer::from(b"derpkey".repeat(100));
        assert_eq!(FastStart::of(TLS13, std::slice::from_ref(&garbage)), FastStart::NoMark);
        assert_eq!(FastStart::of(TLS13, &[garbage, good()]), FastStart::Offered(KEY));
    }

    #[test]
    fn a_version_that_we_do_not_speak_is_told_and_not_offered() {
        let hex = KEY.untyped_hex();
        for version in [0, 1, 3, 127, 128, 255] {
            let chain = [mark(&hex, &[version]), good()];
            assert_eq!(FastStart::of(TLS13, &chain), FastStart::OtherVersion(version), "the first counts");
        }
    }

    #[test]
    fn a_mark_begins_with_the_word() {
        assert!(is_relay_mark(&certificate("derpkey", &[2])));
        assert!(!is_relay_mark(&certificate("a derpkey", &[2])));
        assert!(!is_relay_mark(&certificate("DERPKEY", &[2])));
    }

    #[test]
    fn dates_are_checked_to_the_second() {
        let der = certificate("relay.example.net", &[1]);
        // 2024-01-01 and 2025-01-01, both in UTC.
        let (from, to) = (unix(1_704_067_200), unix(1_735_689_600));
        let second = |time: UnixTime, by: i64| unix(time.as_secs() as i64 + by);
        assert_eq!(check_dates(&der, from), Ok(()));
        assert_eq!(check_dates(&der, to), Ok(()));
        let early = second(from, -1);
        assert_eq!(
            check_dates(&der, early),
            Err(CertificateError::NotValidYetContext { time: early, not_before: from })
        );
        let late = second(to, 1);
        assert_eq!(
            check_dates(&der, late),
            Err(CertificateError::ExpiredContext { time: late, not_after: to })
        );
        assert_eq!(check_dates(&[1, 2, 3][..].into(), from), Err(CertificateError::BadEncoding));
        assert_eq!(unix(-1), unix(0));
    }

    proptest! {
        #[test]
        fn a_certificate_that_was_spoilt_offers_the_right_key_or_none(
            cut in 0..2000_usize,
            flips in proptest::collection::vec((0..2000_usize, 1..=255_u8), 0..4),
        ) {
            let mut der = good().to_vec();
            for (at, with) in flips {
                let at = at % der.len();
                der[at] ^= with;
            }
            der.truncate(cut);
            let der = CertificateDer::from(der);
            let _ = check_dates(&der, unix(0));
            let offers = matches!(FastStart::of(TLS13, std::slice::from_ref(&der)), FastStart::Offered(_));
            prop_assert!(!offers || is_relay_mark(&der));
        }
    }
}
