//! Systems without /proc tell less.

/// The processor's architecture.
pub(super) fn processor() -> String {
    std::env::consts::ARCH.to_owned()
}

/// Those that this process may use.
pub(super) fn cores() -> u32 {
    let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Not told: 0.
pub(super) fn memory_bytes() -> u64 {
    0
}

/// Not told.
pub(super) fn governor() -> Option<String> {
    None
}

/// Not told.
pub(super) fn hypervisor() -> Option<String> {
    None
}

/// Not told.
pub(super) fn mitigations() -> Vec<String> {
    Vec::new()
}

/// Not told.
pub(super) fn settings() -> Vec<(String, String)> {
    Vec::new()
}
