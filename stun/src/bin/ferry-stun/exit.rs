//! Exit codes.

/// All went well.
pub(crate) const DONE: u8 = 0;
/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// The audited server can be abused.
pub(crate) const ABUSABLE: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// Nobody answered.
pub(crate) const NO_ANSWER: u8 = 3;
