package lab

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"ferry.invalid/lab/netns"
	"tailscale.com/tailcfg"
)

const (
	// regionID is the relay's region: the first number kept for operators' own.
	regionID = 900
	// regionCode is what `tailscale ping` calls the region.
	regionCode = "lab"
)

// Relay is the relay under test, run with derper's flags.
type Relay struct {
	// Version is what the relay calls itself in /debug/vars, once it is up.
	Version string

	// binary, ns and dir say what runs, where, and where its files are.
	binary string
	ns     *netns.Namespace
	dir    string
	// certificate is how nodes trust it; caFile is the authority's certificate or empty.
	certificate Certificate
	caFile      string
	// pin is the CertName that the relay printed, or empty with an authority.
	pin string
	// process is the running relay, or nil.
	process *Process
}

// Counters are the relay's own counters of what it relayed, from /debug/vars.
type Counters struct {
	// PacketsReceived and PacketsSent count relayed packets in and out.
	PacketsReceived int64 `json:"packets_received"`
	PacketsSent     int64 `json:"packets_sent"`
	// BytesReceived and BytesSent count their bytes.
	BytesReceived int64 `json:"bytes_received"`
	BytesSent     int64 `json:"bytes_sent"`
	// HomeConnections is how many connected nodes call this relay their home.
	HomeConnections int64 `json:"gauge_current_home_connections"`
	// Version is what the relay calls itself.
	Version string `json:"version"`
}

// newRelay prepares a relay's folder; with an authority, also its certificate.
func newRelay(binaries Binaries, certificate Certificate, ns *netns.Namespace, dir string) (*Relay, error) {
	r := &Relay{binary: binaries.Relay, ns: ns, dir: dir, certificate: certificate}
	if err := os.MkdirAll(r.path("certs"), 0o700); err != nil {
		return nil, err
	}
	var err error
	switch certificate {
	case NamedByAuthority:
		r.caFile, err = issueNamed(r.path("certs"))
	case SelfSignedBoth:
		err = writeSelfSigned(r.path("certs"))
	}
	return r, err
}

// Start starts the relay and returns when it answers. A relay that was stopped keeps its keys.
func (r *Relay) Start(ctx context.Context) error {
	process, err := startProcess(r.ns, r.path("log"), nil, r.binary,
		"-a", r.listen(),
		"-hostname", r.certificate.hostname(),
		"-certmode", "manual",
		"-certdir", r.path("certs"),
		"-c", r.path("key.json"),
		"-stun",
	)
	if err != nil {
		return err
	}
	r.process = process
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if r.certificate != NamedByAuthority {
		if err := process.waitFor(ctx, r.readPin); err != nil {
			return err
		}
	}
	return process.waitFor(ctx, func() error {
		counters, err := r.Counters(ctx)
		r.Version = counters.Version
		return err
	})
}

// Stop ends the relay with SIGTERM.
func (r *Relay) Stop() error {
	if r.process == nil {
		return nil
	}
	process := r.process
	r.process = nil
	return process.Stop()
}

// Region is the relay as a DERP map shows it.
func (r *Relay) Region() *tailcfg.DERPRegion {
	node := &tailcfg.DERPNode{Name: regionCode, RegionID: regionID, HostName: r.certificate.hostname()}
	if r.certificate != NamedByAuthority {
		node.IPv4, node.IPv6, node.CertName = relayIPv4, relayIPv6, r.pin
	}
	return &tailcfg.DERPRegion{
		RegionID:   regionID,
		RegionCode: regionCode,
		RegionName: "Ferry lab",
		Nodes:      []*tailcfg.DERPNode{node},
	}
}

// Counters asks the relay for its counters: over loopback, or from a Tailscale address when the relay does not
// listen on loopback.
func (r *Relay) Counters(ctx context.Context) (Counters, error) {
	var local *net.TCPAddr
	address := net.JoinHostPort("127.0.0.1", "443")
	if r.certificate == NamedByAuthority {
		local = &net.TCPAddr{IP: net.ParseIP(relayTailscaleIP)}
		address = net.JoinHostPort(relayIPv4, "443")
	}
	response, err := r.get(ctx, r.ns, local, address, "/debug/vars")
	if err != nil {
		return Counters{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Counters{}, fmt.Errorf("/debug/vars: %s", response.Status)
	}
	var vars struct {
		DERP Counters `json:"derp"`
	}
	if err := json.NewDecoder(response.Body).Decode(&vars); err != nil {
		return Counters{}, fmt.Errorf("/debug/vars: %w", err)
	}
	return vars.DERP, nil
}

// StatusFrom is the HTTP status of a relay page as another host sees it.
func (r *Relay) StatusFrom(ctx context.Context, ns *netns.Namespace, page string) (int, error) {
	response, err := r.get(ctx, ns, nil, net.JoinHostPort(relayIPv4, "443"), page)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// listen is the relay's -a. With a name it is bound to its IPv4 address only; else it takes both families.
func (r *Relay) listen() string {
	if r.certificate == NamedByAuthority {
		return net.JoinHostPort(relayIPv4, "443")
	}
	return ":443"
}

// get makes one HTTPS request from a namespace, with the trust that nodes have.
func (r *Relay) get(ctx context.Context, ns *netns.Namespace, local *net.TCPAddr, address, page string) (*http.Response, error) {
	trust, err := r.trust()
	if err != nil {
		return nil, err
	}
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   trust,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return ns.Dial(ctx, local, address)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.certificate.hostname()+page, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(request)
}

// trust accepts the pinned certificate and no other, or the authority's.
func (r *Relay) trust() (*tls.Config, error) {
	if r.certificate == NamedByAuthority {
		authority, err := os.ReadFile(r.caFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(authority)
		return &tls.Config{RootCAs: roots}, nil
	}
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection below is stricter.
		VerifyConnection: func(state tls.ConnectionState) error {
			got := fmt.Sprintf("sha256-raw:%x", sha256.Sum256(state.PeerCertificates[0].Raw))
			if got != r.pin {
				return fmt.Errorf("relay shows certificate %s, printed %s", got, r.pin)
			}
			return nil
		},
	}, nil
}

// printedPin is the CertName in the line that derper prints for a self-signed certificate.
var printedPin = regexp.MustCompile(`"CertName":"(sha256-raw:[0-9a-f]{64})"`)

// readPin reads the last pin that the relay printed and compares it with the certificate it wrote.
func (r *Relay) readPin() error {
	log, err := os.ReadFile(r.path("log"))
	if err != nil {
		return err
	}
	found := printedPin.FindAllSubmatch(log, -1)
	if found == nil {
		return errors.New("relay has not printed the CertName of its self-signed certificate")
	}
	written, err := pinOf(r.path(filepath.Join("certs", r.certificate.hostname()+".crt")))
	if err != nil {
		return err
	}
	if r.pin = string(found[len(found)-1][1]); r.pin != written {
		return fmt.Errorf("relay printed %s but has certificate %s", r.pin, written)
	}
	return nil
}

// path is a file of the relay's.
func (r *Relay) path(name string) string { return filepath.Join(r.dir, name) }
