// Package stun proves, from outside, that a STUN server is what real clients expect.
//
// The clients are programs and libraries that others wrote: Tailscale's stunc and netcheck, coturn's turnutils,
// pion's. Every check of theirs is green against coturn's own turnserver first; then the same checks run against
// ferry-stun, and those without a second address against the STUN server inside ferry-relay.
package stun

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/kit"
)

var (
	// serverPath is the binary under test; empty means coturn's turnserver, the reference.
	serverPath = flag.String("server", "", "ferry-stun binary under test (default: turnserver, the reference)")
	// serverKind tells which checks apply.
	serverKind = flag.String("kind", "", "coturn or ferry (default: ferry if -server is given)")
	// relayPath is a relay whose STUN server is asked too.
	relayPath = flag.String("relay", "", "ferry-relay binary whose STUN server is asked too")
)

// kind is what the binary under test is.
type kind string

const (
	coturn kind = "coturn"
	ferry  kind = "ferry"
)

var (
	// under is the kind of the binary under test.
	under kind
	// stunc, behaviour and stund are clients and a server built from the module's requirements.
	stunc, behaviour, stund string
	// notes are printed at the end: what did not apply, and what was measured.
	notes kit.Notes
)

// patience bounds the wait for what has to come.
const patience = 5 * time.Second

// quiet is how long a socket is watched for what must not come, where no later answer can mark the end.
const quiet = 300 * time.Millisecond

func TestMain(m *testing.M) {
	// Most tests wait more than they compute; -parallel on the command line still wins.
	flag.Set("test.parallel", "8")
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop/stun:", err)
		code = 1
	}
	os.Exit(code)
}

// run finds and builds the programs, runs the tests and prints the notes.
func run(m *testing.M) (int, error) {
	for _, tool := range []string{"turnserver", "turnutils_stunclient", "turnutils_natdiscovery"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%s is missing; on Debian: apt-get install coturn", tool)
		}
	}
	under = kind(cmp.Or(*serverKind, map[bool]string{true: string(coturn), false: string(ferry)}[*serverPath == ""]))
	if under != coturn && under != ferry {
		return 1, fmt.Errorf("-kind %q is neither coturn nor ferry", under)
	}
	if under == ferry && *serverPath == "" {
		return 1, fmt.Errorf("-kind ferry needs -server BINARY")
	}
	if *serverPath == "" {
		*serverPath = "turnserver"
	}
	for _, path := range []*string{serverPath, relayPath} {
		if strings.ContainsRune(*path, filepath.Separator) {
			absolute, err := filepath.Abs(*path)
			if err != nil {
				return 1, err
			}
			*path = absolute
		}
	}
	dir, err := os.MkdirTemp("", "interop-stun-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	for source, path := range map[string]*string{
		"tailscale.com/cmd/stunc":                        &stunc,
		"tailscale.com/cmd/stund":                        &stund,
		"github.com/pion/stun/v3/cmd/stun-nat-behaviour": &behaviour,
	} {
		*path = filepath.Join(dir, filepath.Base(source))
		if out, err := exec.Command("go", "build", "-p=2", "-o", *path, source).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", source, err, out)
		}
	}
	code := m.Run()
	notes.Print(os.Stdout, "interop/stun", "server kind "+string(under))
	return code, nil
}

// ferryOnly skips a check that coturn cannot pass, visibly; why says what coturn does instead.
func ferryOnly(t *testing.T, why string) {
	t.Helper()
	if under == ferry {
		return
	}
	notes.Add("ferry-only, not run: %s (%s)", t.Name(), why)
	t.Skipf("ferry-only: %s", why)
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
