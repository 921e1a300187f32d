package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const (
	pairs      = 10
	frameBytes = 1400
	rate       = 10_000 // frames per second over all pairs
	window     = 64
	flooders   = 4
)

type measurement struct {
	name string
	run  func(*relay) (map[string]float64, error)
}

func measurements(length time.Duration, idle int) []measurement {
	list := []measurement{
		{"rate", func(r *relay) (map[string]float64, error) { return traffic(r, pairs, length, paced) }},
		{"window", func(r *relay) (map[string]float64, error) { return traffic(r, 8, length, windowed) }},
		{"flood", func(r *relay) (map[string]float64, error) { return traffic(r, flooders, length, unlimited) }},
		{"connect", connects},
	}
	if idle > 0 {
		list = append(list, measurement{"idle", func(r *relay) (map[string]float64, error) { return idleClients(r, idle) }})
	}
	return list
}

// dial connects a client with a fresh key and waits until the relay has greeted it.
func dial(r *relay) (*derphttp.Client, key.NodePublic, error) {
	private := key.NewNode()
	client, err := derphttp.NewClient(private, "https://"+r.addr+"/derp", logger.Discard, netmon.NewStatic())
	if err != nil {
		return nil, key.NodePublic{}, err
	}
	client.TLSConfig = &tls.Config{RootCAs: r.roots}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := client.Connect(ctx); err != nil {
		return nil, key.NodePublic{}, err
	}
	message, err := client.Recv()
	if err != nil {
		return nil, key.NodePublic{}, err
	}
	if _, ok := message.(derp.ServerInfoMessage); !ok {
		return nil, key.NodePublic{}, fmt.Errorf("first message is %T", message)
	}
	return client, private.Public(), nil
}

// A pair of clients: one sends, the other counts what arrives and how late.
type pair struct {
	sender, receiver *derphttp.Client
	to               key.NodePublic
	sent, delivered  atomic.Int64
	acked            chan struct{}
	mu               sync.Mutex
	latencies        []time.Duration
	wrong            atomic.Int64
}

func (p *pair) receive() {
	var last int64 = -1
	for {
		message, err := p.receiver.Recv()
		if err != nil {
			return
		}
		packet, ok := message.(derp.ReceivedPacket)
		if !ok {
			continue
		}
		sequence := int64(binary.BigEndian.Uint64(packet.Data[8:]))
		if len(packet.Data) != frameBytes || sequence <= last {
			p.wrong.Add(1)
		}
		last = sequence
		p.delivered.Add(1)
		waited := time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(packet.Data)))
		p.mu.Lock()
		p.latencies = append(p.latencies, waited)
		p.mu.Unlock()
		select {
		case p.acked <- struct{}{}:
		default:
		}
	}
}

func (p *pair) send(frame []byte) error {
	binary.BigEndian.PutUint64(frame, uint64(time.Now().UnixNano()))
	binary.BigEndian.PutUint64(frame[8:], uint64(p.sent.Add(1)))
	return p.sender.Send(p.to, frame)
}

// paced sends by a schedule, whatever becomes of the frames; latency counts from the send.
func paced(p *pair, until time.Time) error {
	frame := make([]byte, frameBytes)
	every := time.Second * pairs / rate
	next := time.Now()
	for next.Before(until) {
		time.Sleep(time.Until(next))
		if err := p.send(frame); err != nil {
			return err
		}
		next = next.Add(every)
	}
	return nil
}

// windowed keeps a number of frames in flight.
func windowed(p *pair, until time.Time) error {
	frame := make([]byte, frameBytes)
	for time.Now().Before(until) {
		for p.sent.Load()-p.delivered.Load() >= window {
			select {
			case <-p.acked:
			case <-time.After(200 * time.Millisecond):
				// A lost frame must not stop the pair for ever.
				p.sent.Store(p.delivered.Load())
			}
		}
		if err := p.send(frame); err != nil {
			return err
		}
	}
	return nil
}

// unlimited sends as fast as the connection takes it.
func unlimited(p *pair, until time.Time) error {
	frame := make([]byte, frameBytes)
	for time.Now().Before(until) {
		if err := p.send(frame); err != nil {
			return err
		}
	}
	return nil
}

func traffic(r *relay, count int, length time.Duration, load func(*pair, time.Time) error) (map[string]float64, error) {
	all := make([]*pair, count)
	for i := range all {
		sender, _, err := dial(r)
		if err != nil {
			return nil, err
		}
		defer sender.Close()
		receiver, to, err := dial(r)
		if err != nil {
			return nil, err
		}
		defer receiver.Close()
		all[i] = &pair{sender: sender, receiver: receiver, to: to, acked: make(chan struct{}, 1)}
		go all[i].receive()
	}
	time.Sleep(200 * time.Millisecond)
	before, err := r.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	errs := make(chan error, count)
	for _, p := range all {
		go func() { errs <- load(p, began.Add(length)) }()
	}
	var failed error
	for range all {
		failed = errors.Join(failed, <-errs)
	}
	took := time.Since(began)
	time.Sleep(300 * time.Millisecond)
	after, err := r.cpu()
	if err := errors.Join(failed, err); err != nil {
		return nil, err
	}
	var sent, delivered, wrong int64
	var latencies []time.Duration
	for _, p := range all {
		sent += p.sent.Load()
		delivered += p.delivered.Load()
		wrong += p.wrong.Load()
		p.mu.Lock()
		latencies = append(latencies, p.latencies...)
		p.mu.Unlock()
	}
	if delivered == 0 || wrong > 0 {
		return nil, fmt.Errorf("%d frames delivered, %d of them wrong or out of order", delivered, wrong)
	}
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	return map[string]float64{
		"CPU us per delivered frame":  float64((after - before).Microseconds()) / float64(delivered),
		"delivered frames per second": float64(delivered) / took.Seconds(),
		"delivered share of sent":     float64(delivered) / float64(sent),
		"delivery p50 us":             float64(latencies[len(latencies)/2].Microseconds()),
		"delivery p99 us":             float64(latencies[len(latencies)*99/100].Microseconds()),
	}, nil
}

func connects(r *relay) (map[string]float64, error) {
	const count = 300
	before, err := r.cpu()
	if err != nil {
		return nil, err
	}
	for range count {
		client, _, err := dial(r)
		if err != nil {
			return nil, err
		}
		client.Close()
	}
	time.Sleep(100 * time.Millisecond)
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	return map[string]float64{"CPU us per connect": float64((after - before).Microseconds()) / count}, nil
}

func idleClients(r *relay, count int) (map[string]float64, error) {
	before, err := r.resident()
	if err != nil {
		return nil, err
	}
	const workers = 16
	clients := make(chan *derphttp.Client, count)
	work := make(chan struct{}, count)
	for range count {
		work <- struct{}{}
	}
	close(work)
	errs := make(chan error, workers)
	for range workers {
		go func() {
			for range work {
				client, _, err := dial(r)
				if err != nil {
					errs <- err
					return
				}
				clients <- client
			}
			errs <- nil
		}()
	}
	var failed error
	for range workers {
		failed = errors.Join(failed, <-errs)
	}
	close(clients)
	defer func() {
		for client := range clients {
			client.Close()
		}
	}()
	if failed != nil {
		return nil, failed
	}
	time.Sleep(3 * time.Second)
	after, err := r.resident()
	if err != nil {
		return nil, err
	}
	return map[string]float64{"resident KiB per idle client": float64(after-before) / 1024 / float64(count)}, nil
}
