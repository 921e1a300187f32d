package interop

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestBootstrapDNSServesTheNamesItResolved(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{args: []string{"-bootstrap-dns-names", "localhost"}})
	r.checkBootstrap(t, "/bootstrap-dns", `{`+"\n\t"+`"localhost": [`, "localhost")
	r.checkBootstrap(t, "/bootstrap-dns?q=elsewhere.test", "", "localhost")
	r.checkBootstrap(t, "/bootstrap-dns?q=localhost", "", "localhost")
	r.get(t, "/bootstrap-dns").checkHeaders(t, browserHeaders, map[string]string{"Content-Type": "application/json"})
	if response := r.get(t, "/bootstrap-dns"); !response.Close {
		t.Error("the connection is kept after /bootstrap-dns")
	}
	if got := r.metrics(t)["bootstrap_dns_requests"]; got < 5 {
		t.Errorf("bootstrap_dns_requests = %v", got)
	}
}

func TestAnUnpublishedNameIsServedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{args: []string{"-bootstrap-dns-names", "ip6-localhost", "-unpublished-bootstrap-dns-names", "localhost"}})
	r.checkBootstrap(t, "/bootstrap-dns?q=localhost", "", "localhost")
	response := r.get(t, "/bootstrap-dns")
	var names map[string][]string
	if err := json.Unmarshal([]byte(response.text), &names); response.text != "" && err != nil {
		t.Fatalf("%q: %v", response.text, err)
	}
	if _, shown := names["localhost"]; shown {
		t.Errorf("the unpublished name is in the list: %q", response.text)
	}
}

func TestWithoutNamesBootstrapDNSIsEmpty(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, method := range []string{"GET", "POST"} {
		r.request(t, method, "/bootstrap-dns").check(t, 200, "", browserHeaders, map[string]string{"Content-Type": "application/json"})
	}
}

// checkBootstrap waits until the names are resolved and checks the document holds exactly name with loopback addresses.
func (r *relay) checkBootstrap(t *testing.T, path, prefix, name string) {
	t.Helper()
	eventually(t, patience, func() error {
		response := r.get(t, path)
		var names map[string][]string
		if err := json.Unmarshal([]byte(response.text), &names); err != nil {
			return fmt.Errorf("%s: %q: %w", path, response.text, err)
		}
		if len(names) != 1 || len(names[name]) == 0 || response.text[:len(prefix)] != prefix {
			return fmt.Errorf("%s: %q", path, response.text)
		}
		for _, ip := range names[name] {
			if ip != "127.0.0.1" && ip != "::1" {
				return fmt.Errorf("%s: address %q", path, ip)
			}
		}
		return nil
	})
}
