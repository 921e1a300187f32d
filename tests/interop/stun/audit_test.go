package stun

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"

	"ferry.test/interop/kit"
)

// audit is what `ferry-stun audit --json` says of a server.
type audit struct {
	Verdict  string    `json:"verdict"`
	Worst    *finding  `json:"worst"`
	Requests []finding `json:"requests"`
}

// finding is one row of it.
type finding struct {
	Request  string  `json:"request"`
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	Factor   float64 `json:"factor"`
	Answer   *string `json:"answer"`
}

// auditOf audits a server; the exit code has to say the same as the verdict.
func auditOf(t *testing.T, server netip.AddrPort) audit {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), *serverPath, "audit", server.String(), "--json").Output()
	var failed *exec.ExitError
	code := 0
	if errors.As(err, &failed) {
		code = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	var a audit
	if err := json.Unmarshal(output, &a); err != nil {
		t.Fatalf("%v in %s", err, output)
	}
	if want := map[string]int{"sound": 0, "abusable": 1, "silent": 3}[a.Verdict]; code != want {
		t.Errorf("exit code %d for %q, want %d", code, a.Verdict, want)
	}
	return a
}

// volume is the bytes of a row, as "20 -> 92".
func (a audit) volume(t *testing.T, request string) string {
	t.Helper()
	for _, f := range a.Requests {
		if f.Request == request {
			return fmt.Sprintf("%d -> %d", f.Sent, f.Received)
		}
	}
	t.Errorf("no request %q in the audit", request)
	return ""
}

func (a audit) expect(t *testing.T, verdict string, worst string, volumes map[string]string) {
	t.Helper()
	if a.Worst == nil {
		t.Fatalf("verdict %s, no answer at all", a.Verdict)
	}
	got := fmt.Sprintf("%d -> %d, %s", a.Worst.Sent, a.Worst.Received, a.Worst.Request)
	if a.Verdict != verdict || got != worst {
		t.Errorf("verdict %s, worst %s; want %s, %s", a.Verdict, got, verdict, worst)
	}
	for request, want := range volumes {
		if got := a.volume(t, request); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
	notes.Add("audit in %s: %s, worst factor %.1f (%s)", t.Name(), a.Verdict, a.Worst.Factor, got)
}

// What is known of coturn 4.6.1 from outside, and why it is not to be left open.
func TestAuditFindsCoturnsFactors(t *testing.T) {
	ferryOnly(t, "coturn audits nobody")
	t.Parallel()
	auditOf(t, startCoturn(t, serverOptions{layout: twoAddresses}).primary).expect(t,
		"abusable", "24 -> 1596, PADDING empty", map[string]string{
			"bare 20 bytes":            "20 -> 92",
			"tailnode and FINGERPRINT": "40 -> 100",
			"no cookie (RFC 3489)":     "20 -> 84",
			"wrong FINGERPRINT":        "40 -> 0",
			"attribute overruns":       "28 -> 92",
		})
}

func TestAuditFindsThatStundAnswersOnlyItsOwn(t *testing.T) {
	ferryOnly(t, "coturn audits nobody")
	t.Parallel()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(kit.FreePort(t)))
	launch(t, stund, []string{"-stun", at.String(), "-http", fmt.Sprintf("127.0.0.1:%d", kit.FreePort(t))}, false, at)
	a := auditOf(t, at)
	a.expect(t, "sound", "40 -> 32, tailnode and FINGERPRINT", map[string]string{"bare 20 bytes": "20 -> 0"})
}

func TestAuditFindsNothingToAbuseInOurs(t *testing.T) {
	ferryOnly(t, "it can be abused")
	for name, c := range map[string]struct {
		options serverOptions
		worst   string
		volumes map[string]string
	}{
		"one socket": {serverOptions{}, "20 -> 32, bare 20 bytes",
			map[string]string{"tailnode and FINGERPRINT": "40 -> 32", "PADDING empty": "24 -> 36"}},
		"one socket over IPv6": {serverOptions{ipv6: true}, "20 -> 44, bare 20 bytes",
			map[string]string{"tailnode and FINGERPRINT": "40 -> 44"}},
		"two addresses": {serverOptions{layout: twoAddresses}, "20 -> 68, bare 20 bytes",
			map[string]string{"tailnode and FINGERPRINT": "40 -> 32", "PADDING empty": "24 -> 68", "PADDING 64 bytes": "88 -> 88"}},
		"two addresses without surplus": {serverOptions{layout: twoAddresses, args: []string{"--source-surplus", "0"}},
			"88 -> 88, PADDING 64 bytes", map[string]string{"bare 20 bytes": "20 -> 0", "tailnode and FINGERPRINT": "40 -> 32"}},
		"Tailscale's clients only": {serverOptions{args: []string{"--profile", "tailscale"}},
			"40 -> 32, tailnode and FINGERPRINT", map[string]string{"bare 20 bytes": "20 -> 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auditOf(t, startServer(t, c.options).primary).expect(t, "sound", c.worst, c.volumes)
		})
	}
	if *relayPath != "" {
		t.Run("relay", func(t *testing.T) {
			t.Parallel()
			auditOf(t, startServer(t, serverOptions{relay: true}).primary).expect(t, "sound", "20 -> 32, bare 20 bytes", nil)
		})
	}
}
