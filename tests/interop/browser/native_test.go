package browser

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"ferry.test/interop/browser/script"
)

// native is Tailscale's client outside the browser, connected by a TCP stream.
type native struct {
	t      *testing.T
	client *derphttp.Client
	// key is its public key as text.
	key string
	// departed has the keys the relay said are gone.
	departed chan key.NodePublic
	// done is closed when the peer has stopped answering.
	done chan struct{}
	// failures is what went wrong; written by answer, read after done.
	failures []string
}

// connect joins the relay.
func (r *relay) connect(t *testing.T) *native {
	t.Helper()
	private := key.NewNode()
	n := &native{t: t, key: private.Public().String(), departed: make(chan key.NodePublic, 16), done: make(chan struct{})}
	quiet := func(string, ...any) {}
	if r.plain {
		client, err := derphttp.NewClient(private, r.origin()+"/derp", quiet, netmon.NewStatic())
		must(t, err)
		n.client = client
	} else {
		region := r.region(t)
		n.client = derphttp.NewRegionClient(private, quiet, netmon.NewStatic(), func() *tailcfg.DERPRegion { return region })
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(t, n.client.Connect(ctx))
	t.Cleanup(func() { n.client.Close() })
	return n
}

// region is the relay as a DERP region of one node, its certificate pinned.
func (r *relay) region(t *testing.T) *tailcfg.DERPRegion {
	t.Helper()
	host, text, err := net.SplitHostPort(r.addr)
	must(t, err)
	port, err := strconv.Atoi(text)
	must(t, err)
	pin := fmt.Sprintf("sha256-raw:%x", sha256.Sum256(r.leaf.Raw))
	node := &tailcfg.DERPNode{Name: "900a", RegionID: 900, HostName: host, IPv4: host, IPv6: "none", DERPPort: port, CertName: pin}
	return &tailcfg.DERPRegion{RegionID: 900, RegionCode: "test", RegionName: "Test", Nodes: []*tailcfg.DERPNode{node}}
}

// answer handles what arrives, until the client is closed by stop or by a packet that asks for it.
func (n *native) answer() {
	defer close(n.done)
	for {
		m, err := n.client.Recv()
		if err == derphttp.ErrClientClosed {
			return
		}
		if err != nil {
			n.failures = append(n.failures, err.Error())
			return
		}
		switch m := m.(type) {
		case derp.PeerGoneMessage:
			n.departed <- m.Peer
		case derp.ReceivedPacket:
			if err := n.reply(m); err != nil {
				n.failures = append(n.failures, err.Error())
			}
		}
	}
}

// reply does what a packet asks for, or checks it and sends one of the same size back.
func (n *native) reply(packet derp.ReceivedPacket) error {
	switch size := len(packet.Data); {
	case string(packet.Data) == script.Leave:
		return n.client.Close()
	case string(packet.Data) == script.Fetch:
		return n.client.Send(packet.Source, script.Packet("native", script.LargeSize))
	case !bytes.Equal(packet.Data, script.Packet("browser", size)):
		return fmt.Errorf("a packet of %d bytes is not the one sent", size)
	default:
		return n.client.Send(packet.Source, script.Packet("native", size))
	}
}

// expectDeparture waits until the relay has said that a key is gone.
func (n *native) expectDeparture(key string) {
	n.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case gone := <-n.departed:
			if gone.String() == key {
				return
			}
		case <-timeout:
			n.t.Errorf("the native peer was not told that the browser's client left")
			return
		}
	}
}

// stop closes the connection and returns what went wrong on it.
func (n *native) stop() []string {
	n.client.Close()
	<-n.done
	return n.failures
}
