package stun

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// discovery is what turnutils_natdiscovery says, in its own words.
type discovery struct {
	// verdicts are its sentences about mapping, filtering and hairpin, in their order.
	verdicts []string
	// answers is how many responses it got and understood.
	answers int
}

var (
	verdictLine   = regexp.MustCompile(`(?m)^(?:NAT with .*!|No NAT! .*|Received a request .*|-= ALG detected! .*)$`)
	reflexiveLine = regexp.MustCompile(`UDP reflexive addr: (\S+)`)
)

// discover runs turnutils_natdiscovery from 127.0.0.1.
func (s *server) discover(t *testing.T, flags ...string) discovery {
	t.Helper()
	output, err := runProgram(t, 4*patience, "turnutils_natdiscovery", append(flags, "-L", "127.0.0.1", "-p", s.port(), s.ip())...)
	if err != nil || strings.Contains(output, "timeout") {
		t.Fatalf("turnutils_natdiscovery %v: %v\n%s", flags, err, output)
	}
	return discovery{verdictLine.FindAllString(output, -1), strings.Count(output, "UDP reflexive addr: 127.0.0.1:")}
}

// freely lets a server of ours tell everybody of its other address as often as they ask. By default it does so ten times at
// once, which is several discoveries, but not all that one test makes in a second.
func freely() []string {
	if under == coturn {
		return nil
	}
	return []string{"--redirect-rate", "off"}
}

// What turnutils_natdiscovery says where there is no NAT, from each kind of test, with coturn's own server as the
// reference: with the same server it would be right whatever the words are.
func TestNatdiscoverySaysTheSameOfUsAsOfCoturn(t *testing.T) {
	t.Parallel()
	reference := startCoturn(t, serverOptions{layout: twoAddresses})
	s := startServer(t, serverOptions{layout: twoAddresses, args: freely()})
	for name, flags := range map[string][]string{
		"mapping":                      {"-m"},
		"filtering":                    {"-f"},
		"hairpin":                      {"-H"},
		"mapping, filtering, hairpin":  {"-m", "-f", "-H"},
		"with padding":                 {"-m", "-f", "-P"},
		"lifetime (RESPONSE-PORT)":     {"-t", "-T", "1"},
		"collision of two local hosts": {"-c", "-A", "127.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := reference.discover(t, flags...), s.discover(t, flags...)
			if !slices.Equal(got.verdicts, want.verdicts) {
				t.Errorf("of ours: %q, of coturn: %q", got.verdicts, want.verdicts)
			}
			if got.answers == 0 {
				t.Error("no answer at all")
			}
		})
	}
	want := []string{
		"Received a request (maybe a successful hairpinning)",
		"No NAT! (Endpoint Independent Mapping)", "NAT with Endpoint Independent Mapping!",
		"No NAT! (Endpoint Independent Mapping)", "NAT with Endpoint Independent Filtering!",
	}
	if got := s.discover(t, "-m", "-f", "-H"); !slices.Equal(got.verdicts, want) {
		t.Errorf("verdicts %q, want %q", got.verdicts, want)
	}
}

// From the other address and port, everything is the other way round.
func TestNatdiscoveryMayAskTheAlternateAddress(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{layout: twoAddresses})
	s.primary, s.secondary = s.secondary, s.primary
	if got := s.discover(t, "-m", "-f"); len(got.verdicts) != 4 || got.verdicts[3] != "NAT with Endpoint Independent Filtering!" {
		t.Errorf("verdicts %q", got.verdicts)
	}
}

// Without a second address the tool has nothing to compare with, and says nothing rather than something wrong.
func TestNatdiscoveryFindsNoVerdictWithoutASecondAddress(t *testing.T) {
	for name, l := range map[string]layout{"one socket": oneSocket, "two ports": twoPorts} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serverOptions{layout: l})
			got := s.discover(t, "-m", "-f")
			if slices.ContainsFunc(got.verdicts, func(v string) bool { return strings.HasPrefix(v, "NAT with") }) || got.answers == 0 {
				t.Errorf("verdicts %q after %d answers", got.verdicts, got.answers)
			}
		})
	}
}

func TestStunclientIsTold(t *testing.T) {
	eachServer(t, func(t *testing.T, relay bool) {
		for _, ipv6 := range []bool{false, true} {
			t.Run(family(ipv6), func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serverOptions{relay: relay, ipv6: ipv6})
				expectReflexive(t, s, 1)
			})
		}
	})
}

func TestStunclientUsesTheAlternates(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{layout: twoAddresses})
	// It sees OTHER-ADDRESS, and then asks for an answer from there, and for one to another port.
	expectReflexive(t, s, 3)
	expectReflexive(t, s, 3, "-f")
}

// expectReflexive runs turnutils_stunclient and wants the address in so many different answers.
func expectReflexive(t *testing.T, s *server, answers int, flags ...string) {
	t.Helper()
	output, err := runProgram(t, patience, "turnutils_stunclient", append(flags, "-L", s.ip(), "-p", s.port(), s.ip())...)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	found := reflexiveLine.FindAllStringSubmatch(output, -1)
	prefix := s.ip() + ":"
	for _, address := range found {
		if !strings.HasPrefix(strings.Trim(address[1], "[]"), prefix) && !strings.HasPrefix(address[1], "["+s.ip()+"]:") {
			t.Errorf("reflexive address %s, want one of %s", address[1], s.ip())
		}
	}
	if responses := max(1, strings.Count(output, "RFC 5780 response")); len(found) < responses || responses != answers {
		t.Errorf("%d responses and %d addresses, want %d\n%s", responses, len(found), answers, output)
	}
}
