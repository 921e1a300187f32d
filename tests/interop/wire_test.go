package interop

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// patience bounds every wait for something that must come.
const patience = 8 * time.Second

// quiet is how long the wire must stay silent before we say that nothing came.
const quiet = 250 * time.Millisecond

// wire is one raw DERP connection: it can send what no well-behaved client would.
type wire struct {
	t        testing.TB
	conn     net.Conn
	private  key.NodePrivate
	pub      key.NodePublic
	relay    *relay
	incoming chan frame
	// deafToPongs leaves pongs out of incoming.
	deafToPongs atomic.Bool
	writing     sync.Mutex
	// gate stops the reading of further frames while a test holds it: a stalled receiver.
	gate sync.Mutex
	// ended is closed after the last incoming frame; endErr says why.
	ended  chan struct{}
	endErr error
}

// wireOptions says how a raw client joins; the zero value is an ordinary client by ordinary upgrade.
type wireOptions struct {
	// private is the client's key; zero means fresh.
	private key.NodePrivate
	// mesh presents the relay's mesh key.
	mesh bool
	// info replaces the ClientInfo JSON.
	info string
	// headers are further request header lines, each "Name: value".
	headers []string
	// conn is used instead of dialling.
	conn net.Conn
}

// join connects, upgrades and completes the handshake.
func (r *relay) join(t testing.TB, options wireOptions) *wire {
	t.Helper()
	w := r.upgrade(t, options)
	w.handshake(options)
	return w
}

// joinPlainly joins as an ordinary client with a fresh key.
func (r *relay) joinPlainly(t testing.TB) *wire {
	t.Helper()
	return r.join(t, wireOptions{})
}

// upgrade connects and performs the ordinary HTTP upgrade, nothing more.
func (r *relay) upgrade(t testing.TB, options wireOptions) *wire {
	t.Helper()
	conn := options.conn
	if conn == nil {
		conn = r.dial(t)
	}
	head := "GET /derp HTTP/1.1\r\nHost: " + r.addr + "\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n"
	for _, line := range options.headers {
		head += line + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(patience))
	if fast := slices.Contains(options.headers, "Derp-Fast-Start: 1"); !fast {
		response, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("upgrade: %v", err)
		}
		if response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: status %s", response.Status)
		}
	}
	conn.SetReadDeadline(time.Time{})
	return newWire(t, r, conn, br, options.private)
}

// newWire wraps a connection that speaks DERP from here on.
func newWire(t testing.TB, r *relay, conn net.Conn, br *bufio.Reader, private key.NodePrivate) *wire {
	if private.IsZero() {
		private = key.NewNode()
	}
	w := &wire{t: t, conn: conn, private: private, pub: private.Public(), relay: r,
		incoming: make(chan frame, 4096), ended: make(chan struct{})}
	t.Cleanup(func() { conn.Close() })
	go w.readLoop(br)
	return w
}

func (w *wire) readLoop(br *bufio.Reader) {
	defer close(w.ended)
	defer close(w.incoming)
	for {
		w.gate.Lock()
		w.gate.Unlock()
		f, err := readFrame(br)
		if err != nil {
			w.endErr = err
			return
		}
		if f.kind != derp.FramePong || !w.deafToPongs.Load() {
			w.incoming <- f
		}
	}
}

// dial opens the transport of the relay's main port: TLS or plain.
func (r *relay) dial(t testing.TB) net.Conn {
	t.Helper()
	if r.options.plain {
		return r.dialTCP(t)
	}
	return r.dialTLS(t, insecure())
}

// insecure is a TLS client without any particular wish; secure turns verification off.
func insecure() *tls.Config { return &tls.Config{} }

// dialTCP opens a bare TCP connection to the main port.
func (r *relay) dialTCP(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", r.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// dialTLS opens TLS with the given settings; certificates are judged by the tests about them, not here.
func (r *relay) dialTLS(t testing.TB, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := r.tryTLS(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *relay) tryTLS(config *tls.Config) (*tls.Conn, error) {
	tcp, err := net.DialTimeout("tcp", r.addr, patience)
	if err != nil {
		return nil, err
	}
	return r.secure(tcp, config)
}

// secure performs the TLS handshake over a connection.
func (r *relay) secure(tcp net.Conn, config *tls.Config) (*tls.Conn, error) {
	config = config.Clone()
	config.InsecureSkipVerify = true
	config.ServerName = cmp.Or(config.ServerName, r.options.hostname, "127.0.0.1")
	conn := tls.Client(tcp, config)
	conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		tcp.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

// defaultInfo is what a stock client says about itself.
const defaultInfo = `{"version":2,"CanAckPings":true}`

// handshake checks the ServerKey, sends ClientInfo and checks the ServerInfo.
func (w *wire) handshake(options wireOptions) {
	w.t.Helper()
	w.expectServerKey()
	info := cmp.Or(options.info, defaultInfo)
	if options.mesh {
		info = fmt.Sprintf(`{"meshKey":%q,%s`, w.relay.meshKey.String(), strings.TrimPrefix(info, "{"))
	}
	w.send(derp.FrameClientInfo, w.clientInfo(info))
	w.expectServerInfo()
}

func (w *wire) expectServerKey() {
	w.t.Helper()
	f := w.next()
	raw := w.relay.pub.AppendTo([]byte(derp.Magic))
	if f.kind != derp.FrameServerKey || !bytes.Equal(f.payload, raw) {
		w.t.Fatalf("want ServerKey %x, got %v", raw, f)
	}
}

func (w *wire) expectServerInfo() {
	w.t.Helper()
	f := w.next()
	if f.kind != derp.FrameServerInfo {
		w.t.Fatalf("want ServerInfo, got %v", f)
	}
	text, ok := w.private.OpenFrom(w.relay.pub, f.payload)
	if !ok {
		w.t.Fatalf("ServerInfo does not open: %v", f)
	}
	var info struct{ Version int }
	if err := json.Unmarshal(text, &info); err != nil || info.Version != 2 {
		w.t.Fatalf("ServerInfo %q: version %d, %v", text, info.Version, err)
	}
}

// clientInfo is a ClientInfo payload with the given plaintext.
func (w *wire) clientInfo(text string) []byte {
	return append(raw32(w.pub), w.private.SealTo(w.relay.pub, []byte(text))...)
}

// send writes one frame whose payload is the given parts.
func (w *wire) send(kind derp.FrameType, parts ...[]byte) {
	w.t.Helper()
	w.writing.Lock()
	defer w.writing.Unlock()
	w.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := w.conn.Write(encode(kind, parts...)); err != nil {
		w.t.Fatalf("sending frame %02x: %v", byte(kind), err)
	}
}

// write writes raw bytes; the peer may already have closed, which the test will see on reading.
func (w *wire) write(raw []byte) error {
	w.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := w.conn.Write(raw)
	return err
}

// sendTo sends one packet.
func (w *wire) sendTo(dst key.NodePublic, packet []byte) {
	w.t.Helper()
	w.send(derp.FrameSendPacket, raw32(dst), packet)
}

// next is the next frame; its absence or the connection's end fails the test.
func (w *wire) next() frame {
	w.t.Helper()
	select {
	case f, ok := <-w.incoming:
		if !ok {
			w.t.Fatalf("connection ended: %v", w.endErr)
		}
		return f
	case <-time.After(patience):
		w.t.Fatalf("no frame after %v", patience)
		return frame{}
	}
}

// expect is the next frame, which must be of the given kind.
func (w *wire) expect(kind derp.FrameType) []byte {
	w.t.Helper()
	f := w.next()
	if f.kind != kind {
		w.t.Fatalf("want a frame of type %02x, got %v", byte(kind), f)
	}
	return f.payload
}

// expectPacket checks the next frame is a packet with this source and content.
func (w *wire) expectPacket(src key.NodePublic, packet []byte) {
	w.t.Helper()
	payload := w.expect(derp.FrameRecvPacket)
	if got := payload[:32]; !bytes.Equal(got, raw32(src)) {
		w.t.Fatalf("packet source %x, want %x", got, raw32(src))
	}
	if !bytes.Equal(payload[32:], packet) {
		w.t.Fatalf("packet of %d bytes differs from the %d bytes sent", len(payload)-32, len(packet))
	}
}

// expectGone checks the next frame is PeerGone.
func (w *wire) expectGone(peer key.NodePublic, reason derp.PeerGoneReasonType) {
	w.t.Helper()
	payload := w.expect(derp.FramePeerGone)
	if want := append(raw32(peer), byte(reason)); !bytes.Equal(payload, want) {
		w.t.Fatalf("PeerGone %x, want %x", payload, want)
	}
}

// expectQuiet checks that nothing comes for a while and the connection lives.
func (w *wire) expectQuiet() {
	w.t.Helper()
	select {
	case f, ok := <-w.incoming:
		if !ok {
			w.t.Fatalf("connection ended: %v", w.endErr)
		}
		w.t.Fatalf("want silence, got %v", f)
	case <-time.After(quiet):
	}
}

// barrier sends a ping and returns the frames that came before its pong: the relay has read all that we sent.
func (w *wire) barrier() []frame {
	w.t.Helper()
	var data [8]byte
	rand.Read(data[:])
	w.send(derp.FramePing, data[:])
	var before []frame
	for {
		f := w.next()
		if f.kind == derp.FramePong && bytes.Equal(f.payload, data[:]) {
			return before
		}
		before = append(before, f)
	}
}

// alive proves the relay still serves the connection.
func (w *wire) alive() {
	w.t.Helper()
	if before := w.barrier(); len(before) > 0 {
		w.t.Fatalf("unexpected frames before the pong: %v", before)
	}
}

// expectClosed waits for the relay to close the connection and returns the frames that came before.
func (w *wire) expectClosed(within time.Duration) []frame {
	w.t.Helper()
	timeout := time.After(within)
	var before []frame
	for {
		select {
		case f, ok := <-w.incoming:
			if !ok {
				return before
			}
			before = append(before, f)
		case <-timeout:
			w.t.Fatalf("connection still open after %v; frames: %v", within, before)
		}
	}
}

// leave closes the connection from our side.
func (w *wire) leave() {
	w.conn.Close()
	<-w.ended
}

// dribble is a connection that writes at most n bytes at a time.
type dribble struct {
	net.Conn
	n int
}

func (d *dribble) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += d.n {
		if n, err := d.Conn.Write(p[at:min(len(p), at+d.n)]); err != nil {
			return at + n, err
		}
	}
	return len(p), nil
}
