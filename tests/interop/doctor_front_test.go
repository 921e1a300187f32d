package interop

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tailscale.com/derp"
)

// What stands in front of relays, and what it does to them: each is a listener on 127.0.0.1 that lives as long as the test.

// issue says how a certificate is wrong; the zero value is right for relay.test.
type issue struct {
	// name is what it is for.
	name string
	// from and to are its validity, from now.
	from, to time.Duration
	// by is who signs it; the default is the authority that is believed.
	by string
}

// make signs a certificate.
func (i issue) make(t testing.TB) tls.Certificate {
	t.Helper()
	parent, signer := authority.cert, authority.key
	if i.by != "" {
		signer = ecKey(t)
		template := template(time.Hour, pkix.Name{CommonName: i.by + " Root", Organization: []string{i.by}}, -time.Hour)
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent = sign(t, template, template, signer, signer)
	}
	if i.name == "" {
		i.name = "relay.test"
	}
	if i.to == 0 {
		i.from, i.to = -time.Hour, 90*24*time.Hour
	}
	key := ecKey(t)
	leaf := template(i.to, pkix.Name{CommonName: i.name}, i.from)
	leaf.DNSNames = []string{i.name}
	return tls.Certificate{Certificate: [][]byte{sign(t, leaf, parent, key, signer).Raw}, PrivateKey: key}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(to time.Duration, subject pkix.Name, from time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      subject,
		NotBefore:    time.Now().Add(from),
		NotAfter:     time.Now().Add(to),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func sign(t testing.TB, leaf, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// accept listens on 127.0.0.1 and serves each connection by itself; it returns the port.
func accept(t testing.TB, serve func(net.Conn)) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

// tlsFront ends TLS with a certificate, and hands the plain stream on.
func tlsFront(t testing.TB, certificate tls.Certificate, serve func(net.Conn)) int {
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	return accept(t, func(conn net.Conn) {
		secured := tls.Server(conn, config)
		if secured.Handshake() == nil {
			serve(secured)
		}
	})
}

// passTo copies both ways between a client and a relay; toRelay may change what the client says.
func passTo(backend string, toRelay func(relay io.Writer, client io.Reader)) func(net.Conn) {
	return func(client net.Conn) {
		relay, err := net.Dial("tcp", backend)
		if err != nil {
			return
		}
		defer relay.Close()
		go func() {
			toRelay(relay, client)
			relay.Close()
		}()
		io.Copy(client, relay)
	}
}

// untouched copies.
func untouched(relay io.Writer, client io.Reader) { io.Copy(relay, client) }

// afterHead copies an HTTP request's head, and leaves the rest to then.
func afterHead(then func(relay io.Writer, client *bufio.Reader)) func(io.Writer, io.Reader) {
	return func(relay io.Writer, client io.Reader) {
		reader := bufio.NewReader(client)
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(relay, line)
			if line == "\r\n" {
				break
			}
		}
		then(relay, reader)
	}
}

// withoutWords swallows everything that the client says after its request.
func withoutWords(_ io.Writer, client *bufio.Reader) { io.Copy(io.Discard, client) }

// withoutPackets swallows the packets that a client sends, and nothing else.
func withoutPackets(relay io.Writer, client *bufio.Reader) {
	header := make([]byte, 5)
	for {
		if _, err := io.ReadFull(client, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:]))
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if derp.FrameType(header[0]) != derp.FrameSendPacket {
			relay.Write(append(header[:5:5], body...))
		}
	}
}

// httpFront ends TLS and HTTP, as a reverse proxy or a web server does.
func httpFront(t testing.TB, handler http.Handler) int {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{issue{}.make(t)}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: noLog}
	t.Cleanup(func() { server.Close() })
	go server.Serve(listener)
	return listener.Addr().(*net.TCPAddr).Port
}

// reverseProxy passes on to a relay; change may spoil the request or the answer.
func reverseProxy(backend string, request func(*http.Request), answer func(*http.Response)) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: backend})
	direct := proxy.Director
	proxy.ErrorLog = noLog
	proxy.Director = func(r *http.Request) {
		direct(r)
		if request != nil {
			request(r)
		}
	}
	proxy.ModifyResponse = func(r *http.Response) error {
		if answer != nil {
			answer(r)
		}
		return nil
	}
	return proxy
}

// withoutUpgrade is a proxy that was never told of upgrades.
func withoutUpgrade(r *http.Request) {
	r.Header.Del("Upgrade")
	r.Header.Del("Connection")
}

// webSocketsOnly is one that was told of WebSockets alone.
func webSocketsOnly(r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		withoutUpgrade(r)
	}
}

// inTurns sends each connection to the next of several relays.
func inTurns(backends ...string) func(net.Conn) {
	var count atomic.Uint32
	return func(client net.Conn) {
		passTo(backends[int(count.Add(1))%len(backends)], untouched)(client)
	}
}

// fullBacklog listens and never accepts, with no place left in its queue: whoever connects hears nothing.
func fullBacklog(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 8 {
		conn, err := net.DialTimeout("tcp", address.String(), 300*time.Millisecond)
		if err != nil {
			return int(address.Port())
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue of a listener does not fill")
	return 0
}

// datagramProxy passes UDP on from an address of its own, as a load balancer does.
func datagramProxy(t testing.TB, backend string) int {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("udp", backend)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close(); back.Close() })
	go func() {
		buffer, answer := make([]byte, 1500), make([]byte, 1500)
		for {
			n, from, err := front.ReadFrom(buffer)
			if err != nil {
				return
			}
			back.Write(buffer[:n])
			back.SetReadDeadline(time.Now().Add(time.Second))
			if n, err = back.Read(answer); err == nil {
				front.WriteTo(answer[:n], from)
			}
		}
	}()
	return front.LocalAddr().(*net.UDPAddr).Port
}
