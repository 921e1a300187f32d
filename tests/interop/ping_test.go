package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"tailscale.com/derp"
)

func TestPingIsAnsweredWithItsFirstEightBytes(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	for _, size := range []int{8, 9, 16, 100, 999, 1000} {
		data := randomBytes(size)
		w.send(derp.FramePing, data)
		if pong := w.expect(derp.FramePong); !bytes.Equal(pong, data[:8]) {
			t.Fatalf("pong %x for a ping of %d bytes %x", pong, size, data[:8])
		}
	}
}

func TestPipelinedPingsAreAnsweredAtLeastOnceAndNeverTwice(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	const sent = 100
	var stream []byte
	for i := range sent {
		stream = append(stream, encode(derp.FramePing, binary.BigEndian.AppendUint64(nil, uint64(i)))...)
	}
	if err := w.write(stream); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	count := func(f frame) {
		n := binary.BigEndian.Uint64(f.payload)
		if f.kind != derp.FramePong || n >= sent || seen[n] {
			t.Fatalf("unexpected frame %v", f)
		}
		seen[n] = true
	}
	count(w.next())
	for pending := true; pending; {
		select {
		case f := <-w.incoming:
			count(f)
		case <-time.After(quiet):
			pending = false
		}
	}
	t.Logf("%d pongs for %d pipelined pings", len(seen), sent)
	w.alive()
}

func TestTheGoClientsPingWorks(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	p := r.connect(t, peerOptions{})
	for range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := p.client.Ping(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPongsOfAClientAreIgnored(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	for _, size := range []int{0, 7, 8, 1001} {
		w.send(derp.FramePong, randomBytes(size))
		w.alive()
	}
}

func TestNotePreferredCountsHomeConnections(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	home := func(want float64) {
		t.Helper()
		eventually(t, patience, func() error {
			if got := r.metrics(t)["derp_current_home_connections"]; got != want {
				return fmt.Errorf("%v home connections, want %v", got, want)
			}
			return nil
		})
	}
	w := r.joinPlainly(t)
	home(0)
	for _, step := range []struct {
		value byte
		want  float64
	}{{1, 1}, {1, 1}, {0, 0}, {0, 0}, {0xff, 1}, {1, 1}, {0, 0}, {2, 1}} {
		w.send(derp.FrameNotePreferred, []byte{step.value})
		w.alive()
		home(step.want)
	}
	p := r.connect(t, peerOptions{})
	p.client.NotePreferred(true)
	home(2)
	p.client.Close()
	home(1)
	w.leave()
	home(0)
}

func TestHomeMovesCountFiveSecondsAfterConnecting(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	w := r.joinPlainly(t)
	w.send(derp.FrameNotePreferred, []byte{1})
	w.alive()
	moves := func(in, out float64) {
		t.Helper()
		m := r.metrics(t)
		if m["derp_home_moves_in"] != in || m["derp_home_moves_out"] != out {
			t.Fatalf("home moves in %v out %v, want %v %v", m["derp_home_moves_in"], m["derp_home_moves_out"], in, out)
		}
	}
	moves(0, 0)
	time.Sleep(5200 * time.Millisecond)
	w.send(derp.FrameNotePreferred, []byte{0})
	w.alive()
	moves(0, 1)
	w.send(derp.FrameNotePreferred, []byte{1})
	w.alive()
	moves(1, 1)
}
