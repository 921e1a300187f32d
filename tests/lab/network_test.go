package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
)

// The router must see what the other tests rely on it to see: who leaves, and who may meet.
func TestRouterKeepsNodesApartAndNotesWhoLeaves(t *testing.T) {
	network, err := newNetwork(fmt.Sprintf("%s%d-%d", netns.Prefix, os.Getpid(), labs.Add(1)), "")
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	lab := &Lab{Network: network}
	expectUnderlay(t, lab, false)
	if err := network.Join(); err != nil {
		t.Fatal(err)
	}
	expectUnderlay(t, lab, true)
	if err := network.Split(); err != nil {
		t.Fatal(err)
	}
	expectUnderlay(t, lab, false)
	if outside, err := network.Outside(); err != nil || len(outside) != 0 {
		t.Fatalf("outside addresses %v, error %v, want none", outside, err)
	}

	// The router has no route to the relay host's second address, so to the router it is an outside one.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if conn, err := network.A.Dial(ctx, nil, net.JoinHostPort(relayTailscaleIP, "443")); err == nil {
		conn.Close()
		t.Fatal("an address without a route was reached")
	}
	want := []netip.Addr{netip.MustParseAddr(relayTailscaleIP)}
	if outside, err := network.Outside(); err != nil || !slices.Equal(outside, want) {
		t.Fatalf("outside addresses %v, error %v, want %v", outside, err, want)
	}
}
