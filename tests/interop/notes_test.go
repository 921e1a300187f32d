package interop

import (
	"regexp"
	"testing"

	"ferry.test/interop/kit"
)

// notes collects what a reader must see even when all is green.
var notes kit.Notes

// ferryOnly skips a check that derper cannot pass, visibly; why says what derper does instead.
func ferryOnly(t *testing.T, why string) {
	t.Helper()
	if under == ferry {
		return
	}
	notes.Add("ferry-only, not run: %s (%s)", t.Name(), why)
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
	notes.Add("not served by ferry yet, not run: %s needs %s", t.Name(), found[1])
	t.Skipf("not served by ferry yet: %s", found[1])
}

// deviated records that the relay took the improved of two accepted behaviours.
func deviated(t *testing.T, what string) {
	t.Helper()
	t.Logf("deviation: %s", what)
	notes.Add("deviation met in %s: %s", t.Name(), what)
}
