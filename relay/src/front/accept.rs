//! Listening sockets, and the loop that takes connections off them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::config::TcpOptions;

/// Connections that are not yet clients, or are being served pages. Over this the oldest one goes: honest handshakes
/// take milliseconds, so the oldest is one that stays silent, and it must not cost others their place.
const PENDING_MAX: usize = 8_192;
/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4_096;
/// Unsent bytes the kernel takes for a connection: what it has can no longer be dropped or overtaken, so it gets about
/// what the network needs and the rest waits where it can be.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Time between keep-alive probes once the idle time is over, derper's.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes that end a connection, derper's.
const KEEPALIVE_PROBES: u32 = 9;
/// How long accepting rests after an error that will not go away by itself, such as having no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Binds a listener; accepted sockets inherit its TCP options. An unspecified IPv6 address serves IPv4 too, as derper's `:443` does, and falls back to IPv4
/// where the machine has no IPv6.
pub(crate) fn bind(addr: SocketAddr, options: &TcpOptions) -> io::Result<StdTcpListener> {
    match bind_one(addr, options) {
        Err(error)
            if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable) =>
        {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()), options)
        }
        bound => bound,
    }
}

fn bind_one(addr: SocketAddr, options: &TcpOptions) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_tcp_nodelay(true)?;
    if let Some(time) = options.keepalive_time {
        let keepalive = TcpKeepalive::new().with_time(time);
        socket
            .set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES))?;
    }
    #[cfg(target_os = "linux")]
    {
        if let Some(timeout) = options.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        crate::sys::defer_accept(&socket)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts for ever; `serve` starts a connection's task. Dropping the future stops accepting, and ends the
/// connections that have not become clients.
pub(crate) async fn accept_loop(
    listener: StdTcpListener,
    serve: impl Fn(TcpStream, SocketAddr) -> tokio::task::JoinHandle<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut pending = Pending::default();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                // A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                pending.push(serve(socket, peer).abort_handle());
            }
            Err(error) if is_peers_fault(&error) => debug!(%error, "connection gone before it was accepted"),
            Err(error) => {
                warn!(%error, "cannot accept; raise the limit of open files if it is reached");
                pending.end_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Connections in the order of their arrival.
#[derive(Debug, Default)]
struct Pending(VecDeque<AbortHandle>);

impl Pending {
    fn push(&mut self, connection: AbortHandle) {
        self.forget_finished();
        if self.0.len() >= PENDING_MAX {
            self.0.retain(|connection| !connection.is_finished());
        }
        while self.0.len() >= PENDING_MAX {
            self.end_oldest();
        }
        self.0.push_back(connection);
    }

    fn forget_finished(&mut self) {
        while self.0.front().is_some_and(AbortHandle::is_finished) {
            self.0.pop_front();
        }
    }

    fn end_oldest(&mut self) {
        self.forget_finished();
        if let Some(oldest) = self.0.pop_front() {
            oldest.abort();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        for connection in &self.0 {
            connection.abort();
        }
    }
}
