//! The region's key: from `-mesh-psk-file`, from where derper looks without it, or for a trial from the environment.

use std::io;
use std::path::{Path, PathBuf};

use ferry_protocol::MeshKey;

use super::Machine;

/// Reads the file that was named.
pub(super) fn from_file(path: &Path) -> Result<MeshKey, MeshKeyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| MeshKeyError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, || path.display().to_string())
}

/// Reads the first of derper's default files that exists.
pub(super) fn from_default_file(machine: &Machine<'_>) -> Result<Option<MeshKey>, MeshKeyError> {
    let home = machine.variable("HOME").unwrap_or_default();
    let files = ["/home/derp/keys/derp-mesh.key".into(), Path::new(&home).join("keys/derp-mesh.key")];
    // Like derper's, the search asks only whether the file can be seen: a broken one is an error, not a reason to go on.
    files.iter().find(|file| file.metadata().is_ok()).map(|file| from_file(file)).transpose()
}

/// Reads derper's variable for its development mode.
pub(super) fn from_variable(machine: &Machine<'_>) -> Result<Option<MeshKey>, MeshKeyError> {
    let text = machine.variable(DEV_VARIABLE);
    text.map(|text| parse(&text, || format!("variable {DEV_VARIABLE}"))).transpose()
}

/// derper's variable for the key in `-dev`.
const DEV_VARIABLE: &str = "TAILSCALE_DERPER_MESH_KEY";

fn parse(text: &str, place: impl FnOnce() -> String) -> Result<MeshKey, MeshKeyError> {
    let digits = text.trim();
    match digits.parse::<MeshKey>() {
        Ok(key) if key.is_zero() => Err(MeshKeyError::Zero { place: place() }),
        Ok(key) => Ok(key),
        // The text is a secret even when it is malformed: only its length is told.
        Err(_) => Err(MeshKeyError::Malformed { place: place(), len: digits.len() }),
    }
}

/// A mesh key that was asked for and is not there.
#[derive(Debug, thiserror::Error)]
pub enum MeshKeyError {
    /// The file cannot be read.
    #[error("mesh key file {} cannot be read; give another -mesh-psk-file, or -mesh-psk-file \"\" for no mesh: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Not 64 hex digits.
    #[error(
        "mesh key in {place} has {len} characters and should be exactly 64 hex digits; make one with: openssl rand -hex 32"
    )]
    Malformed {
        /// The file or variable.
        place: String,
        /// How long the text is without the space around it.
        len: usize,
    },
    /// On the wire this means no key, so that anybody would be a mesh peer.
    #[error("mesh key in {place} is all zeros, which means no key; make one with: openssl rand -hex 32")]
    Zero {
        /// The file or variable.
        place: String,
    },
}
