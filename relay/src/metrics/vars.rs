//! derper's `/debug/vars`: the same numbers as JSON, under the names of its Go variables.

use serde_json::{Map, Value, json};

use super::{HistogramTotals, PacketKind, Snapshot, TcpRtt, TlsVersion};

/// Renders `snapshot` as one JSON object with a line for each member, as Go's expvar does.
pub(crate) fn render_vars(snapshot: &Snapshot) -> String {
    let members: Vec<String> =
        top(snapshot).iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

/// The members of the object.
fn top(snapshot: &Snapshot) -> Map<String, Value> {
    let (front, process, stun) = (&snapshot.front, &snapshot.process, &snapshot.stun);
    let mut top = object(json!({
        "counter_bootstrap_dns_published_hits": front.bootstrap_dns_published_hits,
        "counter_bootstrap_dns_published_misses": front.bootstrap_dns_published_misses,
        "counter_bootstrap_dns_queried_domains": front.bootstrap_dns_queried_domains,
        "counter_bootstrap_dns_requests": front.bootstrap_dns_requests,
        "counter_bootstrap_dns_unpublished_hits": front.bootstrap_dns_unpublished_hits,
        "counter_bootstrap_dns_unpublished_misses": front.bootstrap_dns_unpublished_misses,
        "counter_bootstrap_dns_unpublished_percent_misses": front.bootstrap_dns_unpublished_percent_misses,
        "counter_uptime_sec": process.uptime.as_secs(),
        "derp": derp(snapshot),
        // derper shows its two-label maps in varz only; here they have just this name.
        "derp_bytes_dropped": "MultiLabelMap",
        "derp_packets_dropped": "MultiLabelMap",
        "derp_websocket_accepts": front.websocket_accepts,
        "derper_tls_request_version": by_version(snapshot, &front.tls_requests),
        "gauge_derper_tls_active_version": by_version(snapshot, &front.tls_active),
        "node_boot_time_seconds": process.booted_secs,
        "process_start_unix_time": process.started_secs as u64,
        "stun": {
            "counter_addrfamily": { "ipv4": stun.ipv4, "ipv6": stun.ipv6 },
            "counter_requests": {
                "not_stun": stun.not_stun,
                "read_error": stun.read_error,
                "success": stun.success,
                "write_error": stun.write_error,
            },
        },
        "version": process.version,
    }));
    if snapshot.tls_listening {
        let listener = json!({
            "counter_accepted_connections": front.tls_listener_accepted,
            "counter_rejected_connections": front.tls_listener_rejected,
        });
        top.insert("tls_listener".into(), listener);
    }
    top
}

/// The relay itself.
fn derp(snapshot: &Snapshot) -> Value {
    let (shards, registry) = (&snapshot.shards, &snapshot.registry);
    let kinds = PacketKind::ALL.map(|kind| (kind.as_str(), shards.packets_received_kind[kind as usize]));
    let rtts = TcpRtt::ALL.map(|bucket| (bucket.as_str(), shards.tcp_rtt[bucket as usize]));
    let mut derp = object(json!({
        "accepts": shards.accepts,
        "average_queue_duration_ms": shards.queue_wait_average_ms,
        "bytes_received": shards.bytes_received,
        "bytes_sent": shards.bytes_sent,
        "counter_buffered_write_frames": histogram(&shards.buffered_write_frames),
        "counter_mesh_update_batch_size": histogram(&shards.mesh_update_batch_size),
        "counter_mesh_update_loop_count": histogram(&shards.mesh_update_loop_count),
        "counter_packets_received_kind": labels(kinds),
        "counter_tcp_rtt": labels(rtts.into_iter().filter(|(_, count)| *count > 0)),
        "counter_total_dup_client_conns": shards.total_dup_client_conns,
        "gauge_clients_local": registry.clients_local,
        "gauge_clients_remote": registry.clients_remote(),
        "gauge_clients_total": registry.clients_total,
        "gauge_current_connections": shards.current_connections,
        "gauge_current_dup_client_conns": shards.current_dup_client_conns,
        "gauge_current_dup_client_keys": shards.current_dup_client_keys,
        "gauge_current_file_descriptors": snapshot.process.open_fds,
        "gauge_memstats_sys0": snapshot.process.resident_bytes_at_start,
        "gauge_current_home_connections": shards.current_home_connections,
        "gauge_current_notideal_connections": shards.current_notideal_connections,
        "gauge_watchers": shards.watchers,
        "got_ping": shards.got_ping,
        "home_moves_in": shards.home_moves_in,
        "home_moves_out": shards.home_moves_out,
        "multiforwarder_created": registry.multiforwarder_created,
        "multiforwarder_deleted": registry.multiforwarder_deleted,
        "packet_forwarder_delete_other_value": registry.packet_forwarder_delete_other_value,
        "packets_forwarded_in": shards.packets_forwarded_in,
        "packets_forwarded_out": shards.packets_forwarded_out,
        "packets_received": shards.packets_received,
        "packets_sent": shards.packets_sent,
        "peer_gone_disconnected_frames": shards.peer_gone_disconnected_frames,
        "peer_gone_not_here_frames": shards.peer_gone_not_here_frames,
        "sclient_write_timeouts": shards.sclient_write_timeouts,
        "sent_pong": shards.sent_pong,
        "unknown_frames": shards.unknown_frames,
        "version": snapshot.process.version,
    }));
    if let Some(limit) = snapshot.rate_limit {
        derp.insert("rate_limit_per_client_burst_bytes".into(), limit.burst_bytes.into());
        derp.insert("rate_limit_per_client_bytes_per_second".into(), limit.bytes_per_second.into());
        derp.insert("rate_limit_per_client_waited".into(), shards.rate_limit_per_client_waited.into());
    }
    derp.into()
}

/// Counts by TLS version; a version appears with its first request.
fn by_version(snapshot: &Snapshot, counts: &[u64; 2]) -> Value {
    let seen =
        TlsVersion::ALL.into_iter().filter(|version| snapshot.front.tls_requests[*version as usize] > 0);
    labels(seen.map(|version| (version.as_str(), counts[version as usize])))
}

/// Counts by the value of one label.
fn labels(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Value {
    counts
        .into_iter()
        .map(|(label, count)| (label.to_owned(), Value::from(count)))
        .collect::<Map<_, _>>()
        .into()
}

/// Cumulative counts by upper bound, with `sum` and `count` among them.
fn histogram(totals: &HistogramTotals) -> Value {
    let mut members: Map<String, Value> =
        totals.cumulative().map(|(bound, below)| (bound.to_string(), below.into())).collect();
    members.insert("+Inf".into(), totals.count().into());
    members.insert("sum".into(), totals.sum.into());
    members.insert("count".into(), totals.count().into());
    members.into()
}

/// The members of a `json!` object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{FrontCounters, ShardCounters, snapshot::RateLimitReadings};

    /// Paths to all members of derper v1.102.5's object that do not describe its Go runtime or its command line, from a
    /// TLS listener with `-rate-config`, each with the JSON type of its value.
    const DERPER_VARS: &str = include_str!("derper_vars.txt");

    /// The paths below `value`, in the form of [`DERPER_VARS`].
    fn paths(prefix: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| paths(&format!("{prefix}/{name}"), value, out))
            }
            Value::Number(_) => out.push(format!("{prefix} number")),
            Value::String(_) => out.push(format!("{prefix} string")),
            Value::Null | Value::Bool(_) | Value::Array(_) => out.push(format!("{prefix} ?")),
        }
    }

    #[test]
    fn members_and_types_are_derpers() {
        let front = FrontCounters::default();
        front.request_began(TlsVersion::V13);
        let snapshot = Snapshot {
            tls_listening: true,
            rate_limit: Some(RateLimitReadings::default()),
            ..Snapshot::read([&ShardCounters::new()], &front)
        };
        let page: Value = serde_json::from_str(&render_vars(&snapshot)).unwrap();
        let mut ours = Vec::new();
        paths("", &page, &mut ours);
        ours.sort();
        assert_eq!(ours, DERPER_VARS.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_plain_listener_has_no_tls_members() {
        let page: Value = serde_json::from_str(&render_vars(&Snapshot::default())).unwrap();
        assert_eq!(page["derper_tls_request_version"], json!({}));
        assert_eq!(page.get("tls_listener"), None);
        assert_eq!(page["derp"].get("rate_limit_per_client_waited"), None);
    }

    #[test]
    fn histograms_are_cumulative() {
        let shard = ShardCounters::new();
        shard.buffered_write_frames.observe(3);
        shard.buffered_write_frames.observe(1000);
        let page: Value =
            serde_json::from_str(&render_vars(&Snapshot::read([&shard], &FrontCounters::default()))).unwrap();
        let frames = &page["derp"]["counter_buffered_write_frames"];
        assert_eq!((&frames["2"], &frames["3"], &frames["100"]), (&json!(0), &json!(1), &json!(1)));
        assert_eq!((&frames["+Inf"], &frames["sum"], &frames["count"]), (&json!(2), &json!(1003), &json!(2)));
    }
}
