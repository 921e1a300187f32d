//! TLS on the front: the handshake, and a byte stream for whatever is not yet (or never) a relay session.
//!
//! When the handshake is done only a [`ServerSession`] remains, which moves with the socket to a data thread once the
//! connection has become a relay client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ferry_record::{
    Opened, PLAINTEXT_BYTES_MAX, Proceeded, Progress, RECORD_BYTES_MAX, ServerHandshake, ServerSession,
};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::metrics::TlsVersion;

/// A ClientHello and a client's second flight each have to fit into this many bytes; post-quantum key shares and long
/// session tickets need some 4 KiB, a client certificate is never asked for.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// What one read takes in while shaking hands: a ClientHello with a post-quantum key share, or the second flight with
/// a request and the first frames behind it.
const HANDSHAKE_READ_BYTES: usize = 4 * 1024;

/// Sealed bytes that may wait for a full socket before more are taken.
const OUTGOING_BYTES: usize = 16 * 1024;

/// A TLS connection as a byte stream, after its handshake.
#[derive(Debug)]
pub(crate) struct TlsStream {
    io: TcpStream,
    session: ServerSession,
    alpn_h2: bool,
    version: TlsVersion,
    /// Received and not yet opened.
    incoming: Vec<u8>,
    /// Opened and not yet read.
    plain: Vec<u8>,
    plain_read: usize,
    /// Sealed and not yet written; less than [`OUTGOING_BYTES`], and one record.
    outgoing: Vec<u8>,
    outgoing_written: usize,
    closed: bool,
    sent_close: bool,
}

/// What remains of a [`TlsStream`] when its socket moves on.
pub(crate) struct TlsParts {
    pub(crate) io: TcpStream,
    pub(crate) session: ServerSession,
    /// Bytes sealed and not yet written.
    pub(crate) unsent: Vec<u8>,
    /// Bytes received and not yet opened.
    pub(crate) sealed: Vec<u8>,
    /// Bytes opened and not yet read.
    pub(crate) plain: Vec<u8>,
}

impl TlsStream {
    /// Shakes hands as a server. On failure the alert that rustls chose is on its way to the peer. The handshake's last words,
    /// which nobody may wait for (a session ticket), go out with what is written first, or before the stream waits for the peer.
    pub(crate) async fn accept(mut io: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut handshake = ServerHandshake::new(connection);
        let mut incoming = Vec::new();
        let mut outgoing = Vec::new();
        loop {
            let Proceeded { consumed, progress } = match handshake.proceed(&mut incoming, &mut outgoing) {
                Ok(proceeded) => proceeded,
                Err(error) => {
                    // The alert says why; a peer that does not listen for it changes nothing.
                    let _ = io.write_all(&outgoing).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            incoming.drain(..consumed);
            if progress == Progress::Done {
                break;
            }
            io.write_all(&outgoing).await?;
            outgoing.clear();
            read_on(&mut io, &mut incoming).await?;
        }
        let alpn_h2 = handshake.connection().alpn_protocol() == Some(b"h2");
        let version = match handshake.connection().protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::V12,
            _ => TlsVersion::V13,
        };
        Ok(Self {
            io,
            session: handshake.into_session().map_err(io::Error::other)?,
            alpn_h2,
            version,
            incoming,
            plain: Vec::new(),
            plain_read: 0,
            outgoing,
            outgoing_written: 0,
            closed: false,
            sent_close: false,
        })
    }

    /// The peer insisted on HTTP/2 (our order prefers HTTP/1.1, as derper's does).
    pub(crate) const fn alpn_h2(&self) -> bool {
        self.alpn_h2
    }

    pub(crate) const fn version(&self) -> TlsVersion {
        self.version
    }

    /// The socket below, for whoever has no more use for the records on it.
    pub(crate) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.io
    }

    /// Takes the stream apart.
    pub(crate) fn into_parts(mut self) -> TlsParts {
        self.plain.drain(..self.plain_read);
        self.outgoing.drain(..self.outgoing_written);
        TlsParts {
            io: self.io,
            session: self.session,
            unsent: self.outgoing,
            sealed: self.incoming,
            plain: self.plain,
        }
    }

    /// Seals `bytes`, to go out with what is written next, or before the stream waits for the peer.
    pub(crate) fn write_later(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.session.seal(bytes, &mut self.outgoing).map_err(io::Error::other)
    }

    /// Opens what has been received until there is plaintext to read; answers whether there is.
    fn open_received(&mut self) -> io::Result<bool> {
        loop {
            let opened = self.session.open(&mut self.incoming);
            match opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Opened::Incomplete { .. } => return Ok(false),
                Opened::Data { plain, consumed } => {
                    self.plain.extend_from_slice(&self.incoming[plain]);
                    self.incoming.drain(..consumed);
                    return Ok(true);
                }
                Opened::Control { consumed, update_ours } => {
                    self.incoming.drain(..consumed);
                    if update_ours {
                        self.session.key_update(&mut self.outgoing).map_err(io::Error::other)?;
                    }
                }
                Opened::Closed => {
                    self.closed = true;
                    return Ok(false);
                }
            }
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing_written < self.outgoing.len() {
            let rest = &self.outgoing[self.outgoing_written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outgoing_written += written,
            }
        }
        self.outgoing = Vec::new();
        self.outgoing_written = 0;
        Poll::Ready(Ok(()))
    }
}

/// Reads some more, if a handshake may be so long.
async fn read_on(io: &mut TcpStream, incoming: &mut Vec<u8>) -> io::Result<()> {
    if incoming.len() >= HANDSHAKE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "handshake message over 65536 bytes"));
    }
    incoming.reserve(HANDSHAKE_READ_BYTES);
    match io.read_buf(incoming).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let unread = &this.plain[this.plain_read..];
            if !unread.is_empty() {
                let len = unread.len().min(out.remaining());
                out.put_slice(&unread[..len]);
                this.plain_read += len;
                if this.plain_read == this.plain.len() {
                    this.plain.clear();
                    this.plain_read = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            if this.open_received()? {
                continue;
            }
            if this.closed {
                continue;
            }
            // The peer may have to hear TLS itself before it goes on. If the socket is full the next write or flush sees to it.
            let _ = this.poll_write_out(cx)?;
            this.incoming.reserve(HANDSHAKE_READ_BYTES);
            let read = std::pin::pin!(this.io.read_buf(&mut this.incoming)).poll(cx);
            if ready!(read)? == 0 {
                // Ended without close_notify: to HTTP and DERP, which frame their own messages, just the end.
                this.closed = true;
            }
            debug_assert!(this.incoming.len() <= RECORD_BYTES_MAX + HANDSHAKE_BYTES_MAX);
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // What waits goes out with this, in one system call, unless it is the peer that lets it wait.
        if self.outgoing.len() - self.outgoing_written >= OUTGOING_BYTES {
            ready!(self.poll_write_out(cx))?;
        }
        let this = &mut *self;
        let len = bytes.len().min(PLAINTEXT_BYTES_MAX);
        let record = this.session.begin(&mut this.outgoing);
        this.outgoing.extend_from_slice(&bytes[..len]);
        this.session.finish(&mut this.outgoing, record).map_err(io::Error::other)?;
        // Taken; if the socket is full the rest goes with the next write or flush.
        let _ = this.poll_write_out(cx)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.sent_close {
            this.sent_close = true;
            this.session.close_notify(&mut this.outgoing).map_err(io::Error::other)?;
        }
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(crate) mod tests;
