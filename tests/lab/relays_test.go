package lab

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
	"tailscale.com/tailcfg"
)

// Bounds: how long ferry may take to have its packets flow again. Both ends have to be back.
const (
	// ferryConnectsWithin bounds the first answer.
	ferryConnectsWithin = 5 * time.Second
	// ferryReturnsWithin bounds the first answer once a relay that was away for some seconds is up: the wait between
	// attempts is about as long as the relay was away, and 7.5 s at most.
	ferryReturnsWithin = 7500 * time.Millisecond
	// ferryNoticesWithin bounds the first answer after a connection went dead: 5 s to be sure, and a new one.
	ferryNoticesWithin = 6500 * time.Millisecond
	// ferryMovesWithin bounds the first answer at a relay's new address once the map has it: half a second to look at
	// the file, at both ends.
	ferryMovesWithin = 2 * time.Second
	// ferryAsksWithin bounds the first answer at a relay's new address that only DNS knows: the old one has to be silent
	// for 5 s at both ends, of which one follows the other.
	ferryAsksWithin = 8 * time.Second
	// ferryPassesWithin bounds a whole run of five pings through something in the way.
	ferryPassesWithin = 10 * time.Second
)

// clockError is how much later than here a ferry's clock may have begun: the time to start a program in a namespace.
const clockError = 100 * time.Millisecond

// relayNewIPv4 is where a relay moves to.
const relayNewIPv4 = "10.91.0.3"

// ferryLab is a relay, and two ferries that use it.
type ferryLab struct {
	*Lab
	// listener answers in namespace a, pinger asks in namespace b.
	listener, pinger *Ferry
	// key is the listener's.
	key string
	// summary has the times.
	summary *Summary
	// moved is set while the map has the relay elsewhere.
	moved bool
	// runs counts the short runs of ferry.
	runs int
}

// The client's relay connections hold: whatever happens to the relay or to the way there, packets soon flow again.
func TestFerryHoldsItsRelayConnections(t *testing.T) {
	lab := startFerryLab(t)

	step(t, "two ferries meet at a relay whose certificate is pinned", lab.expectMeeting)
	step(t, "a relay that restarts is found again", func(t *testing.T) {
		lab.expectReturn(t, "answers again after a restart", lab.Relay.Stop)
	})
	step(t, "a relay that was killed is found again", func(t *testing.T) {
		lab.expectReturn(t, "answers again after a kill", func() error {
			process := lab.Relay.process
			lab.Relay.process = nil
			defer func() { <-process.done }()
			return process.cmd.Process.Kill()
		})
	})
	for _, hole := range []struct{ name, match string }{
		{"to the relay", "tcp sport %d tcp dport 443"},
		{"from the relay", "tcp sport 443 tcp dport %d"},
		{"both ways", "tcp sport . tcp dport { %[1]d . 443, 443 . %[1]d }"},
	} {
		step(t, "a connection that is black-holed "+hole.name+" is replaced", func(t *testing.T) {
			lab.expectReplacement(t, hole.name, hole.match)
		})
	}
	step(t, "a relay that moves is followed by the map", lab.expectMove)
	step(t, "a relay that moves is followed by its name", lab.expectMoveOfName)
	step(t, "who pings is stopped, and has counted", lab.expectSummary)
	step(t, "an HTTP proxy is gone through", func(t *testing.T) { lab.expectProxied(t, "http") })
	step(t, "a SOCKS proxy is gone through", func(t *testing.T) { lab.expectProxied(t, "socks5") })
	step(t, "where the upgrade is eaten there is WebSocket", lab.expectWebSocket)
	step(t, "who listens lives to the end", func(t *testing.T) {
		if err := lab.listener.process.Stop(); err != nil {
			t.Fatal(err)
		}
		lab.listener = nil
	})
}

// startFerryLab puts up a relay and two ferries.
func startFerryLab(t *testing.T) *ferryLab {
	t.Helper()
	if binaries.Ferry == "" {
		t.Skip("no -ferry=BINARY was given")
	}
	if err := checkMachine(); err != nil {
		t.Fatal(err)
	}
	lab := &ferryLab{summary: &Summary{}}
	var err error
	options := Options{Binaries: binaries, Certificate: SelfSignedBoth, RelayOnly: true, Logf: t.Logf}
	if lab.Lab, err = Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	lab.summary.Title = fmt.Sprintf("%s: relay %s, version %s", t.Name(), *kindFlag, lab.Relay.Version)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(lab.Logs())
		}
		for _, ferry := range []*Ferry{lab.listener, lab.pinger} {
			if ferry != nil {
				if t.Failed() {
					t.Log(ferry.process.name, ferry.process.logTail())
				}
				if err := ferry.process.Stop(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := lab.Close(); err != nil {
			t.Errorf("taking the lab down: %v", err)
		}
		t.Log(lab.summary)
	})
	lab.writeMap(t, lab.Relay.Region())
	return lab
}

func (l *ferryLab) expectMeeting(t *testing.T) {
	var err error
	if l.listener, err = startFerry(binaries.Ferry, l.Network.A, l.path("listener.log"), nil, "--listen", "--derp-map", l.mapPath()); err != nil {
		t.Fatal(err)
	}
	l.key = l.expect(t, l.listener, 0, ferryConnectsWithin, "start").Own
	connected := l.expect(t, l.listener, 0, ferryConnectsWithin, "connected")
	l.summary.Time("connected, by its own measure", time.Duration(connected.TookMS*float64(time.Millisecond)), 0)
	if l.pinger, err = startFerry(binaries.Ferry, l.Network.B, l.path("pinger.log"), nil, l.key, "--derp-map", l.mapPath(), "-i", "0.1"); err != nil {
		t.Fatal(err)
	}
	pong := l.expect(t, l.pinger, 0, ferryConnectsWithin, "pong")
	l.summary.Time("first answer after the start", pong.at(), ferryConnectsWithin)
}

// expectReturn takes the relay away, starts it again, and expects both ferries to be back.
func (l *ferryLab) expectReturn(t *testing.T, what string, takeAway func() error) {
	if err := takeAway(); err != nil {
		t.Fatal(err)
	}
	// Long enough for some attempts to fail.
	away := l.pinger.now()
	l.expect(t, l.pinger, away-time.Second, ferryReturnsWithin, "connect-failed")
	if err := l.Relay.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	up := l.pinger.now()
	pong := l.expect(t, l.pinger, up, ferryReturnsWithin, "pong")
	l.summary.Time(what, pong.at()-up, ferryReturnsWithin)
}

// expectReplacement swallows packets of the pinger's connection, and no others.
func (l *ferryLab) expectReplacement(t *testing.T, name, match string) {
	port, err := localPort(l.Network.B)
	if err != nil {
		t.Fatal(err)
	}
	began := l.pinger.now()
	if err := l.Network.Cut(fmt.Sprintf(match, port)); err != nil {
		t.Fatal(err)
	}
	lost := l.expect(t, l.pinger, began, ferryNoticesWithin, "disconnected")
	if lost.Reason != "silent" {
		t.Fatalf("the connection was lost as %q, want silent", lost.Reason)
	}
	pong := l.expect(t, l.pinger, lost.at(), ferryNoticesWithin, "pong")
	l.summary.Time("answers again, black-holed "+name, pong.at()-began, ferryNoticesWithin)
	if took := pong.at() - began; took > ferryNoticesWithin {
		t.Fatalf("it took %v, want at most %v", took, ferryNoticesWithin)
	}
	if err := l.Network.Mend(); err != nil {
		t.Fatal(err)
	}
}

// expectMove gives the relay a new address, makes the old ones black holes, and tells the map.
func (l *ferryLab) expectMove(t *testing.T) {
	if err := l.Network.Relay.Configure("address add " + relayNewIPv4 + "/24 dev eth0"); err != nil {
		t.Fatal(err)
	}
	l.cutAddresses(t, "ip", relayIPv4)
	l.cutAddresses(t, "ip6", relayIPv6)
	region := l.Relay.Region()
	node := region.Nodes[0]
	node.Name, node.IPv4, node.IPv6 = "moved", relayNewIPv4, "none"
	l.moved = true
	told := l.pinger.now()
	l.writeMap(t, region)
	connected := l.expectConnection(t, told, ferryMovesWithin, node.Name, relayNewIPv4)
	pong := l.expect(t, l.pinger, connected.at(), ferryMovesWithin, "pong")
	l.summary.Time("answers at the new address", pong.at()-told, ferryMovesWithin)
}

// expectMoveOfName gives the relay a name in the map, and then the name another address; the one before becomes a black hole.
func (l *ferryLab) expectMoveOfName(t *testing.T) {
	l.setAddressOfName(t, relayNewIPv4)
	region := l.Relay.Region()
	node := region.Nodes[0]
	node.Name, node.HostName, node.IPv4, node.IPv6 = "named", relayName, "", "none"
	told := l.pinger.now()
	l.writeMap(t, region)
	connected := l.expectConnection(t, told, ferryMovesWithin, node.Name, relayNewIPv4)
	l.expect(t, l.pinger, connected.at(), ferryMovesWithin, "pong")

	if err := l.Network.Mend(); err != nil {
		t.Fatal(err)
	}
	l.setAddressOfName(t, relayIPv4)
	moved := l.pinger.now()
	l.cutAddresses(t, "ip", relayNewIPv4)
	connected = l.expectConnection(t, moved, ferryAsksWithin, node.Name, relayIPv4)
	pong := l.expect(t, l.pinger, connected.at(), ferryAsksWithin, "pong")
	l.summary.Time("answers at the name's new address", pong.at()-moved, ferryAsksWithin)
	if took := pong.at() - moved; took > ferryAsksWithin {
		t.Fatalf("it took %v, want at most %v", took, ferryAsksWithin)
	}
}

// setAddressOfName tells both ferries' machines where the relay's name is.
func (l *ferryLab) setAddressOfName(t *testing.T, address string) {
	t.Helper()
	for _, ns := range []*netns.Namespace{l.Network.A, l.Network.B} {
		if err := ns.SetHosts(address + " " + relayName + "\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// cutAddresses makes an address a black hole, to and from.
func (l *ferryLab) cutAddresses(t *testing.T, family, address string) {
	t.Helper()
	for _, end := range []string{"daddr", "saddr"} {
		if err := l.Network.Cut(family + " " + end + " " + address); err != nil {
			t.Fatal(err)
		}
	}
}

// expectConnection is the pinger's first connection to a node at an address from a time on.
func (l *ferryLab) expectConnection(t *testing.T, from, within time.Duration, node, address string) FerryEvent {
	t.Helper()
	event, err := l.pinger.await(t.Context(), from-clockError, within, "connection to "+address, func(event FerryEvent) bool {
		host, _, _ := net.SplitHostPort(event.Address)
		return event.Event == "connected" && event.Node == node && host == address
	})
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func (l *ferryLab) expectSummary(t *testing.T) {
	pinger := l.pinger
	l.pinger = nil
	if err := pinger.process.Stop(); err != nil {
		t.Fatal(err)
	}
	events, err := pinger.events()
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Event != "summary" || last.Answered == 0 || last.Answered > last.Sent {
		t.Fatalf("last line is %+v, want a summary", last)
	}
	l.summary.Note("pings through all of it", fmt.Sprintf("%d sent, %d answered", last.Sent, last.Answered))
}

// expectProxied keeps the pinger from the relay, and lets it reach a proxy.
func (l *ferryLab) expectProxied(t *testing.T, scheme string) {
	l.restoreWay(t)
	proxy := map[string]struct {
		port  string
		serve func(net.Conn) error
	}{"http": {"3128", connectProxy(l.Network.Relay)}, "socks5": {"1080", socksProxy(l.Network.Relay)}}[scheme]
	listener, err := l.Network.Relay.Listen(":" + proxy.port)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go serveEach(listener, proxy.serve, t.Logf)
	if err := l.Network.Cut(`iifname "to-b" tcp dport 443`); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(relayIPv4, proxy.port)
	url := fmt.Sprintf("%s://%s:%s@%s", scheme, proxyUser, proxyPassword, address)
	for _, given := range []struct {
		env, args []string
	}{{nil, []string{"--proxy", url}}, {[]string{"HTTPS_PROXY=" + url, "NO_PROXY="}, nil}} {
		connected := l.expectRun(t, given.env, given.args...)
		if !connected.Proxied || connected.Address != address || connected.WebSocket {
			t.Fatalf("connected as %+v, want through %s", connected, address)
		}
	}
}

// expectWebSocket puts a proxy before the relay that ends TLS and knows no upgrade to DERP.
func (l *ferryLab) expectWebSocket(t *testing.T) {
	l.restoreWay(t)
	certificate, pin, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := l.Network.Relay.Listen(":8443")
	if err != nil {
		t.Fatal(err)
	}
	listener := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{certificate}})
	defer listener.Close()
	go serveEach(listener, upgradeEater(l.Network.Relay), t.Logf)
	region := l.Relay.Region()
	region.Nodes[0].DERPPort, region.Nodes[0].CertName = 8443, pin
	path := l.path("eater.json")
	writeMap(t, path, region)
	l.runs++
	connected := l.expectRunWith(t, nil, "--derp-map", path)
	if !connected.WebSocket {
		t.Fatalf("connected as %+v, want by WebSocket", connected)
	}
}

// expectRun pings five times with the map.
func (l *ferryLab) expectRun(t *testing.T, env []string, args ...string) FerryEvent {
	t.Helper()
	return l.expectRunWith(t, env, append(args, "--derp-map", l.mapPath())...)
}

// expectRunWith pings five times, expects five answers, and says how the relay was reached.
func (l *ferryLab) expectRunWith(t *testing.T, env []string, args ...string) FerryEvent {
	t.Helper()
	l.runs++
	log := l.path(fmt.Sprintf("run-%d.log", l.runs))
	ferry, err := startFerry(binaries.Ferry, l.Network.B, log, env, append([]string{l.key, "-c", "5", "-i", "0.1"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := ferry.finish(ferryPassesWithin); err != nil {
		t.Fatal(err)
	}
	events, err := ferry.events()
	if err != nil {
		t.Fatal(err)
	}
	var connected FerryEvent
	for _, event := range events {
		if event.Event == "connected" {
			connected = event
		}
	}
	if last := events[len(events)-1]; last.Sent != 5 || last.Answered != 5 {
		t.Fatalf("%+v, want 5 of 5 answered%s", last, ferry.process.logTail())
	}
	l.summary.Time(fmt.Sprintf("connected, %s", t.Name()[len("TestFerryHoldsItsRelayConnections/"):]), time.Duration(connected.TookMS*float64(time.Millisecond)), 0)
	return connected
}

// restoreWay is all as it was at the beginning, and the listener is back.
func (l *ferryLab) restoreWay(t *testing.T) {
	t.Helper()
	if err := l.Network.Mend(); err != nil {
		t.Fatal(err)
	}
	if !l.moved {
		return
	}
	l.moved = false
	told := l.listener.now()
	l.writeMap(t, l.Relay.Region())
	l.expect(t, l.listener, told-clockError, ferryMovesWithin, "connected")
}

// expect is the first event of this name from a time on.
func (l *ferryLab) expect(t *testing.T, ferry *Ferry, from, within time.Duration, name string) FerryEvent {
	t.Helper()
	event, err := ferry.await(t.Context(), from, within, name, func(event FerryEvent) bool { return event.Event == name })
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func (l *ferryLab) mapPath() string { return l.path("map.json") }

func (l *ferryLab) writeMap(t *testing.T, region *tailcfg.DERPRegion) {
	t.Helper()
	writeMap(t, l.mapPath(), region)
}

// writeMap writes a map of one region, in one piece: it is read again while it is written.
func writeMap(t *testing.T, path string, region *tailcfg.DERPRegion) {
	t.Helper()
	text, err := json.Marshal(&tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{regionID: region}})
	if err != nil {
		t.Fatal(err)
	}
	partial := filepath.Join(filepath.Dir(path), "partial.json")
	if err := os.WriteFile(partial, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(partial, path); err != nil {
		t.Fatal(err)
	}
}
