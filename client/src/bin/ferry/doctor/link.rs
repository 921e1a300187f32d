//! A relay connection that is waited for: one packet there, one packet here.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use ferry_client::{Connection, ConnectionError, Event, Settings, Stage};
use ferry_protocol::{NodePrivateKey, NodePublicKey, ServerFrame, send_packet_header};

use super::tls::{is_timeout, limited};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Packets that are kept until they are asked for; a stranger's flood is cut there.
const PACKETS_KEPT_MAX: usize = 256;

/// A client of a relay, with a key of its own.
pub(super) struct Link {
    stream: TcpStream,
    connection: Connection,
    buffer: Vec<u8>,
    inbox: VecDeque<(NodePublicKey, Vec<u8>)>,
    /// Its own key.
    pub(super) key: NodePublicKey,
    /// The relay's key.
    pub(super) server: Option<NodePublicKey>,
}

/// Where and why it ended.
#[derive(Debug)]
pub(super) struct LinkError {
    /// How far it was.
    pub(super) stage: Stage,
    /// Why.
    pub(super) why: Why,
}

/// Why a link ended.
#[derive(Debug)]
pub(super) enum Why {
    /// Nothing came in time.
    Silent,
    /// The other end closed, in order or not.
    Closed,
    /// What came cannot be used.
    Refused(ConnectionError),
    /// The socket says so.
    Io(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Silent => write!(f, "nothing came at stage {:?}", self.stage),
            Why::Closed => write!(f, "the other end closed at stage {:?}", self.stage),
            Why::Refused(error) => write!(f, "{error} (stage {:?})", self.stage),
            Why::Io(error) => write!(f, "{error} (stage {:?})", self.stage),
        }
    }
}

impl Link {
    /// Connects, and waits until packets may flow.
    pub(super) fn open(
        address: SocketAddr,
        settings: &Arc<Settings>,
        patience: Duration,
    ) -> Result<Self, LinkError> {
        let failed = |why| LinkError { stage: Stage::Tls, why };
        let io = |error: io::Error| failed(Why::Io(error));
        let stream = TcpStream::connect_timeout(&address, patience).map_err(io)?;
        let stream = limited(stream, patience).map_err(io)?;
        let key = Arc::new(NodePrivateKey::from_random(random().map_err(io)?));
        let connection = Connection::new(settings, &key, random().map_err(io)?)
            .map_err(|error| failed(Why::Refused(error)))?;
        let mut link = Self {
            stream,
            connection,
            buffer: vec![0; READ_BYTES],
            inbox: VecDeque::new(),
            key: key.public(),
            server: None,
        };
        let deadline = Instant::now() + patience;
        while link.connection.stage() != Stage::Established {
            link.turn(deadline)?;
        }
        Ok(link)
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, to: &NodePublicKey, packet: &[u8]) -> Result<(), LinkError> {
        let mut frame = send_packet_header(to, packet.len()).to_vec();
        frame.extend_from_slice(packet);
        self.connection.send_frame(&frame).map_err(|error| self.failed(Why::Refused(error)))?;
        self.flush()
    }

    /// The next packet, if one comes before the deadline.
    pub(super) fn receive(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<(NodePublicKey, Vec<u8>)>, LinkError> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(Some(packet));
            }
            match self.turn(deadline) {
                Ok(()) => {}
                Err(LinkError { why: Why::Silent, .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is to be written, and reads once.
    fn turn(&mut self, deadline: Instant) -> Result<(), LinkError> {
        self.flush()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.failed(Why::Silent));
        }
        let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut self.buffer));
        let bytes = match read {
            Ok(0) => return Err(self.failed(Why::Closed)),
            Ok(bytes) => bytes,
            Err(error) => return Err(self.failed(of_socket(error))),
        };
        let stage = self.connection.stage();
        let Self { connection, buffer, inbox, server, .. } = self;
        let mut closed = false;
        let received =
            connection.receive(buffer.get_mut(..bytes).unwrap_or_default(), &mut |event| match event {
                Event::Established { server: key, .. } => *server = Some(key),
                Event::Frame(ServerFrame::RecvPacket { src, packet }) if inbox.len() < PACKETS_KEPT_MAX => {
                    inbox.push_back((src, packet.to_vec()));
                }
                Event::Frame(_) => {}
                Event::Closed => closed = true,
            });
        // The other end is told why, if it still listens.
        let flushed = self.flush();
        received.map_err(|error| LinkError { stage, why: Why::Refused(error) })?;
        if closed { Err(LinkError { stage, why: Why::Closed }) } else { flushed }
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        let outgoing = self.connection.outgoing();
        let bytes = outgoing.len();
        let written = self.stream.write_all(outgoing);
        self.connection.written(bytes);
        written.map_err(|error| self.failed(of_socket(error)))
    }

    fn failed(&self, why: Why) -> LinkError {
        LinkError { stage: self.connection.stage(), why }
    }
}

fn of_socket(error: io::Error) -> Why {
    if is_timeout(&error) {
        return Why::Silent;
    }
    let is_end = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
    if is_end { Why::Closed } else { Why::Io(error) }
}

/// Bytes that nobody guesses.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}
