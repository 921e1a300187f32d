package lab

import (
	"syscall"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
)

// partnerWithin bounds the time until a server notices that its partner is gone, or back: it asks every second, and
// believes in silence after the third.
const partnerWithin = 4 * time.Second

// A server whose partner is gone has one address: it stops to tell of another and says no to what it cannot do, so
// that no client takes silence for a filter.
func TestALostPartnerIsNotMistakenForAFilter(t *testing.T) {
	if binaries.STUN == "" {
		t.Skip("no -stun: coturn does not work across machines")
	}
	l := &natLab{segment: startSegment(t)}
	client := l.host(t, "client", 1).Namespace
	a, b := l.host(t, "pair-a", 1), l.host(t, "pair-b", 1)
	first, second, err := l.segment.FerryPair("pair", binaries.STUN, a, b)
	if err != nil {
		t.Fatal(err)
	}
	start(t, first, second)
	summary := &Summary{Title: t.Name()}
	t.Cleanup(func() { t.Log(summary) })

	told := func(answer STUNAnswer) bool { return answer.OtherAddress }
	const change = 4 // IP
	fromPartner := func(answer STUNAnswer) bool {
		return answer.Refused == 0 && answer.From.Addr() == b.IPv4[0] && answer.From.Port() == stunPort
	}
	refused := func(answer STUNAnswer) bool { return answer.Refused == 420 && answer.From == first.Address }

	step(t, "together they have two addresses", func(t *testing.T) {
		summary.Time("OTHER-ADDRESS is told after", awaitAnswer(t, client, first.Address, 0, told), partnerWithin)
		awaitAnswer(t, client, second.Address, 0, told)
		awaitAnswer(t, client, first.Address, change, fromPartner)
		expectFiltering(t, client, first, EndpointIndependent)
	})
	for _, loss := range []struct {
		name string
		lose func() error
	}{
		{"stopped", second.Stop},
		{"killed", func() error {
			process := second.process
			second.process = nil
			defer func() { <-process.done }()
			return process.cmd.Process.Signal(syscall.SIGKILL)
		}},
	} {
		step(t, "with the partner "+loss.name+" it has one", func(t *testing.T) {
			if err := loss.lose(); err != nil {
				t.Fatal(err)
			}
			untold := func(answer STUNAnswer) bool { return !answer.OtherAddress }
			took := awaitAnswer(t, client, first.Address, 0, untold)
			took += awaitAnswer(t, client, first.Address, change, refused)
			if took > partnerWithin+time.Second {
				t.Errorf("noticed after %v, want at most %v", took, partnerWithin)
			}
			summary.Time("partner "+loss.name+", noticed after", took, partnerWithin)
			// Whether the filter looks at addresses cannot be told any more; that would have been the wrong verdict.
			expectFiltering(t, client, first, Unknown)
		})
		step(t, "with the partner back it has two again", func(t *testing.T) {
			if err := second.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			summary.Time("partner back, told of after", awaitAnswer(t, client, first.Address, 0, told), partnerWithin)
			awaitAnswer(t, client, first.Address, change, fromPartner)
			expectFiltering(t, client, first, EndpointIndependent)
		})
	}
}

// expectFiltering has ferry-stun discover what stands between a client and a server.
func expectFiltering(t *testing.T, client *netns.Namespace, server *STUNServer, want Behaviour) {
	t.Helper()
	got, err := binaries.Discover(t.Context(), client, server.Address)
	if err != nil {
		t.Fatal(err)
	}
	if !got.UDP || got.Filtering != want {
		t.Errorf("discover: UDP %v, filtering %s, want %s\n%s", got.UDP, got.Filtering, want, got.Output)
	}
}
