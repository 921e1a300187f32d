//! What a STUN server costs, kernel included: ours, others, and a floor that reads and sends batches without
//! looking at them, measured by turns in one run (A B C, C B A) because machines drift.
//!
//! The load generator has one core to itself and the server another. On loopback the sender's core does the
//! kernel's work of receiving, so an answer's way into the client's socket is the server's to pay, as for any
//! server. Requests go out by UDP_SEGMENT, which makes asking cheaper than answering: the generator is not the
//! limit, and the columns "server busy" and "generator idle" say so for each run. A server that turns UDP_GRO
//! on would be flattered: it would read 8 requests as one, which it never will from 8 clients.
//!
//! `cargo bench -p ferry-stun --bench servers` compares ours with the floor, `-- --help` lists the rest:
//!
//! ```text
//! (cd tests/interop && go build -o /somewhere/stund tailscale.com/cmd/stund)
//! cargo bench -p ferry-stun --bench servers -- --ferry "$PWD/target/release/ferry-stun" --stund /somewhere/stund
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program: results and progress")]

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod subject;
#[cfg(target_os = "linux")]
mod verdict;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    rounds::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("pinning, recvmmsg and the scheduler's accounting are Linux: nothing to measure here");
}
