package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/types/key"
)

func TestDebugPagesAreForLoopbackWithoutProxy(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	for _, path := range []string{"/debug/", "/debug/vars", "/debug/varz", "/debug/check"} {
		if response := r.get(t, path); response.StatusCode != 200 {
			t.Errorf("%s: %s", path, response.Status)
		}
		for _, from := range []string{"192.0.2.1", "127.0.0.1"} {
			r.get(t, path, "X-Forwarded-For: "+from).check(t, 403, "debug access denied\n", plainError)
		}
	}
	r.get(t, "/debug/no-such-page", "X-Forwarded-For: 192.0.2.1").check(t, 403, "debug access denied\n")
	if response := r.get(t, "/debug/no-such-page"); response.StatusCode != 404 {
		t.Errorf("unknown page: %s", response.Status)
	}
	index := r.get(t, "/debug/")
	for _, text := range []string{"Uptime", "Version", "TLS hostname", "127.0.0.1", "Mesh key", "true", "/debug/vars", "/debug/varz", "/debug/check", "/debug/traffic"} {
		if !strings.Contains(index.text, text) {
			t.Errorf("the index does not mention %q", text)
		}
	}
}

func TestADebugKeyOpensThePages(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "debug.key", " s3cret \n")
	r := startRelay(t, relayOptions{env: []string{"TS_DEBUG_KEY_PATH=" + file}})
	proxied := "X-Forwarded-For: 192.0.2.1"
	if response := r.get(t, "/debug/varz?debugkey=s3cret", proxied); response.StatusCode != 200 {
		t.Errorf("right key: %s", response.Status)
	}
	for _, query := range []string{"", "?debugkey=", "?debugkey=wrong", "?debugkey=s3cret%20"} {
		r.get(t, "/debug/varz"+query, proxied).check(t, 403, "debug access denied\n")
	}
	r.request(t, "POST", "/debug/varz?debugkey=s3cret", proxied).check(t, 403, "debug access denied\n")
}

func TestCheckMayFailOnlyWhileAKeyIsConnectedTwice(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	a := r.joinPlainly(t)
	r.joinPlainly(t)
	const okay = "derp.Server ConsistencyCheck okay"
	r.get(t, "/debug/check").check(t, 200, okay)
	again := r.join(t, wireOptions{private: a.private})
	switch response := r.get(t, "/debug/check"); {
	case response.StatusCode == 500:
	case response.StatusCode == 200 && under == ferry:
		deviated(t, "/debug/check stays okay while a key is connected twice")
	default:
		t.Errorf("with a duplicate: %s %q", response.Status, response.text)
	}
	again.leave()
	eventually(t, patience, func() error {
		if response := r.get(t, "/debug/check"); response.StatusCode != 200 {
			return fmt.Errorf("%s %q", response.Status, response.text)
		}
		return nil
	})
}

func TestDebugPagesCarryBrowserHeaders(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	r.get(t, "/debug/").checkHeaders(t, browserHeaders)
	// Pages below the index may style themselves.
	page := r.get(t, "/debug/check")
	styled := maps.Clone(browserHeaders)
	delete(styled, "Content-Security-Policy")
	page.checkHeaders(t, styled)
	policy := page.Header.Get("Content-Security-Policy")
	for part := range strings.SplitSeq(browserHeaders["Content-Security-Policy"]+"; style-src 'self' 'unsafe-inline'", "; ") {
		if !strings.Contains(policy, part) {
			t.Errorf("policy %q lacks %q", policy, part)
		}
	}
}

func TestTrafficShowsWhoMovesBytes(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	from, to := r.connect(t, peerOptions{}), r.connect(t, peerOptions{})
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				from.send(to.pub, make([]byte, 1000))
			}
		}
	})
	defer sending.Wait()
	defer close(stop)
	conn := r.dial(t)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%v %v", response, err)
	}
	// derper goes on until its write timeout; what it says first is enough.
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		var client struct {
			Sent, Recv    uint64
			Key           key.NodePublic
			UniqueSenders int
		}
		if lines.Text() == "" {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &client); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if client.Key == to.pub && client.Sent > 1000 && client.UniqueSenders == 1 {
			return
		}
	}
	t.Fatalf("the receiver is not shown: %v", lines.Err())
}
