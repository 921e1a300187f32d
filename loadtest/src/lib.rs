//! An open-loop load tester for DERP relays and STUN servers.
//!
//! A [`plan`] says what every client does and when. The [`engine`] (or [`stun`] for STUN servers) carries it out and returns
//! an [`outcome`]; it decides nothing about what the figures mean.
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
pub mod engine;
pub mod histogram;
pub mod ledger;
pub mod null_server;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod schedule;
pub mod seconds;
pub mod sizes;
pub mod stun;
pub mod workload;
