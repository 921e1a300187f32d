//! Exit codes.

/// All went well: nothing wrong, nothing changed.
pub(crate) const DONE: u8 = 0;
/// Something is wrong with the map, or the relay.
pub(crate) const FOUND: u8 = 1;
/// Two maps differ.
pub(crate) const CHANGED: u8 = 1;
/// The last good map stands in for the one that was given.
pub(crate) const STOOD_IN: u8 = 1;
/// No ping was answered.
pub(crate) const UNANSWERED: u8 = 1;
/// No relay told who is connected to it.
pub(crate) const UNTOLD: u8 = 1;
/// Wrong usage, or a file that cannot be read or written.
pub(crate) const UNUSABLE: u8 = 2;
/// Something does not work on this network.
pub(crate) const LIMITED: u8 = 1;
/// No relay can be reached.
pub(crate) const NO_RELAY: u8 = 3;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
