package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"tailscale.com/derp"
)

// TestHalfOpenConnectionsEndAtTheirDeadlines opens many connections that stop at every stage, and watches that each is closed at its
// deadline, not before and not after, while new clients join as fast as ever.
func TestHalfOpenConnectionsEndAtTheirDeadlines(t *testing.T) {
	t.Parallel()
	r, plain := startRelay(t, relayOptions{}), startRelay(t, relayOptions{plain: true})
	const each = 10
	stages := map[string]struct {
		// open brings a connection to its stage.
		open func() net.Conn
		// deadline is when derper closes it.
		deadline time.Duration
	}{
		"silent before TLS": {func() net.Conn { return r.dialTCP(t) }, 30 * time.Second},
		"half a ClientHello": {func() net.Conn {
			conn := r.dialTCP(t)
			conn.Write([]byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3})
			return conn
		}, 30 * time.Second},
		"silent before the request": {func() net.Conn { return r.dial(t) }, 30 * time.Second},
		"half a request":            {func() net.Conn { return typed(r.dial(t), "GET /derp HTTP/1.1\r\nHost: x\r\nUpgr") }, 30 * time.Second},
		"a head byte by byte": {func() net.Conn {
			conn := r.dial(t)
			go func() {
				for i := 0; ; i++ {
					if _, err := fmt.Fprintf(conn, "%c", "GET /derp HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[min(i, 70)]); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			return conn
		}, 30 * time.Second},
		"plain, silent": {func() net.Conn { return plain.dialTCP(t) }, 30 * time.Second},
		"no ClientInfo": {func() net.Conn { return typed(r.dial(t), upgradeHead) }, 10 * time.Second},
		"no ClientInfo after fast start": {func() net.Conn {
			return typed(r.dial(t), "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n")
		}, 10 * time.Second},
		"half a ClientInfo": {func() net.Conn {
			return typed(r.dial(t), upgradeHead+string(header(derp.FrameClientInfo, 104))+string(randomBytes(50)))
		}, 10 * time.Second},
		"plain, no ClientInfo":     {func() net.Conn { return typed(plain.dialTCP(t), upgradeHead) }, 10 * time.Second},
		"WebSocket, no ClientInfo": {func() net.Conn { return stream(r.dialWebSocket(t, "derp")) }, 10 * time.Second},
	}
	type end struct {
		stage string
		after time.Duration
	}
	ends := make(chan end, each*len(stages))
	opened := 0
	for name, stage := range stages {
		for range each {
			conn := stage.open()
			start := time.Now()
			opened++
			go func() {
				conn.SetReadDeadline(start.Add(45 * time.Second))
				io.Copy(io.Discard, conn)
				conn.Close()
				ends <- end{name, time.Since(start)}
			}()
		}
	}
	joins := []time.Duration{}
	for opened > 0 {
		select {
		case e := <-ends:
			opened--
			// A slow machine may be late by seconds, never early.
			if want := stages[e.stage].deadline; e.after < want-1500*time.Millisecond || e.after > want+5*time.Second {
				t.Errorf("%s: closed after %v, want %v", e.stage, e.after.Round(10*time.Millisecond), want)
			}
		case <-time.After(200 * time.Millisecond):
			start := time.Now()
			w := r.joinPlainly(t)
			w.alive()
			joins = append(joins, time.Since(start))
			w.leave()
		}
	}
	slices.Sort(joins)
	t.Logf("%d joins beside the half-open connections: median %v, worst %v", len(joins), joins[len(joins)/2], joins[len(joins)-1])
	if worst := joins[len(joins)*95/100]; worst > 2*time.Second {
		t.Errorf("95%% of joins took up to %v", worst)
	}
	r.awaitConnections(t, 0)
}

// upgradeHead is the ordinary upgrade request.
const upgradeHead = "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"

// typed writes text and returns the connection.
func typed(conn net.Conn, text string) net.Conn {
	io.WriteString(conn, text)
	return conn
}

// TestAConnectedClientMayStaySilent checks that the deadlines of the handshake end with it.
func TestAConnectedClientMayStaySilent(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dialTLS(t, &tls.Config{MaxVersion: tls.VersionTLS12})
	clients := []*wire{r.joinPlainly(t), r.joinWebSocket(t), r.join(t, wireOptions{conn: conn})}
	half := r.joinPlainly(t)
	// A frame may take its time, too: derper has no read timeout.
	half.write(append(header(derp.FrameSendPacket, 132), raw32(half.pub)...))
	time.Sleep(35 * time.Second)
	for _, w := range clients {
		w.alive()
	}
	half.write(make([]byte, 100))
	half.expectPacket(half.pub, make([]byte, 100))
}

// TestAnIdleHTTPConnectionEnds checks that a kept connection without requests is closed.
func TestAnIdleHTTPConnectionEnds(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dial(t)
	br := bufio.NewReader(conn)
	fmt.Fprint(conn, "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n")
	start := time.Now()
	conn.SetReadDeadline(start.Add(45 * time.Second))
	if _, err := io.Copy(io.Discard, br); isTimeout(err) {
		t.Fatal("still open after 45 s")
	}
	if after := time.Since(start); after < 20*time.Second {
		t.Fatalf("closed after %v, want about 30 s", after)
	}
}
