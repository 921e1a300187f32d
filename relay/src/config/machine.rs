//! What the meaning of the flags depends on besides the flags.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The machine and user the relay runs as, handed in so that a test can be another.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Looks an environment variable up.
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the user is root, who has a default key file.
    pub is_root: bool,
    /// Cores this process may use.
    pub cores: NonZeroUsize,
}

impl Machine<'static> {
    /// This process on this machine. A variable that is not UTF-8 counts as unset.
    pub fn this() -> Self {
        Self {
            lookup: &|name| std::env::var(name).ok(),
            is_root: rustix::process::getuid().is_root(),
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl<'a> Machine<'a> {
    /// Somebody else's machine.
    pub const fn new(lookup: &'a dyn Fn(&str) -> Option<String>, is_root: bool, cores: NonZeroUsize) -> Self {
        Self { lookup, is_root, cores }
    }

    /// The value of an environment variable; an empty one counts as unset, as for derper.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// derper's default for `-certdir`: below Go's `os.UserCacheDir`.
    pub(super) fn default_cert_dir(&self) -> Option<PathBuf> {
        let cache = match self.variable("XDG_CACHE_HOME") {
            // Go takes only an absolute one.
            Some(dir) => Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute()),
            None => self.variable("HOME").map(|home| PathBuf::from(home).join(".cache")),
        };
        Some(cache?.join("tailscale").join("derper-certs"))
    }
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("is_root", &self.is_root)
            .field("cores", &self.cores)
            .finish_non_exhaustive()
    }
}
