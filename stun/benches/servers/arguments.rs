//! What to compare, and for how long.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::load::Load;
use crate::subject::{Expected, Subject};

/// Compare STUN servers on one core with a bare echo.
#[derive(Debug, Parser)]
#[command(name = "servers", bin_name = "cargo bench -p ferry-stun --bench servers --")]
pub(crate) struct Arguments {
    /// The ferry-stun program; without it, the server of this library in a process of its own.
    #[arg(long, value_name = "PATH")]
    ferry: Option<PathBuf>,

    /// Tailscale's stund.
    #[arg(long, value_name = "PATH")]
    stund: Option<PathBuf>,

    /// coturn's turnserver.
    #[arg(long, value_name = "PATH")]
    turnserver: Option<PathBuf>,

    /// Any other server; {port} in the command is where it has to listen on 127.0.0.1.
    #[arg(long, value_name = "NAME=COMMAND")]
    other: Vec<Other>,

    /// Only these servers.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,

    /// Only these loads: closed loop of SOCKETSxOUTSTANDING, or open loop of RATE/s.
    #[arg(long, value_name = "LOAD", value_delimiter = ',', default_values = ["16x16", "16x32", "20000/s", "50000/s"])]
    pub(crate) loads: Vec<Load>,

    /// Rounds: each measures every server under every load.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,

    /// Seconds for each measurement, after a tenth of that to warm up.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,

    /// The load generator's core.
    #[arg(long, default_value_t = 0)]
    pub(crate) client_core: usize,

    /// The server's core.
    #[arg(long, default_value_t = 1)]
    pub(crate) server_core: usize,

    /// Every single measurement and the summary, for other programs.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Fail if a target is missed, not only if an answer is wrong.
    #[arg(long)]
    pub(crate) strict: bool,

    /// Be the floor.
    #[arg(long, hide = true, value_name = "PORT")]
    pub(crate) be_floor: Option<u16>,

    /// Be a server of this library.
    #[arg(long, hide = true, value_name = "PORT")]
    pub(crate) be_ferry: Option<u16>,

    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// The servers to compare, the floor first.
    pub(crate) fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        let this = std::env::current_exe()?;
        let mut subjects = vec![
            Subject::new("floor", Expected::Echo, &this, "--be-floor {port}"),
            match &self.ferry {
                Some(path) => Subject::new(
                    "ferry",
                    Expected::Derper,
                    path,
                    // Budgets no load of this kind can spend: they stay in the path.
                    "--listen 127.0.0.1:{port} --threads 1 --source-rate 100000000 --source-surplus 1000000000",
                ),
                None => Subject::new("ferry", Expected::Derper, &this, "--be-ferry {port}"),
            },
        ];
        if let Some(path) = &self.stund {
            let flags = "-stun 127.0.0.1:{port} -http 127.0.0.1:0";
            subjects.push(Subject::new("stund", Expected::Derper, path, flags));
        }
        if let Some(path) = &self.turnserver {
            let flags = "-n --stun-only --listening-port {port} --listening-ip 127.0.0.1 --relay-threads 1 --no-cli \
                         --no-tcp --no-tls --no-dtls --log-file /dev/null --pidfile /dev/null";
            subjects.push(Subject::new("coturn", Expected::Any, path, flags));
        }
        for Other { name, program, flags } in &self.other {
            subjects.push(Subject::new(name, Expected::Any, program, flags));
        }
        for name in &self.only {
            anyhow::ensure!(
                subjects.iter().any(|subject| subject.name == *name),
                "--only {name}: no such server"
            );
        }
        subjects.retain(|subject| self.only.is_empty() || self.only.contains(&subject.name));
        Ok(subjects)
    }
}

/// Another server's name and command.
#[derive(Clone, Debug)]
struct Other {
    name: String,
    program: PathBuf,
    flags: String,
}

impl FromStr for Other {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, command) = text.split_once('=').ok_or("expected NAME=COMMAND")?;
        let (program, flags) = command.split_once(' ').ok_or("the command has no {port}")?;
        if !flags.contains("{port}") {
            return Err("the command has no {port}");
        }
        Ok(Self { name: name.to_owned(), program: program.into(), flags: flags.to_owned() })
    }
}
