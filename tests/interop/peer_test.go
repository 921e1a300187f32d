package interop

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// peer is Tailscale's own DERP client, connected, with its messages in a channel.
type peer struct {
	t        testing.TB
	client   *derphttp.Client
	private  key.NodePrivate
	pub      key.NodePublic
	messages chan derp.ReceivedMessage
}

// peerOptions says how a Go client joins.
type peerOptions struct {
	// private is the client's key; zero means fresh.
	private key.NodePrivate
	// mesh presents the relay's mesh key.
	mesh bool
	// watch asks for presence changes.
	watch bool
	// prober declares the client a prober.
	prober bool
	// notIdeal makes the relay the second node of its region, so that the client says it is not at its ideal node.
	notIdeal bool
}

// connect joins with Tailscale's client over the relay's DERP map entry.
func (r *relay) connect(t testing.TB, options peerOptions) *peer {
	t.Helper()
	if options.private.IsZero() {
		options.private = key.NewNode()
	}
	region := r.region()
	if options.notIdeal {
		region.Nodes = append([]*tailcfg.DERPNode{{Name: "ideal", RegionID: 900, HostName: "ideal.invalid", STUNOnly: true}}, region.Nodes...)
	}
	var client *derphttp.Client
	if r.options.plain {
		var err error
		client, err = derphttp.NewClient(options.private, "http://"+r.addr+"/derp", quietLog, netmon.NewStatic())
		if err != nil {
			t.Fatal(err)
		}
	} else {
		client = derphttp.NewRegionClient(options.private, quietLog, netmon.NewStatic(), func() *tailcfg.DERPRegion { return region })
	}
	if options.mesh {
		client.MeshKey = r.meshKey
	}
	client.WatchConnectionChanges = options.watch
	client.IsProber = options.prober
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Connect(ctx); err != nil {
		t.Fatalf("connect: %v", err)
	}
	p := &peer{t: t, client: client, private: options.private, pub: options.private.Public(), messages: make(chan derp.ReceivedMessage, 4096)}
	t.Cleanup(func() { client.Close() })
	go p.receive()
	if _, ok := p.next().(derp.ServerInfoMessage); !ok {
		t.Fatal("first message is not ServerInfo")
	}
	return p
}

// meshClient is Tailscale's client as a meshed server configures it, not yet connected.
func (r *relay) meshClient(t testing.TB) *derphttp.Client {
	t.Helper()
	region := r.region()
	client := derphttp.NewRegionClient(key.NewNode(), quietLog, netmon.NewStatic(), func() *tailcfg.DERPRegion { return region })
	client.MeshKey = r.meshKey
	client.WatchConnectionChanges = true
	t.Cleanup(func() { client.Close() })
	return client
}

// stockConnects has Tailscale's client connect to a region's relay, and leave.
func stockConnects(t testing.TB, region *tailcfg.DERPRegion) error {
	t.Helper()
	client := derphttp.NewRegionClient(key.NewNode(), quietLog, netmon.NewStatic(), func() *tailcfg.DERPRegion { return region })
	client.TLSConfig = &tls.Config{RootCAs: authority.pool}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return client.Connect(ctx)
}

// region is the relay as a DERP region of one node.
func (r *relay) region() *tailcfg.DERPRegion {
	node := &tailcfg.DERPNode{Name: "900a", RegionID: 900, HostName: cmp.Or(r.options.hostname, "127.0.0.1"), IPv4: "127.0.0.1", IPv6: "none", DERPPort: r.port}
	if strings.Contains(r.options.ip, ":") {
		node.IPv4, node.IPv6 = "none", r.options.ip
	}
	if !r.options.plain {
		node.CertName = fmt.Sprintf("sha256-raw:%x", sha256.Sum256(r.leafDER()))
	}
	return &tailcfg.DERPRegion{RegionID: 900, RegionCode: "test", RegionName: "Test", Nodes: []*tailcfg.DERPNode{node}}
}

func quietLog(string, ...any) {}

// receive copies messages out of the client, which reuses their memory, until it fails.
func (p *peer) receive() {
	defer close(p.messages)
	for {
		m, err := p.client.Recv()
		if err != nil {
			return
		}
		if packet, ok := m.(derp.ReceivedPacket); ok {
			packet.Data = slices.Clone(packet.Data)
			m = packet
		}
		p.messages <- m
	}
}

// next is the next message; its absence fails the test.
func (p *peer) next() derp.ReceivedMessage {
	p.t.Helper()
	select {
	case m, ok := <-p.messages:
		if !ok {
			p.t.Fatal("the client's connection ended")
		}
		return m
	case <-time.After(patience):
		p.t.Fatalf("no message after %v", patience)
		return nil
	}
}

// nextPacket is the next message, which must be a packet from src.
func (p *peer) nextPacket(src key.NodePublic) []byte {
	p.t.Helper()
	m := p.next()
	packet, ok := m.(derp.ReceivedPacket)
	if !ok {
		p.t.Fatalf("want a packet, got %T %v", m, m)
	}
	if packet.Source != src {
		p.t.Fatalf("packet from %v, want %v", packet.Source, src)
	}
	return packet.Data
}

// send sends one packet.
func (p *peer) send(dst key.NodePublic, packet []byte) {
	p.t.Helper()
	if err := p.client.Send(dst, packet); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// await returns the first message of type M, skipping others.
func await[M derp.ReceivedMessage](p *peer) M {
	p.t.Helper()
	for {
		if m, ok := p.next().(M); ok {
			return m
		}
	}
}

// inParallel runs n functions at once and waits for all.
func inParallel(n int, f func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(i) })
	}
	group.Wait()
}
