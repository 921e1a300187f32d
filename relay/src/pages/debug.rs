//! The list at `/debug/`.

use std::time::Duration;

use super::{PagesConfig, path::escape_html};

/// The pages below `/debug/` that the list links to, with derper's descriptions.
const LINKS: [(&str, &str); 5] = [
    ("/debug/vars", "Metrics (JSON)"),
    ("/debug/varz", "Metrics (Prometheus, named as derper's)"),
    ("/metrics", "Metrics (Prometheus, our own names)"),
    ("/debug/check", "Consistency check"),
    ("/debug/traffic", "Who moves bytes within two seconds"),
];

/// The list: facts, then links.
pub(super) fn index(config: &PagesConfig, uptime: Duration) -> String {
    let facts = [
        ("Uptime", go_duration(uptime)),
        ("Version", config.version.clone()),
        ("Machine", machine()),
        ("TLS hostname", config.hostname.clone()),
        ("Mesh key", config.mesh_key_set.to_string()),
        ("Server key", config.server_key.to_string()),
    ];
    let facts = facts.map(|(name, value)| format!("<li><b>{name}:</b> {}</li>\n", escape_html(&value)));
    let links = LINKS.map(|(path, about)| format!("<li><a href=\"{path}\">{path}</a> ({about})</li>\n"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>ferry-relay debug</title>\n</head>\n<body>\n\
         <h1>ferry-relay debug</h1>\n<ul>\n{}{}</ul>\n</body>\n</html>\n",
        facts.concat(),
        links.concat()
    )
}

/// The name of this machine; empty where the kernel does not tell.
fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Whole seconds in Go's spelling: `1h0m5s`.
fn go_duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::tests::config;

    #[test]
    fn durations_are_spelled_as_in_go() {
        for (secs, text) in [(0, "0s"), (59, "59s"), (239, "3m59s"), (3605, "1h0m5s"), (90061, "25h1m1s")] {
            assert_eq!(go_duration(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn facts_are_escaped() {
        let page = index(&PagesConfig { hostname: "<b>".into(), ..config() }, Duration::ZERO);
        assert!(page.contains("<li><b>TLS hostname:</b> &lt;b&gt;</li>"));
        assert!(page.contains("<li><b>Mesh key:</b> false</li>"));
    }
}
