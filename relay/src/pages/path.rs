//! Request paths and queries, read as Go's `http.ServeMux` and `url.Values` read them.

use std::borrow::Cow;

/// The canonical form of a raw path: no empty, `.` or `..` segment, a trailing slash kept. Percent signs are left alone,
/// so `/%2e%2e/` is canonical.
pub(super) fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

/// The decoded segments of a canonical path; `None` if an escape is malformed. An encoded slash stays inside its segment.
pub(crate) fn segments(path: &str) -> Option<Vec<Cow<'_, [u8]>>> {
    path.trim_start_matches('/').split('/').map(|segment| decode(segment, false)).collect()
}

/// The first value of `name` in a query string.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter_map(|(key, value)| Some((decode(key, true)?, decode(value, true)?)))
        .find(|(key, _)| key.as_ref() == name.as_bytes())
        .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
}

/// Undoes percent escapes, and `+` for a space where `plus` says so; `None` if an escape is malformed.
fn decode(text: &str, plus: bool) -> Option<Cow<'_, [u8]>> {
    if !text.contains(['%', '+']) {
        return Some(text.as_bytes().into());
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                decoded.push((high * 16 + low) as u8);
            }
            b'+' if plus => decoded.push(b' '),
            other => decoded.push(other),
        }
    }
    Some(decoded.into())
}

/// `text` made harmless inside HTML text and attributes, with Go's spelling of the entities.
pub(super) fn escape_html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_a_go_server_cleans_them() {
        for (raw, cleaned) in [
            ("/", "/"),
            ("//", "/"),
            ("//derp", "/derp"),
            ("/a/../derp", "/derp"),
            ("/derp/.", "/derp"),
            ("/derp/./", "/derp/"),
            ("/debug/..", "/"),
            ("/..", "/"),
            ("/a%2Fb/../c", "/c"),
            ("/%2e%2e/derp", "/%2e%2e/derp"),
            ("/derp/", "/derp/"),
        ] {
            assert_eq!(clean(raw), cleaned, "{raw}");
        }
    }

    #[test]
    fn an_encoded_slash_does_not_divide_segments() {
        assert_eq!(segments("/derp%2Fprobe"), Some(vec![Cow::Borrowed(b"derp/probe".as_slice())]));
        assert_eq!(segments("/%64erp/probe").unwrap(), [b"derp".as_slice(), b"probe"]);
        assert_eq!(segments("/debug/").unwrap(), [b"debug".as_slice(), b""]);
        assert_eq!(segments("/%zz"), None);
        assert_eq!(segments("/%4"), None);
    }

    #[test]
    fn the_first_well_formed_value_of_a_query_counts() {
        assert_eq!(query_value("q=a&q=b", "q").as_deref(), Some("a"));
        assert_eq!(query_value("x=1&q=a%2eb+c", "q").as_deref(), Some("a.b c"));
        assert_eq!(query_value("q=%zz&q=b", "q").as_deref(), Some("b"));
        assert_eq!(query_value("q=a;b&q=c", "q").as_deref(), Some("c"));
        assert_eq!(query_value("q", "q").as_deref(), Some(""));
        assert_eq!(query_value("Q=a", "q"), None);
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html("<a href=\"'\">&"), "&lt;a href=&#34;&#39;&#34;&gt;&amp;");
    }
}
