//! derper's key file: one JSON object with the relay's private key.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ferry_protocol::{KeyError, NodePrivateKey};
use serde_json::{Map, Value};

use crate::atomic_file;

/// What a key file gave.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// The relay's own key.
    pub key: NodePrivateKey,
    /// Whether the file was made just now; it is then private.
    pub created: bool,
    /// What the operator should change about an existing file.
    pub warning: Option<KeyFileWarning>,
}

impl KeyFile {
    /// Reads the key of a file, or makes both if there is no file: the key of `random`, the file for its owner alone.
    pub(crate) fn load_or_create(path: &Path, random: [u8; 32]) -> Result<Self, KeyFileError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path, random),
            Err(source) => return Err(KeyFileError::Unreadable { path: path.to_owned(), source }),
        };
        let metadata = fs::metadata(path)
            .map_err(|source| KeyFileError::Unreadable { path: path.to_owned(), source })?;
        let mode = metadata.permissions().mode() & 0o777;
        let warning = (mode & 0o077 != 0).then(|| KeyFileWarning { path: path.to_owned(), mode });
        Ok(Self { key: parse(path, &text)?, created: false, warning })
    }

    fn create(path: &Path, random: [u8; 32]) -> Result<Self, KeyFileError> {
        let unwritable = |source| KeyFileError::Unwritable { path: path.to_owned(), source };
        let key = NodePrivateKey::from_random(random);
        // Folders as the umask has them, as derper makes them.
        fs::create_dir_all(atomic_file::folder(path)).map_err(unwritable)?;
        let text = format!("{{\n\t\"{FIELD}\": \"{}\"\n}}", *key.to_text());
        atomic_file::write(path, text.as_bytes(), 0o600).map_err(unwritable)?;
        Ok(Self { key, created: true, warning: None })
    }
}

/// The file can be read by more than its owner. derper never looks, so it is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key file {} has mode {mode:03o}, so that others can read or change the relay's key; run: chmod 600 {}", path.display(), path.display())]
pub(crate) struct KeyFileWarning {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// A key file that gives no key. It is never replaced: clients notice when a relay's key changes.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is something, but it cannot be read.
    #[error("key file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// There is nothing, and nothing can be put there.
    #[error("key file {} does not exist and cannot be made; give a file in a writable folder with -c: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Not a JSON object.
    #[error("key file {} is no JSON object ({reason}); restore it, or move it away to have a new key made", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why, without any of the text.
        reason: String,
    },
    /// A JSON object without the one field that matters. derper panics here.
    #[error("key file {} has no text \"{FIELD}\"; restore it, or move it away to have a new key made", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The field has something else than a key.
    #[error("key file {} has a \"{FIELD}\" that is not \"privkey:\" and 64 hex digits; restore it, or move it away to have a new key made: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The key that nobody has. derper takes it and panics at the first client.
    #[error("key file {} has the all-zero key; restore it, or move it away to have a new key made", path.display())]
    Zero {
        /// The file.
        path: PathBuf,
    },
}

/// The one field.
const FIELD: &str = "PrivateKey";

/// Reads the object as Go's JSON does: other fields are ignored, the field's name may be in any case.
fn parse(path: &Path, text: &[u8]) -> Result<NodePrivateKey, KeyFileError> {
    let object: Map<String, Value> = serde_json::from_slice(text).map_err(|error| KeyFileError::Json {
        path: path.to_owned(),
        // serde_json's own words can quote what it met, which may be a piece of the key.
        reason: format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column()),
    })?;
    let field = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(FIELD));
    let Some((_, Value::String(key))) = field else {
        return Err(KeyFileError::NoKey { path: path.to_owned() });
    };
    match key.parse::<NodePrivateKey>() {
        Ok(key) if key.is_zero() => Err(KeyFileError::Zero { path: path.to_owned() }),
        Ok(key) => Ok(key),
        Err(source) => Err(KeyFileError::Key { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    /// The key of the specification's test vectors.
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f";

    #[test]
    fn a_missing_file_is_made_with_its_folders_for_its_owner_alone() {
        let dir = TestDir::new("key-create");
        let path = dir.path().join("a/b/derper.key");
        let random: [u8; 32] = std::array::from_fn(|index| index as u8);
        let made = KeyFile::load_or_create(&path, random).unwrap();
        assert!(made.created && made.warning.is_none());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{{\n\t\"PrivateKey\": \"privkey:{HEX}\"\n}}"),
            "derper's bytes, no final newline"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");

        let read = KeyFile::load_or_create(&path, [9; 32]).unwrap();
        assert!(!read.created && read.warning.is_none());
        assert_eq!(read.key.to_text(), made.key.to_text());
    }

    #[test]
    fn what_go_reads_is_read() {
        let dir = TestDir::new("key-read");
        let path = dir.path().join("derper.key");
        for text in [
            format!("{{\"PrivateKey\":\"privkey:{HEX}\"}}\n"),
            format!("{{\"privatekey\":\"privkey:{}\",\"Other\":[1]}}", HEX.to_uppercase()),
        ] {
            fs::write(&path, &text).unwrap();
            let read = KeyFile::load_or_create(&path, [9; 32]).unwrap();
            assert_eq!(*read.key.to_text(), format!("privkey:{HEX}"), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_taken_with_a_warning() {
        let dir = TestDir::new("key-mode");
        let path = dir.path().join("derper.key");
        KeyFile::load_or_create(&path, [1; 32]).unwrap();
        for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = KeyFile::load_or_create(&path, [1; 32]).unwrap();
            assert_eq!(read.warning.is_some(), warned, "{mode:o}");
            if let Some(warning) = read.warning {
                assert!(warning.to_string().contains(&format!("has mode {mode:o}")), "{warning}");
            }
        }
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays_as_it_is() {
        let dir = TestDir::new("key-broken");
        let path = dir.path().join("derper.key");
        for (text, part) in [
            (String::new(), "is no JSON object (Eof error at line 1 column 0)"),
            (format!("privkey:{HEX}"), "is no JSON object"),
            ("[]".to_owned(), "is no JSON object"),
            ("{}".to_owned(), "has no text \"PrivateKey\""),
            ("{\"PrivateKey\":5}".to_owned(), "has no text \"PrivateKey\""),
            (format!("{{\"PrivateKey\":\"nodekey:{HEX}\"}}"), "is not \"privkey:\" and 64 hex digits"),
            (
                format!("{{\"PrivateKey\":\"privkey:{}\"}}", &HEX[1..]),
                "is not \"privkey:\" and 64 hex digits",
            ),
        ] {
            fs::write(&path, &text).unwrap();
            let error = KeyFile::load_or_create(&path, [1; 32]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("derper.key"), "{text}: {error}");
            assert!(!error.contains(&HEX[1..]), "the key is in the message: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_or_made_is_named() {
        let dir = TestDir::new("key-impossible");
        let error = KeyFile::load_or_create(dir.path(), [1; 32]).unwrap_err();
        assert!(matches!(error, KeyFileError::Unreadable { .. }), "a folder: {error}");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = KeyFile::load_or_create(&file.join("derper.key"), [1; 32]).unwrap_err();
        assert!(error.to_string().contains("file/derper.key"), "{error}");
    }
}
