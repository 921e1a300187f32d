//! TLS below a connection, over the caller's buffers.

use std::sync::Arc;

use ferry_protocol::frame::PROTOCOL_VERSION;
use ferry_protocol::{NodePublicKey, meta_cert};
use ferry_record::{Opened, Proceeded, Progress, ServerHandshake, ServerSession};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::UnbufferedServerConnection;

use super::connection::Hangup;

/// A certificate that nobody need believe, the one that tells the relay's key behind it, so that clients may start fast, and session
/// tickets for those who come back.
pub(super) fn config(relay: &NodePublicKey) -> anyhow::Result<Arc<ServerConfig>> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    // ECDSA with P-256, as derper's own.
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone(), meta_certificate(relay)?], key.into())?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // As Go's server does; the second one of rustls' default would be sealed for nobody.
    config.send_tls13_tickets = 1;
    // The record layer after the handshake is ours.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// The last certificate of every relay's chain.
fn meta_certificate(relay: &NodePublicKey) -> anyhow::Result<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, meta_cert::common_name(relay));
    params.serial_number = Some(u64::from(PROTOCOL_VERSION).into());
    // As relays sign theirs: it is the shortest.
    let signer = KeyPair::generate_for(&PKCS_ED25519)?;
    Ok(params.self_signed(&signer)?.der().clone())
}

/// One connection's TLS.
pub(super) enum Tls {
    /// Hands are being shaken.
    Handshake(Box<ServerHandshake>),
    /// Data may be sent.
    Established(Box<ServerSession>),
    /// The handshake's end was none.
    Over,
}

impl Tls {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self, Hangup> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(|_| Hangup)?;
        Ok(Self::Handshake(Box::new(ServerHandshake::new(connection))))
    }

    /// Opens the whole records in `sealed`, hands their plaintext on, and appends what TLS itself says to `wire`. Answers how
    /// many bytes are done with.
    pub(super) fn open(
        &mut self,
        sealed: &mut [u8],
        wire: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8]) -> Result<(), Hangup>,
    ) -> Result<usize, Hangup> {
        let mut at = self.shake_hands(sealed, wire)?;
        let Self::Established(session) = self else { return Ok(at) };
        loop {
            // Whatever is wrong, a null server has nothing to say to it.
            match session.open(&mut sealed[at..]).map_err(|_| Hangup)? {
                Opened::Incomplete { .. } => return Ok(at),
                Opened::Data { plain: range, consumed } => {
                    plain(&sealed[at + range.start..at + range.end])?;
                    at += consumed;
                }
                Opened::Control { consumed, update_ours } => {
                    at += consumed;
                    if update_ours {
                        session.key_update(wire).map_err(|_| Hangup)?;
                    }
                }
                Opened::Closed => return Err(Hangup),
            }
        }
    }

    fn shake_hands(&mut self, sealed: &mut [u8], wire: &mut Vec<u8>) -> Result<usize, Hangup> {
        let Self::Handshake(handshake) = self else { return Ok(0) };
        let Proceeded { consumed, progress } = handshake.proceed(sealed, wire).map_err(|_| Hangup)?;
        match progress {
            Progress::Waiting { .. } => {}
            Progress::Done => {
                let Self::Handshake(handshake) = std::mem::replace(self, Self::Over) else {
                    return Err(Hangup);
                };
                *self = Self::Established(Box::new(handshake.into_session().map_err(|_| Hangup)?));
            }
        }
        Ok(consumed)
    }

    /// Appends `plain` to `wire` in records as large as they may be.
    pub(super) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Hangup> {
        match self {
            Self::Established(session) => session.seal(plain, wire).map_err(|_| Hangup),
            Self::Handshake(_) | Self::Over => Err(Hangup),
        }
    }
}
