//! The ordinary HTTP pages of the relay: everything but the upgrade itself, answered as derper answers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ferry_protocol::NodePublicKey;
use hyper::{
    Method, Request, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, HOST, HeaderValue, UPGRADE},
    http::request::Parts,
};
use tracing::debug;

use crate::{
    bootstrap_dns::BootstrapDns,
    config::{DebugAccess, Home},
    connect_proxy::Refusal,
    metrics::{Exporter, Snapshot, render_vars, render_varz},
    traffic::{self, ClientTraffic},
};

mod access;
mod answer;
mod debug;
mod home;
mod path;

pub(crate) use path::segments;

use self::answer::{
    Answer, HTML, TEXT, bad_request, empty, for_browsers, for_debugging, not_found, plain_error, redirect,
    with_body,
};

/// The endpoint where a captive portal gives itself away.
const GENERATE_204: &str = "/generate_204";
/// What derper lets a client have repeated by [`GENERATE_204`].
const CHALLENGE_HEADER: &str = "x-tailscale-challenge";
/// Where it is repeated.
const CHALLENGE_ANSWER_HEADER: &str = "x-tailscale-response";
/// Longest challenge that is repeated.
const CHALLENGE_BYTES_MAX: usize = 64;
/// No cache may answer in our place.
const NEVER_CACHED: HeaderValue =
    HeaderValue::from_static("no-cache, no-store, must-revalidate, no-transform, max-age=0");

/// How long `/debug/traffic` looks; derper's.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(2);

/// Where a request came in; what is served differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The main listener, with TLS.
    Tls,
    /// The main listener, without TLS.
    PlainMain,
    /// The listener that sends browsers to HTTPS.
    Port80,
}

/// What the pages need to know of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct PagesConfig {
    /// The relay's name (`-hostname`).
    pub hostname: String,
    /// The home page (`-home`).
    pub home: Home,
    /// Whether packets are relayed (`-derp`).
    pub derp_enabled: bool,
    /// Who may see the debug pages.
    pub debug: DebugAccess,
    /// Whether CONNECT is allowed (`-ace`).
    pub ace: bool,
    /// In development mode, how to use this relay: the entry for a DERP map.
    pub dev_hint: Option<String>,
    /// Version text of the program.
    pub version: String,
    /// Whether a mesh key is configured.
    pub mesh_key_set: bool,
    /// The relay's public key.
    pub server_key: NodePublicKey,
}

/// What the pages read from the running relay.
pub(crate) trait Readings: Send + Sync {
    /// All counters and gauges, now.
    fn snapshot(&self) -> Snapshot;

    /// What is wrong with the tables of keys and connections; empty when all is well.
    fn consistency(&self) -> Vec<String>;

    /// What each client has sent and been sent. Waits for the data threads, so it is no call for an async thread.
    fn traffic(&self) -> Vec<ClientTraffic>;
}

/// The pages of one relay.
pub(crate) struct Pages {
    /// What was configured.
    config: PagesConfig,
    /// The running relay.
    readings: Arc<dyn Readings>,
    /// The names handed out by `/bootstrap-dns`.
    bootstrap_dns: Arc<BootstrapDns>,
    /// Our own metrics page.
    exporter: Exporter,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pages {
    /// Pages that show these readings.
    pub(crate) fn new(
        config: PagesConfig,
        readings: Arc<dyn Readings>,
        bootstrap_dns: Arc<BootstrapDns>,
    ) -> Self {
        let exporter = Exporter::new(&config.version);
        Self { config, readings, bootstrap_dns, exporter }
    }

    /// Answers one request of `peer`. Its body is not read.
    pub(crate) async fn serve<B>(
        self: Arc<Self>,
        request: Request<B>,
        peer: SocketAddr,
        listener: Listener,
    ) -> Answer {
        let (request, _body) = request.into_parts();
        // A tunnel was taken out before it came here; this is one that was not allowed, or HTTP/2.
        if request.method == Method::CONNECT {
            return match listener {
                Listener::Tls if self.config.ace => Refusal::InvalidTarget.answer(),
                Listener::Tls => Refusal::NotEnabled.answer(),
                Listener::PlainMain | Listener::Port80 => not_found(),
            };
        }
        let path = request.uri.path();
        if path == "*" {
            let options = request.method == Method::OPTIONS;
            return empty(if options { StatusCode::OK } else { StatusCode::BAD_REQUEST });
        }
        let cleaned = path::clean(path);
        if cleaned != path {
            return redirect_here(&request, &cleaned);
        }
        if path == GENERATE_204 {
            return generate_204(&request);
        }
        let ip = peer.ip().to_canonical();
        if listener == Listener::Port80 && !path.starts_with("/debug") {
            return self.to_https(&request, ip).await;
        }
        self.main(&request, ip).await
    }

    /// The pages of the main listener; `/debug…` of port 80 comes here too.
    async fn main(&self, request: &Parts, ip: IpAddr) -> Answer {
        let Some(segments) = segments(request.uri.path()) else {
            return bad_request();
        };
        let segments: Vec<&[u8]> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            [b"derp"] => self.derp(request),
            [b"derp", b"probe" | b"latency-check"] => probe(&request.method),
            [b"generate_204"] => generate_204(request),
            [b"bootstrap-dns"] => self.bootstrap_dns(request, ip),
            [b"robots.txt"] => for_browsers(with_body(TEXT, "User-agent: *\nDisallow: /\n")),
            [b"debug"] => redirect_here(request, "/debug/"),
            [b"debug", b""] => self.debug(request, ip, DebugPage::Index).await,
            [b"debug", b"vars"] => self.debug(request, ip, DebugPage::Vars).await,
            [b"debug", b"varz"] => self.debug(request, ip, DebugPage::Varz).await,
            [b"debug", b"check"] => self.debug(request, ip, DebugPage::Check).await,
            [b"debug", b"traffic"] => self.debug(request, ip, DebugPage::Traffic).await,
            [b"debug", ..] => self.debug(request, ip, DebugPage::Unknown).await,
            [b"metrics"] => self.debug(request, ip, DebugPage::Metrics).await,
            _ => self.home(request, ip).await,
        }
    }

    /// `/debug/traffic`: who moved bytes within the next two seconds. derper goes on until its write timeout; here each
    /// request is one look.
    async fn traffic(&self) -> String {
        let look = || async {
            let readings = Arc::clone(&self.readings);
            tokio::task::spawn_blocking(move || readings.traffic()).await.unwrap_or_default()
        };
        let before = look().await;
        tokio::time::sleep(TRAFFIC_INTERVAL).await;
        traffic::changed(&before, &look().await)
    }

    /// `/derp` without an upgrade that we know. An upgrade that we know was taken out before it came here.
    fn derp(&self, request: &Parts) -> Answer {
        if !self.config.derp_enabled {
            return plain_error(StatusCode::NOT_FOUND, "derp server disabled");
        }
        if let Some(upgrade) = request.headers.get(UPGRADE) {
            debug!(?upgrade, "upgrade that is neither DERP nor WebSocket");
        }
        plain_error(StatusCode::UPGRADE_REQUIRED, "DERP requires connection upgrade")
    }

    /// `/bootstrap-dns`: addresses of names, for clients whose own DNS does not work.
    fn bootstrap_dns(&self, request: &Parts, ip: IpAddr) -> Answer {
        let query = request.uri.query().and_then(|query| path::query_value(query, "q"));
        let body = self.bootstrap_dns.answer(query.as_deref(), ip, rand::random);
        let mut answer = with_body(HeaderValue::from_static("application/json"), body);
        // A client asks once, and of relays all over the world: a connection kept open would never be used again.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        for_browsers(answer)
    }

    /// A page for those who may see it.
    async fn debug(&self, request: &Parts, ip: IpAddr, page: DebugPage) -> Answer {
        if !self.config.debug.allows(request, ip).await {
            let hinted =
                self.config.dev_hint.is_some() && !matches!(page, DebugPage::Index | DebugPage::Unknown);
            let hint = if hinted {
                format!("; to permit access, set TS_ALLOW_DEBUG_IP={ip}")
            } else {
                String::new()
            };
            return plain_error(StatusCode::FORBIDDEN, &format!("debug access denied{hint}"));
        }
        match page {
            DebugPage::Index => {
                let uptime = self.readings.snapshot().process.uptime;
                for_browsers(with_body(HTML, debug::index(&self.config, uptime)))
            }
            DebugPage::Vars => {
                let content_type = HeaderValue::from_static("application/json; charset=utf-8");
                for_debugging(with_body(content_type, render_vars(&self.readings.snapshot())))
            }
            DebugPage::Varz => for_debugging(with_body(TEXT, render_varz(&self.readings.snapshot()))),
            DebugPage::Metrics => {
                let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                for_debugging(with_body(content_type, self.exporter.render(&self.readings.snapshot())))
            }
            DebugPage::Check => {
                let wrong = self.readings.consistency();
                for_debugging(if wrong.is_empty() {
                    with_body(TEXT, "derp.Server ConsistencyCheck okay")
                } else {
                    plain_error(StatusCode::INTERNAL_SERVER_ERROR, &wrong.join(", "))
                })
            }
            DebugPage::Traffic => for_debugging(with_body(TEXT, self.traffic().await)),
            DebugPage::Unknown => not_found(),
        }
    }

    /// Every other path.
    async fn home(&self, request: &Parts, ip: IpAddr) -> Answer {
        for_browsers(match &self.config.home {
            Home::Default => {
                let may_debug = self.config.debug.allows(request, ip).await;
                with_body(HTML, home::page(&self.config, may_debug))
            }
            Home::Blank => with_body(HTML, ""),
            Home::Redirect(url) => redirect(StatusCode::FOUND, &request.method, url),
        })
    }

    /// Sends a browser from port 80 to HTTPS, and an operator to the debug pages.
    async fn to_https(&self, request: &Parts, ip: IpAddr) -> Answer {
        if request.method != Method::GET && request.method != Method::HEAD {
            return plain_error(StatusCode::BAD_REQUEST, "Use HTTPS");
        }
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let target =
            if target == "/" && self.config.debug.allows(request, ip).await { "/debug/" } else { target };
        let asked = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = request.uri.authority().map_or(asked, |authority| authority.as_str());
        redirect(StatusCode::FOUND, &request.method, &format!("https://{host}{target}"))
    }
}

/// The pages under the debug access rule.
#[derive(Debug, Clone, Copy)]
enum DebugPage {
    /// The list of them.
    Index,
    /// derper's metrics as JSON.
    Vars,
    /// derper's metrics for Prometheus.
    Varz,
    /// Our metrics for Prometheus, at `/metrics`, where scrapers look first.
    Metrics,
    /// Whether the tables agree.
    Check,
    /// Who moves bytes now.
    Traffic,
    /// A name below `/debug/` that we do not have; outsiders do not learn that.
    Unknown,
}

/// Sends the client to `path` of this server, with the query it asked with.
fn redirect_here(request: &Parts, path: &str) -> Answer {
    let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    redirect(StatusCode::TEMPORARY_REDIRECT, &request.method, &format!("{path}{query}"))
}

/// The endpoint whose round trip clients measure when they have no UDP; browsers ask from other origins.
fn probe(method: &Method) -> Answer {
    if *method != Method::GET && *method != Method::HEAD {
        return plain_error(StatusCode::METHOD_NOT_ALLOWED, "bogus probe method");
    }
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// An answer with no content, which a captive portal would not give; with the challenge, which it would not know.
fn generate_204(request: &Parts) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    answer.headers_mut().insert(CACHE_CONTROL, NEVER_CACHED);
    let challenge =
        request.headers.get(CHALLENGE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if !challenge.is_empty() && challenge.len() <= CHALLENGE_BYTES_MAX && challenge.bytes().all(plain) {
        let repeated =
            HeaderValue::from_str(&format!("response {challenge}")).expect("checked to be plain text");
        answer.headers_mut().insert(CHALLENGE_ANSWER_HEADER, repeated);
    }
    answer
}

#[cfg(test)]
pub(crate) mod tests;
