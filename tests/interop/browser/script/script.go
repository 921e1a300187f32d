// Package script is what the client in the browser and the test agree on: the packets they exchange and the report at the end.
package script

import (
	"fmt"
	"math/rand/v2"
)

// Sizes are the packet sizes that pass both ways. Tailscale's code writes what a frame has beyond its buffer (4096 bytes in
// the client, 2048 in derper) as one WebSocket message and takes messages of up to 32768 bytes, so not much more would.
var Sizes = []int{0, 1, 1400, 32768}

// LargeSize is DERP's largest packet, more than one WebSocket message may hold.
const LargeSize = 65536

// The names of the checks in a Report, in their order; "exchanges N bytes" stands between the first two.
const (
	Connects         = "connects"
	Pings            = "a ping is answered"
	LearnsNotHere    = "a disco packet to an unknown key brings PeerGone(NotHere)"
	LearnsDeparture  = "a peer's departure brings PeerGone(Disconnected)"
	ReceivesLarge    = "receives 65536 bytes"
	SendsLarge       = "sends 65536 bytes"
	RecoversFromLoss = "exchanges packets again after a lost connection"
)

// Exchanges names the check of one size.
func Exchanges(size int) string { return fmt.Sprintf("exchanges %d bytes", size) }

// The packets that are requests to a native peer.
const (
	// Fetch asks for a packet of LargeSize.
	Fetch = "fetch the large packet"
	// Leave asks the peer to close its connection.
	Leave = "leave the relay"
)

// Packet is the content of a packet of one size from one side: the same on every call, different for every side and size.
func Packet(from string, size int) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%s %d", from, size))
	packet := make([]byte, size)
	rand.NewChaCha8(seed).Read(packet)
	return packet
}

// Check is one thing the client tried.
type Check struct {
	// Name is one of the constants above.
	Name string
	// Error says how it failed; empty means it went well.
	Error string
}

// Report is the outcome of the client's run.
type Report struct {
	// Platform is GOOS/GOARCH of the client: a report from js/wasm came out of the browser.
	Platform string
	// ServerKey is the relay's key as the client learned it.
	ServerKey string
	// ClientKey is the key the client closed its first connection with.
	ClientKey string
	// Checks are in the order they were tried.
	Checks []Check
}
