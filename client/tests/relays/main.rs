//! Relay connections that hold: the rules one by one in virtual time, and what holds whatever happens.
#![forbid(unsafe_code)]

mod chance;
mod rules;
mod simulation;
#[path = "../connection/support.rs"]
#[expect(dead_code, reason = "other tests ask more of it")]
mod support;
mod world;
