//! What is printed and written at the end.

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;

use anyhow::Context as _;
use ferry_loadtest::report::{Report, csv, html, text};
use ferry_loadtest::validity::Doubt;

use crate::cli::Output;

/// Exit code: everything was measured, and every threshold held.
const DONE: u8 = 0;
/// A threshold was not held.
const BROKEN: u8 = 1;
/// A run says more about the tool than about the server.
const UNFIT: u8 = 3;
/// A run failed, or what was sent and what arrived do not add up.
const FAILED: u8 = 4;
/// Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Finds out now, and not after an hour, that a file cannot be written.
pub(crate) fn check_writable(output: &Output) -> anyhow::Result<()> {
    for file in
        [&output.json, &output.csv, &output.html].into_iter().flatten().filter(|file| !is_stdout(file))
    {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Writes all forms that were asked for, and the text to standard output unless JSON goes there.
pub(crate) fn write(report: &Report, output: &Output) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut text_wanted = true;
    if let Some(file) = &output.json {
        let json = report.to_json()? + "\n";
        if is_stdout(file) {
            text_wanted = false;
            ignore_closed_pipe(stdout.write_all(json.as_bytes()))?;
        } else {
            put(file, &json)?;
        }
    }
    if let Some(file) = &output.csv {
        put(file, &csv::render(report))?;
    }
    if let Some(file) = &output.html {
        put(file, &html::render(report))?;
    }
    if text_wanted {
        let colour = stdout.is_terminal();
        ignore_closed_pipe(stdout.write_all(text::render(report, colour).as_bytes()))?;
    }
    Ok(())
}

/// What the shell is told.
pub(crate) fn exit_code(report: &Report) -> u8 {
    if report.interrupted {
        return INTERRUPTED;
    }
    let sections = &report.sections;
    if sections.iter().flat_map(|section| &section.thresholds).any(|threshold| !threshold.held) {
        return BROKEN;
    }
    let runs = || sections.iter().flat_map(|section| &section.runs);
    if runs().any(|run| run.failure.is_some() || run.doubts.iter().any(Doubt::is_about_counting)) {
        return FAILED;
    }
    if runs().all(|run| run.doubts.iter().all(Doubt::is_note)) { DONE } else { UNFIT }
}

/// One line to standard error.
pub(crate) fn complain(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "ferry-load: {line}");
}

fn is_stdout(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn put(file: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

/// `ferry-load … | head` is no failure.
fn ignore_closed_pipe(done: io::Result<()>) -> anyhow::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
