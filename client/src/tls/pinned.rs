//! A certificate that a DERP map pins by its hash.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError};

use crate::certificate::{check_dates, is_relay_mark};

/// The pinned certificate did not come alone: Tailscale's client refuses that, for who pins a certificate serves no chain.
/// Inside [`CertificateError::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{others} more came with the pinned certificate, want none but the relay's mark")]
pub struct PinnedNotAlone {
    /// How many, without the relay's mark.
    pub others: usize,
}

/// Checks the peer's own certificate, and what came with it, as Tailscale's client does (`SetConfigExpectedCertHash`): it has
/// this hash, is for the host's name, and valid today, and nothing but a relay's mark is beside it. An address is no name: who
/// dials one asks for none.
///
/// That client would also take the pinned certificate at a later place than the first, behind a mark. Only the first is one
/// whose key the peer has shown to hold, so that whoever had seen the pinned one could put it behind a mark of their own.
pub(super) fn verify(
    sha256: &[u8; 32],
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    verify_hash(sha256, end_entity)?;
    if let ServerName::DnsName(_) = host {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, host)?;
    }
    check_dates(end_entity, now)?;
    let others = intermediates.iter().filter(|der| !is_relay_mark(der)).count();
    if others > 0 {
        let why = OtherError(Arc::new(PinnedNotAlone { others }));
        return Err(CertificateError::Other(why).into());
    }
    Ok(())
}

/// Checks that the peer's own certificate has this hash.
pub(super) fn verify_hash(sha256: &[u8; 32], end_entity: &CertificateDer<'_>) -> Result<(), Error> {
    if digest(&SHA256, end_entity).as_ref() != sha256 {
        return Err(CertificateError::ApplicationVerificationFailure.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    /// 2024-01-01.
    const NEW_YEAR: u64 = 1_704_067_200;

    /// Valid through 2024.
    fn certificate(name: &str, common_name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2025, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn pin(der: &CertificateDer<'_>) -> [u8; 32] {
        digest(&SHA256, der).as_ref().try_into().unwrap()
    }

    fn on(day: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(NEW_YEAR + day * 86_400 - 43_200))
    }

    const HOST: &str = "relay.example.net";

    /// Why a chain is refused whose first certificate is pinned, on a day of 2024; None if it is not.
    fn refusal(chain: &[CertificateDer<'static>], host: &str, day: u64) -> Option<CertificateError> {
        refusal_by(&pin(&chain[0]), chain, host, day)
    }

    fn refusal_by(
        sha256: &[u8; 32],
        chain: &[CertificateDer<'static>],
        host: &str,
        day: u64,
    ) -> Option<CertificateError> {
        let host = ServerName::try_from(host).unwrap();
        match verify(sha256, &chain[0], &chain[1..], &host, on(day)) {
            Ok(()) => None,
            Err(Error::InvalidCertificate(why)) => Some(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn hash_name_and_date_are_checked() {
        let chain = [certificate(HOST, "relay")];
        assert_eq!(refusal(&chain, HOST, 100), None);
        assert!(matches!(
            refusal(&chain, "other.example.net", 100),
            Some(CertificateError::NotValidForNameContext { .. })
        ));
        assert!(matches!(refusal(&chain, HOST, 0), Some(CertificateError::NotValidYetContext { .. })));
        assert!(matches!(refusal(&chain, HOST, 400), Some(CertificateError::ExpiredContext { .. })));
        assert_eq!(
            refusal_by(&[7; 32], &chain, HOST, 100),
            Some(CertificateError::ApplicationVerificationFailure)
        );
    }

    #[test]
    fn an_address_is_no_name() {
        let chain = [certificate(HOST, "relay")];
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(refusal(&chain, address, 100), None);
        }
    }

    #[test]
    fn a_mark_is_no_company_and_all_else_is() {
        let mut chain = vec![certificate(HOST, "relay")];
        chain.push(certificate("mark", &format!("derpkey{}", "ab".repeat(32))));
        assert_eq!(refusal(&chain, HOST, 100), None);
        chain[1] = certificate("mark", "derpkey is what it begins with");
        assert_eq!(refusal(&chain, HOST, 100), None);
        chain.push(certificate("authority.example.net", "authority"));
        chain.push(CertificateDer::from(vec![1, 2, 3]));
        let Some(CertificateError::Other(why)) = refusal(&chain, HOST, 100) else {
            panic!("it is not refused for its company")
        };
        assert_eq!(why.0.downcast_ref(), Some(&PinnedNotAlone { others: 2 }));
    }

    #[test]
    fn the_pinned_certificate_behind_a_strangers_mark_is_not_believed() {
        let mark = certificate(HOST, &format!("derpkey{}", "ab".repeat(32)));
        let chain = [mark, certificate(HOST, "relay")];
        assert_eq!(
            refusal_by(&pin(&chain[1]), &chain, HOST, 100),
            Some(CertificateError::ApplicationVerificationFailure)
        );
    }
}
