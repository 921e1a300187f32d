//! What a person sees who opens the relay in a browser.

use std::fmt::Write as _;

use super::{PagesConfig, path::escape_html};

/// The page. Its policy allows no inline style, so it is plain elements; the colour scheme follows the browser.
pub(super) fn page(config: &PagesConfig, may_debug: bool) -> String {
    let mut body = String::new();
    let mut paragraph = |text: &str| body.push_str(&format!("<p>{text}</p>\n"));
    paragraph(
        "This server helps devices of a <a href=\"https://tailscale.com/\">Tailscale</a> network to reach each other. \
         It tells them how they look from outside (STUN), lets them find a direct path, and where there is none it \
         passes their packets on (DERP).",
    );
    paragraph(
        "The packets are encrypted from device to device. The relay sees which keys talk, how much and when; it cannot \
         read what they say, and it stores none of it.",
    );
    if !config.derp_enabled {
        paragraph("Status: <b>disabled</b>. STUN is answered, packets are not passed on.");
    }
    if let Some(hint) = &config.dev_hint {
        body.push_str("<h2>Try it</h2>\n<p>This relay runs in development mode. Add this to a DERP map to use it:</p>\n");
        writeln!(body, "<pre><code>{}</code></pre>", escape_html(hint)).expect("a String takes everything");
    }
    if is_tailscales_own(&config.hostname) {
        body.push_str(
            "<h2>Abuse</h2>\n<p>Write to <a href=\"mailto:security@tailscale.com\">security@tailscale.com</a>. See also \
             the <a href=\"https://tailscale.com/security-policies\">security policies</a> and the \
             <a href=\"https://tailscale.com/tailscale-aup\">acceptable use policy</a>.</p>\n",
        );
    }
    body.push_str(
        "<h2>More</h2>\n<ul>\n<li><a href=\"https://tailscale.com/kb/1232/derp-servers\">What DERP servers are for</a></li>\n\
         <li><a href=\"https://pkg.go.dev/tailscale.com/derp\">The protocol</a></li>\n",
    );
    if may_debug {
        body.push_str("<li><a href=\"/debug/\">Debug pages</a>, shown to you because of your address</li>\n");
    }
    body.push_str("</ul>\n");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>DERP relay</title>\n</head>\n<body>\n<main>\n\
         <h1>DERP relay</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Whether the name is one of Tailscale's production relays, `derp<anything without a dot>.tailscale.com`.
fn is_tailscales_own(hostname: &str) -> bool {
    let hostname = hostname.strip_suffix('.').unwrap_or(hostname);
    let label = hostname.strip_prefix("derp").and_then(|rest| rest.strip_suffix(".tailscale.com"));
    label.is_some_and(|label| !label.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::tests::config;

    #[test]
    fn the_debug_link_is_for_those_allowed_there() {
        assert!(page(&config(), true).contains("href=\"/debug/\""));
        assert!(!page(&config(), false).contains("/debug/"));
    }

    #[test]
    fn abuse_goes_to_tailscale_only_for_its_own_relays() {
        for (hostname, own) in [
            ("derp1.tailscale.com", true),
            ("derp.tailscale.com", true),
            ("derp10-nyc.tailscale.com.", true),
            ("derp1.a.tailscale.com", false),
            ("relay.tailscale.com", false),
            ("derp1.tailscale.com.example.org", false),
        ] {
            let page = page(&PagesConfig { hostname: hostname.into(), ..config() }, false);
            assert_eq!(page.contains("security@tailscale.com"), own, "{hostname}");
        }
    }

    #[test]
    fn a_disabled_relay_says_so() {
        assert!(!page(&config(), false).contains("disabled"));
        assert!(page(&PagesConfig { derp_enabled: false, ..config() }, false).contains("<b>disabled</b>"));
    }

    #[test]
    fn the_development_hint_is_escaped_and_only_shown_when_there_is_one() {
        let hinted = PagesConfig { dev_hint: Some("{\"HostName\": \"<x>\"}".into()), ..config() };
        assert!(page(&hinted, false).contains("{&#34;HostName&#34;: &#34;&lt;x&gt;&#34;}"));
        assert!(!page(&config(), false).contains("DERP map"));
    }

    #[test]
    fn nothing_on_the_page_needs_what_its_policy_forbids() {
        let page = page(&PagesConfig { dev_hint: Some("x".into()), ..config() }, true);
        for forbidden in ["<style", "style=", "<script", "src=", "stylesheet"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
