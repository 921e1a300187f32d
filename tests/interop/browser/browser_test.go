// Package browser proves that browsers reach a relay: with Tailscale's own DERP client, compiled for js/wasm and loaded in
// headless Chromium, and with a page that uses nothing but fetch and WebSocket.
//
//	cd tests/interop
//	go test ./browser                                                    # against derper, built from the module in go.mod
//	go test ./browser -relay ../../target/release/ferry-relay -kind ferry
//
// Needs Go, loopback and Chromium (Debian's package chromium); without Chromium the tests fail. Every test runs over TLS with
// the certificate the relay makes for itself, and over plain HTTP. A run takes about ten seconds once things are built.
//
// What derper does is right. One deviation is wanted: derper sends a packet of 64 KiB to a WebSocket client as a message of
// more than 32 KiB, which the client refuses and loses its connection over; ferry splits it.
package browser

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/browser/script"
)

var (
	// relayPath is the binary under test; empty means a derper built from the module in go.mod.
	relayPath = flag.String("relay", "", "relay binary under test (default: build derper)")
	// relayKind tells which deviations are expected of the binary.
	relayKind = flag.String("kind", "", "derper or ferry (default: ferry if the binary's name starts with ferry)")
)

// patience is how long a page may take, from the browser's start to its result.
const patience = 60 * time.Second

// wasmPath is the client built for the browser, fixed in TestMain.
var wasmPath string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		code = 1
	}
	os.Exit(code)
}

// run builds what the tests start, and runs them.
func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "browser-bin-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	wasmPath = filepath.Join(dir, "client.wasm")
	if err := build(wasmPath, "ferry.test/interop/browser/client", "GOOS=js", "GOARCH=wasm"); err != nil {
		return 1, err
	}
	if *relayPath == "" {
		*relayPath = filepath.Join(dir, "derper")
		if err := build(*relayPath, "tailscale.com/cmd/derper"); err != nil {
			return 1, err
		}
	}
	guess := "derper"
	if strings.HasPrefix(filepath.Base(*relayPath), "ferry") {
		guess = "ferry"
	}
	*relayKind = cmp.Or(*relayKind, guess)
	if *relayKind != "derper" && *relayKind != "ferry" {
		return 1, fmt.Errorf("-kind %q is neither derper nor ferry", *relayKind)
	}
	return m.Run(), nil
}

func build(path, program string, env ...string) error {
	command := exec.Command("go", "build", "-p=2", "-o", path, program)
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", program, err, out)
	}
	return nil
}

// overBoth runs a test over TLS and over plain HTTP.
func overBoth(t *testing.T, test func(t *testing.T, r *relay)) {
	for _, plain := range []bool{false, true} {
		name := "TLS"
		if plain {
			name = "plain"
		}
		t.Run(name, func(t *testing.T) { test(t, startRelay(t, plain)) })
	}
}

func TestTailscalesClientInABrowserReachesANativeOne(t *testing.T) {
	overBoth(t, func(t *testing.T, r *relay) {
		native, leaver := r.connect(t), r.connect(t)
		go native.answer()
		go leaver.answer()
		var result struct {
			Output string
			Closes []string
		}
		visit(t, r, "client.html", url.Values{"arg": {r.origin() + "/derp", native.key, leaver.key}}, &result)
		var report script.Report
		if err := json.Unmarshal([]byte(result.Output), &report); err != nil {
			t.Fatalf("report %q: %v", result.Output, err)
		}
		if report.Platform != "js/wasm" || report.ServerKey != r.key {
			t.Errorf("the client on %s met the relay %s, want %s", report.Platform, report.ServerKey, r.key)
		}
		judge(t, report.Checks)
		// The one connection that carried too large a message: the relay says so, and waits until the browser has heard it.
		if !slices.Contains(result.Closes, "1009 clean") {
			t.Errorf("WebSockets ended with %q, want 1009 clean among them", result.Closes)
		}
		native.expectDeparture(report.ClientKey)
		for _, failure := range append(native.stop(), leaver.stop()...) {
			t.Errorf("native peer: %s", failure)
		}
	})
}

// judge compares the client's checks with what the relay under test should make of them.
func judge(t *testing.T, checks []script.Check) {
	t.Helper()
	want := []script.Check{{Name: script.Connects}}
	for _, size := range script.Sizes {
		want = append(want, script.Check{Name: script.Exchanges(size)})
	}
	receives := script.Check{Name: script.ReceivesLarge}
	if *relayKind == "derper" {
		receives.Error = "read limited at 32768 bytes"
	}
	want = append(want,
		script.Check{Name: script.Pings},
		script.Check{Name: script.LearnsNotHere},
		script.Check{Name: script.LearnsDeparture},
		receives,
		// The client's own doing: it sends a message of 61477 bytes, and the relay closes with 1009.
		script.Check{Name: script.SendsLarge, Error: "use of closed network connection"},
		script.Check{Name: script.RecoversFromLoss},
	)
	for i, expected := range want {
		if i >= len(checks) {
			t.Fatalf("%d checks were made, want %d", len(checks), len(want))
		}
		got := checks[i]
		failsAsExpected := strings.Contains(got.Error, expected.Error) && (got.Error == "") == (expected.Error == "")
		if got.Name != expected.Name || !failsAsExpected {
			t.Errorf("check %q: %q; want %q: %q", got.Name, got.Error, expected.Name, expected.Error)
		}
	}
}

// conversation is what a page saw of one WebSocket.
type conversation struct {
	// Protocol is the agreed subprotocol; nil if the socket never opened.
	Protocol *string
	// First is the first message in hex; nil if there was none.
	First *string
	// Code is the close code that the browser reports.
	Code int
}

func TestAnyPageMayProbeAndOpenAWebSocket(t *testing.T) {
	overBoth(t, func(t *testing.T, r *relay) {
		var got struct {
			LatencyCheck, Probe, Home       string
			Hello, Text, TooBig, NoProtocol conversation
		}
		visit(t, r, "plain.html", url.Values{"relay": {r.origin()}}, &got)
		if got.LatencyCheck != "cors 200" || got.Probe != "cors 200" {
			t.Errorf("latency-check: %s, probe: %s; want cors 200 of both", got.LatencyCheck, got.Probe)
		}
		// The home page has no Access-Control-Allow-Origin: proof that the browser judged the others by theirs.
		if got.Home != "refused" {
			t.Errorf("home page: %s, want refused", got.Home)
		}
		public, _ := strings.CutPrefix(r.key, "nodekey:")
		serverKey := hex.EncodeToString([]byte("\x01\x00\x00\x00\x28DERP🔑")) + public
		for name, c := range map[string]struct {
			conversation
			code int
		}{"goodbye": {got.Hello, 1000}, "text": {got.Text, 1003}, "32770 bytes": {got.TooBig, 1009}} {
			if c.Protocol == nil || *c.Protocol != "derp" || c.First == nil || *c.First != serverKey || c.Code != c.code {
				t.Errorf("%s: got %s, want the subprotocol derp, first message %s, close code %d", name, show(c.conversation), serverKey, c.code)
			}
		}
		// Without the subprotocol the relay speaks raw DERP, which is no WebSocket to a browser.
		if got.NoProtocol.Protocol != nil || got.NoProtocol.Code != 1006 {
			t.Errorf("without subprotocol: %s, want a failed handshake", show(got.NoProtocol))
		}
	})
}

// show is a conversation as the page sent it.
func show(c conversation) string {
	text, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
