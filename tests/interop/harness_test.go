// Package interop proves, from outside, that a relay binary behaves as derper to real peers.
//
// Every check passes against the real derper. The same checks then run against ferry-relay, which takes the same flags.
// Where ferry deviates on purpose, the check names the deviation and accepts both behaviours.
package interop

import (
	"cmp"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	// relayPath is the binary under test; empty means a derper built from the module in go.mod.
	relayPath = flag.String("relay", "", "relay binary under test (default: build derper)")
	// relayKind tells which deviations are expected of the binary.
	relayKind = flag.String("kind", "", "derper or ferry (default: ferry if the binary's name starts with ferry)")
	// recordDir makes TestGolden rewrite its files instead of comparing with them.
	recordDir = flag.String("record", "", "write golden byte files into this directory instead of comparing")
)

// kind is what the binary under test is.
type kind string

const (
	derper kind = "derper"
	ferry  kind = "ferry"
)

// under is the kind of the binary under test, fixed in TestMain.
var under kind

func TestMain(m *testing.M) {
	// Most tests wait more than they compute; -parallel on the command line still wins.
	flag.Set("test.parallel", "12")
	flag.Parse()
	// Under nohup SIGHUP is ignored, which programs inherit, and then they would not die of it. A handler is not inherited.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// run prepares the binaries, runs the tests and prints what was skipped or deviated.
func run(m *testing.M) (int, error) {
	binaries, err := newBinaryCache()
	if err != nil {
		return 1, err
	}
	defer binaries.close()
	tools = binaries
	if *relayPath == "" {
		if *relayPath, err = binaries.build("derper"); err != nil {
			return 1, err
		}
	}
	if *relayPath, err = filepath.Abs(*relayPath); err != nil {
		return 1, err
	}
	under = kind(cmp.Or(*relayKind, guessKind(*relayPath)))
	if under != derper && under != ferry {
		return 1, fmt.Errorf("-kind %q is neither derper nor ferry", under)
	}
	if err := newTestAuthority(binaries.dir); err != nil {
		return 1, err
	}
	code := m.Run()
	notes.Print(os.Stdout, "interop", "relay kind "+string(under))
	return code, nil
}

func guessKind(path string) string {
	if strings.HasPrefix(filepath.Base(path), "ferry") {
		return string(ferry)
	}
	return string(derper)
}

// tail is the last n bytes of s.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// portOf is the port of a host:port.
func portOf(addr string) int {
	return int(netip.MustParseAddrPort(addr).Port())
}

// eventually polls until check returns nil, for state that has no event to wait on.
func eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
