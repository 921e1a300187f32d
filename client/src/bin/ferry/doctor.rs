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
use ferry_client::system_roots;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::output::{is_coloured, print};
use crate::source::read_file;
use crate::{cli, exit};
use report::Report;
use target::Patient;
use walk::Walk;

pub(crate) fn run(flags: &cli::Doctor) -> anyhow::Result<u8> {
    let patient = Patient::of(flags)?;
    let walk = Walk {
        roots: roots(flags)?,
        mesh_key: flags.mesh_psk_file.as_deref().map(mesh_key).transpose()?,
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

/// Whom nodes believe: the system, and the authorities that the operator names.
fn roots(flags: &cli::Doctor) -> anyhow::Result<RootCertStore> {
    // A machine without any believes nobody, which the walk then says of the certificate.
    let mut roots = system_roots().unwrap_or_else(|_| RootCertStore::empty());
    for path in &flags.ca {
        let text = read_file(path)?;
        let mut any = false;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.with_context(|| format!("{} is no PEM file", path.display()))?;
            roots
                .add(certificate)
                .with_context(|| format!("{} has no certificate authority", path.display()))?;
            any = true;
        }
        anyhow::ensure!(any, "{} has no certificate (PEM)", path.display());
    }
    Ok(roots)
}

fn mesh_key(path: &std::path::Path) -> anyhow::Result<ferry_protocol::MeshKey> {
    let text = read_file(path)?;
    let text = str::from_utf8(&text).with_context(|| format!("{} is no text", path.display()))?;
    text.trim().parse().with_context(|| format!("{} has no mesh key of 64 hex digits", path.display()))
}
