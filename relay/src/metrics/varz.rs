//! derper's `/debug/varz`: same names, same types, same labels, so that its dashboards and alerts keep working.
//!
//! What only a Go runtime has (`go_*`, `memstats_*`, `goroutines`) is left out; `derp_memstats_sys0` is memory at start.

use super::{DropReason, PacketKind, Snapshot, TcpRtt, TlsVersion, text::Text};

/// Renders `snapshot` as Prometheus text, in derper's order.
pub(crate) fn render_varz(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    process(&mut text, snapshot);
    bootstrap_dns(&mut text, snapshot);
    derp(&mut text, snapshot);
    drops(&mut text, snapshot);
    front(&mut text, snapshot);
    stun(&mut text, snapshot);
    if snapshot.tls_listening {
        text.counter("tls_listener_accepted_connections", snapshot.front.tls_listener_accepted);
        text.counter("tls_listener_rejected_connections", snapshot.front.tls_listener_rejected);
    }
    text.counter("uptime_sec", snapshot.process.uptime.as_secs());
    text.sample("version", &[("version", &snapshot.process.version), ("binary", "ferry-relay")], 1);
    text.finish()
}

/// What derper's Prometheus library says of any process.
fn process(text: &mut Text, snapshot: &Snapshot) {
    let process = &snapshot.process;
    text.counter("process_cpu_seconds_total", process.cpu_secs);
    text.gauge("process_max_fds", process.max_fds);
    text.gauge("process_open_fds", process.open_fds);
    text.gauge("process_resident_memory_bytes", process.resident_bytes);
    text.gauge("process_start_time_seconds", process.started_secs);
    // Not in derper; its place there is taken by `goroutines`.
    text.gauge("process_threads", process.threads);
    text.gauge("process_virtual_memory_bytes", process.virtual_bytes);
    text.gauge("process_virtual_memory_max_bytes", process.virtual_bytes_max);
}

/// The names handed out by `/bootstrap-dns`.
fn bootstrap_dns(text: &mut Text, snapshot: &Snapshot) {
    let front = &snapshot.front;
    text.counter("bootstrap_dns_published_hits", front.bootstrap_dns_published_hits);
    text.counter("bootstrap_dns_published_misses", front.bootstrap_dns_published_misses);
    text.counter("bootstrap_dns_queried_domains", front.bootstrap_dns_queried_domains);
    text.counter("bootstrap_dns_requests", front.bootstrap_dns_requests);
    text.counter("bootstrap_dns_unpublished_hits", front.bootstrap_dns_unpublished_hits);
    text.counter("bootstrap_dns_unpublished_misses", front.bootstrap_dns_unpublished_misses);
    text.counter("bootstrap_dns_unpublished_percent_misses", front.bootstrap_dns_unpublished_percent_misses);
}

/// The relay itself.
fn derp(text: &mut Text, snapshot: &Snapshot) {
    let (shards, registry) = (&snapshot.shards, &snapshot.registry);
    text.counter("derp_accepts", shards.accepts);
    // Without a type, as derper prints it.
    text.sample("derp_average_queue_duration_ms", &[], shards.queue_wait_average_ms);
    text.counter("derp_bytes_received", shards.bytes_received);
    text.counter("derp_bytes_sent", shards.bytes_sent);
    text.histogram("derp_buffered_write_frames", &shards.buffered_write_frames, 1.0);
    text.histogram("derp_mesh_update_batch_size", &shards.mesh_update_batch_size, 1.0);
    text.histogram("derp_mesh_update_loop_count", &shards.mesh_update_loop_count, 1.0);
    text.kind("derp_packets_received_kind", "counter");
    for kind in PacketKind::ALL {
        let count = shards.packets_received_kind[kind as usize];
        text.sample("derp_packets_received_kind", &[("kind", kind.as_str())], count);
    }
    // Buckets are not cumulative, and a bucket appears with its first reading: both as in derper.
    text.kind("derp_tcp_rtt", "counter");
    for bucket in TcpRtt::ALL {
        let count = shards.tcp_rtt[bucket as usize];
        if count > 0 {
            text.sample("derp_tcp_rtt", &[("le", bucket.as_str())], count);
        }
    }
    text.counter("derp_total_dup_client_conns", shards.total_dup_client_conns);
    text.gauge("derp_clients_local", registry.clients_local);
    text.gauge("derp_clients_remote", registry.clients_remote());
    text.gauge("derp_clients_total", registry.clients_total);
    text.gauge("derp_current_connections", shards.current_connections);
    text.gauge("derp_current_dup_client_conns", shards.current_dup_client_conns);
    text.gauge("derp_current_dup_client_keys", shards.current_dup_client_keys);
    text.gauge("derp_current_file_descriptors", snapshot.process.open_fds);
    text.gauge("derp_memstats_sys0", snapshot.process.resident_bytes_at_start);
    text.gauge("derp_current_home_connections", shards.current_home_connections);
    text.gauge("derp_current_notideal_connections", shards.current_notideal_connections);
    text.gauge("derp_watchers", shards.watchers);
    text.counter("derp_got_ping", shards.got_ping);
    text.counter("derp_home_moves_in", shards.home_moves_in);
    text.counter("derp_home_moves_out", shards.home_moves_out);
    text.counter("derp_multiforwarder_created", registry.multiforwarder_created);
    text.counter("derp_multiforwarder_deleted", registry.multiforwarder_deleted);
    text.counter("derp_packet_forwarder_delete_other_value", registry.packet_forwarder_delete_other_value);
    text.counter("derp_packets_forwarded_in", shards.packets_forwarded_in);
    text.counter("derp_packets_forwarded_out", shards.packets_forwarded_out);
    text.counter("derp_packets_received", shards.packets_received);
    text.counter("derp_packets_sent", shards.packets_sent);
    text.counter("derp_peer_gone_disconnected_frames", shards.peer_gone_disconnected_frames);
    text.counter("derp_peer_gone_not_here_frames", shards.peer_gone_not_here_frames);
    if let Some(limit) = snapshot.rate_limit {
        text.sample("derp_rate_limit_per_client_burst_bytes", &[], limit.burst_bytes);
        text.sample("derp_rate_limit_per_client_bytes_per_second", &[], limit.bytes_per_second);
        text.counter("derp_rate_limit_per_client_waited", shards.rate_limit_per_client_waited);
    }
    text.counter("derp_sclient_write_timeouts", shards.sclient_write_timeouts);
    text.counter("derp_sent_pong", shards.sent_pong);
    text.counter("derp_unknown_frames", shards.unknown_frames);
}

/// What was not delivered. Every series exists from the start, so that a rate over it is never missing.
fn drops(text: &mut Text, snapshot: &Snapshot) {
    let shards = &snapshot.shards;
    let tables = [
        ("derp_bytes_dropped", "DERP bytes dropped by reason and by kind", &shards.bytes_dropped),
        ("derp_packets_dropped", "DERP packets dropped by reason and by kind", &shards.packets_dropped),
    ];
    for (name, help, table) in tables {
        text.kind(name, "counter");
        text.help(name, help);
        for reason in DropReason::ALL {
            for kind in PacketKind::ALL {
                let count = table[reason as usize][kind as usize];
                text.sample(name, &[("reason", reason.as_str()), ("kind", kind.as_str())], count);
            }
        }
    }
}

/// Accept, TLS, HTTP, and derper's own process facts.
fn front(text: &mut Text, snapshot: &Snapshot) {
    let (front, process) = (&snapshot.front, &snapshot.process);
    text.counter("derp_websocket_accepts", front.websocket_accepts);
    // A TLS version appears with its first request, as in derper.
    let seen = || TlsVersion::ALL.into_iter().filter(|version| front.tls_requests[*version as usize] > 0);
    text.kind("derper_tls_active_version", "gauge");
    for version in seen() {
        let count = front.tls_active[version as usize];
        text.sample("derper_tls_active_version", &[("version", version.as_str())], count);
    }
    for version in seen() {
        let count = front.tls_requests[version as usize];
        text.sample("derper_tls_request_version", &[("version", version.as_str())], count);
    }
    text.sample("node_boot_time_seconds", &[], process.booted_secs);
    text.sample("process_start_unix_time", &[], process.started_secs as u64);
}

/// The STUN server.
fn stun(text: &mut Text, snapshot: &Snapshot) {
    let stun = &snapshot.stun;
    text.kind("stun_addrfamily", "counter");
    for (family, count) in [("ipv4", stun.ipv4), ("ipv6", stun.ipv6)] {
        text.sample("stun_addrfamily", &[("family", family)], count);
    }
    text.kind("stun_requests", "counter");
    for (disposition, count) in [
        ("not_stun", stun.not_stun),
        ("read_error", stun.read_error),
        ("success", stun.success),
        ("write_error", stun.write_error),
    ] {
        text.sample("stun_requests", &[("disposition", disposition)], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{FrontCounters, ShardCounters, snapshot::RateLimitReadings};

    /// Every line of derper v1.102.5's page that does not describe its Go runtime, without the values: `TYPE name kind`
    /// and series with their labels, from a TLS listener with `-rate-config`.
    const DERPER_VARZ: &str = include_str!("derper_varz.txt");

    /// The page's lines in the form of [`DERPER_VARZ`].
    fn shape(page: &str) -> Vec<String> {
        page.lines()
            .filter(|line| !line.starts_with("# HELP"))
            .map(|line| match line.strip_prefix("# ") {
                Some(kind) => kind.to_owned(),
                None => line.rsplit_once(' ').expect("a value").0.to_owned(),
            })
            .map(|line| if line.starts_with("version{") { "version".to_owned() } else { line })
            .collect()
    }

    fn tls_snapshot() -> Snapshot {
        let front = FrontCounters::default();
        front.request_began(TlsVersion::V13);
        Snapshot {
            tls_listening: true,
            rate_limit: Some(RateLimitReadings::default()),
            ..Snapshot::read([&ShardCounters::new()], &front)
        }
    }

    #[test]
    fn names_types_and_labels_are_derpers() {
        let ours = shape(&render_varz(&tls_snapshot()));
        let missing: Vec<_> =
            DERPER_VARZ.lines().filter(|line| !ours.iter().any(|our| our == line)).collect();
        assert!(missing.is_empty(), "derper has, we have not: {missing:#?}");
        let added: Vec<_> = ours.iter().filter(|our| !DERPER_VARZ.lines().any(|line| line == *our)).collect();
        let known = ["process_threads", "queue_age"];
        assert!(added.iter().all(|our| known.iter().any(|name| our.contains(name))), "{added:#?}");
    }

    #[test]
    fn no_series_appears_twice() {
        let mut ours = shape(&render_varz(&tls_snapshot()));
        let all = ours.len();
        ours.sort();
        ours.dedup();
        assert_eq!(ours.len(), all);
    }

    #[test]
    fn a_plain_listener_has_no_tls_series() {
        let page = render_varz(&Snapshot::default());
        assert!(!page.contains("tls_listener_") && !page.contains("rate_limit"));
        assert!(!page.contains("derper_tls_request_version{"));
    }

    #[test]
    fn counts_reach_their_series() {
        let shard = ShardCounters::new();
        shard.dropped(DropReason::QueueHead, PacketKind::Other, 1400);
        shard.received(PacketKind::Disco, 62);
        shard.tcp_rtt_read(TcpRtt::Ms20);
        shard.buffered_write_frames.observe(12);
        let mut snapshot = Snapshot::read([&shard], &FrontCounters::default());
        snapshot.registry.clients_total = 5;
        snapshot.registry.clients_local = 3;
        snapshot.process.version = "1.0-\"x\"".into();
        let page = render_varz(&snapshot);
        for line in [
            "derp_packets_dropped{reason=\"queue_head\",kind=\"other\"} 1\n",
            "derp_bytes_dropped{reason=\"queue_head\",kind=\"other\"} 1400\n",
            "derp_packets_received_kind{kind=\"disco\"} 1\n",
            "derp_tcp_rtt{le=\"20ms\"} 1\n",
            "derp_buffered_write_frames_bucket{le=\"10\"} 0\n",
            "derp_buffered_write_frames_bucket{le=\"15\"} 1\n",
            "derp_buffered_write_frames_sum 12\n",
            "derp_clients_remote 2\n",
            "version{version=\"1.0-\\\"x\\\"\",binary=\"ferry-relay\"} 1\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
