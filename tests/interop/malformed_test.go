package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

func TestWrongLengthsCloseTheConnection(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	for _, check := range []struct {
		kind    derp.FrameType
		mesh    bool
		lengths []uint32
	}{
		{derp.FrameSendPacket, false, []uint32{0, 1, 31, 65569, 1 << 20, 1<<32 - 1}},
		{derp.FrameNotePreferred, false, []uint32{0, 2, 1000}},
		{derp.FramePing, false, []uint32{0, 7, 1001, 1 << 20}},
		{derp.FrameForwardPacket, true, []uint32{0, 32, 63, 65601, 1<<32 - 1}},
		{derp.FrameWatchConns, true, []uint32{1, 32}},
		{derp.FrameClosePeer, true, []uint32{0, 31, 33, 1 << 24}},
	} {
		for _, length := range check.lengths {
			t.Run(fmt.Sprintf("%02x/%d", byte(check.kind), length), func(t *testing.T) {
				t.Parallel()
				w, neighbour := r.join(t, wireOptions{mesh: check.mesh}), r.joinPlainly(t)
				w.alive()
				// At most 2000 bytes of the payload: the length alone must be enough.
				w.write(append(header(check.kind, length), make([]byte, min(length, 2000))...))
				if before := w.expectClosed(patience); len(before) > 0 {
					t.Errorf("got %v before the close", before)
				}
				neighbour.alive()
			})
		}
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	for _, kind := range []derp.FrameType{0x00, derp.FrameServerKey, derp.FrameClientInfo, derp.FrameServerInfo, derp.FrameRecvPacket, derp.FrameKeepAlive,
		derp.FramePeerGone, derp.FramePeerPresent, 0x0b, 0x0f, derp.FramePong, derp.FrameHealth, derp.FrameRestarting, 0x16, 0x80, 0xff} {
		for _, size := range []int{0, 1, 8, 32, 33, 5000, 65569} {
			w.send(kind, randomBytes(size))
		}
		w.alive()
	}
	for _, size := range []int{1 << 20, 2 << 20} {
		w.send(0x77, make([]byte, size))
		w.alive()
	}
	w.expectQuiet()
}

func TestAnUnknownFrameMayStreamForALongTime(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w, other := r.joinPlainly(t), r.joinPlainly(t)
	if err := w.write(header(0x77, 300_000)); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := w.write(make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		other.alive()
	}
	w.alive()
}

func TestATruncatedFrameIsNeverDelivered(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	b := r.joinPlainly(t)
	whole := encode(derp.FrameSendPacket, raw32(b.pub), randomBytes(1400))
	for _, cut := range []int{1, 4, 5, 6, 36, 37, 38, 1000, len(whole) - 1} {
		a := r.joinPlainly(t)
		if err := a.write(whole[:cut]); err != nil {
			t.Fatal(err)
		}
		a.leave()
	}
	for kind := range 0x20 {
		a := r.joinPlainly(t)
		a.write(append(header(derp.FrameType(kind), 60), randomBytes(30)...))
		a.leave()
	}
	b.alive()
	b.expectQuiet()
	r.awaitConnections(t, 1)
}

func TestOnlyAClientInfoMayComeFirst(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	other := key.NewNode()
	info := func(w *wire) []byte { return w.clientInfo(defaultInfo) }
	for name, first := range map[string]func(w *wire) []byte{
		"ServerKey":           func(w *wire) []byte { return encode(derp.FrameServerKey, []byte(derp.Magic), raw32(w.pub)) },
		"wrong magic":         func(w *wire) []byte { return encode(derp.FrameServerKey, []byte("DERPDERP"), raw32(w.pub)) },
		"SendPacket":          func(w *wire) []byte { return encode(derp.FrameSendPacket, raw32(w.pub), randomBytes(100)) },
		"Ping":                func(w *wire) []byte { return encode(derp.FramePing, randomBytes(8)) },
		"unknown":             func(w *wire) []byte { return encode(0x77, randomBytes(100)) },
		"KeepAlive":           func(w *wire) []byte { return encode(derp.FrameKeepAlive) },
		"type 00":             func(w *wire) []byte { return encode(0x00, info(w)) },
		"HTTP":                func(w *wire) []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		"55 bytes":            func(w *wire) []byte { return encode(derp.FrameClientInfo, randomBytes(55)) },
		"no payload":          func(w *wire) []byte { return encode(derp.FrameClientInfo) },
		"262145 bytes":        func(w *wire) []byte { return header(derp.FrameClientInfo, 262145) },
		"4 GiB":               func(w *wire) []byte { return header(derp.FrameClientInfo, 1<<32-1) },
		"random box":          func(w *wire) []byte { return encode(derp.FrameClientInfo, raw32(w.pub), randomBytes(72)) },
		"56 bytes, no box":    func(w *wire) []byte { return encode(derp.FrameClientInfo, raw32(w.pub), make([]byte, 24)) },
		"72 bytes, empty box": func(w *wire) []byte { return encode(derp.FrameClientInfo, raw32(w.pub), make([]byte, 40)) },
		"box of another key":  func(w *wire) []byte { return encode(derp.FrameClientInfo, raw32(other.Public()), info(w)[32:]) },
		"box to another relay": func(w *wire) []byte {
			return encode(derp.FrameClientInfo, raw32(w.pub), w.private.SealTo(other.Public(), []byte(defaultInfo)))
		},
		"one bit changed": func(w *wire) []byte {
			payload := info(w)
			payload[len(payload)-1] ^= 1
			return encode(derp.FrameClientInfo, payload)
		},
		"zero key": func(w *wire) []byte { return encode(derp.FrameClientInfo, make([]byte, 32), randomBytes(80)) },
		"low order key": func(w *wire) []byte {
			return encode(derp.FrameClientInfo, append([]byte{1}, make([]byte, 31)...), randomBytes(80))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := r.upgrade(t, wireOptions{})
			w.expectServerKey()
			w.write(first(w))
			if before := w.expectClosed(patience); len(before) > 0 {
				t.Fatalf("got %v before the close", before)
			}
		})
	}
}

func TestClientInfoJSONIsReadAsGoReadsIt(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	psk := r.meshKey.String()
	for text, accepted := range map[string]bool{
		`{}`:                               true,
		`null`:                             true,
		`{"version":2,"CanAckPings":true}`: true,
		` { "version" : 2 } ` + "\r\n\t":   true,
		`{"VERSION":2,"canackpings":false,"isPROBER":true}`:     true,
		`{"version":2,"future":{"a":[1,2,{"b":null}]},"x":"y"}`: true,
		`{"version":null,"CanAckPings":null,"IsProber":null}`:   true,
		`{"version":99999}`:             true,
		`{"version":-1}`:                true,
		`{"version":2,"AppName":"app"}`: true,
		`{"mesh_key":"none","version":2,"can_ack_pings":true}`: true,
		`{"meshKey":"` + psk + `"}`:                            true,
		`{"meshkey":"` + strings.ToUpper(psk) + `"}`:           true,
		`{"meshKey":"` + strings.Repeat("0", 64) + `"}`:        true,
		`{"version":2}` + strings.Repeat(" ", 200_000):         true,
		"":                              false,
		" ":                             false,
		`[]`:                            false,
		`"text"`:                        false,
		`2`:                             false,
		`{"version":"2"}`:               false,
		`{"version":2.5}`:               false,
		`{"CanAckPings":1}`:             false,
		`{"IsProber":"true"}`:           false,
		`{"version":2}x`:                false,
		`{"version":2}{}`:               false,
		`{"version":2`:                  false,
		`{version:2}`:                   false,
		`{"version":2,}`:                false,
		`{"meshKey":""}`:                false,
		`{"meshKey":null}`:              false,
		`{"meshKey":"none"}`:            false,
		`{"meshKey":12}`:                false,
		`{"MESHKEY":"` + psk[1:] + `"}`: false,
		`{"meshKey":"` + psk + `00"}`:   false,
		"\x00\x01\x02":                  false,
	} {
		name := text
		if len(name) > 50 {
			name = fmt.Sprintf("%.50s… of %d", text, len(text))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := r.upgrade(t, wireOptions{})
			w.expectServerKey()
			w.write(encode(derp.FrameClientInfo, w.clientInfo(text)))
			if !accepted {
				w.expectClosed(patience)
				return
			}
			w.expectServerInfo()
			w.alive()
		})
	}
}

func TestGarbageOnTheMainPortIsCutOff(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		r := startRelay(t, relayOptions{plain: plain})
		for name, raw := range map[string][]byte{
			"random":             append([]byte{0xfe}, randomBytes(500)...),
			"zeros":              make([]byte, 500),
			"SSH":                []byte("SSH-2.0-OpenSSH_9.9\r\n"),
			"DERP":               encode(derp.FrameServerKey, []byte(derp.Magic), randomBytes(32)),
			"TLS alert":          {21, 3, 3, 0, 2, 2, 40},
			"TLS record too big": append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 65535)...),
			"TLS bad hello":      append([]byte{22, 3, 1, 0, 100, 1, 0, 0, 96}, make([]byte, 96)...),
			"no HTTP":            []byte("HELLO\r\n\r\n"),
			"HTTP/9":             []byte("GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
			"bad header":         []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade DERP\r\n\r\n"),
			"two hosts":          []byte("GET /derp HTTP/1.1\r\nHost: x\r\nHost: y\r\nUpgrade: DERP\r\n\r\n"),
			"no host":            []byte("GET /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n"),
			"bad length":         []byte("POST /derp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nUpgrade: DERP\r\n\r\n"),
			"NUL in header":      []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nX: a\x00b\r\n\r\n"),
		} {
			t.Run(transportName(plain)+"/"+name, func(t *testing.T) {
				t.Parallel()
				conn := r.dialTCP(t)
				conn.Write(raw)
				if plain {
					// A head without a line end is garbage only once no more can come.
					conn.(*net.TCPConn).CloseWrite()
				}
				conn.SetReadDeadline(time.Now().Add(patience))
				answer, err := io.ReadAll(conn)
				if isTimeout(err) {
					t.Fatalf("still open; answer %q", answer)
				}
				if bytes.HasPrefix(answer, []byte("HTTP/1.1 101")) || bytes.Contains(answer, []byte(derp.Magic)) {
					t.Fatalf("accepted: %q", answer)
				}
			})
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func TestPlainHTTPOnTheTLSPortIsCutOff(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dialTCP(t)
	fmt.Fprintf(conn, "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if isTimeout(err) {
		t.Fatal("still open")
	}
	if len(answer) > 0 && answer[0] != 21 && !bytes.HasPrefix(answer, []byte("HTTP/1.0 400 ")) {
		t.Fatalf("answer %q is neither an alert nor a 400", answer)
	}
}

func TestBadRequestsInsideTLSAreAnswered400(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, raw := range map[string]string{
		"no HTTP":    "HELLO\r\n\r\n",
		"bad header": "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade DERP\r\n\r\n",
		"no host":    "GET /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n",
		"two hosts":  "GET /derp HTTP/1.1\r\nHost: x\r\nHost: y\r\nUpgrade: DERP\r\n\r\n",
		"bad length": "POST /derp HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial(t)
			io.WriteString(conn, raw)
			conn.SetReadDeadline(time.Now().Add(patience))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				if isTimeout(err) || under == derper {
					t.Fatal(err)
				}
				deviated(t, "a bad request is closed without an answer")
				return
			}
			if response.StatusCode != 400 {
				t.Fatalf("answered %s", response.Status)
			}
		})
	}
}

func TestARequestHeadOfOneMebibyteEnds(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, size := range map[string]int{"900 KiB": 900 << 10, "2 MiB": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial(t)
			go func() {
				head := []byte("GET /derp/probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
				for n := range size / 1000 {
					head = fmt.Appendf(head, "X-%06d: %0988d\r\n", n, n)
				}
				conn.Write(append(head, "\r\n"...))
			}()
			conn.SetReadDeadline(time.Now().Add(patience))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			switch {
			case isTimeout(err):
				t.Fatal("neither answered nor closed")
			case err != nil && under == ferry:
				deviated(t, "a request head of "+name+" is closed without an answer")
			case err != nil && name != "2 MiB":
				t.Fatal(err)
			case err == nil && response.StatusCode == 431:
				if under == ferry && name == "900 KiB" {
					deviated(t, "a request head of 900 KiB is refused")
				}
			case err == nil && (response.StatusCode != 200 || name == "2 MiB"):
				t.Fatalf("answered %s", response.Status)
			}
		})
	}
	r.get(t, "/derp/probe").check(t, 200, "")
}

func TestAClientsAbruptEndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	b := r.joinPlainly(t)
	before := r.metrics(t)
	for range 20 {
		tcp := r.dialTCP(t).(*net.TCPConn)
		conn, err := r.secure(tcp, insecure())
		if err != nil {
			t.Fatal(err)
		}
		w := r.join(t, wireOptions{conn: conn})
		w.sendTo(b.pub, []byte("x"))
		b.expectPacket(w.pub, []byte("x"))
		tcp.SetLinger(0)
		tcp.Close()
		b.expectGone(w.pub, derp.PeerGoneReasonDisconnected)
	}
	r.expectMoves(t, before, map[string]float64{"derp_current_connections": 0, "derp_clients_total": 0, "derp_accepts": 20, "derp_peer_gone_disconnected_frames": 20})
}
