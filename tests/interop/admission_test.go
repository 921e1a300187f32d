package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/kit"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// admitted tries to join and reports whether the relay let the client in; other outcomes fail the test.
func (r *relay) admitted(t testing.TB, options wireOptions) bool {
	t.Helper()
	w := r.upgrade(t, options)
	w.expectServerKey()
	info := defaultInfo
	if options.mesh {
		info = fmt.Sprintf(`{"meshKey":%q}`, r.meshKey.String())
	}
	w.send(derp.FrameClientInfo, w.clientInfo(info))
	select {
	case f, ok := <-w.incoming:
		if ok && f.kind != derp.FrameServerInfo {
			t.Fatalf("unexpected %v", f)
		}
		return ok
	case <-time.After(patience):
		t.Fatal("neither admitted nor closed")
		return false
	}
}

func TestTheAdmissionURLDecides(t *testing.T) {
	t.Parallel()
	type asked struct{ method, contentType, body string }
	requests := make(chan asked, 100)
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"/allow":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Allow":true}`) },
		"/case":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"allow":true,"Extra":[1]}`+"\nmore") },
		"/deny":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Allow":false}`) },
		"/missing":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) },
		"/broken":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Allow":`) },
		"/500":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"Allow":true}`, 500) },
		"/204":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"/redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/allow", 307) },
		"/not-a-post": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/deny", 308) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- asked{r.Method, r.Header.Get("Content-Type"), string(body)}
		answers[r.URL.Path](w, r)
	}))
	defer server.Close()
	for path, want := range map[string]bool{"/allow": true, "/case": true, "/deny": false, "/missing": false, "/broken": false, "/500": false, "/204": false, "/redirect": true, "/not-a-post": false} {
		for _, failOpen := range []string{"true", "false"} {
			r := startRelay(t, relayOptions{mesh: true, args: []string{"-verify-client-url", server.URL + path, "-verify-client-url-fail-open=" + failOpen}})
			private := key.NewNode()
			if got := r.admitted(t, wireOptions{private: private}); got != want {
				t.Errorf("%s: admitted %v, want %v", path, got, want)
			}
			request := <-requests
			body := fmt.Sprintf(`{"NodePublic":"nodekey:%s","Source":"127.0.0.1"}`, private.Public().UntypedHexString())
			if request != (asked{"POST", "", body}) {
				t.Errorf("%s: asked %+v, want %s", path, request, body)
			}
			for len(requests) > 0 {
				<-requests
			}
			if !r.admitted(t, wireOptions{mesh: true}) || len(requests) > 0 {
				t.Errorf("%s: a mesh client was not admitted at once", path)
			}
			r.stop()
		}
	}
}

func TestAnUnreachableAdmissionURLFailsOpenUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	url := fmt.Sprintf("http://127.0.0.1:%d/", kit.FreePort(t))
	for args, want := range map[string]bool{"": true, "-verify-client-url-fail-open=true": true, "-verify-client-url-fail-open=false": false} {
		r := startRelay(t, relayOptions{args: append([]string{"-verify-client-url", url}, strings.Fields(args)...)})
		if got := r.admitted(t, wireOptions{}); got != want {
			t.Errorf("%s: admitted %v, want %v", args, got, want)
		}
	}
}

func TestTailscaledDecidesWhenClientsAreVerified(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "tailscaled.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	known, unknown, broken := key.NewNode(), key.NewNode(), key.NewNode()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/localapi/v0/whois" || r.Host != "local-tailscaled.sock" || r.Header.Get("Tailscale-Cap") == "" {
			t.Errorf("asked %s %s of %s, Tailscale-Cap %q", r.Method, r.URL, r.Host, r.Header.Get("Tailscale-Cap"))
		}
		switch r.FormValue("addr") {
		case known.Public().String():
			io.WriteString(w, `{"Node":{},"UserProfile":{}}`)
		case unknown.Public().String():
			http.Error(w, "no match for IP:port", 404)
		default:
			http.Error(w, "broken", 500)
		}
	})}
	go server.Serve(listener)
	defer server.Close()
	r := startRelay(t, relayOptions{mesh: true, args: []string{"-verify-clients", "-socket", socket}})
	if !r.admitted(t, wireOptions{private: known}) {
		t.Error("a known client was refused")
	}
	for _, private := range []key.NodePrivate{unknown, broken} {
		if r.admitted(t, wireOptions{private: private}) {
			t.Error("a client that tailscaled did not vouch for was admitted")
		}
	}
	if !r.admitted(t, wireOptions{mesh: true, private: unknown}) {
		t.Error("a mesh client was refused")
	}
	server.Close()
	if r.admitted(t, wireOptions{private: known}) {
		t.Error("admitted although tailscaled is gone")
	}
}
