//! `/metrics` for Prometheus and `/healthz` for load balancers, over HTTP.

mod page;
mod text;

pub(crate) use page::Readings;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at one time; scrapers and load balancers have a few.
const CONNECTIONS_MAX: usize = 32;
/// How long a request head may take, also between two requests of one connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long accepting rests after an error that will not go away by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Prometheus' text format.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// What is not for Prometheus.
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Binds and serves for as long as the runtime lives; says where.
pub(crate) fn serve(address: SocketAddr, readings: Arc<Readings>) -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("--metrics {address} cannot be served; give a free port of this machine"))?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener, readings));
    Ok(address)
}

async fn accept(listener: TcpListener, readings: Arc<Readings>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((connection, _)) => {
                let readings = Arc::clone(&readings);
                tokio::spawn(async move {
                    // What a scraper does wrong is its own affair.
                    let _ = serve_connection(connection, readings).await;
                    drop(place);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(connection: TcpStream, readings: Arc<Readings>) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request: Request<_>| {
        let answer = answer(request.method(), request.uri().path(), &readings);
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(connection), answer)
        .await
}

fn answer(method: &Method, path: &str, readings: &Readings) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned());
    }
    match path {
        "/metrics" => page(StatusCode::OK, PROMETHEUS, readings.prometheus()),
        "/healthz" if readings.draining.load(Relaxed) => {
            page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "draining\n".to_owned())
        }
        "/healthz" => page(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        _ => page(StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /healthz\n".to_owned()),
    }
}

fn page(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
