package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"tailscale.com/derp"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
)

// dialWebSocket opens a WebSocket to /derp with the given subprotocols and no read limit on our side.
func (r *relay) dialWebSocket(t testing.TB, protocols ...string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	scheme := "wss://"
	if r.options.plain {
		scheme = "ws://"
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: r.options.hostname}}}
	ws, _, err := websocket.Dial(ctx, scheme+r.addr+"/derp", &websocket.DialOptions{
		HTTPClient: client, Subprotocols: protocols, CompressionMode: websocket.CompressionDisabled,
		HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	if err != nil {
		t.Fatalf("websocket: %v", err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	ws.SetReadLimit(-1)
	return ws
}

// stream is a WebSocket as the byte stream DERP runs over.
func stream(ws *websocket.Conn) net.Conn {
	return wsconn.NetConn(context.Background(), ws, websocket.MessageBinary, "relay")
}

// joinWebSocket joins as an ordinary client over WebSocket.
func (r *relay) joinWebSocket(t testing.TB) *wire {
	t.Helper()
	conn := stream(r.dialWebSocket(t, "derp"))
	w := newWire(t, r, conn, bufio.NewReader(conn), key.NodePrivate{})
	w.handshake(wireOptions{})
	return w
}

func TestWebSocketAndStreamClientsReachEachOther(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(transportName(plain), func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{plain: plain})
			web, tcp := r.joinWebSocket(t), r.joinPlainly(t)
			// 32000 keeps the frame below the relay's message limit; larger ones are split below.
			for _, size := range []int{0, 1, 62, 1400, 4096, 32000} {
				packet := randomBytes(size)
				web.sendTo(tcp.pub, packet)
				tcp.expectPacket(web.pub, packet)
				tcp.sendTo(web.pub, packet)
				web.expectPacket(tcp.pub, packet)
			}
			large := randomBytes(65536)
			tcp.sendTo(web.pub, large)
			web.expectPacket(tcp.pub, large)
			raw := encode(derp.FrameSendPacket, raw32(tcp.pub), large)
			for len(raw) > 0 {
				n := min(len(raw), 30000)
				if err := web.write(raw[:n]); err != nil {
					t.Fatal(err)
				}
				raw = raw[n:]
			}
			tcp.expectPacket(web.pub, large)
			web.sendTo(web.pub, []byte("self"))
			web.expectPacket(web.pub, []byte("self"))
			if got := r.metrics(t)["derp_websocket_accepts"]; got != 1 {
				t.Errorf("derp_websocket_accepts = %v, want 1", got)
			}
		})
	}
}

func TestWebSocketMessageBoundariesMeanNothing(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	web, tcp := r.joinWebSocket(t), r.joinPlainly(t)
	packet := randomBytes(60)
	one := encode(derp.FrameSendPacket, raw32(tcp.pub), packet)
	for i := range one {
		if err := web.write(one[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	tcp.expectPacket(web.pub, packet)
	three := bytes.Repeat(one, 3)
	for _, part := range [][]byte{three[:len(one)+10], three[len(one)+10:], one} {
		if err := web.write(part); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		tcp.expectPacket(web.pub, packet)
	}
	web.alive()
}

func TestEmptyWebSocketMessagesAreNoEnd(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	ws := r.dialWebSocket(t, "derp")
	conn := stream(ws)
	w := newWire(t, r, conn, bufio.NewReader(conn), key.NodePrivate{})
	w.handshake(wireOptions{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageBinary, nil); err != nil {
		t.Fatal(err)
	}
	w.alive()
}

func TestWebSocketPingsAreAnswered(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	ws := r.dialWebSocket(t, "derp")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	}()
	if err := ws.Ping(ctx); err != nil {
		t.Fatal(err)
	}
}

// closeCode reads until the relay closes and returns the close code and reason.
func closeCode(t *testing.T, ws *websocket.Conn) websocket.CloseError {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := ws.Read(ctx)
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if code := websocket.CloseStatus(err); code != -1 {
			closed.Code = code
			closed.Reason = err.Error()
			return closed
		}
		t.Fatalf("closed without a close frame: %v", err)
	}
}

func TestATextMessageClosesWith1003(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	ws := r.dialWebSocket(t, "derp")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if closed := closeCode(t, ws); closed.Code != websocket.StatusUnsupportedData {
		t.Fatalf("closed with %v", closed)
	}
}

func TestAMessageAboveTheLimitClosesWith1009(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	ws := r.dialWebSocket(t, "derp")
	conn := stream(ws)
	br := bufio.NewReader(conn)
	w := newWire(t, r, conn, br, key.NodePrivate{})
	w.handshake(wireOptions{})
	w.sendTo(w.pub, randomBytes(32768-37))
	if payload := w.expect(derp.FrameRecvPacket); len(payload) != 32768-5 {
		t.Fatalf("a message of exactly 32768 bytes gave %d bytes", len(payload))
	}
	w.write(encode(0x77, randomBytes(40000)))
	w.expectClosed(patience)
	if code := websocket.CloseStatus(w.endErr); code != websocket.StatusMessageTooBig {
		t.Fatalf("closed with %v: %v", code, w.endErr)
	}
}

func TestAProtocolThatOnlyContainsDerpIsClosedWith1008(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, protocol := range []string{"derp2", "xderp"} {
		ws := r.dialWebSocket(t, protocol)
		if ws.Subprotocol() != "" {
			t.Errorf("subprotocol %q agreed", ws.Subprotocol())
		}
		closed := closeCode(t, ws)
		if closed.Code != websocket.StatusPolicyViolation || !strings.Contains(closed.Reason, "client must speak the derp subprotocol") {
			t.Errorf("closed with %v", closed)
		}
	}
}

func TestDerpAmongSeveralProtocolsIsChosen(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	if ws := r.dialWebSocket(t, "other", "derp"); ws.Subprotocol() != "derp" {
		t.Fatalf("subprotocol %q", ws.Subprotocol())
	}
}

func TestUpgradeToWebSocketWithoutProtocolIsRawDERP(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, headers := range []string{"Upgrade: WebSocket\r\n", "Upgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\n", "Upgrade: websocket\r\nSec-WebSocket-Protocol: DERP\r\n"} {
		w := r.upgradeRaw(t, "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"+headers+"\r\n")
		w.handshake(wireOptions{})
		w.alive()
	}
}

func TestTheWebSocketHandshakeFollowsTheRFC(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	nonce := base64.StdEncoding.EncodeToString(randomBytes(16))
	head := func(lines ...string) *http.Response {
		t.Helper()
		conn := r.dial(t)
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "%s\r\nHost: x\r\nSec-WebSocket-Protocol: derp\r\n%s\r\n\r\n", lines[0], strings.Join(lines[1:], "\r\n"))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		return response
	}
	// The example of RFC 6455 section 1.3.
	good := head("GET /derp HTTP/1.1", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	if good.StatusCode != 101 || good.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || good.Header.Get("Sec-WebSocket-Protocol") != "derp" {
		t.Errorf("got %s %v", good.Status, good.Header)
	}
	for name, lines := range map[string][]string{
		"no key":        {"GET /derp HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"},
		"bad key":       {"GET /derp HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"},
		"version 12":    {"GET /derp HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: " + nonce},
		"no Connection": {"GET /derp HTTP/1.1", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce},
		"POST":          {"POST /derp HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce},
	} {
		if response := head(lines...); response.StatusCode < 400 || response.StatusCode > 499 {
			t.Errorf("%s: %s", name, response.Status)
		} else {
			t.Logf("%s: %s", name, response.Status)
		}
	}
}

func TestAWebSocketClientIsClosedWithinTheProtocol(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinWebSocket(t)
	// A SendPacket too short for its key ends the connection; the WebSocket must end with a close frame.
	w.write(encode(derp.FrameSendPacket, randomBytes(31)))
	w.expectClosed(patience)
	// derper closes with 1000, which the stream shows as EOF.
	if code := websocket.CloseStatus(w.endErr); code == -1 && w.endErr != io.EOF {
		t.Fatalf("ended without a close frame: %v", w.endErr)
	}
}

func TestAWebSocketPeersDepartureIsTold(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, leave := range map[string]func(ws *websocket.Conn){
		"normal close": func(ws *websocket.Conn) { ws.Close(websocket.StatusNormalClosure, "") },
		"going away":   func(ws *websocket.Conn) { ws.Close(websocket.StatusGoingAway, "") },
		"cut":          func(ws *websocket.Conn) { ws.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, b := r.dialWebSocket(t, "derp"), r.joinPlainly(t)
			conn := stream(ws)
			w := newWire(t, r, conn, bufio.NewReader(conn), key.NodePrivate{})
			w.handshake(wireOptions{})
			w.sendTo(b.pub, []byte("x"))
			b.expectPacket(w.pub, []byte("x"))
			leave(ws)
			b.expectGone(w.pub, derp.PeerGoneReasonDisconnected)
		})
	}
}
