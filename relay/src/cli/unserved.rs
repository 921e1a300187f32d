//! derper's flags that this version does not serve, so that none is ever ignored in silence.

/// Whether a flag takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `-flag` or `-flag=false`; the next word is never taken.
    Bool,
    /// `-flag value` or `-flag=value`.
    Value,
}

/// Whether `name` is an unserved flag of derper, and of which kind.
pub(super) fn kind(name: &str) -> Option<Kind> {
    find(name).map(|flag| flag.kind)
}

/// Whether `value` is what derper would do without the flag, so that leaving it out changes nothing.
pub(super) fn is_default(name: &str, value: &str) -> bool {
    find(name).is_some_and(|flag| (flag.is_default)(value))
}

/// All of them, without dashes.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    UNSERVED.iter().map(|flag| flag.name)
}

/// One flag of derper.
struct Unserved {
    /// Without dashes.
    name: &'static str,
    kind: Kind,
    /// Whether a value equals derper's default.
    is_default: fn(&str) -> bool,
}

/// All of them, in the order of derper's own help.
const UNSERVED: [Unserved; 15] = [
    value("accept-connection-burst", |text| text.parse() == Ok(i64::MAX)),
    value("accept-connection-limit", |text| text.parse() == Ok(f64::INFINITY)),
    value("acme-eab-key", str::is_empty),
    value("acme-eab-kid", str::is_empty),
    value("acme-email", str::is_empty),
    switch("acme-ip-certs", is_false),
    value("mesh-with", str::is_empty),
    value("rate-config", str::is_empty),
    // Only read with -secrets-url, which is refused: any folder and prefix will do.
    value("secrets-cache-dir", |_| true),
    value("secrets-path-prefix", |_| true),
    value("secrets-url", str::is_empty),
    // Likewise only read with -verify-clients, but naming a socket shows that verification is wanted.
    value("socket", str::is_empty),
    value("verify-client-url", str::is_empty),
    switch("verify-client-url-fail-open", is_true),
    switch("verify-clients", is_false),
];

const fn value(name: &'static str, is_default: fn(&str) -> bool) -> Unserved {
    Unserved { name, kind: Kind::Value, is_default }
}

const fn switch(name: &'static str, is_default: fn(&str) -> bool) -> Unserved {
    Unserved { name, kind: Kind::Bool, is_default }
}

fn is_true(text: &str) -> bool {
    super::go_flags::parse_bool(text) == Ok(true)
}

fn is_false(text: &str) -> bool {
    super::go_flags::parse_bool(text) == Ok(false)
}

fn find(name: &str) -> Option<&'static Unserved> {
    UNSERVED.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn derpers_defaults_change_nothing() {
        for (name, value) in [
            ("accept-connection-burst", "9223372036854775807"),
            ("accept-connection-limit", "+Inf"),
            ("acme-eab-key", ""),
            ("acme-ip-certs", "false"),
            ("mesh-with", ""),
            ("rate-config", ""),
            ("secrets-path-prefix", "prod/derp"),
            ("socket", ""),
            ("verify-client-url-fail-open", "true"),
            ("verify-clients", "F"),
        ] {
            assert!(is_default(name, value), "-{name}={value}");
        }
    }

    #[test]
    fn other_values_would_change_something() {
        for (name, value) in [
            ("accept-connection-burst", "100"),
            ("accept-connection-limit", "10.5"),
            ("acme-email", "a@example.net"),
            ("acme-ip-certs", "true"),
            ("mesh-with", "a.example.net"),
            ("secrets-url", "https://example.net"),
            ("verify-client-url-fail-open", "false"),
            ("verify-clients", "perhaps"),
        ] {
            assert!(!is_default(name, value), "-{name}={value}");
        }
    }

    #[test]
    fn no_flag_is_both_served_and_not() {
        let command = super::super::Cli::command();
        for argument in command.get_arguments() {
            assert_eq!(argument.get_long().and_then(kind), None, "{argument}");
        }
    }
}
