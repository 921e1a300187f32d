package stun

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"tailscale.com/net/netcheck"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
)

// runProgram runs a program to its end, which has to come within a bound: turnutils_stunclient waits forever for an answer.
func runProgram(t *testing.T, within time.Duration, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(output), err
}

func TestStuncIsTold(t *testing.T) {
	eachServer(t, func(t *testing.T, relay bool) {
		for _, ipv6 := range []bool{false, true} {
			t.Run(family(ipv6), func(t *testing.T) {
				t.Parallel()
				expectStunc(t, startServer(t, serverOptions{relay: relay, ipv6: ipv6}))
			})
		}
	})
}

func TestStuncIsToldByAServerWithTwoAddresses(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{layout: twoAddresses})
	expectStunc(t, s)
	s.primary = s.secondary
	expectStunc(t, s)
}

// expectStunc runs stunc and compares the three addresses that it prints.
func expectStunc(t *testing.T, s *server) {
	t.Helper()
	output, err := runProgram(t, patience, stunc, s.ip(), s.port())
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	at, own := regexp.QuoteMeta(s.primary.String()), `127\.0\.0\.1`
	from := regexp.QuoteMeta("[::ffff:"+s.ip()+"]:") + s.port()
	if s.primary.Addr().Is6() {
		from, own = at, `\[::1\]`
	}
	// stunc's socket takes both families, so it shows an IPv4 sender as mapped; the address in the answer is not.
	want := regexp.MustCompile(fmt.Sprintf(`^sent addr: %s\nfrom addr: %s\nstun addr: %s:\d+\n$`, at, from, own))
	if !want.MatchString(output) {
		t.Fatalf("stunc printed\n%s\nwant %v", output, want)
	}
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

func TestNetcheckFindsUDPAndItsAddress(t *testing.T) {
	eachServer(t, func(t *testing.T, relay bool) {
		for _, ipv6 := range []bool{false, true} {
			t.Run(family(ipv6), func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serverOptions{relay: relay, ipv6: ipv6})
				report := netcheckReport(t, s.primary)
				global, latency, other := report.GlobalV4, report.RegionV4Latency, report.GlobalV6
				if ipv6 {
					global, latency, other = report.GlobalV6, report.RegionV6Latency, report.GlobalV4
				}
				if !report.UDP || report.IPv4 == ipv6 || report.IPv6 != ipv6 {
					t.Errorf("UDP %v, IPv4 %v, IPv6 %v", report.UDP, report.IPv4, report.IPv6)
				}
				if global.Addr() != s.primary.Addr() || global.Port() == 0 || other.IsValid() {
					t.Errorf("global address %v (other family: %v), want %v", global, other, s.primary.Addr())
				}
				if took := latency[1]; took <= 0 || took > time.Second || report.PreferredDERP != 1 {
					t.Errorf("latency %v, preferred region %d", took, report.PreferredDERP)
				}
			})
		}
	})
}

func TestNetcheckSeesThatTheMappingDoesNotVary(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{layout: twoAddresses})
	report := netcheckReport(t, s.primary, s.secondary)
	if varies, known := report.MappingVariesByDestIP.Get(); !known || varies {
		t.Errorf("MappingVariesByDestIP is %q, want false", report.MappingVariesByDestIP)
	}
	if len(report.RegionV4Latency) != 2 || report.GlobalV4Counters[report.GlobalV4] < 2 {
		t.Errorf("regions %v, seen %v", report.RegionV4Latency, report.GlobalV4Counters)
	}
}

// netcheckReport has Tailscale's netcheck make its first report with a region for each server.
func netcheckReport(t *testing.T, servers ...netip.AddrPort) *netcheck.Report {
	t.Helper()
	regions := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}
	for i, at := range servers {
		node := &tailcfg.DERPNode{
			Name: fmt.Sprint(i + 1), RegionID: i + 1, HostName: "stun.invalid", STUNOnly: true,
			STUNPort: int(at.Port()), STUNTestIP: at.Addr().String(), IPv4: "none", IPv6: "none",
		}
		bind := &node.IPv4
		if at.Addr().Is6() {
			bind = &node.IPv6
		}
		*bind = at.Addr().String()
		regions.Regions[i+1] = &tailcfg.DERPRegion{RegionID: i + 1, Nodes: []*tailcfg.DERPNode{node}}
	}
	client := &netcheck.Client{NetMon: netmon.NewStatic(), Logf: t.Logf, SkipExternalNetwork: true}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	must(t, client.Standalone(ctx, netip.AddrPortFrom(servers[0].Addr(), 0).String()))
	report, err := client.GetReport(ctx, regions, nil)
	must(t, err)
	return report
}
