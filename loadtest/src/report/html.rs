//! The report as a page: one file that asks for nothing else, with plots drawn here and a little script that only adds read-outs
//! and a switch for the theme.

mod bars;
mod charts;
mod overview;
mod plot;
mod scale;
mod section;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Subject};
use plot::Colour;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Nothing is loaded from anywhere, whatever a name in the report says.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Colours of servers: more would not be told apart, so they begin again.
const COLOURS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];

/// The report as a page.
pub fn render(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="generator" content={ "ferry-load " (report.version) };
                title { (report.title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(report))
                main {
                    (overview::render(report))
                    @for (index, section) in report.sections.iter().enumerate() {
                        (section::render(report, section, index))
                    }
                }
                (foot(report))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    let rounds =
        report.sections.iter().flat_map(|section| &section.summaries).map(|summary| summary.rounds).max();
    html! {
        header {
            button id="theme" hidden title="switch between light and dark" { "◐" span { " theme" } }
            h1 { (report.title) }
            p class="facts" {
                (began(&report.began)) " · took " (took(report.took)) " · " (plural(report.sections.len(), "workload"))
                @if let Some(rounds) = rounds { " · up to " (plural(rounds as usize, "round")) }
                " · " (report.machine.cores) " × " (report.machine.processor)
            }
            @if report.interrupted { p class="alert" { "Stopped before its end: what follows is partial." } }
            p class="subjects" {
                @for subject in &report.subjects {
                    span class={ "key solid " (colour(report, &subject.name).0) } { i {} (subject.name) }
                    small {
                        @if subject.null { "the tool's own minimal relay: floor and ceiling, no competitor" }
                        @else if report.baseline.as_deref() == Some(&subject.name) { "baseline" }
                    }
                }
            }
        }
    }
}

fn foot(report: &Report) -> Markup {
    let machine = &report.machine;
    let gibibytes = machine.memory_bytes as f64 / f64::from(1 << 30);
    html! {
        footer {
            h2 { "How this was measured" }
            dl {
                dt { "Machine" } dd { (machine.cores) " × " (machine.processor) ", " (format!("{gibibytes:.1}")) " GiB" }
                dt { "Kernel" } dd { (machine.kernel) }
                @if let Some(hypervisor) = &machine.hypervisor { dt { "Hypervisor" } dd { (hypervisor) } }
                @if let Some(governor) = &machine.governor { dt { "Governor" } dd { (governor) } }
                dt { "Files" } dd { (crate::digits::grouped(machine.files)) " a process" }
                @for subject in &report.subjects { dt { (subject.name) } dd { code { (command(subject)) } } }
                dt { "Repeat it" } dd { code { (arguments(report)) } }
                dt { "Tool" } dd { "ferry-load " (report.version) ", report schema " (report.schema) }
            }
            @if !machine.mitigations.is_empty() || !machine.settings.is_empty() {
                details {
                    summary { "Kernel settings and mitigations" }
                    pre {
                        @for (name, value) in &machine.settings { (name) " = " (value) "\n" }
                        @for mitigation in &machine.mitigations { (mitigation) "\n" }
                    }
                }
            }
            details { summary { "The scenario" } pre { (report.scenario) } }
            (method())
        }
    }
}

fn method() -> Markup {
    html! {
        details {
            summary { "How to read the figures" }
            ul {
                li { "Load is open loop unless a workload says otherwise: packets are due by a schedule, whatever the server does. Latency
                    counts from the time a packet was due; a server that stalls cannot hide it." }
                li { "Servers take turns within each round, A B then B A, on the same cores with the same seeds; the first run of each is
                    thrown away. A figure is the median of the rounds that count, with a 95 % bootstrap interval." }
                li { "A difference is called better or worse only if the whole interval of its ratio is on that side, by 3 % or more; the same,
                    if it is wholly within 3 %; all else is unclear." }
                li { "A run is not compared if the load generator, and not the server, was the limit. The null server shows what the
                    generator can do at all." }
            }
        }
    }
}

/// Whose colour.
fn colour(report: &Report, subject: &str) -> Colour {
    let competitors = report.subjects.iter().filter(|candidate| !candidate.null);
    let place = competitors.map(|candidate| &candidate.name).position(|name| name == subject);
    place.map_or(Colour("cn"), |place| Colour(COLOURS[place % COLOURS.len()]))
}

/// A subject's name beside its colour.
fn named(report: &Report, subject: &str) -> Markup {
    html! { span class={ "key solid " (colour(report, subject).0) } { i {} (subject) } }
}

fn command(subject: &Subject) -> &str {
    if subject.command.is_empty() { "–" } else { &subject.command }
}

/// The command line, quoted for a shell where it has to be.
fn arguments(report: &Report) -> String {
    let quoted = report.arguments.iter().map(|argument| {
        let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !argument.is_empty() && argument.chars().all(harmless) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// `2026-07-25T09:14:03Z` as `2026-07-25 09:14 UTC`; anything else as it is.
fn began(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..16), time.ends_with('Z')) {
        (Some(day), Some("T"), Some(minute), true) => format!("{day} {minute} UTC"),
        _ => time.to_owned(),
    }
}

fn took(length: std::time::Duration) -> String {
    match length.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(began("2026-07-25T09:14:03Z"), "2026-07-25 09:14 UTC");
        assert_eq!(began("yesterday"), "yesterday");
        assert_eq!([90, 600, 7_500].map(|s| took(Duration::from_secs(s))), ["90 s", "10 min", "2 h 5 min"]);
    }

    #[test]
    fn style_and_script_cannot_end_their_elements() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }
}
