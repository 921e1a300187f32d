package interop

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/kit"
)

// OpenSSL is a TLS stack that neither Go's nor ours shares a line with; it pads and splits records and updates keys on demand.
func TestOpenSSLIsUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, options := range []string{
		"-tls1_3",
		"-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
		"-tls1_3 -record_padding 256",
		"-tls1_3 -split_send_frag 100 -max_send_frag 512",
		"-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
		"-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			client := exec.Command("openssl", append([]string{"s_client", "-connect", r.addr}, strings.Fields(options)...)...)
			output := new(kit.Buffer)
			client.Stdout, client.Stderr = output, output
			input, err := client.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Start(); err != nil {
				t.Fatalf("openssl is needed: %v", err)
			}
			defer func() {
				input.Close()
				client.Process.Kill()
				client.Wait()
			}()
			updates := strings.HasPrefix(options, "-tls1_3")
			for answers := 1; answers <= 3; answers++ {
				if updates {
					// At the start of what s_client reads, K updates its keys and asks for ours.
					io.WriteString(input, "K\n")
					waitFor(t, output, "KEYUPDATE", answers)
				}
				io.WriteString(input, "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n")
				waitFor(t, output, "HTTP/1.1 200 OK", answers)
			}
		})
	}
}

// waitFor returns once text has been printed so many times.
func waitFor(t *testing.T, output *kit.Buffer, text string, times int) {
	t.Helper()
	for deadline := time.Now().Add(patience); strings.Count(output.String(), text) < times; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q not seen %d times:\n%s", text, times, output.String())
		}
	}
}
