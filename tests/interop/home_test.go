package interop

import (
	"crypto/sha256"
	"encoding/json"
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
	regions := map[int]*tailcfg.DERPRegion{}
	for id := range 2 {
		id += 900
		r := startRelay(t, relayOptions{stun: true})
		relays[id] = r
		regions[id] = &tailcfg.DERPRegion{RegionID: id, RegionCode: fmt.Sprint(id), RegionName: fmt.Sprint(id), Nodes: []*tailcfg.DERPNode{{
			Name: fmt.Sprint(id, "a"), RegionID: id, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: r.port, STUNPort: portOf(r.stunAddr),
			CertName: fmt.Sprintf("sha256-raw:%x", sha256.Sum256(r.leafDER())),
		}}}
	}
	text, err := json.Marshal(tailcfg.DERPMap{Regions: regions})
	if err != nil {
		t.Fatal(err)
	}
	derpMap := writeFile(t, "map.json", string(text))

	listener := startFerry(t, "ping", "--listen", "--derp-map", derpMap, "--json")
	own := listener.next("start").Own
	home := listener.next("home").Region
	pinger := startFerry(t, "ping", own, "--derp-map", derpMap, "--json", "--interval", "0.1", "--timeout", "2")
	for pinger.next("pong").Region != home {
	}

	began := time.Now()
	relays[home].stop()
	moved := listener.nextWithin(homeMovesWithin, "home")
	if moved.Region == home || regions[moved.Region] == nil {
		t.Fatalf("home moved from %d to %d", home, moved.Region)
	}
	moving := time.Since(began)
	for pinger.nextWithin(homeMovesWithin-moving, "pong").Region != moved.Region {
	}
	t.Logf("home moved after %.1f s, and the other end found it after %.1f s: %s", moving.Seconds(), time.Since(began).Seconds(), moved.Explanation)
}
