package interop

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

// roundTrip is what the wire to the relay takes there and back.
const roundTrip = 100 * time.Millisecond

// Ferry's client saves a round trip with a relay that tells its key in a certificate, and believes no other certificate for it.
func TestFerrysClientStartsFast(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// node is a relay, and how it is believed.
		node func(t *testing.T) *tailcfg.DERPNode
		// trips are TLS's, and one or two more.
		trips int
	}{
		"a name's certificate, pinned": {func(t *testing.T) *tailcfg.DERPNode {
			return startRelay(t, relayOptions{hostname: "localhost"}).region().Nodes[0]
		}, 2},
		"a name's certificate, by its authority": {func(t *testing.T) *tailcfg.DERPNode {
			node := startRelay(t, relayOptions{hostname: "localhost"}).region().Nodes[0]
			node.CertName = ""
			return node
		}, 2},
		"a name's certificate, by the name": {func(t *testing.T) *tailcfg.DERPNode {
			node := startRelay(t, relayOptions{hostname: "localhost"}).region().Nodes[0]
			node.CertName = "localhost"
			return node
		}, 2},
		"an address's certificate, pinned": {func(t *testing.T) *tailcfg.DERPNode {
			return startRelay(t, relayOptions{}).region().Nodes[0]
		}, 2},
		"TLS ends before the relay, so that its key is not told": {func(t *testing.T) *tailcfg.DERPNode {
			plain := startRelay(t, relayOptions{plain: true})
			return nodeAt(tlsFront(t, issue{}.make(t), passTo(plain.addr, untouched)))
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			node := c.node(t)
			node.STUNPort = -1
			said := fmt.Sprint(doctor(t, []*tailcfg.DERPNode{node}).Steps)
			if offered := strings.Contains(said, "fast start: offered"); offered != (c.trips == 2) {
				t.Errorf("the doctor says offered=%v: %s", offered, said)
			}
			wire := &longWire{to: node.DERPPort}
			node.DERPPort = accept(t, wire.carry)
			took, trips := connectTime(t, node), wire.trips()
			t.Logf("connected in %v: %d round trips of %v", took, trips, roundTrip)
			if trips != c.trips {
				t.Errorf("%d round trips, want %d", trips, c.trips)
			}
			if least := time.Duration(c.trips) * roundTrip; took < least {
				t.Errorf("connected in %v, and the wire alone takes %v", took, least)
			}
		})
	}
}

// connectTime is how long ferry says that it took to connect to a relay, from TCP to ServerInfo.
func connectTime(t *testing.T, node *tailcfg.DERPNode) time.Duration {
	t.Helper()
	event := ferryConnects(t, node)
	if event.Event != "connected" {
		t.Fatalf("ferry did not connect: %+v", event)
	}
	return time.Duration(event.TookMS * float64(time.Millisecond))
}

// ferryConnects is what came of ferry's first attempt to connect to a relay.
func ferryConnects(t *testing.T, node *tailcfg.DERPNode) ferrySays {
	t.Helper()
	return startFerry(t, "ping", "--json", "--listen", "--derp-map", mapOf(t, node)).next("connected", "connect-failed")
}

// longWire leads to a port here, half a round trip each way, and counts round trips. TCP itself is not delayed.
type longWire struct {
	to int

	mu sync.Mutex
	// flights are what the client said, each after it had heard something new.
	flights int
	// answered are those that it had said when it last heard something.
	answered int
}

// trips are the flights that were answered.
func (w *longWire) trips() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answered
}

func (w *longWire) said() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flights == w.answered {
		w.flights++
	}
}

func (w *longWire) heard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = w.flights
}

func (w *longWire) carry(client net.Conn) {
	relay, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: w.to})
	if err != nil {
		return
	}
	defer relay.Close()
	var ways sync.WaitGroup
	ways.Go(func() { passLate(relay, client, w.said, func() {}) })
	ways.Go(func() { passLate(client, relay, func() {}, w.heard) })
	ways.Wait()
}

// passLate writes what it reads half a round trip later, and closes when there is no more.
func passLate(to io.WriteCloser, from io.Reader, read, written func()) {
	type piece struct {
		due   time.Time
		bytes []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			read()
			pieces <- piece{time.Now().Add(roundTrip / 2), buffer[:n]}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		// Before the client can answer.
		written()
		to.Write(p.bytes)
	}
	to.Close()
}
