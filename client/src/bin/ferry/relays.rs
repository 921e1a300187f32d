//! What all commands have that hold relay connections: which, whom to believe, and what happens to them.

pub(crate) mod lines;
pub(crate) mod setup;
