package link

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestAPacketComesOutAfterTheDelayAndNotBefore(t *testing.T) {
	line := NewLine(Direction{Delay: 20 * ms, QueueBytes: 1 << 20})
	push(line, 3*ms, 100, 0)
	if due, any := line.Due(); !any || due != 23*ms {
		t.Fatalf("due at %v (%v), want 23 ms", due, any)
	}
	if packet := line.Pop(23*ms - 1); packet != nil {
		t.Fatal("came out a nanosecond early")
	}
	if packet := line.Pop(24 * ms); len(packet) != 100 {
		t.Fatalf("%d bytes came out, want 100", len(packet))
	}
	if late := line.Stats.Late.Most(); late != ms {
		t.Fatalf("late by %v, want 1 ms", late)
	}
	if _, any := line.Due(); any {
		t.Fatal("something is left")
	}
}

// Through many turns of the ring, with lengths that leave gaps of every kind at its end: everything in order and untouched.
func TestOrderAndBytesAreKept(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 0))
	line := NewLine(Direction{Delay: 5 * ms, QueueBytes: 1 << 20})
	var now time.Duration
	var sent, received uint64
	for sent < 20_000 {
		now += time.Duration(chance.IntN(int(ms)))
		for packet := line.Pop(now); packet != nil; packet = line.Pop(now) {
			expectNumber(t, packet, received)
			received++
		}
		dropped := line.Stats.Dropped
		push(line, now, 8+chance.IntN(PacketBytesMax-7), sent)
		if line.Stats.Dropped == dropped {
			sent++
		}
	}
	for packet := line.Pop(now + time.Second); packet != nil; packet = line.Pop(now + time.Second) {
		expectNumber(t, packet, received)
		received++
	}
	if received != sent || line.Stats.Packets != sent {
		t.Fatalf("%d received, %d counted, %d sent", received, line.Stats.Packets, sent)
	}
}

func TestWhatExceedsTheBoundIsDroppedFromTheTail(t *testing.T) {
	line := NewLine(Direction{Delay: 20 * ms, QueueBytes: 10_000})
	for number := range uint64(12) {
		push(line, 0, 1_000, number)
	}
	if line.Stats.Dropped != 2 || line.Stats.QueuedMost != 10_000 {
		t.Fatalf("%d dropped, at most %d bytes queued, want 2 and 10000", line.Stats.Dropped, line.Stats.QueuedMost)
	}
	for number := range uint64(10) {
		expectNumber(t, line.Pop(20*ms), number)
	}
	push(line, 20*ms, 1_000, 0)
	if line.Stats.Dropped != 2 {
		t.Fatal("dropped although there is room again")
	}
}

// So many small packets that the slots have to grow while the ring is in mid-turn.
func TestABoundInBytesHoldsAnyNumberOfSmallPackets(t *testing.T) {
	line := NewLine(Direction{QueueBytes: 1 << 20})
	var sent, received uint64
	for range 600 {
		push(line, 0, 50, sent)
		sent++
	}
	for range 500 {
		expectNumber(t, line.Pop(0), received)
		received++
	}
	for range 10_000 {
		push(line, 0, 50, sent)
		sent++
	}
	for packet := line.Pop(0); packet != nil; packet = line.Pop(0) {
		expectNumber(t, packet, received)
		received++
	}
	if received != sent || line.Stats.Dropped != 0 {
		t.Fatalf("%d of %d received, %d dropped", received, sent, line.Stats.Dropped)
	}
}

func TestARateLetsPacketsLeaveOneAfterTheOther(t *testing.T) {
	line := NewLine(Direction{Delay: 20 * ms, QueueBytes: 1 << 20, BitsPerSecond: 8e6})
	for number := range uint64(3) {
		push(line, 0, headerBytes+1_000, number)
	}
	for number := range uint64(3) {
		due, _ := line.Due()
		if want := 20*ms + time.Duration(number+1)*ms; due != want {
			t.Fatalf("packet %d due at %v, want %v", number, due, want)
		}
		expectNumber(t, line.Pop(due), number)
	}
	push(line, 50*ms, headerBytes+1_000, 3)
	if due, _ := line.Due(); due != 71*ms {
		t.Fatalf("after a pause due at %v, want 71 ms", due)
	}
}

func TestLossIsTheSameForTheSameSeed(t *testing.T) {
	lost := func(seed uint64) (count uint64, which []uint64) {
		line := NewLine(Direction{QueueBytes: 1 << 20, Loss: 0.01, Seed: seed})
		for number := range uint64(100_000) {
			push(line, 0, 100, number)
			if line.Pop(0) == nil {
				which = append(which, number)
			}
		}
		return line.Stats.Lost, which
	}
	count, which := lost(1)
	if count < 900 || count > 1_100 || uint64(len(which)) != count {
		t.Fatalf("%d lost, %d missing, want some 1000", count, len(which))
	}
	if _, again := lost(1); again[0] != which[0] || again[len(again)-1] != which[len(which)-1] {
		t.Fatal("the same seed loses others")
	}
	if _, other := lost(2); other[0] == which[0] && other[1] == which[1] {
		t.Fatal("another seed loses the same")
	}
}

func TestNothingIsAllocatedForAPacket(t *testing.T) {
	line := NewLine(Direction{Delay: ms, QueueBytes: 1 << 20, Loss: 0.01, BitsPerSecond: 1e9})
	var now time.Duration
	if each := testing.AllocsPerRun(10_000, func() {
		now += ms / 10
		push(line, now, 1_500, 0)
		line.Pop(now)
	}); each != 0 {
		t.Fatalf("%v allocations a packet", each)
	}
}

func TestAQuantileIsAtMostAStepTooHigh(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Fatal("a quantile of nothing")
	}
	for value := time.Duration(1); value <= 100_000; value++ {
		h.Add(value)
	}
	for share, want := range map[float64]time.Duration{0.00001: 1, 0.01: 1_000, 0.5: 50_000, 0.99: 99_000, 1: 100_000} {
		if got := h.Quantile(share); got < want || got > want+want/stepCount {
			t.Errorf("quantile %v is %d, want %d or at most a 16th more", share, got, want)
		}
	}
}

// push lets a packet with a number in; the number is at its beginning and its end.
func push(line *Line, now time.Duration, length int, number uint64) {
	room := line.Room()
	binary.BigEndian.PutUint64(room, number)
	binary.BigEndian.PutUint64(room[length-8:], number)
	line.Push(now, length)
}

// expectNumber looks at both places.
func expectNumber(t *testing.T, packet []byte, want uint64) {
	t.Helper()
	if packet == nil {
		t.Fatalf("no packet, want %d", want)
	}
	first, last := binary.BigEndian.Uint64(packet), binary.BigEndian.Uint64(packet[len(packet)-8:])
	if first != last && len(packet) >= 16 || last != want {
		t.Fatalf("packet is %d and %d, want %d", first, last, want)
	}
}
