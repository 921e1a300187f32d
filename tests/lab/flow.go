package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// transferPort is where a transfer listens, flowPort where a flow does.
	transferPort = "7001"
	flowPort     = "7002"

	// flowInterval is the time between two numbers of a flow.
	flowInterval = 10 * time.Millisecond
)

// Transfer sends random bytes from one node to a peer over TCP, and returns the time until the peer has
// answered with the right SHA-256 of all of them.
func Transfer(ctx context.Context, from, to *Node, size int) (time.Duration, error) {
	listener, err := to.Listen(transferPort)
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	go answerWithHash(listener, int64(size))

	payload := make([]byte, size)
	if _, err := rand.Read(payload); err != nil {
		return 0, err
	}
	began := time.Now()
	conn, err := from.Dial(ctx, to, transferPort)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline, bounded := ctx.Deadline()
	if bounded {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(payload); err != nil {
		return 0, err
	}
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, got); err != nil {
		return 0, fmt.Errorf("no hash came back: %w", err)
	}
	if want := sha256.Sum256(payload); !bytes.Equal(got, want[:]) {
		return 0, fmt.Errorf("sent %d bytes with SHA-256 %x, received ones have %x", size, want, got)
	}
	return time.Since(began), nil
}

// answerWithHash takes one connection, reads size bytes and writes back their hash.
func answerWithHash(listener net.Listener, size int64) {
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	hash := sha256.New()
	if _, err := io.CopyN(hash, conn, size); err != nil {
		return
	}
	_, _ = conn.Write(hash.Sum(nil))
}

// Flow is a TCP connection on which a number goes to the peer and back every few milliseconds, for as long as
// the lab lives. It shows whether a connection survives a change of path, and for how long it stood still.
type Flow struct {
	// conn is the sending side; listener and the peer's side are closed with it.
	conn     net.Conn
	listener net.Listener

	// mu guards what follows.
	mu sync.Mutex
	// next is the number expected back.
	next uint64
	// last is when the latest number came back, silence the longest time between two since TakeSilence.
	last    time.Time
	silence time.Duration
	// err is what ended the flow.
	err error
}

// StartFlow connects two nodes and begins to count.
func StartFlow(ctx context.Context, from, to *Node) (*Flow, error) {
	listener, err := to.Listen(flowPort)
	if err != nil {
		return nil, err
	}
	go echo(listener)
	conn, err := from.Dial(ctx, to, flowPort)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	f := &Flow{conn: conn, listener: listener, last: time.Now()}
	go f.send()
	go f.receive()
	return f, nil
}

// Progress waits until a number that was sent after this call has come back, so the connection is alive now.
func (f *Flow) Progress(ctx context.Context) error {
	f.mu.Lock()
	// What is on the way now was sent before, and there is at most one number per interval of it.
	target := f.next + uint64(time.Since(f.last)/flowInterval) + 2
	f.mu.Unlock()
	for {
		f.mu.Lock()
		next, err := f.next, f.err
		f.mu.Unlock()
		if err != nil {
			return fmt.Errorf("flow ended after %d numbers: %w", next, err)
		}
		if next >= target {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("flow stands still at number %d: %w", next, ctx.Err())
		case <-time.After(flowInterval):
		}
	}
}

// TakeSilence is the longest time without a number since the flow began or this was last called.
func (f *Flow) TakeSilence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	silence := max(f.silence, time.Since(f.last))
	f.silence = 0
	return silence
}

// Close ends the flow.
func (f *Flow) Close() error { return errors.Join(f.conn.Close(), f.listener.Close()) }

// send writes the next number every interval. A blocked write means that the path is gone for long; the
// numbers then come late but none is left out.
func (f *Flow) send() {
	var number [8]byte
	for i := uint64(0); ; i++ {
		binary.BigEndian.PutUint64(number[:], i)
		if _, err := f.conn.Write(number[:]); err != nil {
			f.end(err)
			return
		}
		time.Sleep(flowInterval)
	}
}

// receive checks that numbers come back complete and in order.
func (f *Flow) receive() {
	var number [8]byte
	for {
		if _, err := io.ReadFull(f.conn, number[:]); err != nil {
			f.end(err)
			return
		}
		f.mu.Lock()
		got, want, now := binary.BigEndian.Uint64(number[:]), f.next, time.Now()
		f.next++
		f.silence = max(f.silence, now.Sub(f.last))
		f.last = now
		f.mu.Unlock()
		if got != want {
			f.end(fmt.Errorf("number %d came back as %d", want, got))
			return
		}
	}
}

// end notes the first reason for the end.
func (f *Flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// echo sends one connection's bytes back.
func echo(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}
