//! Which region is home: the rules one by one, simulated days, and what holds whatever happens.

mod explanations;
mod properties;
mod reference;
mod rules;
mod simulation;
mod world;
