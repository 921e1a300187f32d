package interop

import (
	"fmt"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

func TestDiscoToNobodyIsAnsweredThreeTimesThenOncePerSecond(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, nobody := r.joinPlainly(t), key.NewNode().Public()
	burst := func() {
		var stream []byte
		for range 5 {
			stream = append(stream, encode(derp.FrameSendPacket, raw32(nobody), discoPacket(62))...)
		}
		if err := a.write(stream); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	burst()
	for range 3 {
		a.expectGone(nobody, derp.PeerGoneReasonNotHere)
	}
	a.expectQuiet()
	time.Sleep(time.Until(start.Add(1100 * time.Millisecond)))
	burst()
	a.expectGone(nobody, derp.PeerGoneReasonNotHere)
	if time.Since(start) < 1900*time.Millisecond-quiet {
		a.expectQuiet()
	}
}

func TestOnlyDiscoPacketsAreAnsweredWithPeerGone(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, check := range map[string]struct {
		packet []byte
		disco  bool
	}{
		"61 bytes with the magic":    {discoPacket(61), false},
		"62 bytes with the magic":    {discoPacket(62), true},
		"1400 bytes with the magic":  {discoPacket(1400), true},
		"65536 bytes with the magic": {discoPacket(65536), true},
		"magic one byte late":        {append([]byte{0}, discoPacket(100)...), false},
		"last magic byte wrong":      {append([]byte(discoMagic[:5]+"\xad"), make([]byte, 100)...), false},
		"WireGuard":                  {randomBytes(148), false},
		"empty":                      {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, nobody := r.joinPlainly(t), key.NewNode().Public()
			a.sendTo(nobody, check.packet)
			if check.disco {
				a.expectGone(nobody, derp.PeerGoneReasonNotHere)
			} else {
				a.expectQuiet()
			}
		})
	}
}

func TestDiscoToTheZeroKeyIsAnsweredWithPeerGone(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a := r.joinPlainly(t)
	a.sendTo(key.NodePublic{}, discoPacket(100))
	a.expectGone(key.NodePublic{}, derp.PeerGoneReasonNotHere)
}

func TestReceiversOfALeavingPeerAreTold(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for name, packet := range map[string][]byte{"other": randomBytes(10), "disco": discoPacket(100), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, c := r.joinPlainly(t), r.joinPlainly(t), r.joinPlainly(t)
			a.sendTo(b.pub, packet)
			b.expectPacket(a.pub, packet)
			b.sendTo(c.pub, packet)
			c.expectPacket(b.pub, packet)
			a.leave()
			b.expectGone(a.pub, derp.PeerGoneReasonDisconnected)
			b.expectQuiet()
			c.expectQuiet()
		})
	}
}

func TestTheGoClientLearnsOfALeavingPeer(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.connect(t, peerOptions{}), r.connect(t, peerOptions{})
	a.send(b.pub, []byte("x"))
	b.nextPacket(a.pub)
	a.client.Close()
	gone := await[derp.PeerGoneMessage](b)
	if gone.Peer != a.pub || gone.Reason != derp.PeerGoneReasonDisconnected {
		t.Fatalf("got %v", gone)
	}
	b.send(a.pub, discoPacket(90))
	gone = await[derp.PeerGoneMessage](b)
	if gone.Peer != a.pub || gone.Reason != derp.PeerGoneReasonNotHere {
		t.Fatalf("got %v", gone)
	}
}

func TestASecondDepartureMayBeToldAgain(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	a.sendTo(b.pub, []byte("one"))
	b.expectPacket(a.pub, []byte("one"))
	a.leave()
	b.expectGone(a.pub, derp.PeerGoneReasonDisconnected)
	again := r.join(t, wireOptions{private: a.private})
	again.sendTo(b.pub, []byte("two"))
	b.expectPacket(a.pub, []byte("two"))
	again.leave()
	select {
	case f := <-b.incoming:
		if want := fmt.Sprintf("%x00", raw32(a.pub)); fmt.Sprintf("%x", f.payload) != want || f.kind != derp.FramePeerGone {
			t.Fatalf("want PeerGone or nothing, got %v", f)
		}
		if under == derper {
			t.Fatal("derper told twice; the specification says it does not")
		}
		deviated(t, "PeerGone(Disconnected) is armed again after it was sent")
	case <-time.After(2 * quiet):
	}
	b.alive()
}

func TestNobodyIsToldWhenOneOfTwoConnectionsLeaves(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	old, b := r.joinPlainly(t), r.joinPlainly(t)
	young := r.join(t, wireOptions{private: old.private})
	for _, w := range []*wire{old, young} {
		w.sendTo(b.pub, []byte("x"))
		b.expectPacket(old.pub, []byte("x"))
	}
	young.leave()
	b.expectQuiet()
	old.leave()
	b.expectGone(old.pub, derp.PeerGoneReasonDisconnected)
	b.expectQuiet()
}

func TestDiscoToAPeerThatLeftIsAnsweredWithNotHere(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	a.sendTo(b.pub, discoPacket(100))
	b.expectPacket(a.pub, discoPacket(100))
	b.leave()
	// A only sent to B and got nothing from it, so it is not told of the departure.
	a.expectQuiet()
	a.sendTo(b.pub, discoPacket(100))
	a.expectGone(b.pub, derp.PeerGoneReasonNotHere)
}
