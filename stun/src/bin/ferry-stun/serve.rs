//! Runs the server: opens everything, says so, waits for a signal, drains.

mod behaviour;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use ferry_stun::{
    Certificate, PartnerChannel, PartnerConfig, StreamLimits, StreamListener, StreamServer, UdpConfig,
    UdpServer,
};
use tracing::{info, warn};

use crate::config::{Behaviour, Config, UdpListener};
use crate::metrics::{self, Readings};
use signals::Signals;

/// Serves until a signal, and then as long as the drain takes.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    raise_open_files();
    // Before anything can be asked to stop.
    let mut signals = Signals::listen()?;

    // What is likeliest to be wrong comes first, before anybody is served.
    let certificate = config.certificate.clone().map(Certificate::open).transpose();
    let certificate = certificate.context("--tls-cert and --tls-key")?;
    let partner = config.partner.as_ref().map(open_partner).transpose()?;
    let udp = config
        .udp
        .iter()
        .map(|listener| start_udp(listener, &config, partner.as_ref()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut streams = StreamServer::new(config.options, StreamLimits::default());
    start_tcp(&mut streams, &config, &udp, partner.as_ref())?;
    start_tls(&mut streams, &config, certificate.as_ref())?;

    let readings = Arc::new(Readings::new(&udp, &streams, partner.as_ref()));
    if let Some(address) = config.metrics {
        let address = metrics::serve(address, Arc::clone(&readings))?;
        info!(%address, "serving /metrics and /healthz over HTTP");
    }
    behaviour::explain(&config, partner.as_ref());

    let signal = signals.next().await;
    info!(signal, drain = ?config.drain, "stopping; a second signal ends at once");
    // Clients of STUN move to another server when this one goes silent, so that is the first step.
    udp.iter().for_each(UdpServer::quiet);
    readings.draining.store(true, Relaxed);
    streams.stop_listening().await;
    tokio::select! {
        () = tokio::time::sleep(config.drain) => {}
        signal = signals.next() => info!(signal, "stopping at once"),
    }
    udp.into_iter().for_each(UdpServer::shutdown);
    Ok(())
}

fn open_partner(partner: &crate::config::Partner) -> anyhow::Result<Arc<PartnerChannel>> {
    let config = PartnerConfig::new(partner.listen, partner.address.clone(), partner.key.clone());
    let channel = PartnerChannel::open(config).context("--partner-listen")?;
    info!(address = %channel.local_address(), partner = %partner.address, "listening for the partner");
    Ok(Arc::new(channel))
}

fn start_udp(
    listener: &UdpListener,
    config: &Config,
    partner: Option<&Arc<PartnerChannel>>,
) -> anyhow::Result<UdpServer> {
    let unspecified = |port| {
        let mut address = listener.listen;
        address.set_port(port);
        address
    };
    let mut udp = UdpConfig::new(listener.listen);
    udp.alternate = match listener.behaviour {
        Behaviour::Off => None,
        Behaviour::SecondPort(port) => Some(unspecified(port)),
        Behaviour::TwoAddresses(address) => Some(address),
    };
    udp.advertise = listener.advertise;
    udp.partner = partner.filter(|_| listener.behaviour != Behaviour::Off).cloned();
    udp.options = config.options;
    udp.limits = config.limits;
    udp.threads = config.threads.unwrap_or(udp.threads);
    let threads = udp.threads;
    let server = UdpServer::start(udp).context("--listen or --alternate")?;
    for address in server.local_addresses() {
        info!(%address, threads, "serving STUN over UDP");
    }
    Ok(server)
}

fn start_tcp(
    streams: &mut StreamServer,
    config: &Config,
    udp: &[UdpServer],
    partner: Option<&Arc<PartnerChannel>>,
) -> anyhow::Result<()> {
    if config.tcp_beside_udp {
        for (listener, server) in config.udp.iter().zip(udp) {
            let alternates = behaviour::alternates(listener, &server.local_addresses(), partner);
            for listen in server.local_addresses() {
                let listener = StreamListener { listen, certificate: None, alternates: alternates.clone() };
                start_stream(streams, listener, "serving STUN over TCP")?;
            }
        }
    }
    for &listen in &config.tcp {
        start_stream(
            streams,
            StreamListener { listen, certificate: None, alternates: None },
            "serving STUN over TCP",
        )?;
    }
    Ok(())
}

fn start_tls(
    streams: &mut StreamServer,
    config: &Config,
    certificate: Option<&Arc<Certificate>>,
) -> anyhow::Result<()> {
    for &listen in &config.tls {
        let certificate = certificate.cloned();
        start_stream(
            streams,
            StreamListener { listen, certificate, alternates: None },
            "serving STUN over TLS",
        )?;
    }
    Ok(())
}

fn start_stream(
    streams: &mut StreamServer,
    listener: StreamListener,
    said: &'static str,
) -> anyhow::Result<SocketAddr> {
    let flag = if listener.certificate.is_some() { "--tls" } else { "--tcp" };
    let address = streams.listen(listener).context(flag)?;
    info!(%address, "{said}");
    Ok(address)
}

/// A connection is a file. The soft limit is a leftover from select(2); whoever set a hard one meant that.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        warn!(%error, "limit of open files stays at {}", limit.current.unwrap_or_default());
    }
}
