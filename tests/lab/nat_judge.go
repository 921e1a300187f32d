package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"ferry.invalid/lab/netns"
)

// judgeWithin bounds one run of a program that judges a NAT: turnutils_natdiscovery waits 3 s for each answer
// that does not come.
const judgeWithin = 30 * time.Second

// Judgement is what a program says of the NAT that it is behind.
type Judgement struct {
	// Mapping and Filtering are Unknown when it says nothing.
	Mapping, Filtering Behaviour
	// Output is all that it printed.
	Output string
}

// The sentences of turnutils_natdiscovery and of pion's stun-nat-behaviour.
var (
	natdiscoverySentence = regexp.MustCompile(`NAT with (Endpoint Independent|Address Dependent|Address and Port Dependent) (Mapping|Filtering)!`)
	pionSentence         = regexp.MustCompile(`=> NAT (mapping|filtering) behavior: (endpoint independent|address dependent|address and port dependent)`)
)

// behaviours are both programs' words.
var behaviours = map[string]Behaviour{
	"endpoint independent":       EndpointIndependent,
	"address dependent":          AddressDependent,
	"address and port dependent": AddressAndPortDependent,
}

// Natdiscovery asks coturn's turnutils_natdiscovery.
func Natdiscovery(ctx context.Context, ns *netns.Namespace, server netip.AddrPort) (Judgement, error) {
	output, err := judge(ctx, ns, "turnutils_natdiscovery", "-m", "-f", "-p", fmt.Sprint(server.Port()), server.Addr().String())
	j := Judgement{Unknown, Unknown, output}
	for _, found := range natdiscoverySentence.FindAllStringSubmatch(output, -1) {
		j.note(strings.ToLower(found[2]), strings.ToLower(found[1]))
	}
	return j, err
}

// NatdiscoveryHairpin asks coturn's turnutils_natdiscovery whether the NAT hairpins.
func NatdiscoveryHairpin(ctx context.Context, ns *netns.Namespace, server netip.AddrPort) (bool, error) {
	output, err := judge(ctx, ns, "turnutils_natdiscovery", "-H", "-p", fmt.Sprint(server.Port()), server.Addr().String())
	return strings.Contains(output, "Received a request"), err
}

// Pion asks pion's stun-nat-behaviour.
func (b Binaries) Pion(ctx context.Context, ns *netns.Namespace, server netip.AddrPort) (Judgement, error) {
	output, err := judge(ctx, ns, b.Behaviour, "-timeout", "2", "-server", server.String())
	j := Judgement{Unknown, Unknown, output}
	for _, found := range pionSentence.FindAllStringSubmatch(output, -1) {
		j.note(found[1], found[2])
	}
	return j, err
}

// note takes over one sentence.
func (j *Judgement) note(what, how string) {
	if what == "mapping" {
		j.Mapping = behaviours[how]
		return
	}
	j.Filtering = behaviours[how]
}

// Discovery is what `ferry-stun discover --json` says.
type Discovery struct {
	Family    string    `json:"family"`
	UDP       bool      `json:"udp"`
	Local     string    `json:"local"`
	Mapped    string    `json:"mapped"`
	NAT       *bool     `json:"nat"`
	Mapping   Behaviour `json:"mapping"`
	Filtering Behaviour `json:"filtering"`
	Hairpin   *bool     `json:"hairpin"`
	Ports     any       `json:"port_allocation"`
	// Milliseconds is how long it took.
	Milliseconds float64 `json:"duration_ms"`
	// Output is all that it printed.
	Output string `json:"-"`
}

// Discover asks ferry-stun, as a client.
func (b Binaries) Discover(ctx context.Context, ns *netns.Namespace, server netip.AddrPort) (Discovery, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeWithin)
	defer cancel()
	cmd := ns.Command(ctx, b.STUN, "discover", server.String(), "--json")
	// The exit status says what it found, as of a grep: the answer is what counts.
	output, err := cmd.Output()
	d := Discovery{Output: string(output)}
	if parseErr := json.Unmarshal(output, &d); parseErr != nil {
		if failed, ok := err.(*exec.ExitError); ok {
			return d, fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return d, fmt.Errorf("%w: %v: %s", parseErr, err, output)
	}
	return d, nil
}

// judge runs a program in a namespace to its end; an exit status is no error, since turnutils exits with one when an
// answer is missing.
func judge(ctx context.Context, ns *netns.Namespace, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeWithin)
	defer cancel()
	output, err := ns.Command(ctx, program, args...).CombinedOutput()
	if _, ended := err.(*exec.ExitError); ended && ctx.Err() == nil {
		err = nil
	}
	return string(output), err
}
