//! Go's flag syntax (package `flag`), rewritten to clap's.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::Command;
use clap::error::ErrorKind;

use super::unserved::{self, Kind};

/// Rewrites a command line in Go's syntax to one `--flag=value` word per flag.
///
/// The program's name comes first and is kept. Whether a flag is a boolean, which never takes the next word, is asked
/// of `command`; a flag it does not know is handed on for clap to name the nearest.
pub(super) fn normalise(
    command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, Misuse> {
    let kinds = kinds(command);
    let mut words = words.into_iter();
    let mut normal: Vec<OsString> = words.next().into_iter().collect();
    let mut last_bool = None;
    while let Some(word) = words.next() {
        let word = utf8(word)?;
        let Some(flag) = dashless(&word)? else {
            // "--" only ends the flags; what is behind it is then the positional word.
            let positional = if word == "--" { words.next().map(utf8).transpose()? } else { Some(word) };
            return match positional {
                Some(word) => Err(Misuse::Positional { hint: hint(last_bool.take(), &word), word }),
                None => Ok(normal),
            };
        };
        last_bool = None;
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "h" => normal.push("-h".into()),
            "help" => normal.push("--help".into()),
            "version" => match given.as_deref().map_or(Ok(true), parse_bool) {
                Ok(true) => normal.push("--version".into()),
                Ok(false) => {}
                Err(_) => return Err(Misuse::VersionValue(given.unwrap_or_default())),
            },
            _ => {
                let Some(kind) = kinds.get(name).copied().or_else(|| unserved::kind(name)) else {
                    // Nothing behind it can be understood; clap stops at it and names the nearest flag.
                    normal.push(format!("--{name}").into());
                    return Ok(normal);
                };
                let value = match (kind, given) {
                    (_, Some(value)) => Some(value),
                    (Kind::Bool, None) => Some("true".to_owned()),
                    (Kind::Value, None) => words.next().map(utf8).transpose()?,
                };
                if kind == Kind::Bool {
                    last_bool = Some(name.to_owned());
                }
                if unserved::kind(name).is_none() {
                    normal.push(
                        value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")).into(),
                    );
                } else if !value.is_some_and(|value| unserved::is_default(name, &value)) {
                    return Err(Misuse::Unserved(name.to_owned()));
                }
            }
        }
    }
    Ok(normal)
}

/// Go's booleans: what `strconv.ParseBool` takes.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// A command line that cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misuse {
    /// A word that is neither a flag nor the value of one.
    #[error("unexpected word '{word}': ferry-relay takes only flags{hint}")]
    Positional {
        /// The word.
        word: String,
        /// What was probably meant, or nothing.
        hint: String,
    },
    /// Go's "bad flag syntax": three dashes, or no name.
    #[error("'{0}' is no flag; write -name value or -name=value")]
    Syntax(String),
    /// A flag of derper that would have to change what the relay does, and does not yet.
    #[error(
        "derper's -{0} is not served by this version of ferry-relay; it refuses to start rather than run without it"
    )]
    Unserved(String),
    /// `-version` with a value that is no boolean.
    #[error("invalid value '{0}' for '-version': write true or false")]
    VersionValue(String),
    /// A word that is not UTF-8.
    #[error("'{0}' is not UTF-8; ferry-relay reads only UTF-8 flags and paths")]
    NotUtf8(String),
}

impl Misuse {
    /// Clap's name for the mistake; each of them exits with 2.
    pub(super) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Positional { .. } | Self::Syntax(_) | Self::Unserved(_) => ErrorKind::UnknownArgument,
            Self::VersionValue(_) => ErrorKind::InvalidValue,
            Self::NotUtf8(_) => ErrorKind::InvalidUtf8,
        }
    }
}

/// Each flag of `command` and whether it takes a value.
fn kinds(command: &Command) -> HashMap<&str, Kind> {
    command
        .get_arguments()
        .filter_map(|argument| {
            let is_bool = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
            Some((argument.get_long()?, if is_bool { Kind::Bool } else { Kind::Value }))
        })
        .collect()
}

/// The flag without its one or two dashes; `None` for a word that is no flag and for "--".
fn dashless(word: &str) -> Result<Option<&str>, Misuse> {
    let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else { return Ok(None) };
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    if flag.is_empty() {
        return Ok(None);
    }
    if flag.starts_with(['-', '=']) {
        return Err(Misuse::Syntax(word.to_owned()));
    }
    Ok(Some(flag))
}

/// The likeliest mistake of somebody who does not know Go's booleans: `-stun false`.
fn hint(last_bool: Option<String>, word: &str) -> String {
    match last_bool {
        Some(flag) if parse_bool(word).is_ok() => {
            format!("; a boolean takes its value with '=': -{flag}={word}")
        }
        Some(_) | None => String::new(),
    }
}

fn utf8(word: OsString) -> Result<String, Misuse> {
    word.into_string().map_err(|word| Misuse::NotUtf8(word.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_form_of_go_becomes_one_word() {
        for (go, clap) in [
            (vec!["-a", ":1"], vec!["--a=:1"]),
            (vec!["--a", ":1"], vec!["--a=:1"]),
            (vec!["-a=:1"], vec!["--a=:1"]),
            (vec!["-home=a=b"], vec!["--home=a=b"]),
            (vec!["-home="], vec!["--home="]),
            (vec!["-home", ""], vec!["--home="]),
            (vec!["-home", "-stun"], vec!["--home=-stun"]),
            (vec!["-stun"], vec!["--stun=true"]),
            (vec!["-stun=0", "-a", ":1"], vec!["--stun=0", "--a=:1"]),
            (vec!["-http-port", "-1"], vec!["--http-port=-1"]),
            (vec!["-nonsense=1", "word"], vec!["--nonsense"]),
            (vec!["-a"], vec!["--a"]),
            (vec!["-stun", "--"], vec!["--stun=true"]),
            (vec!["-verify-clients=f", "-socket", "", "-stun"], vec!["--stun=true"]),
        ] {
            assert_eq!(rewrite(&go).unwrap(), clap, "{go:?}");
        }
    }

    #[test]
    fn only_gos_words_are_booleans() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "on", "tRUE", "2"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_that_are_no_flags_are_refused() {
        for (go, message) in [
            (vec!["relay"], "unexpected word 'relay': ferry-relay takes only flags"),
            (vec!["-"], "unexpected word '-': ferry-relay takes only flags"),
            (
                vec!["-stun", "false"],
                "unexpected word 'false': ferry-relay takes only flags; a boolean takes its value with '=': -stun=false",
            ),
            (vec!["-stun", "-a", ":1", "false"], "unexpected word 'false': ferry-relay takes only flags"),
            (vec!["--", "-a"], "unexpected word '-a': ferry-relay takes only flags"),
            (vec!["---a"], "'---a' is no flag; write -name value or -name=value"),
            (vec!["-=1"], "'-=1' is no flag; write -name value or -name=value"),
            (vec!["-version=x"], "invalid value 'x' for '-version': write true or false"),
        ] {
            assert_eq!(rewrite(&go).unwrap_err().to_string(), message, "{go:?}");
        }
    }

    #[test]
    fn an_unserved_flag_is_refused_by_name_unless_it_changes_nothing() {
        let error = rewrite(&["-verify-client-url", "https://example.net"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "derper's -verify-client-url is not served by this version of ferry-relay; \
             it refuses to start rather than run without it"
        );
        assert!(rewrite(&["-verify-clients"]).is_err());
        assert!(rewrite(&["-mesh-with"]).is_err(), "its value is missing");
        assert!(rewrite(&["-verify-client-url-fail-open", "-mesh-with="]).unwrap().is_empty());
    }

    fn rewrite(words: &[&str]) -> Result<Vec<String>, Misuse> {
        let words = std::iter::once("ferry-relay").chain(words.iter().copied()).map(OsString::from);
        let normal = normalise(&super::super::Cli::command(), words)?;
        Ok(normal.into_iter().skip(1).map(|word| word.into_string().unwrap()).collect())
    }
}
