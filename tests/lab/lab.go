package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ferry.invalid/lab/netns"
	"tailscale.com/tailcfg"
)

// Options says what a lab is made of.
type Options struct {
	// Binaries are the programs to run.
	Binaries Binaries
	// Certificate is how the nodes come to trust the relay.
	Certificate Certificate
	// Userspace runs the nodes without a TUN device.
	Userspace bool
	// RelayOnly leaves out control plane and nodes: others use the relay.
	RelayOnly bool
	// Logf tells the reader what happens while the lab is put up.
	Logf func(format string, args ...any)
}

// Lab is a network, a relay, a control plane and two nodes, all up.
type Lab struct {
	// Network is the wires between the namespaces, and the only thing that changes who reaches whom.
	Network *Network
	// Relay is the relay under test.
	Relay *Relay
	// A and B are the two nodes; nil in a lab of a relay only.
	A, B *Node

	// dir holds state, certificates and logs until Close.
	dir string
	// logf is Options.Logf.
	logf func(format string, args ...any)
	// cancel ends a step of Start that is under way.
	cancel context.CancelFunc

	// mu guards what follows, because a signal may close the lab while a test still builds it.
	mu sync.Mutex
	// closed is true once Close began; nothing may be added after it.
	closed bool
	// cleanups undo what Start did, last first.
	cleanups []func() error
}

// errClosed is what a lab says when it is taken down while something is still being put up.
var errClosed = errors.New("lab is being taken down")

// labs counts the labs of this process, so that each has names of its own.
var labs atomic.Int32

// open are the labs that CloseAll has to close.
var open sync.Map

// Start puts a lab up and returns when both nodes are connected to the control plane and know each other.
// When it fails, what it had put up is gone again.
func Start(ctx context.Context, options Options) (*Lab, error) {
	ctx, cancel := context.WithCancel(ctx)
	lab := &Lab{logf: options.Logf, cancel: cancel}
	open.Store(lab, nil)
	if err := lab.build(ctx, options); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return lab, nil
}

// Close stops every process and removes every namespace and file of the lab. It may be called more than once.
func (l *Lab) Close() error {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for len(l.cleanups) > 0 {
		last := len(l.cleanups) - 1
		errs = append(errs, l.cleanups[last]())
		l.cleanups = l.cleanups[:last]
	}
	open.Delete(l)
	return errors.Join(errs...)
}

// Logs is the end of what each program printed, for a failed test.
func (l *Lab) Logs() string {
	var logs strings.Builder
	processes := []*Process{l.Relay.process}
	for _, node := range []*Node{l.A, l.B} {
		if node != nil {
			processes = append(processes, node.process)
		}
	}
	for _, process := range processes {
		if process != nil {
			fmt.Fprintf(&logs, "%s%s\n", process.name, process.logTail())
		}
	}
	return logs.String()
}

// CloseAll closes every lab of this process: for a signal handler.
func CloseAll() error {
	var errs []error
	open.Range(func(lab, _ any) bool {
		errs = append(errs, lab.(*Lab).Close())
		return true
	})
	return errors.Join(errs...)
}

// build is the straight line of Start.
func (l *Lab) build(ctx context.Context, options Options) error {
	began := time.Now()
	prefix := fmt.Sprintf("%s%d-%d", netns.Prefix, os.Getpid(), labs.Add(1))
	if err := l.add(func() (func() error, error) {
		dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", netns.Prefix, os.Getpid()))
		l.dir = dir
		return func() error { return os.RemoveAll(dir) }, err
	}); err != nil {
		return err
	}
	if err := l.add(func() (func() error, error) {
		network, err := newNetwork(prefix, options.Certificate.hosts())
		l.Network = network
		return network.Close, err
	}); err != nil {
		return fmt.Errorf("network: %w", err)
	}

	relay, err := newRelay(options.Binaries, options.Certificate, l.Network.Relay, l.path("relay"))
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	l.Relay = relay
	if err := l.add(func() (func() error, error) { return relay.Stop, relay.Start(ctx) }); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	l.logf("relay %s up after %v", relay.Version, round(time.Since(began)))

	if options.RelayOnly {
		return nil
	}

	regions := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{regionID: relay.Region()}}
	var controlURL string
	if err := l.add(func() (func() error, error) {
		control, err := startControl(l.Network.Relay, regions, l.path("control.log"))
		controlURL = control.URL
		return control.Close, err
	}); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}

	l.A = newNode("a", options, l.Network.A, l.path("a"), relay.caFile)
	l.B = newNode("b", options, l.Network.B, l.path("b"), relay.caFile)
	for _, node := range []*Node{l.A, l.B} {
		if err := l.add(func() (func() error, error) { return node.Stop, node.Start(ctx, controlURL) }); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		l.logf("node %s is %v after %v", node.Name, node.Address, round(time.Since(began)))
	}
	return errors.Join(l.A.waitForPeer(ctx, l.B), l.B.waitForPeer(ctx, l.A))
}

// add runs one step and remembers how to undo it, also when the step failed half way.
func (l *Lab) add(step func() (undo func() error, err error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	undo, err := step()
	l.cleanups = append(l.cleanups, undo)
	return err
}

// path is a file or folder of the lab.
func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }

// round makes a measured time readable.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
