//! A connection at the front as a byte stream, with or without TLS, and with bytes put back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::metrics::TlsVersion;
use crate::pages::Listener;
use crate::tls::TlsStream;

/// A connection at the front: a byte stream, with or without TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    pub(super) fn tls_version(&self) -> Option<TlsVersion> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.version()),
        }
    }

    pub(super) fn listener(&self) -> (Listener, Option<TlsVersion>) {
        match self {
            Self::Plain(_) => (Listener::PlainMain, None),
            Self::Tls(tls) => (Listener::Tls, Some(tls.version())),
        }
    }
}

/// How long a peer has to take a last word and hang up.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// What it may go on sending meanwhile.
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Stream {
    /// Has `bytes` go out before the stream waits for the peer, and not before that if they can share a write with what follows.
    pub(super) async fn write_later(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(tls) => tls.write_later(bytes),
        }
    }

    /// Says `last`, and closes so that it arrives: closing a socket with bytes unread resets the connection, and the
    /// reset overtakes what was written.
    pub(super) async fn close_with(&mut self, last: &[u8]) {
        let said = async {
            self.write_all(last).await?;
            self.shutdown().await?;
            let socket = match self {
                Self::Plain(socket) => socket,
                Self::Tls(tls) => tls.socket(),
            };
            tokio::io::copy(&mut socket.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
        };
        // A peer that does not listen has lost nothing of ours.
        let _ = timeout(LINGER_TIMEOUT, said).await;
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A stream with bytes put back in front.
#[derive(Debug)]
pub(super) struct Rewound {
    first: Vec<u8>,
    read: usize,
    inner: Stream,
}

impl Rewound {
    /// `first` is read before anything else.
    pub(super) const fn new(first: Vec<u8>, inner: Stream) -> Self {
        Self { first, read: 0, inner }
    }

    /// The stream itself; what was put back has been read.
    pub(super) fn into_inner(self) -> Stream {
        self.inner
    }

    /// Where the connection came in, and its TLS version.
    pub(super) fn listener(&self) -> (Listener, Option<TlsVersion>) {
        self.inner.listener()
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.first[self.read..];
        if rest.is_empty() {
            self.first = Vec::new();
            self.read = 0;
            return Pin::new(&mut self.inner).poll_read(cx, out);
        }
        let len = rest.len().min(out.remaining());
        out.put_slice(&rest[..len]);
        self.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
