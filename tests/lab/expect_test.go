package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/net/netcheck"
)

// expectUnderlay checks that node a can, or cannot, open a plain TCP connection to node b's own address.
func expectUnderlay(t *testing.T, lab *Lab, reachable bool) {
	t.Helper()
	address := net.JoinHostPort(nodeBIPv4, "7000")
	listener, err := lab.Network.B.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	conn, err := lab.Network.A.Dial(ctx, nil, address)
	if err == nil {
		conn.Close()
	}
	if (err == nil) != reachable {
		t.Fatalf("dial from a to %s: %v, want reachable %v", address, err, reachable)
	}
}

// expectRelayed waits for a relayed pong, then has the command line say so in both directions.
func expectRelayed(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	took := waitForPaths(t, lab, relayedWithin, relayed)
	summary.Time("first relayed pong each way after the nodes are up", took, relayedWithin)
	expectPingVia(t, lab.A, lab.B, "DERP("+regionCode+")")
	expectPingVia(t, lab.B, lab.A, "DERP("+regionCode+")")
}

// expectBulkRelayed checks that a transfer arrives whole and that the relay counted its bytes on both sides.
func expectBulkRelayed(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	before := counters(t, lab)
	summary.Transfer("bulk through the relay", transfer(t, lab), transferBytes)
	after := counters(t, lab)
	received, sent := after.BytesReceived-before.BytesReceived, after.BytesSent-before.BytesSent
	packets := after.PacketsSent - before.PacketsSent
	summary.Note("  by the relay's counters", fmt.Sprintf("%d packets in, %d out; %.1f MiB in, %.1f out",
		after.PacketsReceived-before.PacketsReceived, packets, float64(received)/(1<<20), float64(sent)/(1<<20)))
	if received < transferBytes || sent < transferBytes || packets < transferBytes/65536 {
		t.Fatalf("%d bytes were transferred, the relay counted %d in, %d out, %d packets out",
			transferBytes, received, sent, packets)
	}
	if after.HomeConnections != 2 {
		t.Fatalf("relay counts %d home connections, want 2", after.HomeConnections)
	}
}

// expectBulkDirect checks that a transfer arrives whole and that the relay saw next to nothing of it.
func expectBulkDirect(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	before := counters(t, lab)
	summary.Transfer("bulk over the direct path", transfer(t, lab), transferBytes)
	if sent := counters(t, lab).BytesSent - before.BytesSent; sent > transferBytes/100 {
		t.Fatalf("%d bytes were transferred directly, yet the relay sent %d bytes", transferBytes, sent)
	}
}

// expectCleanNetcheck runs `tailscale netcheck` and checks that it likes the relay.
func expectCleanNetcheck(t *testing.T, lab *Lab, ipv6 bool) {
	t.Helper()
	output, err := lab.A.TailscaleOutput(t.Context(), "netcheck", "--format=json-line")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("netcheck: %s", output)
	var report netcheck.Report
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatal(err)
	}
	if !report.UDP || !report.IPv4 || report.IPv6 != ipv6 || report.PreferredDERP != regionID {
		t.Fatalf("netcheck: UDP %v, IPv4 %v, IPv6 %v (want %v), preferred region %d (want %d)",
			report.UDP, report.IPv4, report.IPv6, ipv6, report.PreferredDERP, regionID)
	}
	if own := netip.MustParseAddr(nodeAIPv4); report.GlobalV4.Addr() != own {
		t.Fatalf("netcheck: STUN says our address is %v, want %v", report.GlobalV4, own)
	}
}

// expectCleanReport runs `tailscale debug derp` and checks that it finds nothing wrong, except errors that
// hold one of the given words, and except that one region alone is a single point of failure.
func expectCleanReport(t *testing.T, lab *Lab, excused []string) {
	t.Helper()
	output, err := lab.A.TailscaleOutput(t.Context(), "debug", "derp", regionCode)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("debug derp: %s", output)
	var report ipnstate.DebugDERPRegionReport
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"Successfully established a DERP connection", "returned IPv4 STUN response"} {
		if !strings.Contains(strings.Join(report.Info, "\n"), word) {
			t.Errorf("debug derp does not say %q", word)
		}
	}
	excused = append(excused, "single point of failure")
	for _, fault := range append(report.Errors, report.Warnings...) {
		if !containsAny(fault, excused) {
			t.Errorf("debug derp: %s", fault)
		}
	}
}

// expectProgress checks that the flow is alive now, and notes for how long it stood still.
func expectProgress(t *testing.T, flow *Flow, summary *Summary, when string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fallbackWithin)
	defer cancel()
	if err := flow.Progress(ctx); err != nil {
		t.Fatal(err)
	}
	summary.Time("flow: longest silence "+when, flow.TakeSilence(), 0)
}

// expectDirect lets the nodes reach each other and waits for a pong from the peer's own address.
func expectDirect(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	if err := lab.Network.Join(); err != nil {
		t.Fatal(err)
	}
	expectUnderlay(t, lab, true)
	took := waitForPaths(t, lab, directWithin, direct)
	summary.Time("joined: first direct pong each way", took, directWithin)
	expectPingVia(t, lab.A, lab.B, nodeBIPv4, nodeBIPv6)
	expectPingVia(t, lab.B, lab.A, nodeAIPv4, nodeAIPv6)
}

// expectFallback keeps the nodes apart again and waits for a relayed pong.
func expectFallback(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	if err := lab.Network.Split(); err != nil {
		t.Fatal(err)
	}
	expectUnderlay(t, lab, false)
	took := waitForPaths(t, lab, fallbackWithin, relayed)
	summary.Time("kept apart: first relayed pong each way", took, fallbackWithin)
	expectPingVia(t, lab.A, lab.B, "DERP("+regionCode+")")
}

// expectReconnect restarts the relay at once and waits for a relayed pong.
func expectReconnect(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	stopRelay(t, lab, summary)
	startRelay(t, lab, summary, "restart")
}

// expectOutage stops the relay, checks that then there is no path at all, and starts it again.
func expectOutage(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	stopRelay(t, lab, summary)
	if path, err := lab.A.PathTo(t.Context(), lab.B); err == nil {
		t.Fatalf("with no relay running, a pong came back by %+v", path)
	}
	startRelay(t, lab, summary, "outage")
}

// stopRelay ends the relay with SIGTERM.
func stopRelay(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	began := time.Now()
	if err := lab.Relay.Stop(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	summary.Time("relay ended after SIGTERM", took, stopWithin)
	if took > stopWithin {
		t.Errorf("relay took %v to end, want at most %v", took, stopWithin)
	}
}

// startRelay starts the relay again and waits until the nodes use it.
func startRelay(t *testing.T, lab *Lab, summary *Summary, what string) {
	t.Helper()
	began := time.Now()
	if err := lab.Relay.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	summary.Time(what+": relay answers HTTPS after its start", time.Since(began), 0)
	waitForPaths(t, lab, reconnectWithin, relayed)
	summary.Time(what+": first relayed pong each way after its start", time.Since(began), reconnectWithin)
	expectPingVia(t, lab.A, lab.B, "DERP("+regionCode+")")
}

// expectInside checks that no packet was meant for an address beyond the lab.
func expectInside(t *testing.T, lab *Lab, summary *Summary) {
	t.Helper()
	outside, err := lab.Network.Outside()
	if err != nil {
		t.Fatal(err)
	}
	summary.Note("addresses outside the lab that were tried", fmt.Sprint(len(outside)))
	if len(outside) > 0 {
		t.Fatalf("somebody tried to reach %v", outside)
	}
}

// pongVia is the line that `tailscale ping` prints for a pong.
var pongVia = regexp.MustCompile(`pong from \S+ \(\S+\) via (\S+) in`)

// expectPingVia runs `tailscale ping` once and checks that the way it names contains one of the given words.
func expectPingVia(t *testing.T, from, to *Node, ways ...string) {
	t.Helper()
	output, err := from.Tailscale(t.Context(), "ping", "--until-direct=false", "-c=1", "--timeout=5s", to.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", from.Name, strings.TrimSpace(output))
	found := pongVia.FindStringSubmatch(output)
	if found == nil || !containsAny(found[1], ways) {
		t.Fatalf("tailscale ping printed %q, want a pong via one of %q", output, ways)
	}
}

// waitForPaths waits until the pongs of both nodes come the wanted way.
func waitForPaths(t *testing.T, lab *Lab, bound time.Duration, wanted func(Path) bool) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	began := time.Now()
	if err := lab.A.WaitForPath(ctx, lab.B, wanted); err != nil {
		t.Fatal(err)
	}
	if err := lab.B.WaitForPath(ctx, lab.A, wanted); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// transfer sends the bulk data from node a to node b.
func transfer(t *testing.T, lab *Lab) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), transferWithin)
	defer cancel()
	took, err := Transfer(ctx, lab.A, lab.B, transferBytes)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// counters reads the relay's counters.
func counters(t *testing.T, lab *Lab) Counters {
	t.Helper()
	counters, err := lab.Relay.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

// relayed is a path through the relay.
func relayed(path Path) bool { return path.Region == regionCode && !path.Endpoint.IsValid() }

// direct is a path to an address of a node's own, with no relay of any kind between.
func direct(path Path) bool { return path.Endpoint.IsValid() && path.Region == "" }

// containsAny is true when text holds one of the words.
func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
