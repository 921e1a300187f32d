package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"ferry.invalid/lab/netns"
	"tailscale.com/net/netcheck"
	"tailscale.com/tailcfg"
)

// netcheckWithin bounds one netcheck: Ferry's takes 3 s at most, Tailscale's 5 s.
const netcheckWithin = 15 * time.Second

// NetcheckRelay is a relay of derper's flags on a host of a segment, with STUN, port 80, and a certificate of its own that the
// map pins.
type NetcheckRelay struct {
	// Host is where it runs.
	Host *Host
	// name is of its files, binary what runs.
	name, binary string
	// dir has its files.
	dir string
	// pin is the CertName that it printed.
	pin string
	// process is the running relay, or nil.
	process *Process
}

// NetcheckRelay prepares a relay.
func (s *Segment) NetcheckRelay(name, binary string, host *Host) (*NetcheckRelay, error) {
	r := &NetcheckRelay{Host: host, name: name, binary: binary, dir: s.path(name)}
	return r, os.MkdirAll(filepath.Join(r.dir, "certs"), 0o700)
}

// Start starts the relay and returns when it answers over TCP and has printed its pin.
func (r *NetcheckRelay) Start(ctx context.Context) error {
	hostname := r.Host.IPv4[0].String()
	log := filepath.Join(r.dir, "log")
	process, err := startProcess(r.Host.Namespace, log, nil, r.binary,
		"-a", ":443", "-http-port", "80", "-hostname", hostname, "-certmode", "manual",
		"-certdir", filepath.Join(r.dir, "certs"), "-c", filepath.Join(r.dir, "key.json"), "-stun",
	)
	if err != nil {
		return err
	}
	r.process = process
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return process.waitFor(ctx, func() error {
		printed, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		found := printedPin.FindAllSubmatch(printed, -1)
		if found == nil {
			return errors.New("no CertName printed yet")
		}
		r.pin = string(found[len(found)-1][1])
		conn, err := r.Host.Dial(ctx, nil, net.JoinHostPort("127.0.0.1", "443"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Stop ends the relay.
func (r *NetcheckRelay) Stop() error {
	if r.process == nil {
		return nil
	}
	process := r.process
	r.process = nil
	return process.Stop()
}

// Region is the relay as a DERP map shows it.
func (r *NetcheckRelay) Region(id int) *tailcfg.DERPRegion {
	ipv4 := r.Host.IPv4[0].String()
	return region(id, r.name, &tailcfg.DERPNode{
		HostName: ipv4, IPv4: ipv4, IPv6: r.Host.IPv6[0].String(), CertName: r.pin, CanPort80: true,
	})
}

// region is a region of one node.
func region(id int, name string, node *tailcfg.DERPNode) *tailcfg.DERPRegion {
	node.Name, node.RegionID = fmt.Sprintf("%da", id), id
	return &tailcfg.DERPRegion{RegionID: id, RegionCode: name, RegionName: name, Nodes: []*tailcfg.DERPNode{node}}
}

// FerryReport is what `ferry netcheck --json` prints: Tailscale's report, and what is beside it.
type FerryReport struct {
	netcheck.Report
	Ferry struct {
		TookNs       int64
		IPv4, IPv6   FerryFamily
		Findings     []FerryFinding
		NAT64Prefix  *string
		Unresolved   []string
		TranslatedV4 bool `json:"TranslatedIPv4"`
	}
	// Output is all that it printed, Exit its status.
	Output string `json:"-"`
	Exit   int    `json:"-"`
}

// FerryFamily is what is known of one family; nil and empty are unknown.
type FerryFamily struct {
	Asked, Answered int
	HTTPS           bool
	NAT             *bool
	Mapping         Behaviour
	Filtering       Behaviour
	FilteringWhy    string
	Hairpin         *bool
	HairpinWhy      string
	MappingWhy      string
}

// FerryFinding is one sentence.
type FerryFinding struct {
	Severity, Code, What, Evidence string
}

// Has is whether a finding of this code was made.
func (r *FerryReport) Has(code string) bool {
	for _, finding := range r.Ferry.Findings {
		if finding.Code == code {
			return true
		}
	}
	return false
}

// Netcheck runs `ferry netcheck --json` in a namespace.
func (b Binaries) Netcheck(ctx context.Context, ns *netns.Namespace, mapFile string, flags ...string) (FerryReport, error) {
	ctx, cancel := context.WithTimeout(ctx, netcheckWithin)
	defer cancel()
	flags = append([]string{"netcheck", "--derp-map", mapFile, "--json"}, flags...)
	output, err := ns.Command(ctx, b.Ferry, flags...).Output()
	report := FerryReport{Output: string(output)}
	if failed, ok := err.(*exec.ExitError); ok {
		report.Exit = failed.ExitCode()
		err = nil
		if len(output) == 0 {
			return report, fmt.Errorf("%w: %s", failed, failed.Stderr)
		}
	}
	return report, errors.Join(err, json.Unmarshal(output, &report))
}

// writeMap writes a DERP map for programs to read.
func (s *Segment) writeMap(name string, regions ...*tailcfg.DERPRegion) (string, error) {
	derpMap := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}, OmitDefaultRegions: true}
	for _, region := range regions {
		derpMap.Regions[region.RegionID] = region
	}
	text, err := json.Marshal(derpMap)
	path := s.path(name + ".json")
	return path, errors.Join(err, os.WriteFile(path, text, 0o600))
}

// outside is the address that a home's client is seen with.
func (h *Home) outside() netip.Addr {
	if h.NAT.Translates {
		return h.WAN
	}
	return h.Client.IPv4[0]
}
