//! An open-loop load tester for DERP relays and STUN servers.
//!
//! A [`plan`] says what every client does and when. The [`engine`] (or [`stun`] for STUN servers) carries it out and returns
//! an [`outcome`]; it decides nothing about what the figures mean. A [`scenario`] names servers and workloads; a
//! [`session`] starts the servers in turns, has the plans carried out, watches the servers' cost, and judges: [`validity`],
//! [`comparison`], [`knee`]. A [`report`] is the result, as JSON, CSV, text and a page.
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
pub mod comparison;
mod digits;
pub mod engine;
pub mod figures;
pub mod histogram;
pub mod knee;
pub mod ledger;
pub mod limits;
pub mod live;
pub mod machine;
pub mod metric;
pub mod null_server;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod process;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod seconds;
pub mod server;
pub mod session;
pub mod shape;
pub mod sizes;
pub mod statistics;
pub mod stun;
pub mod summary;
pub mod surely;
pub mod thresholds;
pub mod validity;
pub mod workload;
