package interop

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"ferry.test/interop/kit"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// linkPatience covers derper's fixed 5 s between attempts to reach a meshed relay.
const linkPatience = 15 * time.Second

// meshedPair starts two relays of one region that dial each other; second is the partner's binary, empty for the one under test.
func meshedPair(t *testing.T, second string) [2]*relay {
	t.Helper()
	mesh := newMeshKey(t)
	ports := [2]int{kit.FreePort(t), kit.FreePort(t)}
	var pair [2]*relay
	for i, binary := range []string{"", second} {
		// Both list both, as operators do: a relay must recognise itself.
		with := fmt.Sprintf("localhost:%d/127.0.0.1,localhost:%d/127.0.0.1", ports[0], ports[1])
		pair[i] = startRelay(t, relayOptions{hostname: "localhost", meshKey: mesh, port: ports[i], binary: binary, args: []string{"-mesh-with", with}})
	}
	for i, r := range pair {
		awaitLink(t, r, pair[1-i])
	}
	return pair
}

// awaitLink waits until from knows the clients of to.
func awaitLink(t *testing.T, from, to *relay) {
	t.Helper()
	a, b := from.joinPlainly(t), to.joinPlainly(t)
	eventually(t, linkPatience, func() error {
		a.sendTo(b.pub, discoPacket(100))
		select {
		case f := <-b.incoming:
			if f.kind != derp.FrameRecvPacket {
				t.Fatalf("unexpected %v", f)
			}
			return nil
		case <-time.After(100 * time.Millisecond):
			return fmt.Errorf("%s does not reach %s", from.addr, to.addr)
		}
	})
	a.leave()
	b.leave()
}

// partners are the binaries to mesh with: another relay of the same kind and, for ferry, a derper.
func partners(t *testing.T) map[string]string {
	t.Helper()
	if under == derper {
		return map[string]string{"derper": ""}
	}
	path, err := tools.build("derper")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"ferry": "", "derper": path}
}

func TestMeshedRelaysForwardBothWays(t *testing.T) {
	t.Parallel()
	for name, second := range partners(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := meshedPair(t, second)
			a, b := pair[0].joinPlainly(t), pair[1].joinPlainly(t)
			reaches(t, a, b)
			reaches(t, b, a)
			for _, size := range []int{0, 1, 62, 1400, 65000, 65536} {
				packet := randomBytes(size)
				a.sendTo(b.pub, packet)
				b.expectPacket(a.pub, packet)
				b.sendTo(a.pub, packet)
				a.expectPacket(b.pub, packet)
			}
			for i := range 500 {
				a.sendTo(b.pub, []byte{byte(i)})
				b.expectPacket(a.pub, []byte{byte(i)})
			}
			b.leave()
			a.expectGone(b.pub, derp.PeerGoneReasonDisconnected)
		})
	}
}

// reaches waits until a packet of from arrives at to: presence travels between relays in its own time, well below 100 ms.
func reaches(t *testing.T, from, to *wire) {
	t.Helper()
	start := time.Now()
	mark := randomBytes(20)
	eventually(t, patience, func() error {
		from.sendTo(to.pub, mark)
		select {
		case f := <-to.incoming:
			if f.kind != derp.FrameRecvPacket || !bytes.Equal(f.payload, append(raw32(from.pub), mark...)) {
				t.Fatalf("unexpected %v", f)
			}
			return nil
		case <-time.After(50 * time.Millisecond):
			return fmt.Errorf("packet does not arrive")
		}
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("presence took %v to travel", took)
	}
	// Earlier copies may still be under way; they end before a quiet moment.
	for {
		select {
		case <-to.incoming:
		case <-time.After(quiet):
			return
		}
	}
}

func TestALocalConnectionBeatsAForwarder(t *testing.T) {
	t.Parallel()
	for name, second := range partners(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := meshedPair(t, second)
			sender, far := pair[0].joinPlainly(t), pair[1].joinPlainly(t)
			reaches(t, sender, far)
			near := pair[0].join(t, wireOptions{private: far.private})
			sender.sendTo(near.pub, []byte("near"))
			near.expectPacket(sender.pub, []byte("near"))
			far.expectQuiet()
			near.leave()
			movesTo(t, sender, far)
			far.leave()
			sender.expectQuiet()
		})
	}
}

func TestLosingAMeshedRelayMeansItsClientsAreGone(t *testing.T) {
	t.Parallel()
	for name, second := range partners(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := meshedPair(t, second)
			a, d := pair[0].joinPlainly(t), pair[1].joinPlainly(t)
			reaches(t, d, a)
			reaches(t, a, d)
			pair[1].kill()
			a.expectGone(d.pub, derp.PeerGoneReasonDisconnected)
			a.sendTo(d.pub, discoPacket(100))
			a.expectGone(d.pub, derp.PeerGoneReasonNotHere)
		})
	}
}

func TestMeshedRelaysCountEachOthersClients(t *testing.T) {
	t.Parallel()
	for name, second := range partners(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := meshedPair(t, second)
			before := pair[0].metrics(t)
			a, b := pair[0].joinPlainly(t), pair[1].joinPlainly(t)
			reaches(t, a, b)
			pair[0].expectMoves(t, before, map[string]float64{"derp_clients_total": 2, "derp_clients_local": 1, "derp_clients_remote": 1})
			if now := pair[0].metrics(t); now["derp_packets_forwarded_out"] <= before["derp_packets_forwarded_out"] {
				t.Error("derp_packets_forwarded_out does not move")
			}
			nobody := key.NewNode().Public()
			a.sendTo(nobody, discoPacket(100))
			a.expectGone(nobody, derp.PeerGoneReasonNotHere)
		})
	}
}
