//! Writes Prometheus' text format.

use std::fmt::{Display, Write as _};

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// The finished page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// What `name` is, before its samples.
    pub(super) fn describe(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One value. Labels are our own words and addresses: nothing in them wants escaping.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{text}").expect("a String takes everything");
    }
}
