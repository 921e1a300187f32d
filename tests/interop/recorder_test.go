package interop

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// recorder is a proxy for one connection that keeps both directions' plaintext.
type recorder struct {
	listener          net.Listener
	toRelay, toClient bytes.Buffer
	done              sync.WaitGroup
}

// newRecorder listens for one client and connects it to the plain relay; with TLS, it serves a chain that ends in a meta certificate.
func newRecorder(t *testing.T, r *relay, secure bool) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &recorder{listener: listener}
	var config *tls.Config
	if secure {
		config = recorderTLS(t, r.pub)
	}
	upstream := r.dialTCP(t)
	p.done.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if config != nil {
			conn = tls.Server(conn, config)
		}
		defer conn.Close()
		var back sync.WaitGroup
		back.Go(func() { io.Copy(conn, io.TeeReader(upstream, &p.toClient)) })
		io.Copy(upstream, io.TeeReader(conn, &p.toRelay))
		upstream.(*net.TCPConn).CloseWrite()
		back.Wait()
	})
	return p
}

// wait returns once both directions have ended.
func (p *recorder) wait() { p.done.Wait() }

// recorderTLS is a server for relay.test whose chain ends in the relay's meta certificate.
func recorderTLS(t *testing.T, pub key.NodePublic) *tls.Config {
	t.Helper()
	dir := t.TempDir()
	if err := authority.write(dir, "relay.test", time.Hour); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "relay.test.crt"), filepath.Join(dir, "relay.test.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	meta := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: fmt.Sprintf("derpkey%s", pub.UntypedHexString())},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, meta, meta, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert.Certificate = append(cert.Certificate, der)
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}
