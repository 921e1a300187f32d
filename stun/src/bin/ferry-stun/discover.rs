//! `ferry-stun discover`: how the NAT between here and a server behaves.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use ferry_stun::discovery::{self, Config, LifetimeReport, Report, SERVERS_MAX};

use crate::output::{Progress, print};
use crate::values::Host;
use crate::{cli, exit, host};

pub(crate) fn run(flags: &cli::Discover) -> anyhow::Result<u8> {
    let families = servers_by_family(flags)?;
    let progress = Progress::new();
    let mut reports = Vec::new();
    let mut unreachable = None;
    for servers in families {
        let Some(&server) = servers.first() else { continue };
        match ask(servers, server, flags.lifetime, &progress) {
            Ok(found) => reports.push(found),
            // Names have addresses of families that the host has not.
            Err(error) if is_unreachable(&error) => unreachable = Some((server, error)),
            Err(error) => return Err(error).with_context(|| format!("cannot ask {server}")),
        }
    }
    drop(progress);
    if let (true, Some((server, error))) = (reports.is_empty(), unreachable) {
        return Err(error).with_context(|| format!("cannot ask {server}"));
    }

    for (report, number) in reports.iter().zip(0..) {
        report.print(flags.json, number == 0);
    }
    Ok(if reports.iter().any(|found| found.report.udp) { exit::DONE } else { exit::NO_ANSWER })
}

/// What one family's path is like.
struct Found {
    report: Report,
    lifetime: Option<LifetimeReport>,
}

impl Found {
    fn print(&self, json: bool, is_first: bool) {
        if json {
            print(self.report.to_json());
            self.lifetime.iter().for_each(|lifetime| print(lifetime.to_json()));
            return;
        }
        if !is_first {
            print("");
        }
        print(&self.report);
        self.lifetime.iter().for_each(print);
    }
}

fn ask(
    servers: Vec<SocketAddr>,
    server: SocketAddr,
    lifetime: bool,
    progress: &Progress,
) -> io::Result<Found> {
    progress.step(format_args!("{server}: about two seconds"));
    let report = discovery::run(&Config { servers }, None)?;
    if !lifetime || !report.udp {
        return Ok(Found { report, lifetime: None });
    }
    progress.step(format_args!("{server}: how long a mapping lives, three to ten minutes"));
    let lifetime = discovery::run_lifetime(server, None).map(Some)?;
    Ok(Found { report, lifetime })
}

/// The servers' addresses: those of IPv4, then those of IPv6, each in the order of the command line.
fn servers_by_family(flags: &cli::Discover) -> anyhow::Result<[Vec<SocketAddr>; 2]> {
    let addresses = flags
        .servers
        .iter()
        .map(|server: &Host| host::addresses(server, flags.family))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // One address of each host and family: a host's second is no second opinion.
    let of_family = |ipv4: bool| -> Vec<_> {
        let mut first = Vec::new();
        for host in &addresses {
            first.extend(host.iter().find(|address| address.is_ipv4() == ipv4).copied());
        }
        first.truncate(SERVERS_MAX);
        first
    };
    let families = [of_family(true), of_family(false)];
    if families.iter().all(Vec::is_empty) {
        bail!("no server has an address");
    }
    Ok(families)
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::Unsupported
    )
}
