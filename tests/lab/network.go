package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"ferry.invalid/lab/netns"
)

// Network is three hosts around a router:
//
//	a ── router ── b
//	        │
//	      relay (and the control plane)
//
// The router forwards between each node and the relay at all times, and between the nodes only after Join. It
// has no way out: a packet for any other address ends there and is noted.
type Network struct {
	// Relay, A and B are the hosts.
	Relay, A, B *netns.Namespace
	// router forwards between them.
	router *netns.Namespace
}

// Every host has one address of each family on a link of its own to the router, which is .1 or ::1 there.
const (
	relayIPv4 = "10.91.0.2"
	relayIPv6 = "fd91::2"
	nodeAIPv4 = "10.91.1.2"
	nodeAIPv6 = "fd91:0:0:1::2"
	nodeBIPv4 = "10.91.2.2"
	nodeBIPv6 = "fd91:0:0:2::2"

	// relayTailscaleIP is a second address of the relay's own host. derper shows its debug pages to loopback
	// and to Tailscale addresses only, and a relay bound to one address cannot be asked over loopback.
	relayTailscaleIP = "100.101.102.103"
)

// routerRules is the router's ruleset. Nodes are kept apart by dropping, as a NAT or firewall does; refusing
// would tell them something that the real world does not.
const routerRules = `
table inet lab {
	set outside4 { type ipv4_addr; size 1024; flags dynamic; }
	set outside6 { type ipv6_addr; size 1024; flags dynamic; }
	chain watch {
		type filter hook prerouting priority 0;
		ip daddr != { 10.91.0.0/16, 224.0.0.0/4, 255.255.255.255 } update @outside4 { ip daddr }
		ip6 daddr != { fd91::/48, fe80::/10, ff00::/8 } update @outside6 { ip6 daddr }
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		jump cut
		iifname "to-relay" accept
		oifname "to-relay" accept
		jump between
	}
	chain between { }
	chain cut { }
}
`

// newNetwork makes the namespaces and the links. It returns what exists also when it fails.
func newNetwork(prefix, hosts string) (*Network, error) {
	n := &Network{}
	for _, place := range []struct {
		at   **netns.Namespace
		name string
	}{{&n.router, "router"}, {&n.Relay, "relay"}, {&n.A, "a"}, {&n.B, "b"}} {
		ns, err := netns.New(prefix+"-"+place.name, hosts)
		*place.at = ns
		if err != nil {
			return n, err
		}
	}
	for _, sysctl := range []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"} {
		if err := n.router.Run("sysctl", "-q", "-w", sysctl); err != nil {
			return n, err
		}
	}
	if err := n.rules(routerRules); err != nil {
		return n, err
	}
	return n, errors.Join(
		n.link(n.Relay, "to-relay", relayIPv4, relayIPv6),
		n.link(n.A, "to-a", nodeAIPv4, nodeAIPv6),
		n.link(n.B, "to-b", nodeBIPv4, nodeBIPv6),
		n.Relay.Configure("address add "+relayTailscaleIP+"/32 dev lo"),
	)
}

// Join lets the nodes reach each other.
func (n *Network) Join() error { return n.rules("add rule inet lab between accept\n") }

// Split keeps the nodes apart again; established flows are cut too.
func (n *Network) Split() error { return n.rules("flush chain inet lab between\n") }

// Cut drops the packets that match, an nft expression, whoever they are from and for.
func (n *Network) Cut(match string) error {
	return n.rules("add rule inet lab cut " + match + " drop\n")
}

// Mend undoes all that Cut did.
func (n *Network) Mend() error { return n.rules("flush chain inet lab cut\n") }

// Outside lists the addresses beyond the lab that anybody in it tried to reach.
func (n *Network) Outside() ([]netip.Addr, error) {
	var found []netip.Addr
	for _, set := range []string{"outside4", "outside6"} {
		output, err := n.router.Command(context.Background(), "nft", "list", "set", "inet", "lab", set).Output()
		if err != nil {
			return nil, fmt.Errorf("nft list set %s: %w", set, err)
		}
		_, elements, _ := strings.Cut(string(output), "elements = {")
		for _, word := range strings.FieldsFunc(elements, func(r rune) bool { return strings.ContainsRune(" \t\n,{}", r) }) {
			if addr, err := netip.ParseAddr(word); err == nil {
				found = append(found, addr)
			}
		}
	}
	return found, nil
}

// Close removes the namespaces, and with them links and rules.
func (n *Network) Close() error {
	var errs []error
	for _, ns := range []*netns.Namespace{n.A, n.B, n.Relay, n.router} {
		if ns != nil {
			errs = append(errs, ns.Remove())
		}
	}
	return errors.Join(errs...)
}

// link connects a host to the router and gives it its addresses and a default route of each family.
// nodad: an address in duplicate detection cannot be bound yet, and there is nobody to collide with.
func (n *Network) link(host *netns.Namespace, routerSide, ipv4, ipv6 string) error {
	gateway4, gateway6 := netip.MustParseAddr(ipv4).Prev(), netip.MustParseAddr(ipv6).Prev()
	if err := netns.RunProgram("ip", "link", "add", routerSide, "netns", n.router.Name, "type", "veth",
		"peer", "name", "eth0", "netns", host.Name); err != nil {
		return err
	}
	if err := n.router.Configure(
		fmt.Sprintf("link set %s up", routerSide),
		fmt.Sprintf("address add %v/24 dev %s", gateway4, routerSide),
		fmt.Sprintf("address add %v/64 dev %s nodad", gateway6, routerSide),
	); err != nil {
		return err
	}
	return host.Configure(
		"link set eth0 up",
		fmt.Sprintf("address add %s/24 dev eth0", ipv4),
		fmt.Sprintf("address add %s/64 dev eth0 nodad", ipv6),
		fmt.Sprintf("route add default via %v", gateway4),
		fmt.Sprintf("route add default via %v", gateway6),
	)
}

// rules feeds lines to nft in the router.
func (n *Network) rules(lines string) error {
	cmd := n.router.Command(context.Background(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(lines)
	return netns.RunCommand(cmd)
}
