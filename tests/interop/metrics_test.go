package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// metricTypes are the Prometheus series every derper exports and their declared types; "" is a series without a TYPE line.
var metricTypes = map[string]string{
	"bootstrap_dns_published_hits":             "counter",
	"bootstrap_dns_published_misses":           "counter",
	"bootstrap_dns_queried_domains":            "counter",
	"bootstrap_dns_requests":                   "counter",
	"bootstrap_dns_unpublished_hits":           "counter",
	"bootstrap_dns_unpublished_misses":         "counter",
	"bootstrap_dns_unpublished_percent_misses": "counter",
	"derp_accepts":                             "counter",
	"derp_average_queue_duration_ms":           "",
	"derp_buffered_write_frames":               "histogram",
	"derp_bytes_dropped":                       "counter",
	"derp_bytes_received":                      "counter",
	"derp_bytes_sent":                          "counter",
	"derp_clients_local":                       "gauge",
	"derp_clients_remote":                      "gauge",
	"derp_clients_total":                       "gauge",
	"derp_current_connections":                 "gauge",
	"derp_current_dup_client_conns":            "gauge",
	"derp_current_dup_client_keys":             "gauge",
	"derp_current_file_descriptors":            "gauge",
	"derp_current_home_connections":            "gauge",
	"derp_current_notideal_connections":        "gauge",
	"derp_got_ping":                            "counter",
	"derp_home_moves_in":                       "counter",
	"derp_home_moves_out":                      "counter",
	"derp_memstats_sys0":                       "gauge",
	"derp_mesh_update_batch_size":              "histogram",
	"derp_mesh_update_loop_count":              "histogram",
	"derp_multiforwarder_created":              "counter",
	"derp_multiforwarder_deleted":              "counter",
	"derp_packet_forwarder_delete_other_value": "counter",
	"derp_packets_dropped":                     "counter",
	"derp_packets_forwarded_in":                "counter",
	"derp_packets_forwarded_out":               "counter",
	"derp_packets_received":                    "counter",
	"derp_packets_received_kind":               "counter",
	"derp_packets_sent":                        "counter",
	"derp_peer_gone_disconnected_frames":       "counter",
	"derp_peer_gone_not_here_frames":           "counter",
	"derp_sclient_write_timeouts":              "counter",
	"derp_sent_pong":                           "counter",
	"derp_tcp_rtt":                             "counter",
	"derp_total_dup_client_conns":              "counter",
	"derp_unknown_frames":                      "counter",
	"derp_watchers":                            "gauge",
	"derp_websocket_accepts":                   "counter",
	"derper_tls_active_version":                "gauge",
	"derper_tls_request_version":               "",
	"process_start_unix_time":                  "",
	"stun_addrfamily":                          "counter",
	"stun_requests":                            "counter",
	"tls_listener_accepted_connections":        "counter",
	"tls_listener_rejected_connections":        "counter",
	"uptime_sec":                               "counter",
	"version":                                  "",
}

// metricSeries are labelled series that stand at zero before any traffic.
var metricSeries = []string{
	`derp_packets_received_kind{kind="disco"}`, `derp_packets_received_kind{kind="other"}`,
	`stun_requests{disposition="success"}`, `stun_requests{disposition="not_stun"}`,
	`stun_requests{disposition="read_error"}`, `stun_requests{disposition="write_error"}`,
	`stun_addrfamily{family="ipv4"}`, `stun_addrfamily{family="ipv6"}`,
}

// histogramBounds are the le labels of the three histograms.
var histogramBounds = map[string]string{
	"derp_buffered_write_frames":  "0 1 2 3 4 5 6 7 8 9 10 15 20 25 50 100 +Inf",
	"derp_mesh_update_batch_size": "0 1 2 5 10 20 50 100 200 500 1000 +Inf",
	"derp_mesh_update_loop_count": "0 1 2 5 10 20 50 100 +Inf",
}

// dropReasons are the reasons a packet is dropped for, each counted for disco and other.
var dropReasons = []string{"dup_client", "gone_disconnected", "queue_head", "queue_tail", "unknown_dest", "unknown_dest_on_fwd", "write_error"}

// parseMetrics reads the Prometheus text format.
func parseMetrics(t testing.TB, text string) (values map[string]float64, types map[string]string) {
	t.Helper()
	values, types = map[string]float64{}, map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			types[name] = kind
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metric line %q: %v", line, err)
		}
		if _, twice := values[line[:at]]; twice {
			t.Fatalf("series %q appears twice", line[:at])
		}
		values[line[:at]] = value
	}
	return values, types
}

// metrics is the relay's /debug/varz.
func (r *relay) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	response := r.get(t, "/debug/varz")
	if response.StatusCode != 200 {
		t.Fatalf("varz: %s", response.Status)
	}
	values, _ := parseMetrics(t, response.text)
	return values
}

func TestEveryMetricIsThereWithItsType(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	response := r.get(t, "/debug/varz")
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("content type %q", got)
	}
	values, types := parseMetrics(t, response.text)
	for name, want := range metricTypes {
		if got := types[name]; got != want && want != "" {
			t.Errorf("%s has type %q, want %q", name, got, want)
		}
		if name == "derp_tcp_rtt" || want == "histogram" {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(series string) bool {
			return series == name || strings.HasPrefix(series, name+"{")
		}) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, series := range metricSeries {
		if got, ok := values[series]; !ok || got != 0 {
			t.Errorf("%s = %v (present: %v), want 0", series, got, ok)
		}
	}
	for name, bounds := range histogramBounds {
		for le := range strings.FieldsSeq(bounds) {
			if _, ok := values[fmt.Sprintf("%s_bucket{le=%q}", name, le)]; !ok {
				t.Errorf("%s has no bucket %s", name, le)
			}
		}
		for _, suffix := range []string{"_sum", "_count"} {
			if _, ok := values[name+suffix]; !ok {
				t.Errorf("%s%s is missing", name, suffix)
			}
		}
	}
	for _, reason := range dropReasons {
		for _, class := range []string{"disco", "other"} {
			for _, name := range []string{"packets", "bytes"} {
				series := fmt.Sprintf("derp_%s_dropped{reason=%q,kind=%q}", name, reason, class)
				if got, ok := values[series]; !ok || got != 0 {
					t.Errorf("%s = %v (present: %v), want 0", series, got, ok)
				}
			}
		}
	}
	for _, name := range []string{"derp_current_file_descriptors", "process_start_unix_time"} {
		if values[name] <= 0 {
			t.Errorf("%s = %v, want more than 0", name, values[name])
		}
	}
}

func TestTheJSONViewHasTheSameMetrics(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	response := r.get(t, "/debug/vars")
	if got := response.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	var vars map[string]any
	if err := json.Unmarshal([]byte(response.text), &vars); err != nil {
		t.Fatal(err)
	}
	relayVars, _ := vars["derp"].(map[string]any)
	for name := range metricTypes {
		short, ok := strings.CutPrefix(name, "derp_")
		if !ok || slices.Contains([]string{"bytes_dropped", "packets_dropped", "websocket_accepts"}, short) {
			continue
		}
		if !slices.ContainsFunc([]string{"", "counter_", "gauge_", "histogram_"}, func(prefix string) bool { return relayVars[prefix+short] != nil }) {
			t.Errorf("derp.%s is missing", short)
		}
	}
	for _, name := range []string{"derp_packets_dropped", "derp_bytes_dropped", "derp_websocket_accepts", "derper_tls_request_version", "gauge_derper_tls_active_version",
		"tls_listener", "stun", "counter_uptime_sec", "process_start_unix_time", "version", "counter_bootstrap_dns_requests"} {
		if vars[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := relayVars["version"].(string); !ok {
		t.Errorf("derp.version is %v, want a string", relayVars["version"])
	}
}

func TestCountersMoveWithTraffic(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	before := r.metrics(t)
	for range 3 {
		packet := randomBytes(100)
		a.sendTo(b.pub, packet)
		b.expectPacket(a.pub, packet)
	}
	a.sendTo(b.pub, discoPacket(200))
	b.expectPacket(a.pub, discoPacket(200))
	nobody := key.NewNode().Public()
	a.sendTo(nobody, randomBytes(50))
	a.sendTo(nobody, discoPacket(70))
	a.expectGone(nobody, derp.PeerGoneReasonNotHere)
	a.alive()
	second := r.join(t, wireOptions{private: b.private})
	notIdeal := r.join(t, wireOptions{headers: []string{"Ideal-Node: other"}})
	want := map[string]float64{
		"derp_accepts":                                             2,
		"derp_packets_received":                                    6,
		"derp_bytes_received":                                      3*100 + 200 + 50 + 70,
		"derp_packets_sent":                                        4,
		"derp_bytes_sent":                                          500,
		`derp_packets_received_kind{kind="disco"}`:                 2,
		`derp_packets_received_kind{kind="other"}`:                 4,
		"derp_current_connections":                                 2,
		"derp_current_notideal_connections":                        1,
		"derp_clients_total":                                       1,
		"derp_clients_local":                                       1,
		"derp_clients_remote":                                      0,
		"derp_current_dup_client_keys":                             1,
		"derp_current_dup_client_conns":                            2,
		"derp_total_dup_client_conns":                              1,
		"derp_got_ping":                                            1,
		"derp_sent_pong":                                           1,
		"derp_peer_gone_not_here_frames":                           1,
		"derp_peer_gone_disconnected_frames":                       0,
		"derp_watchers":                                            0,
		`derp_packets_dropped{reason="unknown_dest",kind="other"}`: 1,
		`derp_packets_dropped{reason="unknown_dest",kind="disco"}`: 1,
		`derp_bytes_dropped{reason="unknown_dest",kind="other"}`:   50,
		`derp_bytes_dropped{reason="unknown_dest",kind="disco"}`:   70,
	}
	r.expectMoves(t, before, want)
	second.leave()
	notIdeal.leave()
	a.leave()
	b.expectGone(a.pub, derp.PeerGoneReasonDisconnected)
	for name := range maps.Clone(want) {
		if strings.HasPrefix(name, "derp_current_") || strings.HasPrefix(name, "derp_clients_") {
			want[name] = 0
		}
	}
	want["derp_current_connections"], want["derp_clients_total"], want["derp_clients_local"] = -1, -1, -1
	want["derp_peer_gone_disconnected_frames"] = 1
	r.expectMoves(t, before, want)
	after := r.metrics(t)
	if after["derp_buffered_write_frames_count"] <= before["derp_buffered_write_frames_count"] {
		t.Error("derp_buffered_write_frames does not move")
	}
	if after[`derper_tls_request_version{version="1.3"}`] <= before[`derper_tls_request_version{version="1.3"}`] {
		t.Error("derper_tls_request_version does not move")
	}
	if after["tls_listener_accepted_connections"] <= before["tls_listener_accepted_connections"] {
		t.Error("tls_listener_accepted_connections does not move")
	}
}

// expectMoves waits until each series has moved by exactly the given amount since before.
func (r *relay) expectMoves(t testing.TB, before, moves map[string]float64) {
	t.Helper()
	eventually(t, patience, func() error {
		now := r.metrics(t)
		var wrong []string
		for name, want := range moves {
			if got := now[name] - before[name]; got != want {
				wrong = append(wrong, fmt.Sprintf("%s moved by %v, want %v", name, got, want))
			}
		}
		if len(wrong) > 0 {
			slices.Sort(wrong)
			return fmt.Errorf("%s", strings.Join(wrong, "; "))
		}
		return nil
	})
}

// awaitConnections waits until the relay counts n connections.
func (r *relay) awaitConnections(t testing.TB, n float64) {
	t.Helper()
	eventually(t, patience, func() error {
		if got := r.metrics(t)["derp_current_connections"]; got != n {
			return fmt.Errorf("%v connections are counted, want %v", got, n)
		}
		return nil
	})
}

func TestTheRTTHistogramSamplesEveryConnection(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	r.joinPlainly(t)
	r.joinWebSocket(t)
	eventually(t, 25*time.Second, func() error {
		now := r.metrics(t)
		var tcp float64
		for series, value := range now {
			if strings.HasPrefix(series, "derp_tcp_rtt{") && series != `derp_tcp_rtt{le="non-tcp"}` {
				tcp += value
			}
		}
		if web := now[`derp_tcp_rtt{le="non-tcp"}`]; tcp < 1 || web < 1 {
			return fmt.Errorf("%v TCP samples and %v non-tcp samples", tcp, web)
		}
		return nil
	})
}

func TestUnknownFramesMayBeCounted(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	for range 3 {
		w.send(0x77, randomBytes(10))
	}
	w.alive()
	switch got := r.metrics(t)["derp_unknown_frames"]; {
	case got == 3 && under == ferry:
		deviated(t, "unknown_frames counts; derper's stays at 0")
	case got != 0:
		t.Fatalf("%v unknown frames counted", got)
	}
}

func TestADisconnectedReceiversPacketsAreCountedOnce(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	before := r.metrics(t)
	b.conn.Close()
	const sent = 200
	for range sent {
		a.sendTo(b.pub, randomBytes(100))
	}
	a.alive()
	eventually(t, patience, func() error {
		now := r.metrics(t)
		accounted := now["derp_packets_sent"] - before["derp_packets_sent"]
		for _, reason := range dropReasons {
			series := fmt.Sprintf(`derp_packets_dropped{reason=%q,kind="other"}`, reason)
			accounted += now[series] - before[series]
		}
		if accounted != sent {
			return fmt.Errorf("%v of %v packets are accounted for", accounted, sent)
		}
		return nil
	})
}
