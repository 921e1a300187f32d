package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// upgradeRaw sends a request head as it is and checks the exact bytes of the 101 answer; what follows is DERP.
func (r *relay) upgradeRaw(t testing.TB, head string) *wire {
	t.Helper()
	conn := r.dial(t)
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1 101 Switching Protocols\r\n" +
		"Upgrade: DERP\r\n" +
		"Connection: Upgrade\r\n" +
		"Derp-Version: 2\r\n" +
		"Derp-Public-Key: " + r.pub.UntypedHexString() + "\r\n\r\n"
	got := make([]byte, len(want))
	conn.SetReadDeadline(time.Now().Add(patience))
	br := bufio.NewReader(conn)
	if n, err := io.ReadFull(br, got); err != nil || string(got) != want {
		t.Fatalf("request %q: answer %q (%v), want %q", head, got[:n], err, want)
	}
	conn.SetReadDeadline(time.Time{})
	return newWire(t, r, conn, br, key.NodePrivate{})
}

func TestTheUpgradeAnswerIsExact(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		r := startRelay(t, relayOptions{plain: plain})
		for name, head := range map[string]string{
			"Go client":          "GET /derp HTTP/1.1\r\nHost: relay.test\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n",
			"Rust client":        "POST /derp HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: derp\r\n\r\n",
			"Rust client, sized": "POST /derp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: derp\r\n\r\n",
			"HTTP/1.0":           "GET /derp HTTP/1.0\r\nUpgrade: DERP\r\n\r\n",
			"no Connection":      "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
			"Connection: close":  "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpgrade: DERP\r\n\r\n",
			"other method":       "BREW /derp HTTP/1.1\r\nHost: x\r\nUpgrade: dErP\r\n\r\n",
			"query":              "GET /derp?a=b HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
			"absolute URI":       "GET http://x/derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
			"fast start 0":       "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 0\r\n\r\n",
			"fast start true":    "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: true\r\n\r\n",
			"fast start 11":      "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 11\r\n\r\n",
			"fast start empty":   "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start:\r\n\r\n",
			"fast start late":    "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 0\r\nDerp-Fast-Start: 1\r\n\r\n",
			"bare line feeds":    "GET /derp HTTP/1.1\nHost: x\nUpgrade: DERP\n\n",
			"large head":         "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nX-Long: " + strings.Repeat("a", 100_000) + "\r\n\r\n",
			"escaped path":       "GET /%64erp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
		} {
			t.Run(transportName(plain)+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := r.upgradeRaw(t, head)
				w.handshake(wireOptions{})
				w.alive()
			})
		}
	}
}

func TestFastStartSendsNoHTTPBytes(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		r := startRelay(t, relayOptions{plain: plain})
		for _, line := range []string{"Derp-Fast-Start: 1", "derp-fast-start:1", "DERP-FAST-START:   1  "} {
			t.Run(transportName(plain)+"/"+line, func(t *testing.T) {
				t.Parallel()
				conn := r.dial(t)
				fmt.Fprintf(conn, "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n%s\r\n\r\n", line)
				w := newWire(t, r, conn, bufio.NewReader(conn), key.NodePrivate{})
				w.handshake(wireOptions{})
				w.alive()
			})
		}
	}
}

func TestAFastStartFlightInOneWriteIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(transportName(plain), func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{plain: plain})
			conn := r.dial(t)
			private := key.NewNode()
			flight := []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\nDerp-Fast-Start: 1\r\nUpgrade: DERP\r\n\r\n")
			flight = append(flight, encode(derp.FrameClientInfo, raw32(private.Public()), private.SealTo(r.pub, []byte(defaultInfo)))...)
			flight = append(flight, encode(derp.FrameNotePreferred, []byte{1})...)
			flight = append(flight, encode(derp.FrameSendPacket, raw32(private.Public()), []byte("to myself"))...)
			flight = append(flight, encode(derp.FramePing, []byte("12345678"))...)
			if _, err := conn.Write(flight); err != nil {
				t.Fatal(err)
			}
			w := newWire(t, r, conn, bufio.NewReader(conn), private)
			w.expectServerKey()
			w.expectServerInfo()
			// The pong and the packet travel in different queues.
			seen := map[derp.FrameType]frame{}
			for range 2 {
				f := w.next()
				seen[f.kind] = f
			}
			if !bytes.Equal(seen[derp.FramePong].payload, []byte("12345678")) || !bytes.Equal(seen[derp.FrameRecvPacket].payload, append(raw32(w.pub), "to myself"...)) {
				t.Fatalf("got %v", seen)
			}
		})
	}
}

func TestBytesRightAfterTheHeadBelongToDERP(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, connection := range map[string]string{"GET": "GET", "POST": "POST"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial(t)
			private := key.NewNode()
			head := connection + " /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
			info := encode(derp.FrameClientInfo, raw32(private.Public()), private.SealTo(r.pub, []byte(defaultInfo)))
			if _, err := conn.Write(append([]byte(head), info...)); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(conn)
			response, err := http.ReadResponse(br, nil)
			if err != nil || response.StatusCode != 101 {
				t.Fatalf("%v %v", response, err)
			}
			w := newWire(t, r, conn, br, private)
			w.expectServerKey()
			w.expectServerInfo()
			w.alive()
		})
	}
}

func TestAHeadInManyPiecesIsUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dial(t)
	for _, b := range []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n") {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	w := newWire(t, r, conn, bufio.NewReader(conn), key.NodePrivate{})
	w.handshake(wireOptions{})
	w.alive()
}

func TestAnUpgradeAfterOrdinaryRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dial(t)
	br := bufio.NewReader(conn)
	for range 3 {
		fmt.Fprint(conn, "GET /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(br, nil)
		if err != nil || response.StatusCode != 200 || response.Close {
			t.Fatalf("%v %v", response, err)
		}
	}
	fmt.Fprint(conn, "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n")
	response, err := http.ReadResponse(br, nil)
	if err != nil || response.StatusCode != 101 {
		t.Fatalf("%v %v", response, err)
	}
	w := newWire(t, r, conn, br, key.NodePrivate{})
	w.handshake(wireOptions{})
	w.alive()
}

func TestWithoutTheRightUpgradeTheAnswerIs426(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, method := range []string{"GET", "POST"} {
		for _, headers := range [][]string{nil, {"Connection: Upgrade", "Upgrade: h2c"}, {"Connection: Upgrade", "Upgrade: derp, websocket"}, {"Derp-Fast-Start: 1"}} {
			response := r.request(t, method, "/derp", headers...)
			if response.StatusCode != http.StatusUpgradeRequired || response.text != "DERP requires connection upgrade\n" {
				t.Errorf("%s %v: %s %q", method, headers, response.Status, response.text)
			}
			if got := response.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("content type %q", got)
			}
		}
	}
}

func TestIdealNodeMarksTheConnection(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	watcher := r.join(t, wireOptions{mesh: true})
	watcher.send(derp.FrameWatchConns)
	watcher.expectPresent(watcher, derp.PeerPresentIsMeshPeer)
	for value, flags := range map[string]derp.PeerPresentFlags{"900b": derp.PeerPresentNotIdeal, "0": derp.PeerPresentNotIdeal, "": derp.PeerPresentIsRegular} {
		w := r.join(t, wireOptions{headers: []string{"Ideal-Node: " + value}})
		watcher.expectPresent(w, flags)
	}
	fast := r.join(t, wireOptions{headers: []string{"Derp-Fast-Start: 1", "Ideal-Node: 900b"}})
	watcher.expectPresent(fast, derp.PeerPresentNotIdeal)
}

func TestTheGoClientSaysWhenItIsNotAtItsIdealNode(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	p := r.connect(t, peerOptions{notIdeal: true})
	watcher := r.connect(t, peerOptions{mesh: true, watch: true})
	for {
		if present := await[derp.PeerPresentMessage](watcher); present.Key == p.pub {
			if present.Flags != derp.PeerPresentNotIdeal {
				t.Fatalf("flags %x", present.Flags)
			}
			return
		}
	}
}

func TestTheServerKeyInTheHandshakeIsTheKeyFiles(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	p := r.connect(t, peerOptions{})
	if got := p.client.ServerPublicKey(); got != r.pub {
		t.Fatalf("server key %v, want %v", got, r.pub)
	}
}
