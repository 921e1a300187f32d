//! The walk for people: a line for each step as it is done, and what to do about what is wrong.

use std::fmt::Write;

use ferry_client::derp_map::Severity;

use super::finding::Finding;
use super::report::{Report, Step, Verdict};
use super::target::{Patient, plural};
use crate::output::{Look, Tame, paint};

/// What is going to be examined.
pub(super) fn head(patient: &Patient, coloured: bool) -> String {
    let relay = &patient.relay;
    let others = match patient.others.len() {
        0 => String::new(),
        count => format!(", and {} of its region", plural(count, "other relay")),
    };
    let name = paint(Tame(&relay.name), Look::Bold, coloured);
    if relay.name == relay.url.authority() {
        format!("{name}{others}")
    } else {
        format!("{name} ({}){others}", Tame(&relay.url.to_string()))
    }
}

/// One step.
pub(super) fn step(step: &Step, coloured: bool) -> String {
    let (mark, look) = match step.verdict {
        Verdict::Skipped => ("-", None),
        Verdict::Sound => ("ok", Some(Look::Green)),
        Verdict::Hint => ("hint", Some(Look::Blue)),
        Verdict::Warning => ("warn", Some(Look::Yellow)),
        Verdict::Broken => ("FAIL", Some(Look::Red)),
    };
    let mark = format!("{mark:<4}");
    let mark = look.map_or_else(|| mark.clone(), |look| paint(&mark, look, coloured).to_string());
    let mut evidence = step.evidence.iter();
    let mut text = match evidence.next() {
        Some(first) => format!("{mark}  {:<8} {}", step.step.words(), Tame(first)),
        None => format!("{mark}  {}", step.step.words()),
    };
    for line in evidence {
        let _ = write!(text, "\n               {}", Tame(line));
    }
    for finding in &step.findings {
        write_finding(&mut text, finding, coloured);
    }
    text
}

fn write_finding(text: &mut String, finding: &Finding, coloured: bool) {
    let look = match finding.severity {
        Severity::Error => Look::Red,
        Severity::Warning => Look::Yellow,
        Severity::Hint => Look::Blue,
    };
    let code = paint(finding.code, look, coloured);
    let _ = write!(text, "\n      {code}: {}", Tame(&finding.what));
    for line in &finding.evidence {
        let _ = write!(text, "\n        seen: {}", Tame(line));
    }
    let _ = write!(text, "\n        -> {}", Tame(&finding.fix));
}

/// The sum of it.
pub(super) fn foot(report: &Report, coloured: bool) -> String {
    let of = |severity| report.findings().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    match (errors, warnings) {
        (0, 0) => paint("this relay works", Look::Green, coloured).to_string(),
        (0, warnings) => {
            let text = format!("this relay works, with {}", plural(warnings, "warning"));
            paint(text, Look::Yellow, coloured).to_string()
        }
        (errors, _) => {
            // What is wrong first is most often why the rest is.
            let first = report.findings().find(|finding| finding.severity == Severity::Error);
            let first = first.map(|finding| format!(": {}", Tame(&finding.what))).unwrap_or_default();
            let text = format!("{} found{first}", plural(errors, "error"));
            paint(text, Look::Red, coloured).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Code;
    use crate::doctor::report::Name;

    #[test]
    fn a_step_says_what_was_seen_what_is_wrong_and_what_to_do() {
        let finding =
            Finding::new(Code::TcpRefused, "nobody listens on port 443", "start the relay").seen("a\x1b[2J");
        let broken =
            Step::new(Name::Connect, Duration::ZERO, vec!["one".to_owned(), "two".to_owned()], vec![finding]);
        let lines: Vec<String> = step(&broken, false).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "FAIL  connect  one",
                "               two",
                "      tcp-refused: nobody listens on port 443",
                "        seen: a\\u{1b}[2J",
                "        -> start the relay",
            ]
        );
        assert_eq!(
            step(&Step::skipped(Name::Mesh, "no other relay"), false),
            "-     mesh     no other relay"
        );
    }
}
