//! Ferry's relay: DERP v2, wire-compatible with Tailscale's derper, thread per core and batched.
//!
//! ```no_run
//! use ferry_relay::{Cli, Config, Machine, Relay};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cli = Cli::parse_from(["ferry-relay", "-dev"])?;
//! let config = Config::check(&cli, &Machine::this())?;
//! let relay = Relay::start(config)?;
//! println!("serving on {}", relay.addresses().main);
//! relay.stop(std::time::Duration::from_secs(2));
//! # Ok(())
//! # }
//! ```
//!
//! A relay owns its threads: data threads that hold the clients, and a small runtime for accepting, handshakes and
//! pages. Any number of relays may live in one process; nothing is global, no default cryptography is installed and no
//! logger is set up. `main.rs` is what an embedder would write.
//!
//! Not here: encryption between clients (it is theirs), storage (there is none), routing beyond one hop.

mod atomic_file;
mod bootstrap_dns;
mod certificate;
mod cli;
pub mod config;
mod connect_proxy;
mod front;
mod key_file;
mod metrics;
mod own_map;
mod pages;
mod server;
mod shard;
mod switch;
mod sys;
#[cfg(test)]
mod test_dir;
mod tls;
mod traffic;
mod websocket;

pub use cli::Cli;
pub use config::{Config, ConfigError, Machine};
pub use server::{Addresses, Relay, StartError};
