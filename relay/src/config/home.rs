//! What is served at `/`.

/// The page of a browser that comes to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A short page that says what this server is.
    Default,
    /// An empty page.
    Blank,
    /// A redirect (302) to this http or https URL, which is fit for a header.
    Redirect(String),
}

impl Home {
    /// Reads `-home`.
    pub(super) fn parse(text: &str) -> Result<Self, HomeError> {
        match text {
            "" => Ok(Self::Default),
            "blank" => Ok(Self::Blank),
            _ if !text.starts_with("http://") && !text.starts_with("https://") => {
                Err(HomeError::Unknown(text.to_owned()))
            }
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(HomeError::Url(text.to_owned())),
            _ => Ok(Self::Redirect(text.to_owned())),
        }
    }
}

/// A `-home` that is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// Neither empty, "blank" nor a URL.
    #[error(
        "-home '{0}' is unknown; leave it out for the usual page, or give \"blank\" or a URL that starts with http:// or https://"
    )]
    Unknown(String),
    /// A URL that would break the header it is sent in.
    #[error("-home '{0}' has a character that no URL has; percent-encode it")]
    Url(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derpers_three_forms_are_read() {
        assert_eq!(Home::parse(""), Ok(Home::Default));
        assert_eq!(Home::parse("blank"), Ok(Home::Blank));
        assert_eq!(
            Home::parse("https://example.net/a?b"),
            Ok(Home::Redirect("https://example.net/a?b".to_owned()))
        );
        assert_eq!(Home::parse("http://x"), Ok(Home::Redirect("http://x".to_owned())));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["Blank", "example.net", "ftp://example.net", "/page"] {
            assert_eq!(Home::parse(text), Err(HomeError::Unknown(text.to_owned())));
        }
        for text in ["https://example.net/\r\nSet-Cookie: a", "https://example.net/é", "https://a b"] {
            assert_eq!(Home::parse(text), Err(HomeError::Url(text.to_owned())));
        }
    }
}
