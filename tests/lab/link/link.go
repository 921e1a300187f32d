// Package link joins two network namespaces by a cable that takes time: what one end sends comes out at the other after a delay.
//
// It is below TCP, so both ends' TCP has the round trip that the delay makes: its windows, buffers and timers are as on a long wire.
// The kernel's own way is sch_netem, which not every kernel has.
//
// Read in this order: link.go (the whole), pump.go (what a thread does), line.go (what becomes of a packet), tun.go (the ends).
package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ferry.invalid/lab/netns"
)

// End is a namespace and what its end of the link is called there.
type End struct {
	// Namespace is where it is.
	Namespace *netns.Namespace
	// Device is its name.
	Device string
	// Addresses are its own with the length of their network: 10.99.0.1/24.
	Addresses []string
}

// Options are a link's.
type Options struct {
	// There is what happens from the first end to the second, Back the other way.
	There, Back Direction
	// Cores are where its two threads run; empty is anywhere.
	Cores []int
}

// Link is a cable. Two threads carry it, one for each direction.
type Link struct {
	ends  [2]*tun
	pumps [2]*pump
	// stopping ends the threads, and wake wakes them for it.
	stopping atomic.Bool
	wake     int
	// running are the threads; failures is what they ended with.
	running  sync.WaitGroup
	failures [2]error
}

// Connect lays a link between two namespaces.
//
// TCP crosses in trains of segments, 64 KiB in one piece, unless packets are to be lost: then each crosses alone, because each is lost
// alone.
func Connect(near, far End, options Options) (*Link, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Link{wake: wake}
	trains := options.There.Loss == 0 && options.Back.Loss == 0
	for at, end := range [2]End{near, far} {
		if l.ends[at], err = openTUN(end.Namespace, end.Device, trains, end.Addresses...); err != nil {
			return nil, errors.Join(fmt.Errorf("device %s in %s: %w", end.Device, end.Namespace.Name, err), l.release())
		}
	}
	// The threads never let go of their places in Go's scheduler (call says why): these are beyond those of everybody else.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + len(l.pumps))
	for at, direction := range [2]Direction{options.There, options.Back} {
		p := &pump{
			from: l.ends[at], to: l.ends[1-at], line: NewLine(direction), cores: options.Cores,
			stopping: &l.stopping, wake: wake,
		}
		l.pumps[at] = p
		l.running.Go(func() { l.failures[at] = p.run() })
	}
	return l, nil
}

// Close takes the link away and says what crossed it.
func (l *Link) Close() (there, back Crossed, err error) {
	l.stopping.Store(true)
	one := [8]byte{1}
	if _, err := unix.Write(l.wake, one[:]); err != nil {
		return there, back, os.NewSyscallError("write eventfd", err)
	}
	l.running.Wait()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - len(l.pumps))
	there, back = l.pumps[0].crossed(), l.pumps[1].crossed()
	return there, back, errors.Join(l.failures[0], l.failures[1], l.release())
}

// Crossed says what became of the packets of one direction.
type Crossed struct {
	Stats
	// Refused were not taken by the kernel they came out at.
	Refused uint64
}

func (p *pump) crossed() Crossed { return Crossed{Stats: p.line.Stats, Refused: p.refused} }

// release closes what is open.
func (l *Link) release() error {
	errs := []error{unix.Close(l.wake)}
	for _, end := range l.ends {
		if end != nil {
			errs = append(errs, end.close())
		}
	}
	return errors.Join(errs...)
}
