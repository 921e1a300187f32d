package link

import (
	"math/rand/v2"
	"time"
)

// PacketBytesMax is the longest packet that a TUN device hands over: a virtio header and 64 KiB of segments.
const PacketBytesMax = headerBytes + 65_535

// Direction is what one direction of a link does to packets.
type Direction struct {
	// Delay is how long a packet is under way.
	Delay time.Duration
	// QueueBytes bounds what is under way and what waits, together, virtio headers included. What comes when that is full is dropped.
	QueueBytes int
	// BitsPerSecond is how fast packets leave, one after the other, before they are delayed; 0 sets no limit.
	BitsPerSecond float64
	// Loss is the chance of each packet to be lost, 0 to 1.
	Loss float64
	// Seed decides which ones are lost.
	Seed uint64
}

// Line is one direction: a packet that went in comes out after the delay, in order. It moves no packet and reads no clock:
// times are since any moment, the same for all calls.
//
// Packets lie one behind the other in a ring that is made once.
type Line struct {
	// Fixed when made.
	direction Direction

	// ring holds the packets, and has room for two of the longest beyond the bound: one that is being read, and what is left
	// unused at the ring's end, because a packet is in one piece.
	ring []byte
	// end is where the next packet goes.
	end int
	// queued are bytes of packets in the ring, at most direction.QueueBytes.
	queued int
	// packets are what is in the ring, from first on; as many slots as ever were needed at once, a power of two.
	packets      []packet
	first, count int
	// free is when the packet before has left, where there is a rate.
	free time.Duration
	// chance draws who is lost.
	chance *rand.Rand

	// Stats is the book of it.
	Stats Stats
}

// packet is a packet under way.
type packet struct {
	due        time.Duration
	start, len int
}

// Stats says what became of packets. Those that are under way are in none.
type Stats struct {
	// Packets came out; with offloading they are trains of segments, up to 64 KiB each.
	Packets uint64
	// Bytes are of those, headers of TCP and IP included.
	Bytes uint64
	// Lost were drawn to be.
	Lost uint64
	// Dropped found no room.
	Dropped uint64
	// QueuedMost is the most bytes that were under way at once.
	QueuedMost int
	// Late is by how much packets came out after they were due.
	Late Histogram
}

// NewLine makes an empty line.
func NewLine(direction Direction) *Line {
	return &Line{
		direction: direction,
		ring:      make([]byte, direction.QueueBytes+2*PacketBytesMax),
		packets:   make([]packet, 1024),
		chance:    rand.New(rand.NewPCG(direction.Seed, 0)),
	}
}

// Room is where to read the next packet to. What Pop gave is overwritten.
func (l *Line) Room() []byte {
	if l.end+PacketBytesMax > len(l.ring) {
		l.end = 0
	}
	return l.ring[l.end : l.end+PacketBytesMax]
}

// Push takes in the packet whose first len bytes of Room were just read.
func (l *Line) Push(now time.Duration, len int) {
	if l.direction.Loss > 0 && l.chance.Float64() < l.direction.Loss {
		l.Stats.Lost++
		return
	}
	if l.queued+len > l.direction.QueueBytes {
		l.Stats.Dropped++
		return
	}
	leaves := now
	if l.direction.BitsPerSecond > 0 {
		took := float64(8*(len-headerBytes)) / l.direction.BitsPerSecond * float64(time.Second)
		leaves = max(now, l.free) + time.Duration(took)
		l.free = leaves
	}
	if l.count == cap(l.packets) {
		l.grow()
	}
	l.packets[l.slot(l.count)] = packet{due: leaves + l.direction.Delay, start: l.end, len: len}
	l.count++
	l.end += len
	l.queued += len
	l.Stats.QueuedMost = max(l.Stats.QueuedMost, l.queued)
}

// Due is when the next packet comes out; false when none is under way.
func (l *Line) Due() (time.Duration, bool) {
	if l.count == 0 {
		return 0, false
	}
	return l.packets[l.first].due, true
}

// Pop is the next packet that has come out, until Room is called, or nil.
func (l *Line) Pop(now time.Duration) []byte {
	due, any := l.Due()
	if !any || now < due {
		return nil
	}
	packet := l.packets[l.first]
	l.first = l.slot(1)
	l.count--
	l.queued -= packet.len
	l.Stats.Packets++
	l.Stats.Bytes += uint64(packet.len - headerBytes)
	l.Stats.Late.Add(now - due)
	return l.ring[packet.start : packet.start+packet.len]
}

// slot is where the nth packet from the first is.
func (l *Line) slot(nth int) int { return (l.first + nth) & (len(l.packets) - 1) }

// grow doubles the slots.
func (l *Line) grow() {
	packets := make([]packet, 2*len(l.packets))
	for nth := range l.count {
		packets[nth] = l.packets[l.slot(nth)]
	}
	l.packets, l.first = packets, 0
}
