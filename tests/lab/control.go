package lab

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"ferry.invalid/lab/netns"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
)

// controlPort is where the control plane listens, next to the relay.
const controlPort = 8080

// Control is Tailscale's public test control plane: it admits every node and shows each of them the others.
type Control struct {
	// URL is what nodes log in to.
	URL string
	// server serves the control plane.
	server *http.Server
	// log is where the control plane writes.
	log *os.File
}

// startControl serves a control plane with the given regions from a namespace.
func startControl(ns *netns.Namespace, regions *tailcfg.DERPMap, logPath string) (*Control, error) {
	control := &Control{URL: fmt.Sprintf("http://%s:%d", relayIPv4, controlPort)}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return control, err
	}
	control.log = log
	listener, err := ns.Listen(net.JoinHostPort(relayIPv4, fmt.Sprint(controlPort)))
	if err != nil {
		return control, err
	}
	control.server = &http.Server{Handler: &testcontrol.Server{
		Logf:             func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) },
		DERPMap:          regions,
		ExplicitBaseURL:  control.URL,
		AllNodesSameUser: true,
		AllOnline:        true,
	}}
	go func() {
		if err := control.server.Serve(listener); err != http.ErrServerClosed {
			fmt.Fprintf(log, "control plane ended: %v\n", err)
		}
	}()
	return control, nil
}

// Close stops the control plane. Nodes hold a request open at all times, so there is no waiting for them.
func (c *Control) Close() error {
	if c.server != nil {
		if err := c.server.Close(); err != nil {
			return err
		}
	}
	if c.log != nil {
		return c.log.Close()
	}
	return nil
}
