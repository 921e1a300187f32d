//! Answers compared with those recorded from derper v1.102.5 on loopback.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http_body_util::BodyExt;

use super::*;
use crate::{
    bootstrap_dns::Resolvers,
    metrics::{FrontCounters, ShardCounters},
};

/// A peer that may see the debug pages.
const INSIDE: &str = "127.0.0.1:1234";
/// A peer that may not.
const OUTSIDE: &str = "192.0.2.1:1234";

/// derper's headers for browsers.
const BROWSER: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'",
    ),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];
/// The same on debug pages.
const BROWSER_DEBUG: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'; style-src 'self' 'unsafe-inline'",
    ),
    BROWSER[1],
    BROWSER[2],
    BROWSER[3],
];
/// derper's headers of a plain error.
const PLAIN: &[(&str, &str)] =
    &[("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")];
const NEVER: (&str, &str) = ("cache-control", "no-cache, no-store, must-revalidate, no-transform, max-age=0");
const PROBE: &[(&str, &str)] = &[("access-control-allow-origin", "*")];
const HTML_TYPE: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const TEXT_TYPE: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

pub(crate) fn config() -> PagesConfig {
    PagesConfig {
        hostname: "relay.test".into(),
        home: Home::Default,
        derp_enabled: true,
        debug: DebugAccess::default(),
        ace: false,
        dev_hint: None,
        version: "1.0".into(),
        mesh_key_set: false,
        server_key: NodePublicKey::from_bytes([7; 32]),
    }
}

/// A relay at rest, consistent or not.
#[derive(Default)]
struct Resting {
    broken: AtomicBool,
}

impl Readings for Resting {
    fn snapshot(&self) -> Snapshot {
        Snapshot::read([&ShardCounters::new()], &FrontCounters::default())
    }

    fn consistency(&self) -> Vec<String> {
        if self.broken.load(Relaxed) { vec!["one".into(), "two".into()] } else { Vec::new() }
    }

    fn traffic(&self) -> Vec<ClientTraffic> {
        Vec::new()
    }
}

pub(crate) fn pages(config: PagesConfig) -> Arc<Pages> {
    pages_reading(config, Resting::default())
}

fn pages_reading(config: PagesConfig, readings: Resting) -> Arc<Pages> {
    let front = Arc::new(FrontCounters::default());
    let dns = BootstrapDns::new(Default::default(), Resolvers::new(Vec::new()), front);
    Arc::new(Pages::new(config, Arc::new(readings), Arc::new(dns)))
}

/// What was answered: status, headers in order of their names, body.
type Shape = (u16, Vec<(String, String)>, String);

fn shape(status: u16, headers: &[&[(&str, &str)]], body: &str) -> Shape {
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    headers.sort();
    (status, headers, body.to_owned())
}

async fn ask(pages: &Arc<Pages>, listener: Listener, peer: &str, request: &str) -> Shape {
    let mut lines = request.lines();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.trim_start().split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    let answer = Arc::clone(pages).serve(builder.body(()).unwrap(), peer.parse().unwrap(), listener).await;
    let (parts, body) = answer.into_parts();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut headers: Vec<_> = headers.collect();
    headers.sort();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), headers, String::from_utf8(body.to_vec()).unwrap())
}

/// Asks each request on the main listener from inside and compares.
async fn check(pages: &Arc<Pages>, listener: Listener, table: &[(&str, Shape)]) {
    for (request, expected) in table {
        assert_eq!(ask(pages, listener, INSIDE, request).await, *expected, "{request}");
    }
}

#[tokio::test]
async fn probes_answer_get_and_head_only() {
    let refused = || shape(405, &[PLAIN], "bogus probe method\n");
    let table = [
        ("GET /derp/probe", shape(200, &[PROBE], "")),
        ("HEAD /derp/probe", shape(200, &[PROBE], "")),
        ("GET /derp/latency-check?x=1", shape(200, &[PROBE], "")),
        ("GET /%64erp/probe", shape(200, &[PROBE], "")),
        ("GET http://other/derp/probe", shape(200, &[PROBE], "")),
        ("POST /derp/probe", refused()),
        ("OPTIONS /derp/probe", refused()),
    ];
    check(&pages(config()), Listener::PlainMain, &table).await;
    check(&pages(PagesConfig { derp_enabled: false, ..config() }), Listener::Tls, &table).await;
}

#[tokio::test]
async fn derp_without_an_upgrade_that_we_know_asks_for_one() {
    let required = || shape(426, &[PLAIN], "DERP requires connection upgrade\n");
    let table = [
        ("GET /derp", required()),
        ("POST /derp", required()),
        ("GET /derp?x=y", required()),
        ("GET /derp\nUpgrade: h2c\nConnection: Upgrade", required()),
    ];
    check(&pages(config()), Listener::Tls, &table).await;
    let disabled = pages(PagesConfig { derp_enabled: false, ..config() });
    let table = [("GET /derp\nUpgrade: derp", shape(404, &[PLAIN], "derp server disabled\n"))];
    check(&disabled, Listener::Tls, &table).await;
}

#[tokio::test]
async fn generate_204_repeats_a_plain_challenge() {
    let bare = || shape(204, &[&[NEVER]], "");
    let repeated = |text: &str| shape(204, &[&[NEVER, ("x-tailscale-response", text)]], "");
    let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
    let longest_request = format!("GET /generate_204\nX-Tailscale-Challenge: {longest}");
    let too_long_request = format!("GET /generate_204\nX-Tailscale-Challenge: {too_long}");
    let table = [
        ("GET /generate_204", bare()),
        ("GET /generate_204\nX-Tailscale-Challenge: ts_host", repeated("response ts_host")),
        ("HEAD /generate_204\nX-Tailscale-Challenge: ts_a.b:1-", repeated("response ts_a.b:1-")),
        ("POST /generate_204\nX-Tailscale-Challenge: A9", repeated("response A9")),
        ("GET /generate_204\nX-Tailscale-Challenge: bad char", bare()),
        ("GET /generate_204\nX-Tailscale-Challenge: é", bare()),
        (longest_request.as_str(), repeated(&format!("response {longest}"))),
        (too_long_request.as_str(), bare()),
    ];
    for listener in [Listener::Tls, Listener::PlainMain, Listener::Port80] {
        check(&pages(config()), listener, &table).await;
    }
}

#[tokio::test]
async fn robots_and_unconfigured_bootstrap_dns() {
    let json: &[(&str, &str)] = &[("content-type", "application/json"), ("connection", "close")];
    let robots = || shape(200, &[BROWSER, &[TEXT_TYPE]], "User-agent: *\nDisallow: /\n");
    let table = [
        ("GET /robots.txt", robots()),
        ("POST /robots.txt", robots()),
        ("GET /bootstrap-dns", shape(200, &[BROWSER, json], "")),
        ("POST /bootstrap-dns?q=nope", shape(200, &[BROWSER, json], "")),
    ];
    check(&pages(config()), Listener::Tls, &table).await;
}

#[tokio::test]
async fn paths_that_are_not_canonical_are_redirected() {
    let moved = |to: &str, body: &str| shape(307, &[&[HTML_TYPE, ("location", to)]], body);
    let table = [
        ("GET //derp", moved("/derp", "<a href=\"/derp\">Temporary Redirect</a>.\n\n")),
        ("GET /a/../derp", moved("/derp", "<a href=\"/derp\">Temporary Redirect</a>.\n\n")),
        ("GET /derp/.", moved("/derp", "<a href=\"/derp\">Temporary Redirect</a>.\n\n")),
        ("GET //", moved("/", "<a href=\"/\">Temporary Redirect</a>.\n\n")),
        ("GET /debug/..", moved("/", "<a href=\"/\">Temporary Redirect</a>.\n\n")),
        ("GET /debug", moved("/debug/", "<a href=\"/debug/\">Temporary Redirect</a>.\n\n")),
        (
            "GET //derp?q=1&z=%20",
            moved("/derp?q=1&z=%20", "<a href=\"/derp?q=1&amp;z=%20\">Temporary Redirect</a>.\n\n"),
        ),
        ("POST //derp", shape(307, &[&[("location", "/derp")]], "")),
        ("OPTIONS //derp", shape(307, &[&[("location", "/derp")]], "")),
        ("GET /é//x", moved("/%C3%A9/x", "<a href=\"/%C3%A9/x\">Temporary Redirect</a>.\n\n")),
        ("GET /%zz", shape(400, &[&[TEXT_TYPE, ("connection", "close")]], "400 Bad Request")),
        ("OPTIONS *", shape(200, &[], "")),
        ("GET *", shape(400, &[], "")),
    ];
    check(&pages(config()), Listener::PlainMain, &table).await;
}

#[tokio::test]
async fn every_other_path_is_the_home_page() {
    let pages = pages(config());
    for request in [
        "GET /",
        "POST /",
        "PUT /",
        "GET /derp/",
        "GET /favicon.ico",
        "GET /derp%2Fprobe",
        "GET /%2e%2e/derp",
    ] {
        let (status, headers, body) = ask(&pages, Listener::Tls, INSIDE, request).await;
        assert_eq!((status, headers), {
            let (status, headers, _) = shape(200, &[BROWSER, &[HTML_TYPE]], "");
            (status, headers)
        });
        assert!(body.contains("<h1>DERP relay</h1>") && body.contains("/debug/"), "{request}");
    }
    let (_, _, outside) = ask(&pages, Listener::Tls, OUTSIDE, "GET /").await;
    assert!(!outside.contains("/debug/"));
}

#[tokio::test]
async fn the_home_page_may_be_blank_or_elsewhere() {
    let blank = pages(PagesConfig { home: Home::Blank, ..config() });
    check(&blank, Listener::Tls, &[("GET /", shape(200, &[BROWSER, &[HTML_TYPE]], ""))]).await;
    let elsewhere = pages(PagesConfig { home: Home::Redirect("https://example.com/x".into()), ..config() });
    let to = ("location", "https://example.com/x");
    let table = [
        (
            "GET /q",
            shape(302, &[BROWSER, &[HTML_TYPE, to]], "<a href=\"https://example.com/x\">Found</a>.\n\n"),
        ),
        ("POST /q", shape(302, &[BROWSER, &[to]], "")),
    ];
    check(&elsewhere, Listener::PlainMain, &table).await;
}

#[tokio::test]
async fn debug_pages_are_for_those_inside() {
    let pages = pages(config());
    let denied = || shape(403, &[PLAIN], "debug access denied\n");
    let missing = || shape(404, &[PLAIN], "404 page not found\n");
    let okay = || shape(200, &[BROWSER_DEBUG, &[TEXT_TYPE]], "derp.Server ConsistencyCheck okay");
    let table = [
        ("GET /debug/check", okay()),
        ("POST /debug/check", okay()),
        ("GET /debug/check\nX-Forwarded-For: 1.2.3.4", denied()),
        ("GET /debug/\nX-Forwarded-For: 1.2.3.4", denied()),
        ("GET /debug/nope\nX-Forwarded-For: 1.2.3.4", denied()),
        ("GET /debug/nope", missing()),
        ("GET /debug/vars/", missing()),
        ("GET /debug/metrics", missing()),
    ];
    check(&pages, Listener::PlainMain, &table).await;
    for page in ["/debug/", "/debug/vars", "/debug/varz", "/debug/check", "/debug/nope", "/metrics"] {
        assert_eq!(ask(&pages, Listener::Tls, OUTSIDE, &format!("GET {page}")).await, denied(), "{page}");
    }
}

#[tokio::test]
async fn a_denied_page_tells_developers_how_to_be_allowed() {
    let pages = pages(PagesConfig { dev_hint: Some("{}".into()), ..config() });
    let hinted = "debug access denied; to permit access, set TS_ALLOW_DEBUG_IP=192.0.2.1\n";
    assert_eq!(ask(&pages, Listener::Tls, OUTSIDE, "GET /debug/vars").await, shape(403, &[PLAIN], hinted));
    let plain = shape(403, &[PLAIN], "debug access denied\n");
    assert_eq!(ask(&pages, Listener::Tls, OUTSIDE, "GET /debug/").await, plain);
}

#[tokio::test]
async fn debug_pages_have_derpers_headers() {
    let pages = pages(config());
    for (page, headers, content_type, part) in [
        ("/debug/", BROWSER, "text/html; charset=utf-8", "<b>TLS hostname:</b> relay.test"),
        ("/debug/vars", BROWSER_DEBUG, "application/json; charset=utf-8", "\"derp\": {"),
        ("/debug/varz", BROWSER_DEBUG, "text/plain; charset=utf-8", "derp_accepts 0\n"),
        (
            "/metrics",
            BROWSER_DEBUG,
            "text/plain; version=0.0.4; charset=utf-8",
            "ferry_relay_connections 0\n",
        ),
    ] {
        let (status, found, body) = ask(&pages, Listener::Tls, INSIDE, &format!("GET {page}")).await;
        let (_, expected, _) = shape(200, &[headers, &[("content-type", content_type)]], "");
        assert_eq!((status, found), (200, expected), "{page}");
        assert!(body.contains(part), "{page}: {body}");
    }
}

#[tokio::test]
async fn a_failed_consistency_check_is_500_with_all_reasons() {
    let pages = pages_reading(config(), Resting { broken: AtomicBool::new(true) });
    let expected = shape(500, &[BROWSER_DEBUG, &[TEXT_TYPE]], "one, two\n");
    assert_eq!(ask(&pages, Listener::Tls, INSIDE, "GET /debug/check").await, expected);
}

#[tokio::test]
async fn port_80_sends_browsers_to_https() {
    let pages = pages(config());
    let found = |to: &str| {
        let body = format!("<a href=\"{to}\">Found</a>.\n\n");
        shape(302, &[&[HTML_TYPE, ("location", to)]], &body)
    };
    let https = || shape(400, &[PLAIN], "Use HTTPS\n");
    let table = [
        ("GET /\nHost: relay.test", found("https://relay.test/debug/")),
        ("GET /\nHost: relay.test\nX-Forwarded-For: 1.2.3.4", found("https://relay.test/")),
        ("GET /derp\nHost: relay.test", found("https://relay.test/derp")),
        ("GET /derp/probe?x=1\nHost: relay.test", found("https://relay.test/derp/probe?x=1")),
        ("HEAD /q?a=b\nHost: h.example:8080", found("https://h.example:8080/q?a=b")),
        ("GET /q", found("https:///q")),
        ("POST /\nHost: relay.test", https()),
        ("POST /derp/probe\nHost: relay.test", https()),
        ("GET /debug/check", shape(200, &[BROWSER_DEBUG, &[TEXT_TYPE]], "derp.Server ConsistencyCheck okay")),
        (
            "GET /debug",
            shape(
                307,
                &[&[HTML_TYPE, ("location", "/debug/")]],
                "<a href=\"/debug/\">Temporary Redirect</a>.\n\n",
            ),
        ),
        ("POST //derp", shape(307, &[&[("location", "/derp")]], "")),
    ];
    check(&pages, Listener::Port80, &table).await;
    let outside = ask(&pages, Listener::Port80, OUTSIDE, "GET /\nHost: relay.test").await;
    assert_eq!(outside, found("https://relay.test/"));
    let (status, ..) = ask(&pages, Listener::Port80, OUTSIDE, "GET /debug/").await;
    assert_eq!(status, 403, "the same rule in clear text");
    let (status, _, body) = ask(&pages, Listener::Port80, INSIDE, "GET /debugx").await;
    assert!(
        status == 200 && body.contains("DERP relay"),
        "whatever begins with /debug is of the main listener"
    );
}

#[tokio::test]
async fn connect_is_refused_here() {
    let target = "CONNECT a.tailscale.com:443";
    let missing = || shape(404, &[PLAIN], "404 page not found\n");
    let pages_without = pages(config());
    check(&pages_without, Listener::PlainMain, &[(target, missing())]).await;
    check(&pages_without, Listener::Port80, &[(target, missing())]).await;
    let table = [(target, shape(403, &[PLAIN], "CONNECT not enabled\n"))];
    check(&pages_without, Listener::Tls, &table).await;
}
