package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const frameBytes = 1400

// A load: pairs that send at a rate, or with a window.
type load struct {
	name   string
	pairs  int
	rate   int // frames a second of all pairs; 0 with a window
	window int // frames under way per pair; 0 with a rate
}

var loads = []load{
	{name: "10k/s", pairs: 10, rate: 10_000},
	{name: "30k/s", pairs: 10, rate: 30_000},
	{name: "window", pairs: 8, window: 64},
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

// paced sends by a schedule, whatever becomes of the frames.
func paced(p *pair, every time.Duration, until time.Time) error {
	frame := make([]byte, frameBytes)
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
func windowed(p *pair, window int, until time.Time) error {
	frame := make([]byte, frameBytes)
	for time.Now().Before(until) {
		for p.sent.Load()-p.delivered.Load() >= int64(window) {
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

// publicClient is the processor time of this process per delivered frame, in microseconds, while the public Go client is the load.
func publicClient(r *relay, l load, length time.Duration) (float64, error) {
	all := make([]*pair, l.pairs)
	for i := range all {
		sender, _, err := dial(r)
		if err != nil {
			return 0, err
		}
		defer sender.Close()
		receiver, to, err := dial(r)
		if err != nil {
			return 0, err
		}
		defer receiver.Close()
		all[i] = &pair{sender: sender, receiver: receiver, to: to, acked: make(chan struct{}, 1)}
		go all[i].receive()
	}
	time.Sleep(200 * time.Millisecond)
	before, err := cpu()
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(length)
	errs := make(chan error, l.pairs)
	for _, p := range all {
		go func() {
			if l.window > 0 {
				errs <- windowed(p, l.window, until)
			} else {
				errs <- paced(p, time.Second*time.Duration(l.pairs)/time.Duration(l.rate), until)
			}
		}()
	}
	var failed error
	for range all {
		failed = errors.Join(failed, <-errs)
	}
	time.Sleep(300 * time.Millisecond)
	after, err := cpu()
	if err := errors.Join(failed, err); err != nil {
		return 0, err
	}
	var delivered, wrong int64
	for _, p := range all {
		delivered += p.delivered.Load()
		wrong += p.wrong.Load()
	}
	if delivered == 0 || wrong > 0 {
		return 0, fmt.Errorf("%d frames delivered, %d of them wrong or out of order", delivered, wrong)
	}
	return float64((after - before).Nanoseconds()) / 1000 / float64(delivered), nil
}

// cpu is the processor time of this process so far.
func cpu() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// ferryLoad is the same with ferry-load as the load, as it says itself.
func ferryLoad(binary string, r *relay, l load, length time.Duration) (float64, error) {
	args := []string{"run", "https://" + r.addr, "pairs", "--pairs", fmt.Sprint(l.pairs), "--size", fmt.Sprint(frameBytes), "--warm-up", "0.3",
		"--seconds", fmt.Sprint(length.Seconds()), "--no-null", "--quiet", "--json", "-"}
	if l.window > 0 {
		args = append(args, "--window", fmt.Sprint(l.window))
	} else {
		args = append(args, "--rate", fmt.Sprint(l.rate))
	}
	command := exec.Command(binary, args...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	// Three says that the generator was busy: with a window it is meant to be.
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 3) {
		return 0, fmt.Errorf("ferry-load: %w", err)
	}
	var report struct {
		Sections []struct {
			Runs []struct {
				Failure string
				Figures []struct {
					Metric string
					Value  float64
				}
			}
		}
	}
	if err := json.Unmarshal(output, &report); err != nil {
		return 0, fmt.Errorf("ferry-load's report: %w", err)
	}
	for _, section := range report.Sections {
		for _, run := range section.Runs {
			if run.Failure != "" {
				return 0, fmt.Errorf("ferry-load: %s", run.Failure)
			}
			for _, figure := range run.Figures {
				if figure.Metric == "generator-cpu-per-packet" {
					return figure.Value, nil
				}
			}
		}
	}
	return 0, errors.New("ferry-load's report has no generator-cpu-per-packet")
}
