//! One relay asked over HTTPS.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::super::{HttpsFailure, HttpsProbe, HttpsStage, HttpsTimes, HttpsWay};
use super::http;
use crate::dial::{Proxy, Tunnel};
use crate::tls::node_config;

/// The next address is tried beside one that does not connect in this time (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Addresses of a proxy that are tried at most.
const PROXY_ADDRESSES_MAX: usize = 4;

/// Connects, makes TLS, asks for `/derp/latency-check`, and says how long each took.
pub(super) async fn ask(probe: &HttpsProbe, roots: &Arc<RootCertStore>) -> Result<HttpsTimes, HttpsFailure> {
    let config = node_config(&probe.identity, roots, false).map_err(failed(HttpsStage::Tls))?;
    let name = ServerName::try_from(probe.host_name.clone()).map_err(failed(HttpsStage::Tls))?;
    let (stream, remote, connect) = match &probe.way {
        HttpsWay::Direct(addresses) => connect(addresses).await.map_err(failed(HttpsStage::Connect))?,
        HttpsWay::Proxy { proxy, port } => connect_through(proxy, &probe.host_name, *port).await?,
    };
    let connected = Instant::now();
    let connector = TlsConnector::from(config);
    let mut stream = connector.connect(name, stream).await.map_err(failed(HttpsStage::Tls))?;
    let secured = Instant::now();
    let request = format!(
        "GET /derp/latency-check HTTP/1.1\r\nHost: {}\r\nUser-Agent: ferry-netcheck\r\nConnection: close\r\n\r\n",
        host(&probe.host_name)
    );
    let head = http::ask(&mut stream, &request).await.map_err(failed(HttpsStage::Request))?;
    let request = secured.elapsed();
    if head.status > 299 {
        let why = format_args!("status {} for /derp/latency-check", head.status);
        return Err(HttpsFailure::new(HttpsStage::Request, &why));
    }
    let proxied = matches!(probe.way, HttpsWay::Proxy { .. });
    Ok(HttpsTimes { remote, proxied, connect, tls: secured - connected, request })
}

fn failed<E: Display>(stage: HttpsStage) -> impl FnOnce(E) -> HttpsFailure {
    move |error| HttpsFailure::new(stage, &error)
}

/// As it stands in a URL.
fn host(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

/// Connects to the first address that takes it, and says to which and how long that one took.
async fn connect(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr, Duration)> {
    let mut left = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut next = left.next();
    let mut refused = io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
    loop {
        if let Some(to) = next.take() {
            attempts.spawn(async move {
                let began = Instant::now();
                let stream = TcpStream::connect(to).await;
                (
                    stream.map_err(|error| io::Error::new(error.kind(), format!("{to}: {error}"))),
                    to,
                    began.elapsed(),
                )
            });
        }
        tokio::select! {
            joined = attempts.join_next() => match joined {
                Some(Ok((Ok(stream), to, took))) => {
                    // Small requests, of which none is to wait for another.
                    stream.set_nodelay(true)?;
                    return Ok((stream, to, took));
                }
                Some(Ok((Err(error), _, _))) => {
                    refused = error;
                    next = left.next();
                }
                Some(Err(error)) => refused = io::Error::other(error),
                None => return Err(refused),
            },
            () = sleep(NEXT_ADDRESS_AFTER), if left.len() > 0 => next = left.next(),
        }
    }
}

/// Connects to a host through a proxy, and says where the proxy is and how long it took in all.
async fn connect_through(
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(TcpStream, SocketAddr, Duration), HttpsFailure> {
    let began = Instant::now();
    let found = lookup_host((proxy.host.as_str(), proxy.port)).await.map_err(failed(HttpsStage::Proxy))?;
    let addresses: Vec<_> = found.take(PROXY_ADDRESSES_MAX).collect();
    let (mut stream, remote, _) = connect(&addresses).await.map_err(failed(HttpsStage::Proxy))?;
    let mut tunnel = Tunnel::start(proxy, host, port).map_err(failed(HttpsStage::Proxy))?;
    make(&mut tunnel, &mut stream).await.map_err(failed(HttpsStage::Proxy))?;
    Ok((stream, remote, began.elapsed()))
}

/// Speaks with the proxy until the tunnel is there.
async fn make(tunnel: &mut Tunnel, stream: &mut TcpStream) -> io::Result<()> {
    let mut piece = [0; 1024];
    loop {
        let outgoing = tunnel.outgoing().len();
        stream.write_all(tunnel.outgoing()).await?;
        tunnel.written(outgoing);
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        let input = piece.get(..read).unwrap_or_default();
        match tunnel.receive(input).map_err(io::Error::other)? {
            None => {}
            Some(own) if own == read => return Ok(()),
            // TLS begins with the client.
            Some(_) => return Err(io::Error::other("something speaks before it is spoken to")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_address_that_takes_the_connection_is_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let (_, to, _) = connect(&[closed, open]).await.unwrap();
        assert_eq!(to, open);
        let error = connect(&[closed]).await.unwrap_err();
        assert!(error.to_string().starts_with(&closed.to_string()), "{error}");
        assert_eq!(connect(&[]).await.unwrap_err().to_string(), "it has no address");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(
            (host("::1").as_str(), host("relay.example.net").as_str()),
            ("[::1]", "relay.example.net")
        );
    }
}
