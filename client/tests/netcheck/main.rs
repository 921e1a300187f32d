//! A netcheck in a network in memory, whose truth is known: what it says of each kind of network, in which time, and what holds
//! whatever happens.
#![forbid(unsafe_code)]

mod bounds;
mod networks;
mod output;
mod world;
