package stun

import (
	"crypto/tls"
	"net"
	"regexp"
	"slices"
	"testing"

	"github.com/pion/stun/v3"
)

// behaviourVerdict is a conclusion of pion's stun-nat-behaviour.
var behaviourVerdict = regexp.MustCompile(`=> NAT (mapping|filtering) behavior: (.*)|NAT (?:mapping|filtering) behavior: inconclusive`)

// behaviours runs pion's NAT probe and returns its conclusions.
func (s *server) behaviours(t *testing.T) []string {
	t.Helper()
	output, err := runProgram(t, 4*patience, behaviour, "-server", s.primary.String(), "-timeout", "1")
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return behaviourVerdict.FindAllString(output, -1)
}

func TestPionsProbeFindsNoNAT(t *testing.T) {
	t.Parallel()
	want := []string{
		"=> NAT mapping behavior: endpoint independent",
		"=> NAT filtering behavior: endpoint independent",
	}
	for _, s := range []*server{
		startCoturn(t, serverOptions{layout: twoAddresses}),
		startServer(t, serverOptions{layout: twoAddresses}),
	} {
		if got := s.behaviours(t); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPionsProbeFindsNothingWithoutASecondAddress(t *testing.T) {
	t.Parallel()
	want := []string{"NAT mapping behavior: inconclusive", "NAT filtering behavior: inconclusive"}
	for _, l := range []layout{oneSocket, twoPorts} {
		if got := startServer(t, serverOptions{layout: l}).behaviours(t); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPionsClientIsToldOverUDP(t *testing.T) {
	eachServer(t, func(t *testing.T, relay bool) {
		for _, ipv6 := range []bool{false, true} {
			t.Run(family(ipv6), func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serverOptions{relay: relay, ipv6: ipv6})
				conn, err := net.Dial("udp", s.primary.String())
				must(t, err)
				expectPion(t, conn)
			})
		}
	})
}

func TestPionsClientIsToldOverTCP(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(family(ipv6), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serverOptions{ipv6: ipv6, tcp: true})
			conn, err := net.Dial("tcp", s.tcp.String())
			must(t, err)
			expectPion(t, conn)
		})
	}
}

func TestPionsClientIsToldOverTLS(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(family(ipv6), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serverOptions{ipv6: ipv6, tcp: true, tls: true})
			conn, err := tls.Dial("tcp", s.tls.String(), s.trust(t))
			must(t, err)
			expectPion(t, conn)
		})
	}
}

// expectPion has pion's client ask 20 times over one connection, half of them with a FINGERPRINT, and
// demands our own address each time; a FINGERPRINT is answered with one that pion finds right.
func expectPion(t *testing.T, conn net.Conn) {
	t.Helper()
	client, err := stun.NewClient(conn)
	must(t, err)
	defer client.Close()
	for i := range 20 {
		setters := []stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewSoftware("pion")}
		if i%2 == 1 {
			setters = append(setters, stun.Fingerprint)
		}
		err := client.Do(stun.MustBuild(setters...), func(event stun.Event) {
			if event.Error != nil {
				t.Errorf("request %d: %v", i, event.Error)
				return
			}
			var mapped stun.XORMappedAddress
			if err := mapped.GetFrom(event.Message); err != nil || mapped.String() != conn.LocalAddr().String() {
				t.Errorf("address %v (%v), want %v", mapped, err, conn.LocalAddr())
			}
			// coturn leaves FINGERPRINT out unless a flag asks for it.
			if i%2 == 1 && under == ferry {
				if err := stun.Fingerprint.Check(event.Message); err != nil {
					t.Errorf("FINGERPRINT: %v", err)
				}
			}
		})
		must(t, err)
	}
}
