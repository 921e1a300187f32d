package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
)

// discoverWithin bounds `ferry-stun discover`: 2 s of its own, and what a busy machine adds.
const discoverWithin = 3 * time.Second

// natLab is a segment with the servers that the NATs are judged against.
type natLab struct {
	segment *Segment
	// coturn is the reference.
	coturn *STUNServer
	// alone is ferry-stun with two addresses; pair is the first of two machines with one each. nil without -stun.
	alone, pair *STUNServer
}

// servers are those that know two addresses, by name.
func (l *natLab) servers() map[string]*STUNServer {
	servers := map[string]*STUNServer{"coturn": l.coturn}
	if l.alone != nil {
		servers["ferry-stun on one machine"] = l.alone
		servers["ferry-stun on two machines"] = l.pair
	}
	return servers
}

// startNATLab puts up a segment with the servers on it.
func startNATLab(t *testing.T) (*natLab, []netip.Addr) {
	t.Helper()
	l := &natLab{segment: startSegment(t)}
	coturn := l.host(t, "coturn", 2)
	addresses := coturn.IPv4
	l.coturn = l.segment.Coturn(coturn)
	start(t, l.coturn)
	if binaries.STUN == "" {
		return l, addresses
	}
	alone, a, b := l.host(t, "alone", 2), l.host(t, "pair-a", 1), l.host(t, "pair-b", 1)
	l.alone = l.segment.FerrySTUN("alone", binaries.STUN, alone)
	pair, partner, err := l.segment.FerryPair("pair", binaries.STUN, a, b)
	if err != nil {
		t.Fatal(err)
	}
	l.pair = pair
	start(t, l.alone, pair, partner)
	awaitPartner(t, pair)
	return l, append(append(append(addresses, alone.IPv4...), a.IPv4...), b.IPv4...)
}

// startSegment makes a segment that is gone after the test.
func startSegment(t *testing.T) *Segment {
	t.Helper()
	segment, err := newSegment()
	t.Cleanup(func() {
		if err := segment.Close(); err != nil {
			t.Errorf("taking the segment down: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return segment
}

func (l *natLab) host(t *testing.T, name string, addresses int) *Host {
	t.Helper()
	host, err := l.segment.Host(name, addresses)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// start starts servers and stops them after the test.
func start(t *testing.T, servers ...*STUNServer) {
	t.Helper()
	for _, s := range servers {
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitPartner waits until a server tells of its partner's address.
func awaitPartner(t *testing.T, s *STUNServer) time.Duration {
	t.Helper()
	return awaitAnswer(t, s.host.Namespace, s.Address, 0, func(answer STUNAnswer) bool { return answer.OtherAddress })
}

// awaitAnswer asks a server until its answer is as wanted, and says how long that took.
func awaitAnswer(t *testing.T, ns *netns.Namespace, server netip.AddrPort, change byte, wanted func(STUNAnswer) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < partnerWithin+time.Second {
		answer, err := AskSTUN(ns, server, change, 200*time.Millisecond)
		if err == nil && wanted(answer) {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no such answer from %v within %v", server, time.Since(began))
	return 0
}

// Every kind of NAT is first judged by programs that others wrote, against a server that others wrote. Then the same
// programs have to say the same of it when they ask ours, and our program when it asks any.
func TestNATsAreToldApart(t *testing.T) {
	l, addresses := startNATLab(t)
	// The group ends before the segment does.
	t.Run("behind", func(t *testing.T) {
		for _, nat := range NATs(addresses) {
			home, err := l.segment.Home(nat)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(nat.Name, func(t *testing.T) {
				t.Parallel()
				for name, server := range l.servers() {
					t.Run(name, func(t *testing.T) {
						expectJudges(t, home, server)
						if binaries.STUN != "" {
							expectDiscovery(t, home, server)
						}
					})
				}
			})
		}
	})
}

// Over IPv6 nothing is translated, so there is only the filter to tell.
func TestIPv6FiltersAreToldApart(t *testing.T) {
	if binaries.STUN == "" {
		t.Skip("no -stun: neither turnutils_natdiscovery nor pion's probe discovers anything over IPv6")
	}
	l, addresses := startNATLab(t)
	for _, nat := range NATs(addresses) {
		if nat.Translates {
			continue
		}
		home, err := l.segment.Home(nat)
		if err != nil {
			t.Fatal(err)
		}
		for name, server := range l.servers() {
			t.Run(nat.Name+", "+name, func(t *testing.T) {
				over6 := *server
				over6.Address = server.Address6
				expectDiscovery(t, home, &over6)
			})
		}
	}
}

// expectJudges has coturn's and pion's programs judge the NAT in front of a server.
func expectJudges(t *testing.T, home *Home, server *STUNServer) {
	t.Helper()
	ctx, ns, nat := t.Context(), home.Client.Namespace, home.NAT
	pions, err := binaries.Pion(ctx, ns, server.Address)
	expectBehaviour(t, "stun-nat-behaviour", nat, pions, err)
	coturns, err := Natdiscovery(ctx, ns, server.Address)
	// For its third mapping test the tool takes OTHER-ADDRESS from the answer to the second, not to the first. Asked
	// at its other address, coturn names that same one again; RFC 5780 section 7.4 has a server name the opposite
	// one, so the tool comes back to where it began and finds that ports matter.
	if nat.Mapping == AddressDependent && server.program != "turnserver" {
		nat.Mapping = AddressAndPortDependent
	}
	expectBehaviour(t, "turnutils_natdiscovery", nat, coturns, err)
	if hairpin, err := NatdiscoveryHairpin(ctx, ns, server.Address); err != nil || hairpin != nat.Hairpin {
		t.Errorf("turnutils_natdiscovery says hairpin %v, error %v, want %v", hairpin, err, nat.Hairpin)
	}
	answer, err := AskSTUN(ns, server.Address, 0, time.Second)
	if blocked := errors.Is(err, errSilence); blocked != nat.Blocked {
		t.Errorf("answer %v, error %v; blocked has to be %v", answer, err, nat.Blocked)
	}
}

func expectBehaviour(t *testing.T, program string, nat NAT, got Judgement, err error) {
	t.Helper()
	if err != nil || got.Mapping != nat.Mapping || got.Filtering != nat.Filtering {
		t.Errorf("%s: mapping %s, filtering %s, error %v; want %s, %s\n%s",
			program, got.Mapping, got.Filtering, err, nat.Mapping, nat.Filtering, got.Output)
	}
}

// expectDiscovery has ferry-stun judge the NAT in front of a server. It may say that it does not know, on a machine
// that stands still for half a second, and is then asked again, twice at most; it may never be wrong.
func expectDiscovery(t *testing.T, home *Home, server *STUNServer) {
	t.Helper()
	for try := 1; ; try++ {
		got, err := binaries.Discover(t.Context(), home.Client.Namespace, server.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: mapping %s, filtering %s, hairpin %s, ports %v, in %.0f ms",
			home.NAT.Name, got.Mapping, got.Filtering, show(got.Hairpin), got.Ports, got.Milliseconds)
		missing, wrong := compareDiscovery(home.NAT, got)
		if took := time.Duration(got.Milliseconds * float64(time.Millisecond)); took > discoverWithin {
			wrong = append(wrong, fmt.Sprintf("took %v, more than %v", took, discoverWithin))
		}
		if len(wrong) > 0 || len(missing) > 0 && try == 3 {
			t.Fatalf("discover, try %d: wrong %q, missing %q\n%s", try, wrong, missing, got.Output)
		}
		if len(missing) == 0 {
			return
		}
	}
}

// compareDiscovery says what of a discovery is missing, and what is not so.
func compareDiscovery(nat NAT, got Discovery) (missing, wrong []string) {
	note := func(what, is, want string) {
		switch {
		case is == want:
		case is == string(Unknown):
			missing = append(missing, what)
		default:
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", what, want, is))
		}
	}
	note("mapping", string(got.Mapping), string(nat.Mapping))
	note("filtering", string(got.Filtering), string(nat.Filtering))
	note("UDP", fmt.Sprint(got.UDP), fmt.Sprint(!nat.Blocked))
	translates, hairpin := fmt.Sprint(nat.Translates), fmt.Sprint(nat.Hairpin)
	if nat.Blocked {
		translates = string(Unknown)
	}
	// Where nothing is translated there is nothing to hairpin, and a mapping per destination has no one outside address.
	if !nat.Translates || nat.Mapping != EndpointIndependent {
		hairpin = string(Unknown)
	}
	note("NAT", show(got.NAT), translates)
	note("hairpin", show(got.Hairpin), hairpin)
	return missing, wrong
}

// show prints what may not be known.
func show(known *bool) string {
	if known == nil {
		return string(Unknown)
	}
	return fmt.Sprint(*known)
}
