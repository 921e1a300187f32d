package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// Behaviour is how a NAT maps or filters, in the words of RFC 4787 and of `ferry-stun discover`.
type Behaviour string

const (
	// EndpointIndependent does not look at the other end at all.
	EndpointIndependent Behaviour = "endpoint-independent"
	// AddressDependent looks at the other end's address.
	AddressDependent Behaviour = "address-dependent"
	// AddressAndPortDependent looks at the other end's address and port.
	AddressAndPortDependent Behaviour = "address-and-port-dependent"
	// Unknown is what cannot be told.
	Unknown Behaviour = "unknown"
)

// NAT is a kind of NAT: its rules, and what they make it do.
type NAT struct {
	// Name is how people call it.
	Name string
	// Mapping and Filtering are its behaviour.
	Mapping, Filtering Behaviour
	// Translates is false for a router that leaves addresses as they are.
	Translates bool
	// Blocked is that no UDP passes.
	Blocked bool
	// Hairpin is that two sockets of the client meet at their outside addresses.
	Hairpin bool

	// sources are the rules for the source of packets that leave; WAN is the outside address.
	sources []string
	// destination is the rule for packets from outside that belong to no flow; empty drops them.
	destination string
	// open lets everything in, because there is nothing to drop it.
	open bool
}

const (
	// The kernel keeps the client's port as long as nobody else has it.
	keepPort = `snat to WAN`
	// The kernel takes an old mapping of the same inside port again if it lies in the block, and else a random
	// port of the block. It lies below the client's own range, so no port is kept by chance. Two sockets that ask
	// different servers may get the same port, which no NAT of this kind would do: the block is so large that they
	// seldom do, and each home asks one server at a time.
	portBlock = `snat to WAN:20000-31999`

	// Whoever knows the outside port of a mapping reaches the client.
	toMapping = `meta l4proto udp dnat to CLIENT : udp dport map @mappings`
	// Only those addresses do that the client has sent to from the mapping.
	toMappingIfContacted = `meta l4proto udp ip saddr . udp dport @contacted dnat to CLIENT : udp dport map @mappings`
)

// NATs are the kinds that the lab can build, before servers at the addresses.
func NATs(servers []netip.Addr) []NAT {
	var blockPerAddress []string
	for i, server := range servers {
		block := 20000 + 2000*i
		blockPerAddress = append(blockPerAddress, fmt.Sprintf("ip daddr %v snat to WAN:%d-%d", server, block, block+1999))
	}
	const ei, ad, apd = EndpointIndependent, AddressDependent, AddressAndPortDependent
	nat := func(name string, mapping, filtering Behaviour, hairpin bool, destination string, sources ...string) NAT {
		return NAT{Name: name, Mapping: mapping, Filtering: filtering, Translates: true, Hairpin: hairpin,
			sources: sources, destination: destination}
	}
	return []NAT{
		{Name: "open", Mapping: ei, Filtering: ei, Hairpin: true, open: true},
		{Name: "firewall", Mapping: ei, Filtering: apd, Hairpin: true},
		nat("full-cone", ei, ei, true, toMapping, keepPort),
		nat("full-cone-other-ports", ei, ei, false, toMapping, portBlock),
		nat("restricted", ei, ad, true, toMappingIfContacted, keepPort),
		nat("restricted-other-ports", ei, ad, false, toMappingIfContacted, portBlock),
		nat("port-restricted", ei, apd, false, "", "masquerade"),
		nat("port-restricted-hairpin", ei, apd, true, "", keepPort),
		nat("port-restricted-other-ports", ei, apd, false, "", portBlock),
		nat("address-dependent", ad, apd, false, "", blockPerAddress...),
		nat("address-dependent-restricted", ad, ad, false, toMappingIfContacted, blockPerAddress...),
		nat("symmetric", apd, apd, false, "", "masquerade random"),
		nat("symmetric-fully-random", apd, apd, false, "", "snat to WAN fully-random"),
		{Name: "blocked", Mapping: Unknown, Filtering: Unknown, Translates: true, Blocked: true, sources: []string{keepPort}},
	}
}

// rules is the ruleset of the router between the client and the world. What arrives for nobody is dropped without a
// word, before it leaves an entry that a later mapping would have to avoid.
func (n NAT) rules(wan, client netip.Addr) string {
	if n.open {
		return ""
	}
	var pre, post, udp string
	for _, source := range n.sources {
		post += fmt.Sprintf("\t\toifname \"wan\" meta l4proto udp %s\n", source)
	}
	if n.Translates {
		// What TCP goes through is the same for all kinds.
		post += "\t\toifname \"wan\" meta l4proto tcp masquerade\n"
	}
	if n.destination != "" {
		pre += fmt.Sprintf("\t\tiifname \"wan\" %s\n", n.destination)
	}
	if n.Translates && n.Hairpin {
		pre += fmt.Sprintf("\t\tiifname \"lan\" ip daddr WAN %s\n", toMapping)
		post += "\t\toifname \"lan\" ip saddr CLIENT meta l4proto udp snat to WAN\n"
	}
	if n.Blocked {
		udp = "\t\tmeta l4proto udp drop\n"
	}
	return strings.NewReplacer("WAN", wan.String(), "CLIENT", client.String()).Replace(`
table ip nat {
	map mappings { type inet_service : inet_service; size 65535; flags dynamic,timeout; timeout 60s; }
	set contacted { type ipv4_addr . inet_service; size 65535; flags dynamic,timeout; timeout 60s; }
	chain incoming {
		type nat hook prerouting priority dstnat;
` + pre + `	}
	chain outgoing {
		type nat hook postrouting priority srcnat;
` + post + `	}
	chain note {
		type filter hook postrouting priority srcnat + 1;
		oifname "wan" ct direction original update @contacted { ip daddr . udp sport }
		oifname "wan" ct direction original update @mappings { udp sport : ct original proto-src }
	}
}
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
` + udp + `		iifname "lan" accept
		ct state established,related accept
		ct status dnat accept
		meta l4proto icmpv6 accept
	}
	chain input {
		type filter hook input priority filter;
		iifname "wan" meta l4proto udp drop
	}
}
`)
}
