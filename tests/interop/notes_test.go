package interop

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
)

// notes collects what a reader must see even when all is green.
var notes noteBook

// noteBook is the closing summary: checks that did not apply, and deviations that were met.
type noteBook struct {
	mu    sync.Mutex
	lines []string
}

func (n *noteBook) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if line := fmt.Sprintf(format, args...); !slices.Contains(n.lines, line) {
		n.lines = append(n.lines, line)
	}
}

func (n *noteBook) print(w *os.File) {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.lines)
	fmt.Fprintf(w, "interop: relay kind %s, %d notes\n", under, len(n.lines))
	for _, line := range n.lines {
		fmt.Fprintln(w, "interop:", line)
	}
}

// ferryOnly skips a check that derper cannot pass, visibly; why says what derper does instead.
func ferryOnly(t *testing.T, why string) {
	t.Helper()
	if under == ferry {
		return
	}
	notes.add("ferry-only, not run: %s (%s)", t.Name(), why)
	t.Skipf("ferry-only: %s", why)
}

// refusal is how ferry-relay names a flag of derper's that its version does not serve yet; it starts with none such.
var refusal = regexp.MustCompile(`derper's (-\S+) is not served by this version`)

// notServed skips a check of a flag that ferry refuses by name, visibly: the check runs once the flag is served.
func notServed(t testing.TB, output string) {
	t.Helper()
	found := refusal.FindStringSubmatch(output)
	if under != ferry || found == nil {
		return
	}
	notes.add("not served by ferry yet, not run: %s needs %s", t.Name(), found[1])
	t.Skipf("not served by ferry yet: %s", found[1])
}

// deviated records that the relay took the improved of two accepted behaviours.
func deviated(t *testing.T, what string) {
	t.Helper()
	t.Logf("deviation: %s", what)
	notes.add("deviation met in %s: %s", t.Name(), what)
}
