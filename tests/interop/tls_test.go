package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func TestTheMetaCertificateIsLastInEveryChain(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		r := startRelay(t, relayOptions{hostname: host})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(host+"/"+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				chain := r.dialTLS(t, &tls.Config{MinVersion: version, MaxVersion: version}).ConnectionState().PeerCertificates
				if len(chain) != 2 {
					t.Fatalf("%d certificates, want the leaf and the meta certificate", len(chain))
				}
				if !bytes.Equal(chain[0].Raw, r.leafDER()) {
					t.Error("the first certificate is not the file's")
				}
				checkMetaCertificate(t, chain[1], r.pub)
			})
		}
	}
}

func checkMetaCertificate(t *testing.T, meta *x509.Certificate, pub key.NodePublic) {
	t.Helper()
	name := "derpkey" + pub.UntypedHexString()
	if meta.Subject.CommonName != name || meta.Issuer.CommonName != name || len(meta.Subject.Names) != 1 || len(meta.Issuer.Names) != 1 {
		t.Errorf("subject %v, issuer %v, want CN=%s alone", meta.Subject, meta.Issuer, name)
	}
	if meta.SerialNumber.Cmp(big.NewInt(2)) != 0 {
		t.Errorf("serial %v, want 2", meta.SerialNumber)
	}
	if meta.PublicKeyAlgorithm != x509.Ed25519 || meta.Version != 3 {
		t.Errorf("key %v, X.509 version %d, want Ed25519 and 3", meta.PublicKeyAlgorithm, meta.Version)
	}
	if err := meta.CheckSignature(meta.SignatureAlgorithm, meta.RawTBSCertificate, meta.Signature); err != nil {
		t.Errorf("not self-signed: %v", err)
	}
	if len(meta.SubjectKeyId) != 0 || len(meta.AuthorityKeyId) != 0 {
		t.Errorf("SKI %x, AKI %x: derpprobe would check its expiry", meta.SubjectKeyId, meta.AuthorityKeyId)
	}
	for name, at := range map[string][2]time.Time{
		"not before": {meta.NotBefore, time.Now().AddDate(0, 0, -30)},
		"not after":  {meta.NotAfter, time.Now().AddDate(0, 0, 30)},
	} {
		if off := at[0].Sub(at[1]).Abs(); off > 2*time.Minute {
			t.Errorf("%s is %v, %v off", name, at[0], off)
		}
	}
	if len(meta.Extensions) != 1 || !meta.Extensions[0].Critical || !meta.BasicConstraintsValid || meta.IsCA || meta.MaxPathLen > 0 {
		t.Errorf("extensions %v, want a critical BasicConstraints with CA false alone", meta.Extensions)
	}
}

func TestTheMetaCertificateLivesAsLongAsTheProcess(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	meta := func() []byte {
		chain := r.dialTLS(t, insecure()).ConnectionState().PeerCertificates
		return chain[len(chain)-1].Raw
	}
	if !bytes.Equal(meta(), meta()) {
		t.Error("two connections saw different meta certificates")
	}
}

func TestASelfSignedCertificateIsMadeForAnIP(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	leaf, err := x509.ParseCertificate(r.leafDER())
	if err != nil {
		t.Fatal(err)
	}
	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		t.Errorf("key is %T, want ECDSA P-256", leaf.PublicKey)
	}
	if leaf.Subject.CommonName != "127.0.0.1" || len(leaf.IPAddresses) != 1 || leaf.IPAddresses[0].String() != "127.0.0.1" || len(leaf.DNSNames) != 0 {
		t.Errorf("names %v %v %v", leaf.Subject, leaf.IPAddresses, leaf.DNSNames)
	}
	if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days < 364 || days > 367 {
		t.Errorf("valid for %v days, want a year", days)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || leaf.IsCA {
		t.Errorf("usage %v %v CA %v", leaf.KeyUsage, leaf.ExtKeyUsage, leaf.IsCA)
	}
	if leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("serial %v is not random", leaf.SerialNumber)
	}
	if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		t.Error(err)
	}
	certs := filepath.Join(r.dir, "certs")
	for path, mode := range map[string]os.FileMode{certs: 0o700 | os.ModeDir, filepath.Join(certs, "127.0.0.1.crt"): 0o644, filepath.Join(certs, "127.0.0.1.key"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", filepath.Base(path), info.Mode(), err, mode)
		}
	}
	text, err := os.ReadFile(filepath.Join(certs, "127.0.0.1.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "EC PRIVATE KEY" || len(bytes.TrimSpace(rest)) != 0 {
		t.Errorf("key file is not one EC PRIVATE KEY block")
	}
	// The DERP map entry is logged once the relay listens.
	waitFor(t, r.stderr, r.region().Nodes[0].CertName, 1)
}

func TestTheSelfSignedCertificateIsKeptOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startRelay(t, relayOptions{dir: dir})
	leaf := first.leafDER()
	first.stop()
	second := startRelay(t, relayOptions{dir: dir})
	if got := second.dialTLS(t, insecure()).ConnectionState().PeerCertificates[0].Raw; !bytes.Equal(got, leaf) {
		t.Error("another certificate is served after the restart")
	}
}

func TestAWholeChainFromTheFileIsServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := filepath.Join(dir, "certs")
	if err := authority.write(certs, "chain.test", 90*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	// The harness does not overwrite an IP relay's directory, so hand over the folder by flag.
	file, err := os.OpenFile(filepath.Join(certs, "chain.test.crt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.Write(pemBlock("CERTIFICATE", authority.cert.Raw))
	file.Close()
	r := startRelay(t, relayOptions{dir: dir, args: []string{"-hostname", "chain.test"}})
	chain := r.dialTLS(t, &tls.Config{ServerName: "chain.test"}).ConnectionState().PeerCertificates
	if len(chain) != 3 || !bytes.Equal(chain[1].Raw, authority.cert.Raw) {
		t.Fatalf("chain of %d, want leaf, root, meta", len(chain))
	}
	checkMetaCertificate(t, chain[2], r.pub)
}

func TestALPNIsChosenInTheServersOrder(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, check := range []struct {
		offer []string
		want  string
	}{
		{nil, ""}, {[]string{"http/1.1"}, "http/1.1"}, {[]string{"h2", "http/1.1"}, "http/1.1"}, {[]string{"http/1.1", "h2"}, "http/1.1"},
		{[]string{"unknown", "http/1.1"}, "http/1.1"},
	} {
		conn, err := r.tryTLS(&tls.Config{NextProtos: check.offer})
		if err != nil {
			t.Errorf("offer %v: %v", check.offer, err)
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != check.want {
			t.Errorf("offer %v: chose %q, want %q", check.offer, got, check.want)
		}
		conn.Close()
	}
}

func TestOnlyUnknownALPNIsRefused(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn, err := r.tryTLS(&tls.Config{NextProtos: []string{"derp"}})
	if err == nil {
		conn.Close()
		t.Fatalf("agreed on %q", conn.ConnectionState().NegotiatedProtocol)
	}
	if want := tls.AlertError(120); !errors.As(err, &want) && !strings.Contains(err.Error(), "no application protocol") {
		t.Fatalf("want alert 120, got %v", err)
	}
}

func TestOnlyH2IsServedOrRefused(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn, err := r.tryTLS(&tls.Config{NextProtos: []string{"h2"}})
	if err != nil {
		if under == derper {
			t.Fatal(err)
		}
		deviated(t, "a client that offers nothing but h2 is refused")
		return
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("chose %q", got)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		conn, err := r.tryTLS(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version})
		if err == nil {
			conn.Close()
			t.Errorf("%s accepted", tls.VersionName(version))
			continue
		}
		switch {
		case strings.Contains(err.Error(), "protocol version not supported"):
		case strings.Contains(err.Error(), "handshake failure") && under == ferry:
			deviated(t, "old TLS is refused with alert 40 instead of 70")
		default:
			t.Errorf("%s: want alert 70, got %v", tls.VersionName(version), err)
		}
	}
}

func TestBothTLSVersionsCarryDERP(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := r.join(t, wireOptions{conn: r.dialTLS(t, &tls.Config{MinVersion: version, MaxVersion: version})})
		packet := randomBytes(65536)
		w.sendTo(w.pub, packet)
		w.expectPacket(w.pub, packet)
	}
}

func TestUsualCipherSuitesAndCurvesWork(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256} {
		w := r.join(t, wireOptions{conn: r.dialTLS(t, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})})
		w.alive()
	}
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.X25519MLKEM768} {
		if conn, err := r.tryTLS(&tls.Config{CurvePreferences: []tls.CurveID{curve}}); err != nil {
			t.Errorf("%v: %v", curve, err)
		} else {
			conn.Close()
		}
	}
}

func TestADNSHostnameRequiresExactlyThatSNI(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{hostname: "localhost"})
	for name, good := range map[string]bool{"localhost": true, "other.test": false, "localhost.test": false, "127.0.0.1": false} {
		conn, err := r.tryTLS(&tls.Config{ServerName: name})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != good {
			t.Errorf("SNI %q: error %v, want accepted=%v", name, err, good)
		}
	}
}

func TestAnIPHostnameIgnoresSNI(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, name := range []string{"127.0.0.1", "anything.test"} {
		w := r.join(t, wireOptions{conn: r.dialTLS(t, &tls.Config{ServerName: name})})
		w.alive()
	}
}

func TestTheGoClientTrustsTheCertificateChain(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{hostname: "localhost"})
	for name, change := range map[string]func(*tailcfg.DERPNode){
		"by root":          func(n *tailcfg.DERPNode) { n.CertName = "" },
		"by name":          func(n *tailcfg.DERPNode) { n.CertName = "localhost" },
		"by hash":          func(*tailcfg.DERPNode) {},
		"not another name": func(n *tailcfg.DERPNode) { n.CertName = "other.test" },
		"not another hash": func(n *tailcfg.DERPNode) { n.CertName = "sha256-raw:" + hex.EncodeToString(make([]byte, 32)) },
	} {
		t.Run(name, func(t *testing.T) {
			region := r.region()
			change(region.Nodes[0])
			err := stockConnects(t, region)
			if refused := strings.HasPrefix(name, "not"); (err != nil) != refused {
				t.Fatalf("error %v, want refused=%v", err, refused)
			}
		})
	}
}

func TestSessionsResume(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := &tls.Config{MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			resumed := 0
			for range 3 {
				conn := r.dialTLS(t, config)
				// The ticket of TLS 1.3 comes with the first bytes read.
				w := r.join(t, wireOptions{conn: conn})
				packet := randomBytes(5000)
				w.sendTo(w.pub, packet)
				w.expectPacket(w.pub, packet)
				if conn.ConnectionState().DidResume {
					resumed++
				}
				if n := len(conn.ConnectionState().PeerCertificates); n != 2 {
					t.Errorf("%d certificates known", n)
				}
				w.leave()
			}
			if resumed != 2 {
				t.Errorf("%d of 2 reconnections resumed", resumed)
			}
		})
	}
}

func TestALargeClientHelloIsUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, count := range []int{10, 60, 250} {
		protocols := []string{"http/1.1"}
		for i := range count {
			protocols = append(protocols, fmt.Sprintf("%0200d", i))
		}
		w := r.join(t, wireOptions{conn: r.dialTLS(t, &tls.Config{NextProtos: protocols})})
		w.alive()
	}
}

func TestAClientHelloInManyPiecesIsUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn, err := r.secure(&dribble{r.dialTCP(t), 11}, insecure())
	if err != nil {
		t.Fatal(err)
	}
	r.join(t, wireOptions{conn: conn}).alive()
}

func TestACloseNotifyEndsTheConnection(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dialTLS(t, insecure())
	a, b := r.join(t, wireOptions{conn: conn}), r.joinPlainly(t)
	a.sendTo(b.pub, []byte("x"))
	b.expectPacket(a.pub, []byte("x"))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b.expectGone(a.pub, derp.PeerGoneReasonDisconnected)
	a.expectClosed(patience)
}

func TestManyHandshakesAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	const n = 100
	failed := make(chan error, n)
	inParallel(n, func(int) {
		conn, err := r.tryTLS(insecure())
		if err == nil {
			_, err = io.WriteString(conn, "GET /derp/probe HTTP/1.0\r\n\r\n")
			conn.Close()
		}
		failed <- err
	})
	for range n {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
