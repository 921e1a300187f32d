//! `ferry doctor`: the way of a packet through a relay, walked step by step by a client of its own.

mod certificate;
mod finding;
mod http;
mod link;
mod packets;
mod print;
mod reach;
mod report;
mod stun;
mod target;
mod tls;
mod upgrade;
mod walk;

use std::time::Duration;

use anyhow::Context as _;

use crate::output::{is_coloured, print};
use crate::roots::Believed;
use crate::source::read_mesh_key;
use crate::{cli, exit};
use report::Report;
use target::Patient;
use walk::Walk;

pub(crate) fn run(flags: &cli::Doctor) -> anyhow::Result<u8> {
    let patient = Patient::of(flags)?;
    let walk = Walk {
        // A machine without any believes nobody, which the walk then says of the certificate.
        roots: Believed::with(&flags.ca)?.roots,
        mesh_key: flags.mesh_psk_file.as_deref().map(read_mesh_key).transpose()?,
        patience: Duration::from_secs(flags.timeout.into()),
        http_port: flags.http_port,
    };
    let coloured = is_coloured();
    let mut report = Report::new(&patient);
    if flags.json {
        walk.examine(&patient, &mut report, &mut |_| {})?;
        print(serde_json::to_string(&report).context("the report is no JSON")?);
    } else {
        print(print::head(&patient, coloured));
        walk.examine(&patient, &mut report, &mut |step| print(print::step(step, coloured)))?;
        print(print::foot(&report, coloured));
    }
    Ok(if report.is_broken() { exit::FOUND } else { exit::DONE })
}
