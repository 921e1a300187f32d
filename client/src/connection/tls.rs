//! TLS below a connection: the handshake, and then records on the way in and out.
//!
//! Records are opened in the caller's buffer; only the part of a record whose rest has not come is kept.

use std::fmt;
use std::mem;
use std::sync::Arc;

use ferry_record::{ClientHandshake, ClientSession, Opened, Proceeded, Progress, RecordError};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, Error, ProtocolVersion};

use super::ConnectionError;
use super::outgoing::Outgoing;

/// What may wait for its rest: a handshake message of 64 KiB over several records, and some of the next record.
pub(super) const LEFTOVER_BYTES_MAX: usize = 128 * 1024;

/// The client's end of a TLS connection.
pub(super) struct Tls {
    phase: Phase,
    /// The front of a record whose rest has not come; without allocation while there is none.
    leftover: Vec<u8>,
    /// How long the leftover should be before it is worth a look: its record and no more, so that the records behind are
    /// opened where they are.
    needed: usize,
    /// The peer asked for our next key. One answer does for all that it asked, ahead of our next data.
    owes_key_update: bool,
}

/// What comes out of TLS.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inner<'a> {
    /// The handshake is done, and the peer is believed: data may be sent. Comes once, before any data.
    Established {
        /// What was agreed on.
        version: Option<ProtocolVersion>,
        /// What the peer showed, its own certificate first; in a session that was resumed, what it showed when that began, for
        /// rustls keeps it beside the ticket.
        certificates: &'a [CertificateDer<'static>],
    },
    /// Data of one record.
    Data(&'a [u8]),
}

/// How far it is.
enum Phase {
    Handshake(Box<ClientHandshake>),
    /// Data may be sent.
    Established(ClientSession),
    /// The peer sent close_notify; we still may.
    ClosedByPeer(ClientSession),
    /// A fatal alert was sent or received.
    Failed,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Handshake(_) => "Handshake",
            Phase::Established(_) => "Established",
            Phase::ClosedByPeer(_) => "ClosedByPeer",
            Phase::Failed => "Failed",
        };
        f.debug_struct("Tls")
            .field("phase", &phase)
            .field("leftover_bytes", &self.leftover.len())
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// A connection whose ClientHello is in `out`.
    pub(super) fn start(
        config: &Arc<ClientConfig>,
        host: &str,
        out: &mut Outgoing,
    ) -> Result<Self, ConnectionError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ConnectionError::Host { host: host.to_owned() })?;
        let rustls = UnbufferedClientConnection::new(with_secrets(config), name)?;
        let handshake = Box::new(ClientHandshake::new(rustls));
        let phase = Phase::Handshake(handshake);
        let mut tls = Self { phase, leftover: Vec::new(), needed: 0, owes_key_update: false };
        tls.process(&mut [], out, &mut |_| Ok(()))?;
        Ok(tls)
    }

    /// The handshake is done: data may be sent.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// The peer sent close_notify.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::ClosedByPeer(_))
    }

    /// Opens what the socket gave, in place, and hands on what was inside, record by record. What TLS itself has to say,
    /// a fatal alert included, is added to `out`.
    pub(super) fn receive(
        &mut self,
        mut input: &mut [u8],
        out: &mut Outgoing,
        inner: &mut impl FnMut(Inner<'_>) -> Result<(), ConnectionError>,
    ) -> Result<(), ConnectionError> {
        while !self.leftover.is_empty() && !input.is_empty() {
            let missing = self.needed.saturating_sub(self.leftover.len());
            let (rest_of_record, after) = input.split_at_mut(missing.clamp(1, input.len()));
            self.leftover.extend_from_slice(rest_of_record);
            input = after;
            let mut leftover = mem::take(&mut self.leftover);
            let opened = self.process(&mut leftover, out, inner)?;
            leftover.drain(..opened);
            self.leftover = leftover;
        }
        if !input.is_empty() {
            let opened = self.process(input, out, inner)?;
            self.leftover.extend_from_slice(input.get(opened..).unwrap_or_default());
        }
        if self.leftover.is_empty() {
            // An idle connection keeps no buffer.
            self.leftover = Vec::new();
        }
        if self.leftover.len() > LEFTOVER_BYTES_MAX {
            return Err(ConnectionError::TlsLeftover { bytes: self.leftover.len() });
        }
        Ok(())
    }

    /// Seals `data` as records of their own at the end of `out`: one, unless it is longer than a record may be.
    pub(super) fn send(&mut self, data: &[u8], out: &mut Outgoing) -> Result<(), ConnectionError> {
        let Phase::Established(session) = &mut self.phase else {
            return Err(ConnectionError::TlsNotReady);
        };
        if session.is_exhausted() {
            return Err(ConnectionError::TlsExhausted);
        }
        let out = out.end();
        if mem::take(&mut self.owes_key_update) {
            session.key_update(out).map_err(refused)?;
        }
        session.seal(data, out).map_err(refused)
    }

    /// Appends close_notify, if the handshake has come far enough for it.
    pub(super) fn close(&mut self, out: &mut Outgoing) -> Result<(), ConnectionError> {
        match &mut self.phase {
            Phase::Established(session) | Phase::ClosedByPeer(session) => {
                session.close_notify(out.end()).map_err(refused)
            }
            Phase::Handshake(_) | Phase::Failed => Ok(()),
        }
    }

    /// Works through `received`; answers how many bytes of it are done with.
    fn process(
        &mut self,
        received: &mut [u8],
        out: &mut Outgoing,
        inner: &mut impl FnMut(Inner<'_>) -> Result<(), ConnectionError>,
    ) -> Result<usize, ConnectionError> {
        let mut done = self.shake_hands(received, out, inner)?;
        loop {
            let session = match &mut self.phase {
                Phase::Handshake(_) => return Ok(done),
                Phase::Established(session) => session,
                // Nothing follows.
                Phase::ClosedByPeer(_) | Phase::Failed => return Ok(received.len()),
            };
            let rest = received.get_mut(done..).unwrap_or_default();
            match session.open(rest) {
                Ok(Opened::Incomplete { needed }) => {
                    self.needed = needed;
                    return Ok(done);
                }
                Ok(Opened::Data { plain: range, consumed }) => {
                    done += consumed;
                    inner(Inner::Data(rest.get(range).unwrap_or_default()))?;
                }
                Ok(Opened::Control { consumed, update_ours }) => {
                    done += consumed;
                    self.owes_key_update |= update_ours;
                }
                Ok(Opened::Closed) => {
                    if let Phase::Established(session) = mem::replace(&mut self.phase, Phase::Failed) {
                        self.phase = Phase::ClosedByPeer(session);
                    }
                }
                Err(error) => {
                    if let Some(alert) = error.alert() {
                        session.alert(alert, out.end()).map_err(refused)?;
                    }
                    self.phase = Phase::Failed;
                    return Err(refused(error));
                }
            }
        }
    }

    /// Goes on with the handshake, if it is not over; answers how many bytes of `received` are done with.
    fn shake_hands(
        &mut self,
        received: &mut [u8],
        out: &mut Outgoing,
        inner: &mut impl FnMut(Inner<'_>) -> Result<(), ConnectionError>,
    ) -> Result<usize, ConnectionError> {
        let Phase::Handshake(handshake) = &mut self.phase else { return Ok(0) };
        let Proceeded { consumed, progress } = match handshake.proceed(received, out.end()) {
            Ok(proceeded) => proceeded,
            Err(error) => {
                self.phase = Phase::Failed;
                return Err(error.into());
            }
        };
        match progress {
            Progress::Waiting { needed } => self.needed = needed,
            Progress::Done => {
                if let Phase::Handshake(handshake) = mem::replace(&mut self.phase, Phase::Failed) {
                    let agreed = handshake.connection();
                    let certificates = agreed.peer_certificates().unwrap_or_default();
                    inner(Inner::Established { version: agreed.protocol_version(), certificates })?;
                    self.phase = Phase::Established(handshake.into_session()?);
                }
            }
        }
        Ok(consumed)
    }
}

/// The configuration, with leave to take the secrets out of a finished handshake: the record layer is not rustls'.
fn with_secrets(config: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    if config.enable_secret_extraction {
        return Arc::clone(config);
    }
    let mut config = ClientConfig::clone(config);
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// A record's error in rustls' words, where it has some.
fn refused(error: RecordError) -> ConnectionError {
    let error = match error {
        RecordError::Decrypt { .. } | RecordError::TooShort { .. } => Error::DecryptError,
        RecordError::TooLong { .. } => Error::PeerSentOversizedRecord,
        RecordError::Alert { description } => Error::AlertReceived(AlertDescription::from(description)),
        RecordError::Ticket { error, .. } => error,
        RecordError::Unexpected { .. }
        | RecordError::Message { .. }
        | RecordError::TicketTooLong { .. }
        | RecordError::Fruitless
        | RecordError::Keys => Error::General(error.to_string()),
    };
    error.into()
}
