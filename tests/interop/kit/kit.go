// Package kit is what the suites of this module share: ports that nobody else takes, the output of a process, and
// the notes at the end of a run.
package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Buffer is a bytes.Buffer that a process writes while a test reads.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Notes is the closing summary of a suite: what a reader must see even when all is green.
type Notes struct {
	mu    sync.Mutex
	lines []string
}

// Add takes a line, once.
func (n *Notes) Add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if line := fmt.Sprintf(format, args...); !slices.Contains(n.lines, line) {
		n.lines = append(n.lines, line)
	}
}

// Print writes the lines, sorted, under a heading that says which suite ran against what.
func (n *Notes) Print(w io.Writer, suite, under string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.lines)
	fmt.Fprintf(w, "%s: %s, %d notes\n", suite, under, len(n.lines))
	for _, line := range n.lines {
		fmt.Fprintf(w, "%s: %s\n", suite, line)
	}
}

// nextPort walks the ports below the kernel's ephemeral range, so that no outgoing socket takes one in between.
var nextPort atomic.Int32

// FreePort returns a port that is free for TCP and UDP on both loopbacks (127.0.0.2 included) and that no other run
// of these suites will take.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 5000 {
		port := 18000 + (int(nextPort.Add(1))+os.Getpid()*37)%14000
		// Reserved first: looking binds the port for a moment, which must not meet the program of another run.
		if reserve(port) && isFree(port) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// reserve takes a port for this process among all runs on the machine, by a file lock that ends with the process.
func reserve(port int) bool {
	dir := filepath.Join(os.TempDir(), "interop-ports")
	if os.MkdirAll(dir, 0o777) != nil {
		return false
	}
	fd, err := syscall.Open(filepath.Join(dir, fmt.Sprint(port)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o666)
	if err != nil {
		return false
	}
	if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		syscall.Close(fd)
		return false
	}
	return true
}

// isFree looks whether a port can be bound everywhere. No program is started meanwhile: until it replaces itself, a forked
// child has the listeners too, on which the program that the port is for would fail, and whoever waits for it would not.
func isFree(port int) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		if bindBoth(net.JoinHostPort(host, fmt.Sprint(port))) != nil {
			return false
		}
	}
	return true
}

func bindBoth(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	packet, err := net.ListenPacket("udp", addr)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return errors.Join(listener.Close(), packet.Close())
}
