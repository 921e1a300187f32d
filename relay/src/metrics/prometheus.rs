//! Our own page, `/metrics`: one name per fact, units last, and in each description how the numbers add up.

use ferry_stun::RefusalReason;
use metrics::{Counter, Gauge, Key, KeyName, Label, Recorder};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{
    DropReason, End, HandshakeFailure, PacketKind, Snapshot, TcpRtt, TlsVersion, partner,
    series::{CounterReading, GaugeReading, METADATA, Series},
    text::Text,
};

/// The page's series, made once; a scrape only fills them in.
pub(crate) struct Exporter {
    /// Renders all series.
    handle: PrometheusHandle,
    /// Counters, each with its reading.
    counters: Vec<(Counter, CounterReading)>,
    /// Gauges, each with its reading.
    gauges: Vec<(Gauge, GaugeReading)>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (counters, gauges) = (self.counters.len(), self.gauges.len());
        f.debug_struct("Exporter")
            .field("counters", &counters)
            .field("gauges", &gauges)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// Makes the series of a relay of this version. The recorder is this page's alone: nothing is installed globally.
    pub(crate) fn new(version: &str) -> Self {
        let mut series = Series::new();
        traffic(&mut series);
        connections(&mut series);
        mesh(&mut series);
        front(&mut series);
        stun(&mut series);
        process(&mut series, version);
        Self { handle: series.recorder.handle(), counters: series.counters, gauges: series.gauges }
    }

    /// Renders `snapshot` as Prometheus text.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        for (counter, reading) in &self.counters {
            counter.absolute(reading(snapshot));
        }
        for (gauge, reading) in &self.gauges {
            gauge.set(reading(snapshot));
        }
        // The recorder fills histograms value by value; ours were counted into buckets where they happened.
        let mut text = Text::default();
        let shards = &snapshot.shards;
        text.help(
            "ferry_relay_queue_wait_seconds",
            "Time of a packet in its receiver's outbox, until written or dropped",
        );
        text.histogram("ferry_relay_queue_wait_seconds", &shards.queue_wait_micros, 1e-6);
        text.help(
            "ferry_relay_flush_frames",
            "Frames written per flush: above 1, batching saves system calls",
        );
        text.histogram("ferry_relay_flush_frames", &shards.buffered_write_frames, 1.0);
        text.help("ferry_relay_mesh_update_batch_changes", "Presence changes told to a mesh peer at once");
        text.histogram("ferry_relay_mesh_update_batch_changes", &shards.mesh_update_batch_size, 1.0);
        text.help("ferry_relay_mesh_update_rounds", "Write rounds that one batch of presence changes took");
        text.histogram("ferry_relay_mesh_update_rounds", &shards.mesh_update_loop_count, 1.0);
        if let Some(readings) = &snapshot.stun_partner {
            partner::write(&mut text, readings);
        }
        // A fraction of a second is a value, and the recorder's counters are whole.
        text.help("process_cpu_seconds_total", "CPU time used, user and system");
        text.counter("process_cpu_seconds_total", snapshot.process.cpu_secs);
        self.handle.render() + &text.finish()
    }
}

/// Packets and frames.
fn traffic(series: &mut Series) {
    let mut received = series.counters(
        "ferry_relay_packets_received_total",
        "Packets read from clients. Received + forwarded in = sent + forwarded out + dropped + now in outboxes",
    );
    for kind in PacketKind::ALL {
        received
            .counter([("kind", kind.as_str())], move |all| all.shards.packets_received_kind[kind as usize]);
    }
    series.counter(
        "ferry_relay_packets_received_bytes_total",
        "Payload of packets read from clients",
        |all| all.shards.bytes_received,
    );
    series.counter("ferry_relay_packets_sent_total", "Packets written to clients", |all| {
        all.shards.packets_sent
    });
    series.counter("ferry_relay_packets_sent_bytes_total", "Payload of packets written to clients", |all| {
        all.shards.bytes_sent
    });
    series
        .counters(
            "ferry_relay_packets_forwarded_total",
            "Packets from (in) and to (out) relays of the same region",
        )
        .counter([("direction", "in")], |all| all.shards.packets_forwarded_in)
        .counter([("direction", "out")], |all| all.shards.packets_forwarded_out);
    for (name, help, bytes) in [
        (
            "ferry_relay_packets_dropped_total",
            "Packets not delivered, each for exactly one reason. Loss = dropped / (received + forwarded in)",
            false,
        ),
        (
            "ferry_relay_packets_dropped_bytes_total",
            "Payload of packets not delivered, each for exactly one reason",
            true,
        ),
    ] {
        let mut dropped = series.counters(name, help);
        for (reason, kind) in
            DropReason::ALL.into_iter().flat_map(|reason| PacketKind::ALL.map(|kind| (reason, kind)))
        {
            dropped.counter([("reason", reason.as_str()), ("kind", kind.as_str())], move |all| {
                let table = if bytes { &all.shards.bytes_dropped } else { &all.shards.packets_dropped };
                table[reason as usize][kind as usize]
            });
        }
    }
    series.gauge(
        "ferry_relay_queue_wait_average_seconds",
        "Running average of the time in outboxes, a tenth of the way to each new value",
        |all| all.shards.queue_wait_average_ms / 1e3,
    );
    series.counter(
        "ferry_relay_pings_received_total",
        "Pings read. Received - pongs sent = pings that came too fast",
        |all| all.shards.got_ping,
    );
    series.counter("ferry_relay_pongs_sent_total", "Pongs written", |all| all.shards.sent_pong);
    series.counter("ferry_relay_frames_unknown_total", "Frames skipped because of their type", |all| {
        all.shards.unknown_frames
    });
    series
        .counters(
            "ferry_relay_peer_gone_frames_sent_total",
            "PeerGone frames written, to clients and to mesh peers",
        )
        .counter([("reason", "disconnected")], |all| all.shards.peer_gone_disconnected_frames)
        .counter([("reason", "not_here")], |all| all.shards.peer_gone_not_here_frames);
    series.counter(
        "ferry_relay_receive_limit_waits_total",
        "Times the receive limit made us read a client later",
        |all| all.shards.rate_limit_per_client_waited,
    );
    series.gauge(
        "ferry_relay_receive_limit_bytes_per_second",
        "Receive limit of one client; 0 when there is none",
        |all| all.rate_limit.unwrap_or_default().bytes_per_second as f64,
    );
    series.gauge(
        "ferry_relay_receive_limit_burst_bytes",
        "Bucket of that limit; 0 when there is none",
        |all| all.rate_limit.unwrap_or_default().burst_bytes as f64,
    );
}

/// Clients.
fn connections(series: &mut Series) {
    series.counter(
        "ferry_relay_connections_accepted_total",
        "Connections handed to the relay after their upgrade. Accepted - now live = ended, or failed at stage derp",
        |all| all.shards.accepts,
    );
    series.gauge(
        "ferry_relay_connections",
        "Live connections. Connections - duplicates + their keys = local keys",
        |all| all.shards.current_connections as f64,
    );
    series.gauge("ferry_relay_connections_home", "Live connections whose client calls us home", |all| {
        all.shards.current_home_connections as f64
    });
    series.gauge(
        "ferry_relay_connections_not_ideal",
        "Live connections that wanted another node of the region",
        |all| all.shards.current_notideal_connections as f64,
    );
    series.gauge(
        "ferry_relay_connections_duplicate",
        "Live connections of keys that have more than one",
        |all| all.shards.current_dup_client_conns as f64,
    );
    series.gauge("ferry_relay_keys_duplicate", "Keys that have more than one live connection", |all| {
        all.shards.current_dup_client_keys as f64
    });
    series.counter(
        "ferry_relay_connections_duplicate_total",
        "Connections accepted for a key that had one already",
        |all| all.shards.total_dup_client_conns,
    );
    series
        .gauges(
            "ferry_relay_keys",
            "Keys reachable here (local) or only through a relay of the region (remote)",
        )
        .gauge([("place", "local")], |all| all.registry.clients_local as f64)
        .gauge([("place", "remote")], |all| all.registry.clients_remote() as f64);
    series
        .counters(
            "ferry_relay_home_moves_total",
            "Clients that made us their home (in) or gave us up (out) while connected",
        )
        .counter([("direction", "in")], |all| all.shards.home_moves_in)
        .counter([("direction", "out")], |all| all.shards.home_moves_out);
    series.counter(
        "ferry_relay_write_timeouts_total",
        "Connections ended because the client read too slowly",
        |all| all.shards.sclient_write_timeouts,
    );
    let mut readings = series.counters(
        "ferry_relay_tcp_rtt_readings_total",
        "Readings of connections' round-trip times; up_to counts its own range only, not those below",
    );
    for bucket in TcpRtt::ALL {
        readings.counter([("up_to", bucket.as_str())], move |all| all.shards.tcp_rtt[bucket as usize]);
    }
}

/// Relays of the same region.
fn mesh(series: &mut Series) {
    series.gauge("ferry_relay_mesh_watchers", "Mesh connections subscribed to presence", |all| {
        all.shards.watchers as f64
    });
    series
        .counters(
            "ferry_relay_mesh_forwarders_multiple_total",
            "Keys that came to be (created) or ceased to be (deleted) reachable through several relays",
        )
        .counter([("change", "created")], |all| all.registry.multiforwarder_created)
        .counter([("change", "deleted")], |all| all.registry.multiforwarder_deleted);
    series.counter(
        "ferry_relay_mesh_forwarders_mismatched_total",
        "Departures told by a relay other than the one we forward to",
        |all| all.registry.packet_forwarder_delete_other_value,
    );
}

/// Accept, TLS and HTTP.
fn front(series: &mut Series) {
    series
        .counters(
            "ferry_relay_tls_connections_total",
            "TCP connections of the TLS listener; rejected by the accept limit",
        )
        .counter([("outcome", "accepted")], |all| all.front.tls_listener_accepted)
        .counter([("outcome", "rejected")], |all| all.front.tls_listener_rejected);
    let mut ended = series.counters(
        "ferry_relay_connections_ended_total",
        "Connections that ended, by the one reason each has; with the current ones they make all accepted",
    );
    for end in End::ALL {
        ended.counter([("reason", end.as_str())], move |all| all.shards.ended[end as usize]);
    }
    let mut failures = series.counters(
        "ferry_relay_handshake_failures_total",
        "Connections that ended at this stage and never became clients",
    );
    for stage in HandshakeFailure::ALL {
        failures
            .counter([("stage", stage.as_str())], move |all| all.front.handshake_failures[stage as usize]);
    }
    let mut requests =
        series.counters("ferry_relay_tls_requests_total", "HTTP requests over TLS, upgrades too");
    for version in TlsVersion::ALL {
        requests
            .counter([("version", version.as_str())], move |all| all.front.tls_requests[version as usize]);
    }
    let mut active = series
        .gauges("ferry_relay_tls_requests_active", "Of those, now in progress; a relay connection is one");
    for version in TlsVersion::ALL {
        active
            .gauge([("version", version.as_str())], move |all| all.front.tls_active[version as usize] as f64);
    }
    series.counter(
        "ferry_relay_websocket_accepts_total",
        "WebSocket connections handed to the relay",
        |all| all.front.websocket_accepts,
    );
    series.counter(
        "ferry_relay_bootstrap_dns_requests_total",
        "Requests for bootstrap DNS, with a name or without",
        |all| all.front.bootstrap_dns_requests,
    );
    series
        .counters(
            "ferry_relay_bootstrap_dns_queries_total",
            "Names asked for. not_rolled_out ones are unpublished_hit too, and again one of the other three",
        )
        .counter([("outcome", "published_hit")], |all| all.front.bootstrap_dns_published_hits)
        .counter([("outcome", "published_miss")], |all| all.front.bootstrap_dns_published_misses)
        .counter([("outcome", "unpublished_hit")], |all| all.front.bootstrap_dns_unpublished_hits)
        .counter([("outcome", "unpublished_miss")], |all| all.front.bootstrap_dns_unpublished_misses)
        .counter([("outcome", "not_rolled_out")], |all| all.front.bootstrap_dns_unpublished_percent_misses);
    series.gauge(
        "ferry_relay_bootstrap_dns_names",
        "Different names asked for; forgotten above 500",
        |all| all.front.bootstrap_dns_queried_domains as f64,
    );
}

/// The STUN server.
fn stun(series: &mut Series) {
    series
        .counters(
            "ferry_relay_stun_datagrams_total",
            "STUN sockets: datagrams answered and not, failed reads and writes; unanswered ones came while stopping",
        )
        .counter([("outcome", "success")], |all| all.stun.success)
        .counter([("outcome", "not_stun")], |all| all.stun.not_stun)
        .counter([("outcome", "unanswered")], |all| all.stun.unanswered)
        .counter([("outcome", "read_error")], |all| all.stun.read_error)
        .counter([("outcome", "write_error")], |all| all.stun.write_error);
    series
        .counters(
            "ferry_relay_stun_requests_total",
            "Valid STUN requests. Both families = success + write_error above",
        )
        .counter([("family", "ipv4")], |all| all.stun.ipv4)
        .counter([("family", "ipv6")], |all| all.stun.ipv6);
    let mut refused = series.counters(
        "ferry_relay_stun_refused_total",
        "STUN datagrams without a success response, each for exactly one reason. All reasons = not_stun above",
    );
    for reason in RefusalReason::ALL {
        refused.counter([("reason", reason.name())], move |all| all.stun.refused[reason as usize]);
    }
    series.counter(
        "ferry_relay_stun_error_responses_total",
        "STUN error responses sent; what they answer is among the refused",
        |all| all.stun.errors,
    );
    series.counter(
        "ferry_relay_stun_sources_filtered_total",
        "Sources dropped for ten seconds because they flooded the STUN socket",
        |all| all.stun.sources_filtered,
    );
}

/// The process, under the names that Prometheus' own libraries use.
fn process(series: &mut Series, version: &str) {
    series.recorder.describe_gauge(
        KeyName::from_const_str("ferry_relay_build_info"),
        None,
        "Always 1; the label has the version".into(),
    );
    let key = Key::from_parts("ferry_relay_build_info", vec![Label::new("version", version.to_owned())]);
    series.recorder.register_gauge(&key, &METADATA).set(1.0);
    series
        .gauge("process_max_fds", "How many file descriptors may be open", |all| all.process.max_fds as f64);
    series.gauge("process_open_fds", "File descriptors now open", |all| all.process.open_fds as f64);
    series.gauge("process_resident_memory_bytes", "Memory in RAM", |all| all.process.resident_bytes as f64);
    series.gauge("process_virtual_memory_bytes", "Address space in use", |all| {
        all.process.virtual_bytes as f64
    });
    series
        .gauge("process_start_time_seconds", "Start, in seconds since 1970", |all| all.process.started_secs);
    series.gauge("process_threads", "Threads", |all| all.process.threads as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{FrontCounters, ShardCounters, StunReadings};

    #[test]
    fn a_scrape_shows_the_snapshot_and_the_next_scrape_the_next() {
        let exporter = Exporter::new("1.0");
        let (shard, front) = (ShardCounters::new(), FrontCounters::default());
        shard.dropped(DropReason::QueueAge, PacketKind::Other, 1400);
        shard.queue_waited(std::time::Duration::from_micros(700));
        let mut snapshot = Snapshot::read([&shard], &front);
        snapshot.stun = StunReadings { success: 3, ipv4: 3, ..StunReadings::default() };
        snapshot.stun.refused[RefusalReason::SourceRate as usize] = 5;
        let first = exporter.render(&snapshot);
        for line in [
            "ferry_relay_packets_dropped_total{reason=\"queue_age\",kind=\"other\"} 1\n",
            "ferry_relay_packets_dropped_bytes_total{reason=\"queue_age\",kind=\"other\"} 1400\n",
            "ferry_relay_queue_wait_seconds_bucket{le=\"0.0005\"} 0\n",
            "ferry_relay_queue_wait_seconds_bucket{le=\"0.001\"} 1\n",
            "ferry_relay_stun_requests_total{family=\"ipv4\"} 3\n",
            "ferry_relay_stun_refused_total{reason=\"source_rate\"} 5\n",
            "ferry_relay_stun_refused_total{reason=\"malformed\"} 0\n",
            "ferry_relay_build_info{version=\"1.0\"} 1\n",
        ] {
            assert!(first.contains(line), "{line} in {first}");
        }
        shard.dropped(DropReason::QueueAge, PacketKind::Other, 600);
        let second = exporter.render(&Snapshot::read([&shard], &front));
        assert!(
            second.contains(
                "ferry_relay_packets_dropped_bytes_total{reason=\"queue_age\",kind=\"other\"} 2000\n"
            )
        );
    }

    #[test]
    fn every_series_has_a_description_and_a_type() {
        let page =
            Exporter::new("1.0").render(&Snapshot::read([&ShardCounters::new()], &FrontCounters::default()));
        for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(page.contains(&format!("# HELP {family} ")), "{name}");
            assert!(page.contains(&format!("# TYPE {family} ")), "{name}");
            assert!(family.starts_with("ferry_relay_") || family.starts_with("process_"), "{name}");
        }
    }

    #[test]
    fn two_exporters_share_nothing() {
        let (one, two) = (Exporter::new("1"), Exporter::new("2"));
        let shard = ShardCounters::new();
        shard.sent(7, 700);
        one.render(&Snapshot::read([&shard], &FrontCounters::default()));
        let page = two.render(&Snapshot::default());
        assert!(page.contains("ferry_relay_packets_sent_total 0\n"));
    }
}
