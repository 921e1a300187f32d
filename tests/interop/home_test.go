package interop

import (
	"fmt"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

// homeMovesWithin bounds how long a node whose home relay is gone stays unreachable: two attempts 3 s apart, the move, and
// what the other end takes to find it.
const homeMovesWithin = 15 * time.Second

// A node has its home at one of two relays, and is reached at the other soon after the first is gone.
func TestFerryMovesHomeWhenTheRelayIsGone(t *testing.T) {
	t.Parallel()
	relays := map[int]*relay{}
	var regions []*tailcfg.DERPRegion
	for _, id := range []int{900, 901} {
		r := startRelay(t, relayOptions{stun: true})
		region := r.region()
		region.RegionID, region.RegionCode = id, fmt.Sprint(id)
		region.Nodes[0].RegionID, region.Nodes[0].STUNPort = id, portOf(r.stunAddr)
		relays[id], regions = r, append(regions, region)
	}
	derpMap := mapOfRegions(t, regions...)

	listener := startFerry(t, "ping", "--listen", "--derp-map", derpMap, "--json")
	own := listener.next("start").Own
	home := listener.next("home").Region
	pinger := startFerry(t, "ping", own, "--derp-map", derpMap, "--json", "--interval", "0.1", "--timeout", "2")
	for pinger.next("pong").Region != home {
	}

	began := time.Now()
	relays[home].stop()
	moved := listener.nextWithin(homeMovesWithin, "home")
	if moved.Region == home || relays[moved.Region] == nil {
		t.Fatalf("home moved from %d to %d", home, moved.Region)
	}
	moving := time.Since(began)
	for pinger.nextWithin(homeMovesWithin-moving, "pong").Region != moved.Region {
	}
	t.Logf("home moved after %.1f s, and the other end found it after %.1f s: %s", moving.Seconds(), time.Since(began).Seconds(), moved.Explanation)
}
