package interop

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

// ferryPath is the program of the client.
var ferryPath = flag.String("ferry", "", "ferry binary, the client (default: ../../target/release/ferry, if it is there)")

// ferryBinary is the client under test.
func ferryBinary(t testing.TB) string {
	t.Helper()
	path := *ferryPath
	if path == "" {
		path = "../../target/release/ferry"
		if _, err := os.Stat(path); err != nil {
			t.Skip("no ferry: cargo build --release --bin ferry, or -ferry PATH")
		}
	}
	return path
}

// mapOf is the file of a map with one region.
func mapOf(t *testing.T, nodes ...*tailcfg.DERPNode) string {
	t.Helper()
	return mapOfRegions(t, &tailcfg.DERPRegion{RegionID: 900, RegionCode: "test", RegionName: "Test", Nodes: nodes})
}

// mapOfRegions is the file of a map with these.
func mapOfRegions(t *testing.T, regions ...*tailcfg.DERPRegion) string {
	t.Helper()
	derpMap := tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}
	for _, region := range regions {
		derpMap.Regions[region.RegionID] = region
	}
	text, err := json.Marshal(derpMap)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "map.json", string(text))
}

// ferrySays is a line of ferry ping --json or ferry watch --json.
type ferrySays struct {
	Event string
	// Region is where it happened.
	Region int
	// Own is the node's own key.
	Own string
	// Peer, Address and Kinds are a client's that is present, or gone.
	Peer, Address string
	Kinds         []string
	// Present is how many were present at the end.
	Present int
	// Explanation says why home moved.
	Explanation string
	// TookMS is how long a connection took, from TCP to ServerInfo.
	TookMS float64 `json:"took_ms"`
	// Failures say what went wrong at each node.
	Failures json.RawMessage
}

// ferryRun is a running ferry that prints lines of JSON.
type ferryRun struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan ferrySays
}

// startFerry starts ferry, and ends it with the test.
func startFerry(t testing.TB, args ...string) *ferryRun {
	t.Helper()
	f := &ferryRun{t: t, cmd: exec.Command(ferryBinary(t), args...), lines: make(chan ferrySays, 10_000)}
	f.cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+authority.rootFile)
	output, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.cmd.Process.Kill() })
	go func() {
		defer close(f.lines)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			var said ferrySays
			if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
				said.Event = fmt.Sprintf("%q is not what was expected: %v", lines.Text(), err)
			}
			f.lines <- said
		}
	}()
	return f
}

// next is the next line that says one of these events.
func (f *ferryRun) next(events ...string) ferrySays {
	f.t.Helper()
	return f.nextWithin(patience, events...)
}

// nextWithin is the same with a patience of its own.
func (f *ferryRun) nextWithin(within time.Duration, events ...string) ferrySays {
	f.t.Helper()
	deadline := time.After(within)
	for {
		select {
		case said, open := <-f.lines:
			if !open {
				f.t.Fatalf("%v ended before it said %v", f.cmd.Args, events)
			}
			if slices.Contains(events, said.Event) {
				return said
			}
		case <-deadline:
			f.t.Fatalf("%v does not say %v within %v", f.cmd.Args, events, within)
		}
	}
}

// stop ends it as Ctrl-C does; the last line, and the exit code.
func (f *ferryRun) stop() (ferrySays, int) {
	f.t.Helper()
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		f.t.Fatal(err)
	}
	summary := f.next("summary")
	for range f.lines {
	}
	f.cmd.Wait()
	return summary, f.cmd.ProcessState.ExitCode()
}
