package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// honestSources ask from an address each, honestPerSecond times a second for honestFor.
	honestSources   = 50
	honestPerSecond = 5
	honestFor       = 5 * time.Second
	// honestServed is the share of their requests that has to be answered, flood or not, without asking twice.
	honestServed = 0.99
	// answerWithin bounds the wait for one answer, as Tailscale's client does; it would ask twice more meanwhile.
	answerWithin = 3 * time.Second
	// floodAtLeast is the budget of a source in requests per second: less is no flood.
	floodAtLeast = 5000
	// floodBatch is how many requests a flooder hands to the kernel at once.
	floodBatch = 64
)

// One address that sends as fast as it can, from one port and from many, leaves everybody else served.
func TestAFloodFromOneSourceLeavesOthersServed(t *testing.T) {
	l := &natLab{segment: startSegment(t)}
	host := l.host(t, "server", 2)
	server := l.segment.Coturn(host)
	if binaries.STUN != "" {
		server = l.segment.FerrySTUN("flooded", binaries.STUN, host)
	}
	start(t, server)
	honest, hostile := l.host(t, "honest", honestSources), l.host(t, "hostile", 1)
	summary := &Summary{Title: t.Name() + ": " + server.program}
	t.Cleanup(func() { t.Log(summary) })

	for _, ports := range []int{0, 1, 64} {
		t.Run(fmt.Sprintf("from %d ports", ports), func(t *testing.T) {
			flood := startFlood(t, hostile, server.Address, ports)
			answered, sent := askHonestly(t, honest, server.Address)
			rate := flood.stop()
			served := float64(answered) / float64(sent)
			summary.Note(fmt.Sprintf("flood from %d ports of %.0f/s", ports, rate),
				fmt.Sprintf("%d of %d honest requests answered (%.2f %%)", answered, sent, 100*served))
			if ports > 0 && rate < floodAtLeast {
				t.Errorf("a flood of %.0f/s is none", rate)
			}
			// coturn makes no such promise: its number is there to compare.
			if served < honestServed && (binaries.STUN != "" || ports == 0) {
				t.Errorf("%d of %d honest requests answered, want %.0f %%", answered, sent, 100*honestServed)
			}
		})
	}
}

// askHonestly has every address of a host ask at a low rate, and counts requests and answers.
func askHonestly(t *testing.T, host *Host, server netip.AddrPort) (answered, sent int64) {
	t.Helper()
	var answers, requests atomic.Int64
	var all sync.WaitGroup
	for i, address := range host.IPv4 {
		conn := listenAt(t, host, address)
		all.Go(func() {
			defer conn.Close()
			interval := time.Second / honestPerSecond
			// Spread over the interval, so that they do not arrive as one burst.
			next := time.Now().Add(interval * time.Duration(i) / honestSources)
			for end := next.Add(honestFor); next.Before(end); next = next.Add(interval) {
				time.Sleep(time.Until(next))
				requests.Add(1)
				if _, err := askSTUN(conn, server, 0, answerWithin); err == nil {
					answers.Add(1)
				}
			}
		})
	}
	all.Wait()
	return answers.Load(), requests.Load()
}

// flood is a number of senders that do not listen.
type flood struct {
	// end tells them to stop.
	end chan struct{}
	// done is closed with the last of them.
	all sync.WaitGroup
	// sent counts their datagrams since began.
	sent  atomic.Int64
	began time.Time
}

// startFlood sends bare requests from one address and so many ports, as fast as two threads can.
func startFlood(t *testing.T, host *Host, server netip.AddrPort, ports int) *flood {
	t.Helper()
	f := &flood{end: make(chan struct{}), began: time.Now()}
	conns := make([]*net.UDPConn, ports)
	for i := range conns {
		conns[i] = listenAt(t, host, host.IPv4[0])
	}
	if ports == 0 {
		return f
	}
	f.all.Go(func() {
		batch := make([]ipv4.Message, floodBatch)
		for i := range batch {
			batch[i].Buffers = [][]byte{stunRequest(newTransactionID(), 0)}
			batch[i].Addr = net.UDPAddrFromAddrPort(server)
		}
		for turn := 0; ; turn++ {
			select {
			case <-f.end:
				return
			default:
			}
			n, err := ipv4.NewPacketConn(conns[turn%ports]).WriteBatch(batch, 0)
			if err == nil {
				f.sent.Add(int64(n))
			}
		}
	})
	return f
}

// stop ends the flood and says how many datagrams a second it sent.
func (f *flood) stop() float64 {
	close(f.end)
	f.all.Wait()
	return float64(f.sent.Load()) / time.Since(f.began).Seconds()
}

// listenAt opens a UDP socket with an address of a host, until the end of the test.
func listenAt(t *testing.T, host *Host, address netip.Addr) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	if err := host.Inside(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
