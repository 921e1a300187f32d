package interop

import (
	"testing"
	"time"

	"tailscale.com/derp"
)

// TestAnIdleClientGetsKeepAlivesAndStays is the one long test: two keepalive periods, beside all others.
func TestAnIdleClientGetsKeepAlivesAndStays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes over two minutes")
	}
	t.Parallel()
	r := startRelay(t, relayOptions{})
	idle := r.joinPlainly(t)
	busy := r.joinPlainly(t)
	web := r.joinWebSocket(t)
	golang := r.connect(t, peerOptions{})
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
				busy.sendTo(busy.pub, []byte("busy"))
			}
		}
	}()
	type arrival struct {
		name  string
		nth   int
		after time.Duration
	}
	arrivals := make(chan arrival, 64)
	watch := func(name string, next func() bool) {
		last := time.Now()
		for nth := 1; nth <= 2; {
			if next() {
				arrivals <- arrival{name, nth, time.Since(last)}
				last = time.Now()
				nth++
			}
		}
	}
	// nextKind skips the busy client's own packets; a nil wait ends with the test.
	keepAliveOf := func(w *wire, kinds ...derp.FrameType) func() bool {
		return func() bool {
			f, ok := <-w.incoming
			if !ok {
				select {}
			}
			if f.kind == derp.FrameKeepAlive && len(f.payload) != 0 {
				t.Errorf("keepalive carries %d bytes", len(f.payload))
			}
			if f.kind != derp.FrameKeepAlive && f.kind != derp.FrameRecvPacket {
				t.Errorf("unexpected frame %v", f)
			}
			return f.kind == derp.FrameKeepAlive
		}
	}
	go watch("idle", keepAliveOf(idle))
	go watch("busy", keepAliveOf(busy))
	go watch("websocket", keepAliveOf(web))
	go watch("go client", func() bool {
		m, ok := <-golang.messages
		if !ok {
			select {}
		}
		_, keepAlive := m.(derp.KeepAliveMessage)
		return keepAlive
	})
	deadline := time.After(145 * time.Second)
	for range 4 * 2 {
		select {
		case a := <-arrivals:
			t.Logf("%s: keepalive %d after %v", a.name, a.nth, a.after.Round(10*time.Millisecond))
			if a.after < 59*time.Second || a.after > 68*time.Second {
				t.Errorf("%s: keepalive %d came after %v, want 60 s to 65 s", a.name, a.nth, a.after)
			}
		case <-deadline:
			t.Fatal("keepalives missing after 145 s")
		}
	}
	for _, w := range []*wire{idle, web} {
		w.alive()
	}
	golang.send(idle.pub, []byte("hello"))
	idle.expectPacket(golang.pub, []byte("hello"))
}
