package browser

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// relay is a running relay process with a fresh identity.
type relay struct {
	// plain says that it serves HTTP without TLS.
	plain bool
	// addr is its loopback address.
	addr string
	// key is its public key as text.
	key string
	// leaf is the certificate it made for itself; nil without TLS.
	leaf *x509.Certificate
}

// origin is the relay as a browser writes it.
func (r *relay) origin() string {
	if r.plain {
		return "http://" + r.addr
	}
	return "https://" + r.addr
}

// pin is the hash by which Chromium is told to trust the certificate.
func (r *relay) pin() string {
	sum := sha256.Sum256(r.leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// startRelay starts a relay and waits until it accepts; when the test ends it must leave with code 0 within 5 s of SIGTERM.
func startRelay(t *testing.T, plain bool) *relay {
	t.Helper()
	dir := t.TempDir()
	private := key.NewNode()
	text, err := private.MarshalText()
	must(t, err)
	keyFile := filepath.Join(dir, "relay.key")
	must(t, os.WriteFile(keyFile, fmt.Appendf(nil, "{\n\t\"PrivateKey\": %q\n}", text), 0o600))
	r := &relay{plain: plain, addr: freeAddr(t), key: private.Public().String()}
	args := []string{"-a", r.addr, "-c", keyFile, "-http-port", "-1", "-stun=false"}
	if !plain {
		args = append(args, "-certmode", "manual", "-certdir", dir, "-hostname", "127.0.0.1")
	}
	path, err := filepath.Abs(*relayPath)
	must(t, err)
	command := exec.Command(path, args...)
	command.Env = append(os.Environ(), "HOME="+dir)
	p := start(t, command)
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
			if code := command.ProcessState.ExitCode(); code != 0 {
				t.Errorf("relay exit code %d after SIGTERM, want 0", code)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("relay still running 5s after SIGTERM")
		}
		if strings.Contains(p.output.String(), "panicked at") {
			t.Errorf("the relay panicked")
		}
	})
	r.await(t, p)
	if plain {
		return r
	}
	certificate, err := os.ReadFile(filepath.Join(dir, "127.0.0.1.crt"))
	must(t, err)
	block, _ := pem.Decode(certificate)
	if block == nil {
		t.Fatal("no PEM in the relay's certificate file")
	}
	r.leaf, err = x509.ParseCertificate(block.Bytes)
	must(t, err)
	return r
}

// await waits until the relay accepts connections.
func (r *relay) await(t *testing.T, p *process) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-p.exited:
			t.Fatalf("the relay exited before listening on %s", r.addr)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("the relay is not listening on %s after 15s", r.addr)
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
