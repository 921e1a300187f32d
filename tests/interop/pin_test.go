package interop

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// A pinned certificate is believed by ferry's client, by its doctor and by Tailscale's client, or by none of them.
func TestAllClientsAgreeOnPins(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		issue issue
		// host is what the map calls the relay.
		host string
		// spoil changes what is shown, after the pin was taken.
		spoil func(*testing.T, *tls.Certificate)
		// code is what the doctor calls it; empty if all is well.
		code string
	}{
		"as it should be":         {},
		"by nobody known":         {issue: issue{by: "Somebody"}},
		"for another name":        {issue: issue{name: "other.test"}, code: "certificate-wrong-name"},
		"for a name, by address":  {issue: issue{name: "other.test"}, host: "127.0.0.1"},
		"expired":                 {issue: issue{from: -40 * day, to: -10 * day}, code: "certificate-expired"},
		"not yet valid":           {issue: issue{from: 10 * day, to: 40 * day}, code: "certificate-not-yet-valid"},
		"another than was pinned": {spoil: func(t *testing.T, c *tls.Certificate) { *c = issue{}.make(t) }, code: "pin-mismatch"},
		"with its authority's": {spoil: func(t *testing.T, c *tls.Certificate) {
			c.Certificate = append(c.Certificate, authority.cert.Raw)
		}, code: "pin-not-alone"},
		"with a relay's mark": {spoil: func(t *testing.T, c *tls.Certificate) {
			c.Certificate = append(c.Certificate, recorderTLS(t, key.NewNode().Public()).Certificates[0].Certificate[1])
		}},
	} {
		t.Run(name, func(t *testing.T) {
			certificate := c.issue.make(t)
			pin := fmt.Sprintf("sha256-raw:%x", sha256.Sum256(certificate.Certificate[0]))
			if c.spoil != nil {
				c.spoil(t, &certificate)
			}
			plain := startRelay(t, relayOptions{plain: true})
			node := nodeAt(tlsFront(t, certificate, passTo(plain.addr, untouched)))
			node.CertName = pin
			if c.host != "" {
				node.HostName = c.host
			}
			if event := ferryConnects(t, node); (event.Event == "connected") != (c.code == "") {
				t.Errorf("ferry's client: %+v", event)
			}
			if codes := doctor(t, []*tailcfg.DERPNode{node}).codes(); !slices.Equal(codes, wanted(c.code)) {
				t.Errorf("the doctor: %v, want %q", codes, c.code)
			}
			region := &tailcfg.DERPRegion{RegionID: 900, Nodes: []*tailcfg.DERPNode{node}}
			if err := stockConnects(t, region); (err == nil) != (c.code == "") {
				t.Errorf("Tailscale's client: %v", err)
			}
		})
	}
}

// wanted are the doctor's codes where one is expected, or none.
func wanted(code string) []string {
	if code == "" {
		return []string{}
	}
	return []string{code}
}
