//! `ferry map lint`: what is wrong with a map.

use std::fmt::Write;

use ferry_client::derp_map::{Finding, Severity, lint_json};
use serde_json::json;

use crate::output::{self, Look, Tame, paint, print};
use crate::source::Source;
use crate::{cli, exit};

pub(crate) fn run(flags: &cli::Lint) -> anyhow::Result<u8> {
    let defaults = flags.input.over.as_ref().map(Source::read_map).transpose()?;
    let text = Source::or_stdin(flags.input.map.as_ref())?.read()?;
    let findings = lint_json(&text, defaults.as_ref(), flags.meant.into()).findings;
    let count = Count::of(&findings);
    if flags.json {
        print(json!({
            "errors": count.errors,
            "warnings": count.warnings,
            "hints": count.hints,
            "findings": findings,
        }));
    } else {
        print(report(&findings, &count, output::is_coloured()));
    }
    let is_found = count.errors > 0 || (flags.strict && count.warnings > 0);
    Ok(if is_found { exit::FOUND } else { exit::DONE })
}

/// How many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) hints: usize,
}

impl Count {
    pub(super) fn of(findings: &[Finding]) -> Self {
        let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Self { errors: of(Severity::Error), warnings: of(Severity::Warning), hints: of(Severity::Hint) }
    }

    /// Such as `1 error, 2 hints`.
    pub(super) fn text(&self) -> String {
        let words = [(self.errors, "error"), (self.warnings, "warning"), (self.hints, "hint")];
        let words: Vec<_> = words
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        if words.is_empty() { "nothing wrong".to_owned() } else { words.join(", ") }
    }
}

/// Each finding in three lines, and the sum.
fn report(findings: &[Finding], count: &Count, coloured: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let look = match finding.severity {
            Severity::Error => Look::Red,
            Severity::Warning => Look::Yellow,
            Severity::Hint => Look::Blue,
        };
        let place = finding.place.to_string();
        let severity = paint(finding.severity, look, coloured);
        let code = paint(finding.code, Look::Bold, coloured);
        let _ = writeln!(text, "{severity}: {}: {code}", Tame(&place));
        let _ = writeln!(text, "  {}", Tame(&finding.why));
        let _ = writeln!(text, "  -> {}", Tame(&finding.fix));
    }
    text + &count.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_where_why_and_what_to_do() {
        let findings = lint_json(b"{}", None, Default::default()).findings;
        let text = report(&findings, &Count::of(&findings), false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "error: map: map-empty");
        assert!(lines[1].starts_with("  the map has no regions"));
        assert!(lines[2].starts_with("  -> add a region"));
        assert_eq!(lines[3..], ["1 error"]);
        assert!(report(&findings, &Count::of(&findings), true).starts_with("\x1b[1;31merror\x1b[0m: map: "));
    }

    #[test]
    fn a_count_names_what_there_is() {
        let text = |errors, warnings, hints| Count { errors, warnings, hints }.text();
        assert_eq!(text(0, 0, 0), "nothing wrong");
        assert_eq!(text(1, 0, 2), "1 error, 2 hints");
        assert_eq!(text(2, 1, 0), "2 errors, 1 warning");
    }
}
