//! Who may see the debug pages: derper's rule, exactly.

use std::net::IpAddr;

use hyper::{Method, http::request::Parts};

use super::path::query_value;
use crate::config::DebugAccess;

impl DebugAccess {
    /// Whether this request from `peer` may see the debug pages.
    pub(super) async fn allows(&self, request: &Parts, peer: IpAddr) -> bool {
        if self.has_key(request).await {
            return true;
        }
        // Behind a proxy the peer's address says nothing about who asks.
        if request.headers.get_all("x-forwarded-for").iter().any(|value| !value.is_empty()) {
            return false;
        }
        self.allows_ip(peer)
    }

    /// Whether the request shows the debug key. The file is read each time: it may be changed while we run.
    async fn has_key(&self, request: &Parts) -> bool {
        let Some(path) = self.key_file.clone().filter(|_| request.method == Method::GET) else {
            return false;
        };
        let shown = request.uri.query().and_then(|query| query_value(query, "debugkey")).unwrap_or_default();
        if shown.is_empty() {
            return false;
        }
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        matches!(read, Ok(Ok(content)) if content.trim_ascii() == shown.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, forwarded: Option<&str>) -> Parts {
        let mut builder = hyper::Request::builder().method(method).uri(target);
        if let Some(value) = forwarded {
            builder = builder.header("X-Forwarded-For", value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    async fn allowed_from(access: &DebugAccess, peer: &str) -> bool {
        access.allows(&request("GET", "/debug/", None), peer.parse().unwrap()).await
    }

    #[tokio::test]
    async fn loopback_and_tailscale_addresses_are_allowed() {
        let access = DebugAccess::default();
        for peer in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "100.64.0.1", "100.127.255.254"] {
            assert!(allowed_from(&access, peer).await, "{peer}");
        }
        assert!(allowed_from(&access, "fd7a:115c:a1e0:1::5").await);
        for peer in [
            "192.0.2.1",
            "100.63.255.255",
            "100.128.0.0",
            "100.115.92.7",
            "100.115.93.255",
            "fd7a:115c:a1e1::1",
        ] {
            assert!(!allowed_from(&access, peer).await, "{peer}");
        }
    }

    #[tokio::test]
    async fn one_more_address_and_trusted_networks_are_allowed() {
        let access = DebugAccess {
            allowed_ip: Some("192.0.2.7".parse().unwrap()),
            trusted: vec!["198.51.100.0/25".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..DebugAccess::default()
        };
        for peer in ["192.0.2.7", "198.51.100.127", "2001:db8:ffff::1"] {
            assert!(allowed_from(&access, peer).await, "{peer}");
        }
        for peer in ["192.0.2.8", "198.51.100.128", "2001:db9::"] {
            assert!(!allowed_from(&access, peer).await, "{peer}");
        }
    }

    #[tokio::test]
    async fn a_forwarded_request_is_denied_even_from_loopback() {
        let access = DebugAccess::default();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(!access.allows(&request("GET", "/debug/", Some("1.2.3.4")), loopback).await);
        assert!(
            access.allows(&request("GET", "/debug/", Some("")), loopback).await,
            "an empty header is none"
        );
    }

    #[tokio::test]
    async fn the_key_opens_for_get_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("ferry-debug-key-{}", std::process::id()));
        std::fs::write(&path, " s3cret \n").unwrap();
        let access = DebugAccess { key_file: Some(path.clone()), ..DebugAccess::default() };
        let outside = IpAddr::from([192, 0, 2, 1]);
        for (method, target, allowed) in [
            ("GET", "/debug/?debugkey=s3cret", true),
            ("GET", "/debug/?debugkey=s3%63ret", true),
            ("GET", "/debug/?debugkey=x&debugkey=s3cret", false),
            ("GET", "/debug/?debugkey=", false),
            ("HEAD", "/debug/?debugkey=s3cret", false),
            ("POST", "/debug/?debugkey=s3cret", false),
        ] {
            // The key also opens for a proxied request.
            assert_eq!(
                access.allows(&request(method, target, Some("1.2.3.4")), outside).await,
                allowed,
                "{method} {target}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(
            !access.allows(&request("GET", "/debug/?debugkey=s3cret", None), outside).await,
            "no file, no key"
        );
    }
}
