package interop

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/kit"
	"tailscale.com/tailcfg"
)

// noLog is for servers whose clients hang up on purpose.
var noLog = log.New(io.Discard, "", 0)

// diagnosis is what ferry doctor --json prints.
type diagnosis struct {
	Relay, URL, Verdict string
	Steps               []struct {
		Step, Verdict string
		Evidence      []string
		Findings      []struct {
			Code, Severity, What, Fix string
			Evidence                  []string
		}
	}
}

// codes are the findings that are no mere hints, in order.
func (d diagnosis) codes() []string {
	codes := []string{}
	for _, step := range d.Steps {
		for _, finding := range step.Findings {
			if finding.Severity != "hint" {
				codes = append(codes, finding.Code)
			}
		}
	}
	return codes
}

// doctor examines the first node of a region.
func doctor(t *testing.T, nodes []*tailcfg.DERPNode, flags ...string) diagnosis {
	t.Helper()
	path := ferryBinary(t)
	args := append([]string{"doctor", nodes[0].Name, "--derp-map", mapOf(t, nodes...), "--timeout", "2", "--json"}, flags...)
	command := exec.Command(path, args...)
	command.Env = append(os.Environ(), "SSL_CERT_FILE="+authority.rootFile)
	var said strings.Builder
	command.Stderr = &said
	output, err := command.Output()
	var found diagnosis
	if jsonErr := json.Unmarshal(output, &found); jsonErr != nil {
		t.Fatalf("ferry %v: %v, %v\n%s%s", args, err, jsonErr, output, said.String())
	}
	if code, broken := command.ProcessState.ExitCode(), found.Verdict == "broken"; code != map[bool]int{true: 1, false: 0}[broken] {
		t.Errorf("exit code %d with verdict %s", code, found.Verdict)
	}
	return found
}

// nodeAt is a node on 127.0.0.1 without STUN, and without IPv6.
func nodeAt(port int) *tailcfg.DERPNode {
	return &tailcfg.DERPNode{Name: "900a", RegionID: 900, HostName: "relay.test", IPv4: "127.0.0.1", IPv6: "none", DERPPort: port, STUNPort: -1}
}

// set-ups that are broken on purpose, each with what the doctor must find, and nothing else.
func TestTheDoctorNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	type broken struct {
		nodes []*tailcfg.DERPNode
		flags []string
	}
	at := func(port int) broken { return broken{nodes: []*tailcfg.DERPNode{nodeAt(port)}} }
	plain := func(t *testing.T) string { return startRelay(t, relayOptions{plain: true}).addr }
	// behind is a relay behind something that ends TLS with this certificate.
	behind := func(i issue) func(*testing.T) broken {
		return func(t *testing.T) broken { return at(tlsFront(t, i.make(t), passTo(plain(t), untouched))) }
	}
	behindHTTP := func(request func(*http.Request), answer func(*http.Response)) func(*testing.T) broken {
		return func(t *testing.T) broken { return at(httpFront(t, reverseProxy(plain(t), request, answer))) }
	}
	answering := func(handler http.HandlerFunc) func(*testing.T) broken {
		return func(t *testing.T) broken { return at(httpFront(t, handler)) }
	}
	status := func(code int) func(*testing.T) broken {
		return answering(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	swallowing := func(toRelay func(io.Writer, io.Reader)) func(*testing.T) broken {
		return func(t *testing.T) broken { return at(tlsFront(t, issue{}.make(t), passTo(plain(t), toRelay))) }
	}
	day := 24 * time.Hour

	for name, c := range map[string]struct {
		prepare func(*testing.T) broken
		want    []string
	}{
		"nothing, its own certificate pinned": {func(t *testing.T) broken {
			r := startRelay(t, relayOptions{stun: true, http: true})
			node := nodeAt(r.port)
			node.HostName, node.STUNPort = "127.0.0.1", portOf(r.stunAddr)
			node.CertName = fmt.Sprintf("sha256-raw:%x", sha256.Sum256(r.leafDER()))
			return broken{[]*tailcfg.DERPNode{node}, []string{"--http-port", fmt.Sprint(portOf(r.httpAddr))}}
		}, nil},
		"nothing, an authority's certificate": {func(t *testing.T) broken {
			return at(startRelay(t, relayOptions{hostname: "relay.test"}).port)
		}, nil},
		"nothing, behind a proxy that passes the upgrade": {behindHTTP(nil, nil), nil},
		"nothing, two relays that are meshed": {func(t *testing.T) broken {
			pair := meshedPair(t, "")
			one, other := nodeAt(pair[0].port), nodeAt(pair[1].port)
			one.HostName, other.HostName, other.Name = "localhost", "localhost", "900b"
			return broken{nodes: []*tailcfg.DERPNode{one, other}}
		}, nil},

		"no such name": {func(t *testing.T) broken {
			node := nodeAt(443)
			node.HostName, node.IPv4 = "no-such-host.invalid", ""
			return broken{nodes: []*tailcfg.DERPNode{node}}
		}, []string{"dns-failed"}},
		"wrong port": {func(t *testing.T) broken { return at(kit.FreePort(t)) }, []string{"tcp-refused"}},
		"black hole": {func(t *testing.T) broken { return at(fullBacklog(t)) }, []string{"tcp-silent"}},
		"IPv6 broken": {func(t *testing.T) broken {
			b := behind(issue{})(t)
			b.nodes[0].IPv6 = "::1"
			return b
		}, []string{"ipv6-broken"}},

		"no TLS": {func(t *testing.T) broken { return at(startRelay(t, relayOptions{plain: true}).port) }, []string{"tls-not-spoken"}},
		"another service": {func(t *testing.T) broken {
			return at(accept(t, func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n"); io.Copy(io.Discard, conn) }))
		}, []string{"tls-not-spoken"}},
		"cut in the handshake": {func(t *testing.T) broken {
			return at(accept(t, func(conn net.Conn) { io.CopyN(io.Discard, conn, 100) }))
		}, []string{"tls-cut"}},
		"silent in the handshake": {func(t *testing.T) broken {
			return at(accept(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }))
		}, []string{"tls-silent"}},
		"a name that the relay does not serve": {func(t *testing.T) broken {
			return at(startRelay(t, relayOptions{hostname: "other.test"}).port)
		}, []string{"tls-refused"}},

		"expired":         {behind(issue{from: -30 * day, to: -day}), []string{"certificate-expired"}},
		"not yet valid":   {behind(issue{from: day, to: 30 * day}), []string{"certificate-not-yet-valid"}},
		"expires soon":    {behind(issue{from: -80 * day, to: 3 * day}), []string{"certificate-expires-soon"}},
		"wrong name":      {behind(issue{name: "other.test"}), []string{"certificate-wrong-name"}},
		"unknown issuer":  {behind(issue{by: "Own"}), []string{"certificate-unknown-issuer"}},
		"inspected":       {behind(issue{by: "Zscaler Inc."}), []string{"tls-intercepted"}},
		"everything with": {behind(issue{name: "other.test", from: -30 * day, to: -day, by: "Own"}), []string{"certificate-expired", "certificate-wrong-name", "certificate-unknown-issuer"}},
		"self-signed, not pinned": {func(t *testing.T) broken {
			b := at(startRelay(t, relayOptions{}).port)
			b.nodes[0].HostName = "127.0.0.1"
			return b
		}, []string{"certificate-self-signed"}},
		"another pin": {func(t *testing.T) broken {
			b := at(startRelay(t, relayOptions{}).port)
			b.nodes[0].HostName, b.nodes[0].CertName = "127.0.0.1", "sha256-raw:"+strings.Repeat("07", 32)
			return b
		}, []string{"pin-mismatch"}},
		"a pin that is none": {func(t *testing.T) broken {
			b := behind(issue{})(t)
			b.nodes[0].CertName = "sha256-raw:07"
			return b
		}, []string{"map-errors", "pin-malformed"}},

		"clock off": {behindHTTP(nil, func(r *http.Response) {
			r.Header.Set("Date", time.Now().Add(-3*time.Hour).UTC().Format(http.TimeFormat))
		}), []string{"clock-off"}},
		"a proxy that eats the upgrade":      {behindHTTP(withoutUpgrade, nil), []string{"upgrade-eaten"}},
		"a proxy that passes WebSocket only": {behindHTTP(webSocketsOnly, nil), []string{"upgrade-eaten", "only-websocket"}},
		"a proxy with nobody behind it": {func(t *testing.T) broken {
			return at(httpFront(t, reverseProxy(fmt.Sprintf("127.0.0.1:%d", kit.FreePort(t)), nil, nil)))
		}, []string{"proxy-no-upstream"}},
		"redirected":   {answering(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://www.relay.test/", 308) }), []string{"upgrade-redirected"}},
		"forbidden":    {status(403), []string{"upgrade-forbidden"}},
		"a web server": {status(404), []string{"not-a-relay"}},
		"no HTTP": {func(t *testing.T) broken {
			return at(tlsFront(t, issue{}.make(t), func(conn net.Conn) { io.WriteString(conn, "220 mail.test ESMTP\r\n"); io.Copy(io.Discard, conn) }))
		}, []string{"not-http"}},
		"silent after TLS": {func(t *testing.T) broken {
			return at(tlsFront(t, issue{}.make(t), func(conn net.Conn) { io.Copy(io.Discard, conn) }))
		}, []string{"upgrade-silent"}},

		"not admitted": {func(t *testing.T) broken {
			deny := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Allow":false}`) }))
			t.Cleanup(deny.Close)
			return at(startRelay(t, relayOptions{hostname: "relay.test", args: []string{"-verify-client-url", deny.URL}}).port)
		}, []string{"admission-refused"}},
		"admitted by the mesh key": {func(t *testing.T) broken {
			deny := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Allow":false}`) }))
			t.Cleanup(deny.Close)
			r := startRelay(t, relayOptions{hostname: "relay.test", mesh: true, args: []string{"-verify-client-url", deny.URL}})
			b := at(r.port)
			b.flags = []string{"--mesh-psk-file", filepath.Join(r.dir, "mesh.key")}
			return b
		}, nil},
		"silent in DERP":   {swallowing(afterHead(withoutWords)), []string{"handshake-silent"}},
		"packets are lost": {swallowing(afterHead(withoutPackets)), []string{"packets-lost"}},
		"two relays, one name": {func(t *testing.T) broken {
			return at(tlsFront(t, issue{}.make(t), inTurns(plain(t), plain(t))))
		}, []string{"server-key-changes"}},
		"a relay of the region is down": {func(t *testing.T) broken {
			b, other := behind(issue{})(t), nodeAt(kit.FreePort(t))
			other.Name = "900b"
			return broken{nodes: append(b.nodes, other)}
		}, []string{"mesh-node-down"}},
		"two relays, not meshed": {func(t *testing.T) broken {
			b, other := behind(issue{})(t), behind(issue{})(t).nodes[0]
			other.Name = "900b"
			return broken{nodes: append(b.nodes, other)}
		}, []string{"mesh-broken", "mesh-broken"}},

		"no STUN": {func(t *testing.T) broken {
			b := behind(issue{})(t)
			b.nodes[0].STUNPort = kit.FreePort(t)
			return b
		}, []string{"stun-silent"}},
		"STUN behind a balancer": {func(t *testing.T) broken {
			r := startRelay(t, relayOptions{hostname: "relay.test", stun: true})
			b := at(r.port)
			b.nodes[0].STUNPort = datagramProxy(t, r.stunAddr)
			return b
		}, []string{"stun-sees-proxy"}},
		"a portal on port 80": {func(t *testing.T) broken {
			portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "please log in") }))
			t.Cleanup(portal.Close)
			b := behind(issue{})(t)
			b.flags = []string{"--http-port", fmt.Sprint(portal.Listener.Addr().(*net.TCPAddr).Port)}
			return b
		}, []string{"port80-not-ours"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := c.prepare(t)
			// Nothing is on port 80 here, which is a hint alone; a portal there would not be this test's.
			if !slices.Contains(b.flags, "--http-port") {
				b.flags = append(b.flags, "--http-port", fmt.Sprint(kit.FreePort(t)))
			}
			found := doctor(t, b.nodes, b.flags...)
			if got := found.codes(); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
				report, _ := json.MarshalIndent(found, "", " ")
				t.Errorf("found %q, want %q\n%s", got, c.want, report)
			}
		})
	}
}
