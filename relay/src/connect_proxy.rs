//! CONNECT over TLS, `-ace`: lets clients reach Tailscale's control plane through the relay where nothing else is let out.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::debug;

/// Time for resolving and reaching the target; derper's.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a tunnel may carry nothing. The control plane's long poll says something every minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How many tunnels there may be at once: two sockets and two buffers each. Clients open a few, and close them soon.
const TUNNELS_MAX: usize = 1024;
/// Bytes carried at once in one direction.
const BUFFER_BYTES: usize = 8 * 1024;
/// What the client is told when the tunnel stands: derper's line, with no header behind it.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Places for tunnels of this process.
static TUNNELS: Semaphore = Semaphore::const_new(TUNNELS_MAX);

/// Why there is no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The relay runs without `-ace`.
    NotEnabled,
    /// Not a port or not a host of the control plane.
    InvalidTarget,
    /// The target was not reached, or there are too many tunnels.
    ConnectFailure,
}

impl Refusal {
    /// Status and words, derper's.
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotEnabled => (StatusCode::FORBIDDEN, "CONNECT not enabled\n"),
            Self::InvalidTarget => (StatusCode::FORBIDDEN, "Invalid CONNECT target\n"),
            Self::ConnectFailure => (StatusCode::BAD_GATEWAY, "Connect failure\n"),
        }
    }

    /// The refusal as an answer for hyper to send.
    pub(crate) fn answer(self) -> Response<Full<Bytes>> {
        let (status, body) = self.parts();
        let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    /// The refusal as bytes for a connection that is closed behind it.
    pub(crate) fn to_http1(self) -> String {
        let (status, body) = self.parts();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Serves one CONNECT request whose head was read from `client`, until the tunnel ends. What the client sent behind the
/// head must still come out of `client`.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Send>(client: S, target: &str, enabled: bool) {
    Box::pin(serve_with(client, target, enabled, TcpStream::connect(target))).await;
}

/// [`serve`], with the way to the target as an argument; it is not begun for a target that is refused.
async fn serve_with<S, T>(client: S, target: &str, enabled: bool, dial: impl Future<Output = io::Result<T>>)
where
    S: AsyncRead + AsyncWrite,
    T: AsyncRead + AsyncWrite,
{
    let place = TUNNELS.try_acquire();
    let reached = match &place {
        Ok(_) => reach(target, enabled, dial).await,
        Err(_) => check(target, enabled).and(Err(Refusal::ConnectFailure)),
    };
    let (from_client, mut to_client) = split(client);
    let served = match reached {
        Ok(back) => tunnel(from_client, to_client, back).await,
        Err(refusal) => {
            async {
                to_client.write_all(refusal.to_http1().as_bytes()).await?;
                to_client.shutdown().await
            }
            .await
        }
    };
    if let Err(error) = served {
        debug!(%error, "CONNECT ended");
    }
}

/// Whether this target may be reached at all. Control is at `/key` over 443 and speaks its own encrypted protocol over
/// 80 or 443; a relay must not be a way to other relays, which are `derp<n>` hosts of the same domain.
fn check(target: &str, enabled: bool) -> Result<(), Refusal> {
    if !enabled {
        return Err(Refusal::NotEnabled);
    }
    let (host, port) = target.rsplit_once(':').ok_or(Refusal::InvalidTarget)?;
    let port_allowed = matches!(port, "443" | "80");
    // A colon would be an IPv6 literal, or a second port.
    let host_allowed =
        host.ends_with(".tailscale.com") && !host.contains("derp") && !host.contains([':', '[', ']', '/']);
    if port_allowed && host_allowed { Ok(()) } else { Err(Refusal::InvalidTarget) }
}

/// Connects to a target that is allowed.
async fn reach<T>(
    target: &str,
    enabled: bool,
    dial: impl Future<Output = io::Result<T>>,
) -> Result<T, Refusal> {
    check(target, enabled).inspect_err(|refusal| debug!(target, ?refusal, "CONNECT refused"))?;
    match timeout(DIAL_TIMEOUT, dial).await {
        Ok(Ok(back)) => Ok(back),
        Ok(Err(error)) => {
            debug!(target, %error, "CONNECT target not reached");
            Err(Refusal::ConnectFailure)
        }
        Err(_) => {
            debug!(target, "CONNECT target not reached in {} s", DIAL_TIMEOUT.as_secs());
            Err(Refusal::ConnectFailure)
        }
    }
}

/// Carries bytes both ways until one side ends, which ends the other too, or nothing moves for [`IDLE_TIMEOUT`].
async fn tunnel<S, T>(from_client: ReadHalf<S>, mut to_client: WriteHalf<S>, back: T) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
    T: AsyncRead + AsyncWrite,
{
    to_client.write_all(ESTABLISHED).await?;
    to_client.flush().await?;
    let (from_back, to_back) = split(back);
    let carried = AtomicU64::new(0);
    tokio::select! {
        ended = carry(from_client, to_back, &carried) => ended,
        ended = carry(from_back, to_client, &carried) => ended,
        () = idle(&carried) => Err(io::Error::new(io::ErrorKind::TimedOut, "tunnel carried nothing for 10 minutes")),
    }
}

/// Carries bytes one way until the source ends, and passes the end on.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
        to.flush().await?;
        carried.fetch_add(len as u64, Relaxed);
    }
}

/// Returns once `carried` has not changed for [`IDLE_TIMEOUT`], at most twice as late.
async fn idle(carried: &AtomicU64) {
    let mut before = None;
    while before != Some(carried.load(Relaxed)) {
        before = Some(carried.load(Relaxed));
        sleep(IDLE_TIMEOUT).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::{
        io::{DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;

    const TARGET: &str = "controlplane.tailscale.com:443";

    /// A served client, and its server side if the target was dialled.
    fn serving(
        target: &'static str,
        enabled: bool,
        dialled: io::Result<DuplexStream>,
    ) -> (DuplexStream, JoinHandle<()>) {
        let (client, relay) = duplex(4096);
        let task = tokio::spawn(serve_with(relay, target, enabled, ready(dialled)));
        (client, task)
    }

    async fn read_to_end(mut stream: DuplexStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[test]
    fn only_the_control_plane_may_be_reached() {
        for allowed in [TARGET, "a.tailscale.com:80", ".tailscale.com:443", "x.DERP.tailscale.com:443"] {
            assert_eq!(check(allowed, true), Ok(()), "{allowed}");
            assert_eq!(check(allowed, false), Err(Refusal::NotEnabled));
        }
        for refused in [
            "a.tailscale.com:22",
            "derp1.tailscale.com:443",
            "a.derp.tailscale.com:443",
            "example.com:443",
            "tailscale.com:443",
            "A.TAILSCALE.COM:443",
            "a.tailscale.com",
            "a.tailscale.com.:443",
            "[::1]:443",
            "[a.tailscale.com]:443",
            "1.2.3.4:80:x.tailscale.com:443",
            "/x",
            "",
        ] {
            assert_eq!(check(refused, true), Err(Refusal::InvalidTarget), "{refused}");
        }
    }

    #[tokio::test]
    async fn refusals_are_derpers() {
        let unreached = || Err(io::Error::other("unreached"));
        for (target, enabled, status, body) in [
            (TARGET, false, "403 Forbidden", "CONNECT not enabled\n"),
            ("example.com:443", true, "403 Forbidden", "Invalid CONNECT target\n"),
            (TARGET, true, "502 Bad Gateway", "Connect failure\n"),
        ] {
            let (client, _task) = serving(target, enabled, unreached());
            let answer = read_to_end(client).await;
            let expected = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(answer, expected);
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_of_one_side_ends_both() {
        let (mut back, dialled) = duplex(4096);
        let (mut client, task) = serving(TARGET, true, Ok(dialled));
        client.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        back.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        back.write_all(b"answer").await.unwrap();
        drop(back);
        assert_eq!(read_to_end(client).await, "HTTP/1.1 200 OK\r\n\r\nanswer");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_tunnel() {
        let (back, dialled) = duplex(4096);
        let (client, task) = serving(TARGET, true, Ok(dialled));
        drop(client);
        assert_eq!(read_to_end(back).await, "");
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_answer_is_given_up_after_15_s() {
        let (client, relay) = duplex(4096);
        let began = tokio::time::Instant::now();
        let dial = pending::<io::Result<DuplexStream>>();
        let ((), answer) = tokio::join!(serve_with(relay, TARGET, true, dial), read_to_end(client));
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        assert_eq!(began.elapsed(), DIAL_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_carries_nothing_ends() {
        let (back, dialled) = duplex(4096);
        let (client, task) = serving(TARGET, true, Ok(dialled));
        let began = tokio::time::Instant::now();
        task.await.unwrap();
        assert_eq!(began.elapsed(), IDLE_TIMEOUT);
        drop((client, back));
    }
}
