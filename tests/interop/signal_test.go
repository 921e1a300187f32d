package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestSIGTERMAndSIGINTEndTheRelayWithCodeZero(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		for _, plain := range []bool{false, true} {
			t.Run(name+"/"+transportName(plain), func(t *testing.T) {
				t.Parallel()
				r := startRelay(t, relayOptions{plain: plain, stun: true, http: !plain})
				clients := []*wire{r.joinPlainly(t), r.joinPlainly(t), r.joinWebSocket(t), r.upgrade(t, wireOptions{})}
				r.dialTCP(t)
				start := time.Now()
				r.signal(signal)
				if code := r.awaitExit(5 * time.Second); code != 0 {
					t.Fatalf("exit code %d, want 0", code)
				}
				t.Logf("exited after %v", time.Since(start))
				for _, w := range clients {
					w.expectClosed(patience)
				}
				if conn, err := net.Dial("tcp", r.addr); err == nil {
					conn.Close()
					t.Error("the port still accepts")
				}
			})
		}
	}
}

func TestSIGHUPMayBeIgnored(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	r.signal(syscall.SIGHUP)
	if under == derper {
		if code := r.awaitExit(5 * time.Second); code != -1 {
			t.Fatalf("exit code %d, want death by signal", code)
		}
		return
	}
	w.expectQuiet()
	w.alive()
	deviated(t, "SIGHUP without -rate-config does not end the relay")
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(5 * time.Second); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
}

func TestALimitedAcceptRateClosesAndCounts(t *testing.T) {
	ferryOnly(t, "derper exits at the first connection over -accept-connection-limit")
	t.Parallel()
	r := startRelay(t, relayOptions{args: []string{"-accept-connection-limit", "2", "-accept-connection-burst", "5"}})
	accepted, refused := 0, 0
	for range 20 {
		conn, err := r.tryTLS(insecure())
		if err != nil {
			refused++
			continue
		}
		accepted++
		conn.Close()
	}
	if accepted < 3 || refused < 5 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
	time.Sleep(1500 * time.Millisecond)
	m := r.metrics(t)
	if m["tls_listener_rejected_connections"] != float64(refused) {
		t.Errorf("%v rejects counted, want %d", m["tls_listener_rejected_connections"], refused)
	}
}

func TestARenewedCertificateIsServedWithoutRestart(t *testing.T) {
	ferryOnly(t, "derper reads a manual certificate once")
	t.Parallel()
	r := startRelay(t, relayOptions{hostname: "localhost"})
	w := r.joinPlainly(t)
	if err := authority.write(filepath.Join(r.dir, "certs"), "localhost", 60*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want := r.leafDER()
	eventually(t, 15*time.Second, func() error {
		if got := r.dialTLS(t, insecure()).ConnectionState().PeerCertificates[0].Raw; string(got) != string(want) {
			return fmt.Errorf("the old certificate is still served")
		}
		return nil
	})
	w.alive()
	// Half-written files must not replace a good certificate.
	if err := os.WriteFile(filepath.Join(r.dir, "certs", "localhost.crt"), []byte("-----BEGIN CERT"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(quiet)
	if got := r.dialTLS(t, insecure()).ConnectionState().PeerCertificates[0].Raw; string(got) != string(want) {
		t.Error("a broken file replaced the certificate")
	}
}
