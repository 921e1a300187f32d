//! A server's process and the folder it lives in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Placeholders, ServerError, cores, fill, ports};
use crate::scenario::ServerRecipe;

/// How long a server may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The end of its log that an error shows, in bytes and in lines.
const TAIL_BYTES: u64 = 4 << 10;
const TAIL_LINES: usize = 12;

/// Whether a server that ended did so because its port was taken, by what it wrote: in Go's, Rust's and the C library's words.
pub(super) fn port_was_taken(log: &str) -> bool {
    let log = log.to_ascii_lowercase();
    ["address already in use", "address in use", "eaddrinuse"].iter().any(|words| log.contains(words))
}

/// What a server keeps over restarts: its ports, keys and files.
#[derive(Debug)]
pub(super) struct Home {
    root: TempDir,
    pub(super) placeholders: Placeholders,
}

impl Home {
    pub(super) fn new(name: &str) -> Result<Self, ServerError> {
        let prepare = |what| move |error| ServerError::Prepare { name: name.to_owned(), what, error };
        let root = tempfile::Builder::new().prefix("ferry-load-").tempdir().map_err(prepare("a folder"))?;
        let [dir, certdir] = ["state", "certs"].map(|folder| root.path().join(folder));
        fs::create_dir(&dir).and_then(|()| fs::create_dir(&certdir)).map_err(prepare("a folder"))?;
        let cert = certdir.join("127.0.0.1.crt");
        let key = certdir.join("127.0.0.1.key");
        let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names)
            .map_err(|error| prepare("a certificate")(io::Error::other(error)))?;
        fs::write(&cert, made.cert.pem())
            .and_then(|()| fs::write(&key, made.signing_key.serialize_pem()))
            .map_err(prepare("a certificate"))?;
        let ports = ports::free().map_err(prepare("ports"))?;
        let program = std::env::current_exe().map_err(prepare("this program's own path"))?;
        let placeholders = Placeholders::of(ports, [&dir, &cert, &key, &certdir, &program]);
        Ok(Self { root, placeholders })
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// Starts the recipe's program here, with what it writes going to the log.
    pub(super) fn spawn(&self, recipe: &ServerRecipe, cores: &[usize]) -> Result<Child, ServerError> {
        let name = &recipe.name;
        let filled = |text: &String| fill(recipe, &self.placeholders, text);
        let words = recipe.command.iter().map(filled).collect::<Result<Vec<_>, _>>()?;
        let (program, arguments) =
            words.split_first().map_or(("", &words[..]), |(first, rest)| (first.as_str(), rest));
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let both = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) =
            both.map_err(|error| ServerError::Prepare { name: name.clone(), what: "a log", error })?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err);
        for (variable, value) in &recipe.environment {
            command.env(variable, filled(value)?);
        }
        // A group of its own: Ctrl-C in the terminal is for ferry-load, which then ends its servers after its clients.
        command.process_group(0);
        let process = cores::confined(cores, || command.spawn()).map_err(|error| ServerError::Spawn {
            name: name.clone(),
            program: program.to_owned(),
            error,
        })?;
        Ok(Child { process })
    }

    /// The last lines of the log, each after a line break.
    pub(super) fn log_tail(&self) -> String {
        let text = self.read_tail().unwrap_or_default();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        last.iter().map(|line| format!("\n  | {line}")).collect()
    }

    fn read_tail(&self) -> io::Result<String> {
        let mut log = File::open(self.log())?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        log.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    }
}

/// A process that ends when this value goes.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
}

impl Child {
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Asks it to end, and ends it after five seconds. Returns when it has ended.
    pub(super) fn stop(&mut self) {
        if self.status().is_some() {
            return;
        }
        // Its number is still its own: it was not waited for.
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < END_WITHIN {
            if self.status().is_some() {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _gone_already = self.process.kill();
        let _nothing_to_wait_for = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}
