package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tailscale.com/derp"
)

// narrow dials with a small receive buffer, so that a receiver that stops reading is felt soon.
func (r *relay) narrow(t testing.TB) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) })
	}}
	tcp, err := dialer.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.secure(tcp, insecure())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// numbered is a packet of one class that carries its number and can be checked on arrival.
func numbered(disco bool, n uint32, size int) []byte {
	start := []byte{4, 0, 0, 0, 0, 0}
	if disco {
		start = []byte(discoMagic)
	}
	packet := append(binary.BigEndian.AppendUint32(start, n), bytes.Repeat([]byte{byte(n)}, size)...)
	sum := sha256.Sum256(packet)
	return append(packet, sum[:]...)
}

// checkNumbered checks a packet is whole and returns its class and number.
func checkNumbered(t *testing.T, packet []byte) (disco bool, n uint32) {
	t.Helper()
	body, sum := packet[:len(packet)-32], packet[len(packet)-32:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		t.Fatalf("a packet of %d bytes is damaged", len(packet))
	}
	return bytes.HasPrefix(packet, []byte(discoMagic)), binary.BigEndian.Uint32(body[len(discoMagic):])
}

// orderOf checks that the numbers of each class only rise and returns how many packets came.
type orderOf struct {
	last  [2]int64
	count int
}

func newOrder() *orderOf { return &orderOf{last: [2]int64{-1, -1}} }

func (o *orderOf) check(t *testing.T, f frame) {
	t.Helper()
	if f.kind == derp.FrameKeepAlive || f.kind == derp.FramePeerGone {
		return
	}
	if f.kind != derp.FrameRecvPacket {
		t.Fatalf("unexpected %v", f)
	}
	disco, n := checkNumbered(t, f.payload[32:])
	class := 0
	if disco {
		class = 1
	}
	if int64(n) <= o.last[class] {
		t.Fatalf("packet %d after %d (disco %v)", n, o.last[class], disco)
	}
	o.last[class] = int64(n)
	o.count++
}

// flow sends numbered packets of both classes from a sender until told to stop.
func flow(w, to *wire, size int, pause time.Duration) (stop func() uint32) {
	var ended atomic.Bool
	finished := make(chan uint32)
	go func() {
		n := uint32(0)
		for ; !ended.Load(); n++ {
			raw := encode(derp.FrameSendPacket, raw32(to.pub), numbered(false, n, size))
			raw = append(raw, encode(derp.FrameSendPacket, raw32(to.pub), numbered(true, n, 60))...)
			if w.write(raw) != nil {
				break
			}
			time.Sleep(pause)
		}
		finished <- n
	}()
	return func() uint32 {
		ended.Store(true)
		return <-finished
	}
}

// roundTrips measures packets from a to b, one at a time, for a while.
func roundTrips(t *testing.T, a, b *wire, while time.Duration) []time.Duration {
	t.Helper()
	var times []time.Duration
	for end := time.Now().Add(while); time.Now().Before(end); {
		packet := randomBytes(200)
		start := time.Now()
		a.sendTo(b.pub, packet)
		b.expectPacket(a.pub, packet)
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times
}

// percentile of sorted times.
func percentile(times []time.Duration, p float64) time.Duration {
	return times[min(len(times)-1, int(float64(len(times))*p/100))]
}

// TestAStalledReceiverDoesNotHurtItsNeighbours runs alone, because it measures.
func TestAStalledReceiverDoesNotHurtItsNeighbours(t *testing.T) {
	r := startRelay(t, relayOptions{})
	a, b, sender := r.joinPlainly(t), r.joinPlainly(t), r.joinPlainly(t)
	stalled := r.join(t, wireOptions{conn: r.narrow(t)})
	roundTrips(t, a, b, 100*time.Millisecond)
	before := roundTrips(t, a, b, time.Second)
	stalled.gate.Lock()
	defer stalled.gate.Unlock()
	// Large packets fill the kernel's buffers within some 100 ms; the whole stays below the write timeout.
	stop := flow(sender, stalled, 20000, time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	during := roundTrips(t, a, b, time.Second)
	// Who sends to the stalled receiver is a neighbour, too.
	own := roundTrips(t, a, sender, 200*time.Millisecond)
	sent := stop()
	t.Logf("beside a stalled receiver of %d packets: before p50 %v p99 %v, during p50 %v p99 %v, to its sender p99 %v", 2*sent,
		percentile(before, 50), percentile(before, 99), percentile(during, 50), percentile(during, 99), percentile(own, 99))
	if bound := max(50*time.Millisecond, 20*percentile(before, 99)); percentile(during, 99) > bound || percentile(own, 99) > bound {
		t.Errorf("p99 beside a stalled receiver is %v and %v, want at most %v", percentile(during, 99), percentile(own, 99), bound)
	}
}

// TestAReceiverThatResumesGetsOnlyRightPackets stops reading for less than the write timeout.
func TestAReceiverThatResumesGetsOnlyRightPackets(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	sender := r.joinPlainly(t)
	stalled := r.join(t, wireOptions{conn: r.narrow(t)})
	order := newOrder()
	for range 3 {
		stalled.gate.Lock()
		stop := flow(sender, stalled, 20000, 500*time.Microsecond)
		time.Sleep(900 * time.Millisecond)
		stalled.gate.Unlock()
		sent := stop()
		for pending := true; pending; {
			select {
			case f, ok := <-stalled.incoming:
				if !ok {
					t.Fatalf("cut although it resumed within the timeout: %v", stalled.endErr)
				}
				order.check(t, f)
			case <-time.After(2 * quiet):
				pending = false
			}
		}
		t.Logf("%d of %d packets arrived", order.count, 2*sent)
		if order.count == 0 {
			t.Fatal("nothing arrived")
		}
		order = newOrder()
	}
	sender.sendTo(stalled.pub, []byte("fresh"))
	stalled.expectPacket(sender.pub, []byte("fresh"))
}

// TestAReceiverThatNeverReadsIsCut keeps sending until the relay gives up.
func TestAReceiverThatNeverReadsIsCut(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	sender, witness := r.joinPlainly(t), r.joinPlainly(t)
	stalled := r.join(t, wireOptions{conn: r.narrow(t)})
	stalled.sendTo(witness.pub, []byte("here"))
	witness.expectPacket(stalled.pub, []byte("here"))
	stalled.gate.Lock()
	start := time.Now()
	stop := flow(sender, stalled, 20000, time.Millisecond)
	select {
	case f := <-witness.incoming:
		if want := append(raw32(stalled.pub), 0); f.kind != derp.FramePeerGone || !bytes.Equal(f.payload, want) {
			t.Fatalf("unexpected %v", f)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not cut after 20 s")
	}
	cut := time.Since(start)
	t.Logf("cut after %v", cut)
	if cut < 1500*time.Millisecond {
		t.Errorf("cut after %v, want at least the write timeout of 2 s", cut)
	}
	stop()
	stalled.gate.Unlock()
	order := newOrder()
	for _, f := range stalled.expectClosed(patience) {
		order.check(t, f)
	}
	t.Logf("%d packets were right before the cut", order.count)
	eventually(t, patience, func() error {
		if got := r.metrics(t)["derp_sclient_write_timeouts"]; got != 1 {
			return fmt.Errorf("%v write timeouts counted, want 1", got)
		}
		return nil
	})
	// Disco to the one that was cut is answered with PeerGone.
	sender.barrier()
}

// TestTheWriteTimeoutFlagIsObeyed compares a short timeout with none.
func TestTheWriteTimeoutFlagIsObeyed(t *testing.T) {
	t.Parallel()
	for flag, cuts := range map[string]bool{"300ms": true, "0": false} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{args: []string{"-tcp-write-timeout=" + flag}})
			sender := r.joinPlainly(t)
			stalled := r.join(t, wireOptions{conn: r.narrow(t)})
			stalled.gate.Lock()
			stop := flow(sender, stalled, 20000, time.Millisecond)
			gone := func() bool { return r.metrics(t)["derp_clients_local"] == 1 }
			deadline := time.Now().Add(5 * time.Second)
			if cuts {
				// Under load the kernel's buffers fill slowly.
				deadline = deadline.Add(15 * time.Second)
			}
			for !gone() && time.Now().Before(deadline) {
				time.Sleep(50 * time.Millisecond)
			}
			if gone() != cuts {
				t.Errorf("cut: %v, want %v", gone(), cuts)
			}
			stop()
			stalled.gate.Unlock()
		})
	}
}
