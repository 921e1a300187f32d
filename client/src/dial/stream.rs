//! A TCP connection on its way to a relay connection: through the proxy, TLS, the upgrade and the handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use ferry_protocol::{HandshakeError, NodePrivateKey};

use super::tunnel::Tunnel;
use super::{DialError, Proxy, Step, Ticket};
use crate::{Connection, ConnectionError, Event, Settings, Stage};

/// A TCP connection, and what is spoken on it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ticket: Ticket,
    pub(super) address: SocketAddr,
    /// Until the proxy lets us through.
    tunnel: Option<Tunnel>,
    connection: Connection,
}

impl Stream {
    pub(super) fn start(
        ticket: Ticket,
        address: SocketAddr,
        proxy: Option<&Proxy>,
        settings: &Arc<Settings>,
        key: &Arc<NodePrivateKey>,
        random: [u8; 40],
    ) -> Result<Self, DialError> {
        let tunnel =
            proxy.map(|proxy| Tunnel::start(proxy, &settings.url.host, settings.url.port)).transpose()?;
        let connection = Connection::new(settings, key, random)?;
        Ok(Self { ticket, address, tunnel, connection })
    }

    /// The step that it is at; None once it is established.
    pub(super) fn step(&self) -> Option<Step> {
        if self.tunnel.is_some() {
            return Some(Step::Proxy);
        }
        let stage = self.connection.stage();
        (stage != Stage::Established).then(|| Step::of(stage))
    }

    /// Takes what the socket gave.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        events: &mut impl FnMut(Event<'_>),
    ) -> Result<(), DialError> {
        let mut input = input;
        if let Some(tunnel) = &mut self.tunnel {
            let Some(own) = tunnel.receive(input)? else { return Ok(()) };
            self.tunnel = None;
            input = input.get_mut(own..).unwrap_or_default();
        }
        if input.is_empty() {
            return Ok(());
        }
        let mut closed = false;
        self.connection.receive(input, &mut |event| {
            closed |= matches!(event, Event::Closed);
            events(event);
        })?;
        if closed { Err(DialError::Closed) } else { Ok(()) }
    }

    /// What the socket should take.
    pub(super) fn outgoing(&self) -> &[u8] {
        match &self.tunnel {
            Some(tunnel) => tunnel.outgoing(),
            None => self.connection.outgoing(),
        }
    }

    /// The socket took so many.
    pub(super) fn written(&mut self, bytes: usize) {
        match &mut self.tunnel {
            Some(tunnel) => tunnel.written(bytes),
            None => self.connection.written(bytes),
        }
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}

/// The step at which this happened: the error knows better than whoever handed over bytes of several steps.
pub(super) fn step_of(error: &DialError, before: Step) -> Step {
    match error {
        DialError::Proxy(_) => Step::Proxy,
        DialError::Config(_) => Step::Tls,
        DialError::Connection(error) => match error {
            ConnectionError::TlsMissing { .. }
            | ConnectionError::Host { .. }
            | ConnectionError::Tls(_)
            | ConnectionError::TlsLeftover { .. }
            | ConnectionError::TlsExhausted
            | ConnectionError::TlsNotReady => Step::Tls,
            ConnectionError::Head(_)
            | ConnectionError::HeadTooLong { .. }
            | ConnectionError::Status { .. }
            | ConnectionError::Accept { .. }
            | ConnectionError::Subprotocol { .. } => Step::Upgrade,
            ConnectionError::WebSocket(_)
            | ConnectionError::MessageTooLong { .. }
            | ConnectionError::Text { .. }
            | ConnectionError::Handshake(_)
            | ConnectionError::ServerKey(_)
            | ConnectionError::Decode(_)
            | ConnectionError::NotEstablished { .. } => Step::Handshake,
        },
        DialError::NoAddress { .. } | DialError::Io(_) | DialError::TimedOut(_) | DialError::Closed => before,
    }
}

/// Whether what failed looks like something in the way that does not know the upgrade to DERP: WebSocket may pass it.
pub(super) fn was_upgrade_eaten(step: Step, error: &DialError) -> bool {
    if step != Step::Upgrade {
        return false;
    }
    match error {
        DialError::Connection(error) => matches!(
            error,
            ConnectionError::Status { .. } | ConnectionError::Head(_) | ConnectionError::HeadTooLong { .. }
        ),
        DialError::TimedOut(_) | DialError::Closed => true,
        DialError::NoAddress { .. } | DialError::Io(_) | DialError::Proxy(_) | DialError::Config(_) => false,
    }
}

/// Whether the relay has another key than its certificate said: whoever ends TLS there speaks for several relays, or for one
/// that was started anew.
pub(super) fn is_another_relay(error: &DialError) -> bool {
    matches!(error, DialError::Connection(ConnectionError::Handshake(HandshakeError::OtherServerKey { .. })))
}
