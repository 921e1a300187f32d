//! Where maps and keys come from.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use ferry_protocol::MeshKey;
use ferry_protocol::derp_map::DerpMap;

/// A longer text is no map: Tailscale's, with some thirty regions, has 30 KB.
pub(crate) const MAP_BYTES_MAX: u64 = 16 << 20;

/// A file, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        match text.split_once("://") {
            Some((scheme, _))
                if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") =>
            {
                Err(SourceError::Url(text.to_owned()))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// Why a word names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// This program asks nobody.
    #[error("ferry does not fetch maps; write: curl -fsS {0} | ferry map lint -")]
    Url(String),
}

impl Source {
    /// What was given, or standard input if somebody feeds it.
    pub(crate) fn or_stdin(given: Option<&Self>) -> anyhow::Result<Self> {
        match given {
            Some(source) => Ok(source.clone()),
            None if stdin().is_terminal() => bail!("no map given; write a FILE, or - to type it in"),
            None => Ok(Self::Stdin),
        }
    }

    /// The text.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Stdin => read_bounded(stdin().lock()).context("cannot read the map on standard input"),
            Self::File(path) => read_file(path),
        }
    }

    /// The map in the text.
    pub(crate) fn read_map(&self) -> anyhow::Result<DerpMap> {
        DerpMap::from_json(&self.read()?).with_context(|| format!("{} is no DERP map", self.name()))
    }

    fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// The text of a file that is no longer than a map.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || read_bounded(File::open(path)?);
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// The mesh key in a file: derper's `-mesh-psk-file`.
pub(crate) fn read_mesh_key(path: &Path) -> anyhow::Result<MeshKey> {
    let text = read_file(path)?;
    let text = str::from_utf8(&text).with_context(|| format!("{} is no text", path.display()))?;
    text.trim().parse().with_context(|| format!("{} has no mesh key of 64 hex digits", path.display()))
}

fn read_bounded(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAP_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAP_BYTES_MAX {
        bail!("it has more than {MAP_BYTES_MAX} bytes, which no map has");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_standard_input_and_a_url_is_for_curl() {
        assert_eq!("-".parse(), Ok(Source::Stdin));
        assert_eq!("a/b.json".parse(), Ok(Source::File("a/b.json".into())));
        let error = "https://example.net/derpmap".parse::<Source>().unwrap_err();
        assert!(error.to_string().contains("curl -fsS https://example.net/derpmap | ferry map lint -"));
    }

    #[test]
    fn what_is_longer_than_any_map_is_refused() {
        let text = |bytes: u64| read_bounded(std::io::repeat(b' ').take(bytes));
        assert_eq!(text(MAP_BYTES_MAX).unwrap().len() as u64, MAP_BYTES_MAX);
        let error = text(MAP_BYTES_MAX + 1).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 16777216 bytes, which no map has");
    }
}
