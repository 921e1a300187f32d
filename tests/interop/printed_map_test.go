package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tailscale.com/tailcfg"
)

// A relay prints a map of itself, and Tailscale's client finds it by that alone.
func TestThePrintedMapIsOneThatClientsUse(t *testing.T) {
	t.Parallel()
	ferryOnly(t, "derper logs a node's entry and prints no map")
	r := startRelay(t, relayOptions{stun: true, args: []string{"-print-derp-map"}})
	var printed tailcfg.DERPMap
	eventually(t, patience, func() error {
		text := r.stderr.String()
		start := strings.Index(text, "{\n")
		if start < 0 {
			return fmt.Errorf("no map in %q", text)
		}
		return json.NewDecoder(strings.NewReader(text[start:])).Decode(&printed)
	})
	region := printed.Regions[900]
	if region == nil || len(region.Nodes) != 1 {
		t.Fatalf("regions %v, want 900 with one node", printed.Regions)
	}
	if got, want := region.Nodes[0].STUNPort, portOf(r.stunAddr); got != want {
		t.Errorf("STUN port %d, want %d", got, want)
	}
	if err := stockConnects(t, region); err != nil {
		t.Fatalf("Tailscale's client with the printed map: %v", err)
	}
}
