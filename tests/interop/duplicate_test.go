package interop

import (
	"fmt"
	"testing"
	"time"

	"tailscale.com/derp"
)

// speech are the inbound frames after which a duplicate connection must be the active one: every type counts, even unknown ones.
var speech = map[string][]byte{
	"unknown type 00": encode(0x00),
	"ServerKey":       encode(derp.FrameServerKey, randomBytes(40)),
	"ClientInfo":      encode(derp.FrameClientInfo, randomBytes(80)),
	"ServerInfo":      encode(derp.FrameServerInfo, randomBytes(53)),
	"SendPacket":      encode(derp.FrameSendPacket, make([]byte, 32)),
	"RecvPacket":      encode(derp.FrameRecvPacket, make([]byte, 40)),
	"KeepAlive":       encode(derp.FrameKeepAlive),
	"NotePreferred":   encode(derp.FrameNotePreferred, []byte{1}),
	"PeerGone":        encode(derp.FramePeerGone, make([]byte, 33)),
	"PeerPresent":     encode(derp.FramePeerPresent, make([]byte, 51)),
	"Ping":            encode(derp.FramePing, make([]byte, 8)),
	"Pong":            encode(derp.FramePong, make([]byte, 8)),
	"Health":          encode(derp.FrameHealth, []byte("dup")),
	"Restarting":      encode(derp.FrameRestarting, make([]byte, 8)),
	"unknown type ff": encode(0xff, randomBytes(5000)),
}

func TestAnyFrameMakesADuplicateTheReceiver(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, raw := range speech {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender, old := r.joinPlainly(t), r.joinPlainly(t)
			young := r.join(t, wireOptions{private: old.private})
			// The answer to a Ping may come before or after a packet: derper takes from its queues of both in no order.
			old.deafToPongs.Store(true)
			young.deafToPongs.Store(true)
			receives(t, sender, young, old)
			for _, pair := range [][2]*wire{{old, young}, {young, old}, {old, young}} {
				if err := pair[0].write(raw); err != nil {
					t.Fatal(err)
				}
				becomesReceiver(t, sender, pair[0], pair[1])
			}
		})
	}
}

// receives checks that a packet for the key of active and other arrives at active alone.
func receives(t *testing.T, sender, active, other *wire) {
	t.Helper()
	mark := randomBytes(16)
	sender.sendTo(active.pub, mark)
	active.expectPacket(sender.pub, mark)
	select {
	case f := <-other.incoming:
		t.Fatalf("the inactive duplicate also got %v", f)
	default:
	}
}

// becomesReceiver sends packets until one arrives at active: nothing tells when the relay has read what active said. Then it must stay so.
func becomesReceiver(t *testing.T, sender, active, other *wire) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for arrived := false; !arrived; {
		if time.Now().After(deadline) {
			t.Fatal("the speaking duplicate got no packet")
		}
		sender.sendTo(active.pub, []byte("probe"))
		select {
		case f := <-active.incoming:
			arrived = f.kind == derp.FrameRecvPacket
		case <-other.incoming:
		case <-time.After(patience):
			t.Fatal("neither duplicate got the packet")
		}
	}
	receives(t, sender, active, other)
}

func TestBothDuplicatesMaySend(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	old, b := r.joinPlainly(t), r.joinPlainly(t)
	young := r.join(t, wireOptions{private: old.private})
	for i := range 10 {
		w := []*wire{old, young}[i%2]
		w.sendTo(b.pub, []byte{byte(i)})
		b.expectPacket(old.pub, []byte{byte(i)})
	}
}

func TestTheLastSpeakerIsNextWhenTheReceiverLeaves(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	sender, a := r.joinPlainly(t), r.joinPlainly(t)
	b := r.join(t, wireOptions{private: a.private})
	c := r.join(t, wireOptions{private: a.private})
	receives(t, sender, c, a)
	a.alive()
	receives(t, sender, a, c)
	b.alive()
	receives(t, sender, b, a)
	b.leave()
	movesTo(t, sender, a)
	receives(t, sender, a, c)
	a.leave()
	movesTo(t, sender, c)
	c.alive()
}

// movesTo sends packets until one arrives at w, after another connection of its key left.
func movesTo(t *testing.T, sender, w *wire) {
	t.Helper()
	eventually(t, patience, func() error {
		sender.sendTo(w.pub, []byte("probe"))
		select {
		case f := <-w.incoming:
			if f.kind != derp.FrameRecvPacket {
				t.Fatalf("unexpected %v", f)
			}
			return nil
		case <-time.After(20 * time.Millisecond):
			return fmt.Errorf("packets do not move to the remaining connection")
		}
	})
	for range 50 {
		select {
		case <-w.incoming:
		case <-time.After(20 * time.Millisecond):
			return
		}
	}
}

func TestOneOfTwoDuplicatesLeavingKeepsTheOther(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"older", "newer"} {
		t.Run(first+" leaves", func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{})
			sender, old := r.joinPlainly(t), r.joinPlainly(t)
			young := r.join(t, wireOptions{private: old.private})
			leaves, stays := old, young
			if first == "newer" {
				leaves, stays = young, old
			}
			leaves.leave()
			movesTo(t, sender, stays)
			stays.alive()
			third := r.join(t, wireOptions{private: old.private})
			receives(t, sender, third, stays)
			stays.alive()
			receives(t, sender, stays, third)
		})
	}
}

func TestTwoGoClientsWithOneKeyWorkInTurn(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.connect(t, peerOptions{}), r.connect(t, peerOptions{})
	again := r.connect(t, peerOptions{private: a.private})
	b.send(a.pub, []byte("to the newer"))
	again.nextPacket(b.pub)
	a.send(b.pub, []byte("i speak"))
	b.nextPacket(a.pub)
	b.send(a.pub, []byte("to the speaker"))
	a.nextPacket(b.pub)
}
