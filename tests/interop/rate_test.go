package interop

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestTheReceiveLimitDelaysButDropsNothing(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "rate.json", `{"perclientratelimitbytespersec":100000,"PerClientRateBurstBytes":70000,"Unknown":1}`)
	r := startRelay(t, relayOptions{mesh: true, args: []string{"-rate-config", file}})
	m := r.metrics(t)
	if m["derp_rate_limit_per_client_bytes_per_second"] != 100000 || m["derp_rate_limit_per_client_burst_bytes"] != 70000 {
		t.Errorf("limit %v, burst %v", m["derp_rate_limit_per_client_bytes_per_second"], m["derp_rate_limit_per_client_burst_bytes"])
	}
	b := r.joinPlainly(t)
	// 200 kB: 70 kB at once, the rest in 1.3 s.
	send := func(a *wire) time.Duration {
		start := time.Now()
		for range 20 {
			a.sendTo(b.pub, randomBytes(10_000))
		}
		for i := range 20 {
			if got := len(b.next().payload); got != 10_032 {
				t.Fatalf("frame %d has %d bytes", i, got)
			}
		}
		return time.Since(start)
	}
	if took := send(r.joinPlainly(t)); took < time.Second || took > 4*time.Second {
		t.Errorf("200 kB took %v, want about 1.3 s", took)
	}
	if took := send(r.join(t, wireOptions{mesh: true})); took > time.Second {
		t.Errorf("a mesh client is limited: %v", took)
	}
	if got := r.metrics(t)["derp_rate_limit_per_client_waited"]; got == 0 {
		t.Error("no wait is counted")
	}
	live := r.joinPlainly(t)
	live.alive()
	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	rate := func(rate, burst float64) {
		t.Helper()
		eventually(t, patience, func() error {
			m := r.metrics(t)
			if m["derp_rate_limit_per_client_bytes_per_second"] != rate || m["derp_rate_limit_per_client_burst_bytes"] != burst {
				return fmt.Errorf("limit %v, burst %v", m["derp_rate_limit_per_client_bytes_per_second"], m["derp_rate_limit_per_client_burst_bytes"])
			}
			return nil
		})
	}
	reload(`{"PerClientRateLimitBytesPerSec":100000000,"PerClientRateBurstBytes":1}`)
	rate(100000000, 65568)
	if took := send(live); took > time.Second {
		t.Errorf("a live client keeps the old limit: %v", took)
	}
	reload(`{"PerClientRateLimitBytesPerSec":`)
	time.Sleep(quiet)
	rate(100000000, 65568)
	reload(`{}`)
	rate(0, 0)
	if took := send(live); took > time.Second {
		t.Errorf("without a limit: %v", took)
	}
}

func TestWithoutALimitItsMetricsAreAbsent(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	if _, there := r.metrics(t)["derp_rate_limit_per_client_bytes_per_second"]; there {
		t.Error("derp_rate_limit_per_client_bytes_per_second is exported without -rate-config")
	}
}
