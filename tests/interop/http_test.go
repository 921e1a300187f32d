package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is an HTTP response with its body read.
type answer struct {
	*http.Response
	text string
}

// request sends one HTTP/1.1 request to the relay over its own connection; headers are "Name: value".
func (r *relay) request(t testing.TB, method, path string, headers ...string) answer {
	t.Helper()
	scheme := "https://"
	if r.options.plain {
		scheme = "http://"
	}
	return fetch(t, method, scheme+r.addr+path, r.options.hostname, headers...)
}

// get sends a GET.
func (r *relay) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return r.request(t, "GET", path, headers...)
}

// fetch sends one request to a URL, with the given SNI, without following redirects.
func fetch(t testing.TB, method, url, sni string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: sni}, DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer{response, string(text)}
}

// browserHeaders stand on every page meant for people.
var browserHeaders = map[string]string{
	"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
	"X-Frame-Options":           "DENY",
	"X-Content-Type-Options":    "nosniff",
	"Content-Security-Policy":   "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'",
}

// plainError are the headers of an error in text.
var plainError = map[string]string{"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

// check compares the status, the body and the given headers; "" means the header is absent.
func (a answer) check(t *testing.T, status int, text string, headers ...map[string]string) {
	t.Helper()
	if a.StatusCode != status || a.text != text {
		t.Errorf("%s %s: %d %q, want %d %q", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.text, status, text)
	}
	a.checkHeaders(t, headers...)
}

func (a answer) checkHeaders(t *testing.T, headers ...map[string]string) {
	t.Helper()
	for _, set := range headers {
		for name, want := range set {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s %s: header %s is %q, want %q", a.Request.Method, a.Request.URL.Path, name, got, want)
			}
		}
	}
}

func TestProbePathsAnswerGetAndHead(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		r := startRelay(t, relayOptions{plain: plain})
		for _, path := range []string{"/derp/probe", "/derp/latency-check", "/derp/probe?x=y"} {
			r.get(t, path).check(t, 200, "", map[string]string{"Content-Length": "0", "Access-Control-Allow-Origin": "*"})
			// derper leaves Content-Length out of its answer to HEAD; either is right.
			head := r.request(t, "HEAD", path)
			head.check(t, 200, "", map[string]string{"Access-Control-Allow-Origin": "*"})
			if got := head.Header.Get("Content-Length"); got != "" && got != "0" {
				t.Errorf("HEAD %s: Content-Length %q", path, got)
			}
			for _, method := range []string{"POST", "OPTIONS", "PUT", "DELETE"} {
				r.request(t, method, path).check(t, 405, "bogus probe method\n", plainError, map[string]string{"Access-Control-Allow-Origin": ""})
			}
		}
	}
}

func TestGenerate204EchoesTheChallenge(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{http: true})
	long := strings.Repeat("a", 64)
	for _, url := range []string{"https://" + r.addr, "http://" + r.httpAddr} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for challenge, want := range map[string]string{
				"":                     "",
				"ts_derp1.example.com": "response ts_derp1.example.com",
				"AZaz09._:-":           "response AZaz09._:-",
				long:                   "response " + long,
				long + "a":             "",
				"with space":           "",
				"semi;colon":           "",
				"slash/":               "",
				"\u00e4":               "",
				"ts_1%20":              "",
				"<script>":             "",
				"ts_[2001:db8::1]":     "",
				"ts_2001:db8::1":       "response ts_2001:db8::1",
			} {
				var headers []string
				if challenge != "" {
					headers = []string{"X-Tailscale-Challenge: " + challenge}
				}
				fetch(t, method, url+"/generate_204", "", headers...).check(t, 204, "", map[string]string{
					"Cache-Control":        "no-cache, no-store, must-revalidate, no-transform, max-age=0",
					"X-Tailscale-Response": want,
				})
			}
		}
	}
}

func TestRobotsAreSentAway(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, method := range []string{"GET", "POST"} {
		r.request(t, method, "/robots.txt").check(t, 200, "User-agent: *\nDisallow: /\n", browserHeaders, map[string]string{"Content-Type": "text/plain; charset=utf-8"})
	}
	r.request(t, "HEAD", "/robots.txt").check(t, 200, "", browserHeaders)
}

func TestEveryOtherPathIsTheHomePage(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for _, path := range []string{"/", "/derp/", "/favicon.ico", "/no/such/page", "/index.html?x=y", "/derpx", "/Derp"} {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			response := r.request(t, method, path)
			if response.StatusCode != 200 || (method != "HEAD" && !strings.Contains(response.text, "<html")) {
				t.Errorf("%s %s: %s %.60q", method, path, response.Status, response.text)
			}
			response.checkHeaders(t, browserHeaders, map[string]string{"Content-Type": "text/html; charset=utf-8"})
		}
	}
	home := r.get(t, "/").text
	for text, want := range map[string]bool{"DERP": true, "/debug/": true, "security@": false, "disabled": false} {
		if strings.Contains(home, text) != want {
			t.Errorf("the home page contains %q: %v, want %v", text, !want, want)
		}
	}
	if outside := r.get(t, "/", "X-Forwarded-For: 192.0.2.1").text; strings.Contains(outside, "/debug/") {
		t.Error("a caller without debug access is shown the link to /debug/")
	}
}

func TestUncleanPathsAreRedirected(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	for path, want := range map[string]string{"//derp": "/derp", "/a/../derp/probe": "/derp/probe", "/./robots.txt": "/robots.txt", "//derp?x=y": "/derp?x=y"} {
		conn := r.dial(t)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := response.Header.Get("Location"); response.StatusCode != 307 || got != want {
			t.Errorf("%s: %s to %q, want 307 to %q", path, response.Status, got, want)
		}
	}
}

func TestTheHomeFlagChoosesThePage(t *testing.T) {
	t.Parallel()
	blank := startRelay(t, relayOptions{args: []string{"-home=blank"}})
	blank.get(t, "/").check(t, 200, "", browserHeaders, map[string]string{"Content-Type": "text/html; charset=utf-8"})
	for _, url := range []string{"https://example.com/about", "http://example.com"} {
		moved := startRelay(t, relayOptions{args: []string{"--home", url}})
		response := moved.get(t, "/anything")
		if got := response.Header.Get("Location"); response.StatusCode != 302 || got != url {
			t.Errorf("%s to %q, want 302 to %q", response.Status, got, url)
		}
		response.checkHeaders(t, browserHeaders)
	}
}

func TestAProductionHostnameShowsTheAbuseContact(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{hostname: "derp9z.tailscale.com"})
	if home := r.get(t, "/").text; !strings.Contains(home, "security@tailscale.com") {
		t.Errorf("no contact in %q", home)
	}
}

func TestWithoutDERPTheRestStillRuns(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{args: []string{"-derp=false"}})
	r.get(t, "/derp").check(t, 404, "derp server disabled\n", plainError)
	r.get(t, "/derp", "Connection: Upgrade", "Upgrade: DERP").check(t, 404, "derp server disabled\n", plainError)
	r.get(t, "/derp/probe").check(t, 200, "")
	r.get(t, "/generate_204").check(t, 204, "")
	if home := r.get(t, "/"); home.StatusCode != 200 || !strings.Contains(home.text, "disabled") {
		t.Errorf("home page %s %q does not say disabled", home.Status, home.text)
	}
	r.get(t, "/debug/varz")
}

func TestConnectIsRefused(t *testing.T) {
	t.Parallel()
	off, on := startRelay(t, relayOptions{}), startRelay(t, relayOptions{args: []string{"-ace"}})
	plain := startRelay(t, relayOptions{plain: true})
	connect := func(r *relay, target string) (int, string) {
		conn := r.dial(t)
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		text, _ := io.ReadAll(io.LimitReader(response.Body, max(response.ContentLength, 0)))
		return response.StatusCode, strings.TrimSpace(string(text))
	}
	if status, text := connect(off, "login.tailscale.com:443"); status != 403 || text != "CONNECT not enabled" {
		t.Errorf("without -ace: %d %q", status, text)
	}
	for _, target := range []string{"login.tailscale.com:22", "example.com:443", "tailscale.com:443", "derp1.tailscale.com:443", "eviltailscale.com:443", "127.0.0.1:443"} {
		if status, text := connect(on, target); status != 403 || text != "Invalid CONNECT target" {
			t.Errorf("%s: %d %q", target, status, text)
		}
	}
	if status, _ := connect(plain, "login.tailscale.com:443"); status != 404 && status != 403 {
		t.Errorf("plain listener: %d", status)
	}
}

func TestTheHTTPPortRedirectsToHTTPS(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{http: true})
	base := "http://" + r.httpAddr
	for path, want := range map[string]string{"/x?y=z": "/x?y=z", "/derp": "/derp", "/derp/probe": "/derp/probe", "/robots.txt": "/robots.txt"} {
		for _, method := range []string{"GET", "HEAD"} {
			response := fetch(t, method, base+path, "")
			if got := response.Header.Get("Location"); response.StatusCode != 302 || got != "https://"+r.httpAddr+want {
				t.Errorf("%s %s: %s to %q", method, path, response.Status, got)
			}
		}
		fetch(t, "POST", base+path, "").check(t, 400, "Use HTTPS\n", plainError)
	}
	if got := fetch(t, "GET", base+"/a", "", "Host: relay.example.net").Header.Get("Location"); got != "https://relay.example.net/a" {
		t.Errorf("redirected to %q", got)
	}
	if got := fetch(t, "GET", base+"/", "").Header.Get("Location"); got != "/debug/" && got != "https://"+r.httpAddr+"/debug/" {
		t.Errorf("/ of a debug caller goes to %q", got)
	}
	if got := fetch(t, "GET", base+"/", "", "X-Forwarded-For: 192.0.2.1").Header.Get("Location"); got != "https://"+r.httpAddr+"/" {
		t.Errorf("/ of another caller goes to %q", got)
	}
	if response := fetch(t, "GET", base+"/debug/varz", ""); response.StatusCode != 200 || !strings.Contains(response.text, "derp_accepts") {
		t.Errorf("/debug/varz on the HTTP port: %s", response.Status)
	}
	fetch(t, "GET", base+"/debug/varz", "", "X-Forwarded-For: 192.0.2.1").check(t, 403, "debug access denied\n")
}

func TestKeepAliveAndPipeliningOfOrdinaryRequests(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{})
	conn := r.dial(t)
	conn.SetDeadline(time.Now().Add(patience))
	br := bufio.NewReader(conn)
	fmt.Fprint(conn, strings.Repeat("GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n", 5)+"GET /generate_204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	for i := range 6 {
		response, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 204, false: 200}[i == 5]; response.StatusCode != want || response.Close != (i == 5) {
			t.Fatalf("answer %d: %s, close %v", i, response.Status, response.Close)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Fatalf("connection not closed: %v", err)
	}
}
