package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"ferry.invalid/lab/link"
	"ferry.invalid/lab/netns"
)

// Segment is a small internet: a router, and hosts and homes around it, each on a link of its own.
//
//	client ── NAT ──┐
//	client ── NAT ──┼── core ──┬── server
//	           host ┘          └── server
type Segment struct {
	// prefix starts the names of its namespaces.
	prefix string
	// dir holds state and logs.
	dir string
	// core is the router in the middle.
	core *netns.Namespace

	// mu guards what follows.
	mu sync.Mutex
	// links counts the links of the core; the count is in their addresses.
	links int
	// namespaces are all of them.
	namespaces []*netns.Namespace
}

// Host is a namespace with addresses of the segment.
type Host struct {
	*netns.Namespace
	// IPv4 and IPv6 are its addresses.
	IPv4, IPv6 []netip.Addr
}

// Home is a client behind a router of some kind.
type Home struct {
	// NAT is that kind.
	NAT NAT
	// Client is where the client's programs run.
	Client *Host
	// WAN is the router's outside address.
	WAN netip.Addr
	// router is what stands between.
	router *netns.Namespace
}

// newSegment makes a segment with nobody on it. It returns what exists also when it fails.
func newSegment() (*Segment, error) {
	s := &Segment{prefix: fmt.Sprintf("%s%d-%d", netns.Prefix, os.Getpid(), labs.Add(1))}
	var err error
	if s.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", netns.Prefix, os.Getpid())); err != nil {
		return s, err
	}
	if s.core, err = s.namespace("core"); err != nil {
		return s, err
	}
	return s, forward(s.core)
}

// Close removes the namespaces, and with them links and rules.
func (s *Segment) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, ns := range s.namespaces {
		errs = append(errs, ns.Remove())
	}
	s.namespaces = nil
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// Host connects a host with so many addresses of each family.
func (s *Segment) Host(name string, addresses int) (*Host, error) {
	ns, err := s.namespace(name)
	if err != nil {
		return nil, err
	}
	return s.connect(ns, "eth0", addresses)
}

// Home connects a client behind a NAT. IPv6 is routed without translation, through the same firewall if there is one.
func (s *Segment) Home(nat NAT) (*Home, error) {
	router, err := s.namespace(nat.Name)
	if err != nil {
		return nil, err
	}
	if err := forward(router); err != nil {
		return nil, err
	}
	wan, err := s.connect(router, "wan", 1)
	if err != nil {
		return nil, err
	}
	inside, err := s.namespace(nat.Name + "-in")
	if err != nil {
		return nil, err
	}
	// The third byte of the outside address, so that no two homes have the same inside one.
	link := int(wan.IPv4[0].As4()[2])
	client, err := connectHost(router, "lan", inside, "eth0", 96, link, 1)
	if err != nil {
		return nil, err
	}
	// The core learns inside networks from nobody: where there is no translation, somebody has to tell it.
	routes := []string{fmt.Sprintf("route add fd96:0:0:%d::/64 via %v", link, wan.IPv6[0])}
	if !nat.Translates {
		routes = append(routes, fmt.Sprintf("route add 10.96.%d.0/24 via %v", link, wan.IPv4[0]))
	}
	if err := s.core.Configure(routes...); err != nil {
		return nil, err
	}
	rules := router.Command(context.Background(), "nft", "-f", "-")
	rules.Stdin = strings.NewReader(nat.rules(wan.IPv4[0], client.IPv4[0]))
	return &Home{NAT: nat, Client: client, WAN: wan.IPv4[0], router: router}, netns.RunCommand(rules)
}

// Far connects a host by a long wire.
func (s *Segment) Far(name string, options link.Options) (*Host, *link.Link, error) {
	ns, err := s.namespace(name)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	s.links++
	number := s.links
	s.mu.Unlock()
	at := func(end int) []string {
		return []string{fmt.Sprintf("10.97.%d.%d/24", number, end), fmt.Sprintf("fd97:0:0:%d::%d/64", number, end)}
	}
	wire, err := link.Connect(
		link.End{Namespace: s.core, Device: fmt.Sprintf("far-%d", number), Addresses: at(1)},
		link.End{Namespace: ns, Device: "eth0", Addresses: at(2)},
		options,
	)
	if err != nil {
		return nil, nil, err
	}
	host := &Host{
		Namespace: ns,
		IPv4:      []netip.Addr{netip.AddrFrom4([4]byte{10, 97, byte(number), 2})},
		IPv6:      []netip.Addr{netip.MustParseAddr(fmt.Sprintf("fd97:0:0:%d::2", number))},
	}
	return host, wire, ns.Configure(
		fmt.Sprintf("route add default via 10.97.%d.1", number), fmt.Sprintf("route add default via fd97:0:0:%d::1", number))
}

// path is a file or folder of the segment.
func (s *Segment) path(name string) string { return s.dir + "/" + name }

// namespace makes a namespace that Close removes.
func (s *Segment) namespace(name string) (*netns.Namespace, error) {
	ns, err := netns.New(s.prefix+"-"+name, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaces = append(s.namespaces, ns)
	if err != nil {
		return ns, err
	}
	// A router asks for its neighbours from its link-local address, and is mute while that looks for duplicates.
	return ns, ns.Run("sysctl", "-q", "-w", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
}

// connect links a namespace to the core.
func (s *Segment) connect(ns *netns.Namespace, device string, addresses int) (*Host, error) {
	s.mu.Lock()
	s.links++
	link := s.links
	s.mu.Unlock()
	return connectHost(s.core, fmt.Sprintf("to-%d", link), ns, device, 95, link, addresses)
}

// connectHost links a host to a router with the networks 10.NET.LINK.0/24 and fdNET:0:0:LINK::/64, of which the router has
// .1 and ::1 and the host what follows. The host's way out is the router.
func connectHost(router *netns.Namespace, routerSide string, host *netns.Namespace, hostSide string, net, link, addresses int) (*Host, error) {
	if err := netns.RunProgram("ip", "link", "add", routerSide, "netns", router.Name, "type", "veth",
		"peer", "name", hostSide, "netns", host.Name); err != nil {
		return nil, err
	}
	h := &Host{Namespace: host}
	gateway4 := netip.AddrFrom4([4]byte{10, byte(net), byte(link), 1})
	gateway6 := netip.MustParseAddr(fmt.Sprintf("fd%d:0:0:%d::1", net, link))
	commands := []string{fmt.Sprintf("link set %s up", hostSide)}
	next4, next6 := gateway4, gateway6
	for range addresses {
		next4, next6 = next4.Next(), next6.Next()
		h.IPv4, h.IPv6 = append(h.IPv4, next4), append(h.IPv6, next6)
		commands = append(commands,
			fmt.Sprintf("address add %v/24 dev %s", next4, hostSide), fmt.Sprintf("address add %v/64 dev %s nodad", next6, hostSide))
	}
	commands = append(commands, fmt.Sprintf("route add default via %v", gateway4), fmt.Sprintf("route add default via %v", gateway6))
	if err := router.Configure(
		fmt.Sprintf("link set %s up", routerSide),
		fmt.Sprintf("address add %v/24 dev %s", gateway4, routerSide),
		fmt.Sprintf("address add %v/64 dev %s nodad", gateway6, routerSide),
	); err != nil {
		return nil, err
	}
	return h, host.Configure(commands...)
}

// forward makes a namespace a router.
func forward(ns *netns.Namespace) error {
	return ns.Run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
}
