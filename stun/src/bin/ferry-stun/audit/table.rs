//! The report for people and for programs.

use std::fmt::Write as _;

use ferry_stun::audit::{Finding, Report, Said};
use serde_json::{Value, json};

/// A row for each request, the worst factors, and the verdict last.
pub(super) fn text(report: &Report) -> String {
    let name_width = report.findings.iter().map(|finding| finding.request.name.len()).max().unwrap_or(0);
    let mut out = format!("{:name_width$}  {:>12}  {:>6}  answer\n", "request", "bytes", "factor");
    for finding in &report.findings {
        let payload = finding.payload;
        let (bytes, factor) = match payload.received {
            0 => (format!("{} -> -", payload.sent), String::new()),
            received => (format!("{} -> {received}", payload.sent), format!("{:.1}", payload.factor())),
        };
        let name = finding.request.name;
        let _ = write!(out, "{name:name_width$}  {bytes:>12}  {factor:>6}  {}", answer(finding));
        for remark in &finding.remarks {
            let _ = write!(out, "; {}: {remark}", remark.severity().name().to_uppercase());
        }
        out.push('\n');
    }
    out.push('\n');
    for (what, worst, wire) in
        [("payload", report.worst(), false), ("with IP and UDP headers", report.worst_on_the_wire(), true)]
    {
        if let Some(worst) = worst {
            let volume = if wire { worst.wire } else { worst.payload };
            let (factor, name) = (volume.factor(), worst.request.name);
            let _ = writeln!(
                out,
                "worst, {what}: {factor:.2} ({} -> {} bytes, {name})",
                volume.sent, volume.received
            );
        }
    }
    if let (Some(suspect), Some(burst)) = (report.suspect(), report.burst) {
        let _ = writeln!(out, "{} again, within a second: answered that large {burst}", suspect.name);
    }
    let _ = write!(out, "{}: {report}", report.server);
    out
}

fn answer(finding: &Finding) -> String {
    let Some(said) = &finding.said else { return "-".to_owned() };
    let origin = match (finding.other_ip, finding.other_port) {
        (false, false) => "",
        (false, true) => ", from another port",
        (true, false) => ", from another address",
        (true, true) => ", from another address and port",
    };
    let redirected = if finding.redirected { ", to the port named" } else { "" };
    format!("{said}{origin}{redirected}")
}

/// The same in JSON.
pub(super) fn json(report: &Report) -> Value {
    let row = |finding: &Finding| {
        let remarks: Vec<_> = finding
            .remarks
            .iter()
            .map(|remark| json!({"severity": remark.severity().name(), "text": remark.to_string()}))
            .collect();
        let mapped = match finding.said {
            Some(Said::Success { mapped }) => mapped.map(|mapped| mapped.to_string()),
            _ => None,
        };
        json!({
            "request": finding.request.name,
            "sent": finding.payload.sent,
            "received": finding.payload.received,
            "factor": finding.payload.factor(),
            "answer": finding.said.as_ref().map(Said::to_string),
            "mapped": mapped,
            "other_ip": finding.other_ip,
            "other_port": finding.other_port,
            "redirected": finding.redirected,
            "remarks": remarks,
        })
    };
    let worst = |finding: Option<&Finding>, wire: bool| {
        finding.map(|finding| {
            let volume = if wire { finding.wire } else { finding.payload };
            json!({
                "request": finding.request.name,
                "sent": volume.sent,
                "received": volume.received,
                "factor": volume.factor(),
            })
        })
    };
    json!({
        "server": report.server.to_string(),
        "verdict": report.verdict().name(),
        "summary": report.to_string(),
        "worst": worst(report.worst(), false),
        "worst_with_headers": worst(report.worst_on_the_wire(), true),
        "burst": report.burst.map(|burst| json!({"asked": burst.asked, "large": burst.large})),
        "requests": report.findings.iter().map(row).collect::<Vec<_>>(),
    })
}
