// Command client is Tailscale's DERP client as a browser runs it: built for js/wasm, it dials the relay over WebSocket.
//
// Arguments: the relay's URL, and the keys of the native peer and of the peer that leaves. The report goes to standard output.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/disco"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"

	"ferry.test/interop/browser/script"
)

// patience is how long a message may take.
const patience = 8 * time.Second

func main() {
	if len(os.Args) != 4 {
		log.Fatalf("want 3 arguments, got %d", len(os.Args)-1)
	}
	s := session{url: os.Args[1]}
	parse(&s.native, os.Args[2])
	parse(&s.leaver, os.Args[3])
	s.report.Platform = runtime.GOOS + "/" + runtime.GOARCH
	s.ordinary()
	s.large()
	if err := json.NewEncoder(os.Stdout).Encode(s.report); err != nil {
		log.Fatal(err)
	}
}

func parse(public *key.NodePublic, text string) {
	if err := public.UnmarshalText([]byte(text)); err != nil {
		log.Fatalf("key %q: %v", text, err)
	}
}

// session is one run of the client.
type session struct {
	url            string
	native, leaver key.NodePublic
	report         script.Report
}

// check runs one step and notes how it went.
func (s *session) check(name string, step func() error) {
	check := script.Check{Name: name}
	if err := step(); err != nil {
		check.Error = err.Error()
	}
	log.Printf("check: %s: %q", name, check.Error)
	s.report.Checks = append(s.report.Checks, check)
}

// ordinary does what every client does, on one connection.
func (s *session) ordinary() {
	c := s.newClient()
	s.check(script.Connects, c.connect)
	s.report.ServerKey = c.ServerPublicKey().String()
	s.report.ClientKey = c.SelfPublicKey().String()
	for _, size := range script.Sizes {
		s.check(script.Exchanges(size), func() error { return c.exchange(s.native, size) })
	}
	s.check(script.Pings, func() error { return c.Ping(context.Background()) })
	s.check(script.LearnsNotHere, func() error {
		nobody := key.NewNode().Public()
		// The relay tells it to disco packets only: their magic and at least 62 bytes in all.
		if err := c.Send(nobody, append([]byte(disco.Magic), make([]byte, 56)...)); err != nil {
			return err
		}
		return c.expectGone(nobody, derp.PeerGoneReasonNotHere)
	})
	s.check(script.LearnsDeparture, func() error {
		// The relay tells it to those who received a packet, so the peer leaves only after its answer has arrived.
		if err := c.exchange(s.leaver, 1); err != nil {
			return err
		}
		if err := c.Send(s.leaver, []byte(script.Leave)); err != nil {
			return err
		}
		return c.expectGone(s.leaver, derp.PeerGoneReasonDisconnected)
	})
	c.leave()
}

// large moves the largest packet each way, each on a connection of its own since it may cost the connection.
func (s *session) large() {
	down := s.newClient()
	s.check(script.ReceivesLarge, func() error {
		if err := down.Send(s.native, []byte(script.Fetch)); err != nil {
			return err
		}
		return down.expectPacket(s.native, script.Packet("native", script.LargeSize))
	})
	down.leave()
	up := s.newClient()
	s.check(script.SendsLarge, func() error { return up.exchange(s.native, script.LargeSize) })
	s.check(script.RecoversFromLoss, func() error { return up.exchange(s.native, 1400) })
	up.leave()
}

// client is a DERP client whose messages arrive in a channel.
type client struct {
	*derphttp.Client
	messages chan any
	// left says that the connection may not be opened again.
	left atomic.Bool
}

// leave closes the connection for good. Close alone is not enough: it waits for a lock that a loop of Recv hardly lets go.
func (c *client) leave() {
	c.left.Store(true)
	c.Close()
}

func (s *session) newClient() *client {
	inner, err := derphttp.NewClient(key.NewNode(), s.url, log.Printf, netmon.NewStatic())
	if err != nil {
		log.Fatal(err)
	}
	c := &client{Client: inner, messages: make(chan any, 64)}
	go c.receive()
	return c
}

// receive passes on messages and errors; after an error the client connects again by itself.
func (c *client) receive() {
	for {
		m, err := c.Recv()
		if c.left.Load() {
			return
		}
		if err != nil {
			c.messages <- err
			continue
		}
		// The client reuses its memory.
		if packet, ok := m.(derp.ReceivedPacket); ok {
			packet.Data = bytes.Clone(packet.Data)
			m = packet
		}
		c.messages <- m
	}
}

// next is the next message but for ServerInfo, which starts every connection.
func (c *client) next() (any, error) {
	timeout := time.After(patience)
	for {
		select {
		case m := <-c.messages:
			if err, ok := m.(error); ok {
				return nil, err
			}
			if _, ok := m.(derp.ServerInfoMessage); ok {
				continue
			}
			return m, nil
		case <-timeout:
			return nil, fmt.Errorf("no message after %v", patience)
		}
	}
}

// connect waits for the handshake and the relay's first message.
func (c *client) connect() error {
	if err := c.Connect(context.Background()); err != nil {
		return err
	}
	select {
	case m := <-c.messages:
		if _, ok := m.(derp.ServerInfoMessage); !ok {
			return fmt.Errorf("first message is %T %v", m, m)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("no ServerInfo after %v", patience)
	}
}

// exchange sends a packet to a native peer and expects one of the same size back.
func (c *client) exchange(peer key.NodePublic, size int) error {
	if err := c.Send(peer, script.Packet("browser", size)); err != nil {
		return err
	}
	return c.expectPacket(peer, script.Packet("native", size))
}

func (c *client) expectPacket(src key.NodePublic, want []byte) error {
	m, err := c.next()
	if err != nil {
		return err
	}
	packet, ok := m.(derp.ReceivedPacket)
	if !ok {
		return fmt.Errorf("want a packet, got %T %v", m, m)
	}
	if packet.Source != src {
		return fmt.Errorf("packet from %v, want %v", packet.Source, src)
	}
	if !bytes.Equal(packet.Data, want) {
		return fmt.Errorf("packet of %d bytes is not the expected one of %d", len(packet.Data), len(want))
	}
	return nil
}

// expectGone expects to hear that a peer is gone.
func (c *client) expectGone(peer key.NodePublic, reason derp.PeerGoneReasonType) error {
	m, err := c.next()
	if err != nil {
		return err
	}
	if want := (derp.PeerGoneMessage{Peer: peer, Reason: reason}); m != any(want) {
		return fmt.Errorf("want %v, got %T %v", want, m, m)
	}
	return nil
}
