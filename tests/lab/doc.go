// Package lab puts a DERP relay between two stock tailscaled nodes and watches what they do with it.
//
// Everything lives in network namespaces of its own: a router, the relay, and the nodes a and b, which can talk
// to the relay but not to each other until the router is told to let them. The control plane is Tailscale's
// public test one (testcontrol), the nodes and the command line are built from the same Go module.
//
// Read in this order: lab.go (the whole), network.go (the wires), relay.go and node.go (the programs), flow.go
// (the traffic), and lab_test.go (the rules). Package netns makes the namespaces; package link and the program wire join two by a long wire.
package lab
