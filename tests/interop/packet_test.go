package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// packetSizes are the sizes around every limit of the protocol and of usual buffers.
var packetSizes = []int{0, 1, 2, 31, 32, 33, 61, 62, 63, 64, 100, 500, 1199, 1200, 1280, 1400, 1500, 2000, 2048, 4055, 4059, 4060, 4096, 8192,
	16340, 16347, 16348, 16384, 16385, 32731, 32732, 32768, 32769, 40000, 65000, 65503, 65504, 65505, 65506, 65530, 65534, 65535, 65536}

func TestPacketsOfEverySizeArriveUnchanged(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(transportName(plain), func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{plain: plain})
			a, b := r.connect(t, peerOptions{}), r.connect(t, peerOptions{})
			for _, size := range packetSizes {
				for _, packet := range [][]byte{randomBytes(size), discoPacket(size)} {
					a.send(b.pub, packet)
					if got := b.nextPacket(a.pub); !bytes.Equal(got, packet) {
						t.Fatalf("packet of %d bytes arrived as %d other bytes", size, len(got))
					}
				}
			}
		})
	}
}

func transportName(plain bool) string {
	if plain {
		return "plain"
	}
	return "tls"
}

func TestPacketsOfOneClassStayInOrder(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.connect(t, peerOptions{}), r.connect(t, peerOptions{})
	// At most 24 in flight: queues of 32 must not drop.
	const rounds, flight = 100, 24
	for round := range rounds {
		for i := range flight {
			a.send(b.pub, binary.BigEndian.AppendUint32([]byte{4}, uint32(round*flight+i)))
		}
		for i := range flight {
			got := b.nextPacket(a.pub)
			if n := binary.BigEndian.Uint32(got[1:]); n != uint32(round*flight+i) {
				t.Fatalf("packet %d arrived in the place of %d", n, round*flight+i)
			}
		}
	}
}

func TestTwoClassesAreEachInOrder(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	for range 20 {
		for i := range 16 {
			a.sendTo(b.pub, []byte{4, byte(i)})
			disco := discoPacket(80)
			disco[79] = byte(i)
			a.sendTo(b.pub, disco)
		}
		var other, disco byte
		for range 32 {
			packet := b.expect(derp.FrameRecvPacket)[32:]
			next := &other
			if len(packet) == 80 {
				next = &disco
			}
			if got := packet[len(packet)-1]; got != *next {
				t.Fatalf("packet %d of %d bytes arrived when %d was due", got, len(packet), *next)
			}
			*next++
		}
	}
}

func TestAPacketToOneselfComesBack(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a := r.connect(t, peerOptions{})
	for _, packet := range [][]byte{{}, randomBytes(1400), discoPacket(100), randomBytes(65536)} {
		a.send(a.pub, packet)
		if got := a.nextPacket(a.pub); !bytes.Equal(got, packet) {
			t.Fatalf("packet of %d bytes came back as %d bytes", len(packet), len(got))
		}
	}
}

func TestPacketsToNobodyVanish(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, dst := range []key.NodePublic{key.NewNode().Public(), {}} {
		t.Run(fmt.Sprintf("zero=%v", dst.IsZero()), func(t *testing.T) {
			a := r.joinPlainly(t)
			for _, size := range []int{0, 1, 61, 62, 1400, 65536} {
				a.sendTo(dst, randomBytes(size))
			}
			a.alive()
			a.expectQuiet()
		})
	}
}

func TestManySendersReachOneReceiver(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	b := r.joinPlainly(t)
	senders := make([]*wire, 20)
	for i := range senders {
		senders[i] = r.joinPlainly(t)
	}
	for round := range 20 {
		inParallel(len(senders), func(i int) { senders[i].sendTo(b.pub, []byte{4, byte(round)}) })
		seen := map[string]bool{}
		for range senders {
			payload := b.expect(derp.FrameRecvPacket)
			if payload[33] != byte(round) {
				t.Fatalf("round %d got a packet of round %d", round, payload[33])
			}
			seen[string(payload[:32])] = true
		}
		if len(seen) != len(senders) {
			t.Fatalf("packets of %d senders, want %d", len(seen), len(senders))
		}
	}
}

func TestFramesSplitAnywhereAreUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	packet := randomBytes(100)
	stream := encode(derp.FrameSendPacket, raw32(b.pub), packet)
	for i := range stream {
		if err := a.write(stream[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	b.expectPacket(a.pub, packet)
	for cut := 1; cut < len(stream); cut += 7 {
		for _, part := range [][]byte{stream[:cut], stream[cut:]} {
			if err := a.write(part); err != nil {
				t.Fatal(err)
			}
		}
		b.expectPacket(a.pub, packet)
	}
}

func TestFramesInOneWriteAreAllUnderstood(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a, b := r.joinPlainly(t), r.joinPlainly(t)
	var stream []byte
	for i := range 20 {
		stream = append(stream, encode(derp.FrameSendPacket, raw32(b.pub), []byte{4, byte(i)})...)
		stream = append(stream, encode(0x77, randomBytes(i))...)
	}
	if err := a.write(stream); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		b.expectPacket(a.pub, []byte{4, byte(i)})
	}
}
