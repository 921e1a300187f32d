package browser

import (
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry.test/interop/kit"
)

// pages are the HTML files that the browser loads.
//
//go:embed page
var pages embed.FS

// visit loads a page in a fresh Chromium and decodes what the page posts to /result.
func visit(t *testing.T, r *relay, page string, query url.Values, result any) {
	t.Helper()
	results := make(chan []byte, 1)
	server := httptest.NewServer(site(t, results))
	t.Cleanup(server.Close)
	browser := startChromium(t, r, server.URL+"/page/"+page+"?"+query.Encode())
	select {
	case text := <-results:
		if err := json.Unmarshal(text, result); err != nil {
			t.Fatalf("result %q: %v", text, err)
		}
	case <-browser.exited:
		t.Fatal("chromium exited without a result")
	case <-time.After(patience):
		t.Fatalf("no result from the page after %v", patience)
	}
}

// site serves the pages, the client and the place for the result.
func site(t *testing.T, results chan<- []byte) http.Handler {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle("GET /page/", http.FileServerFS(pages))
	mux.HandleFunc("GET /page/client.wasm", func(w http.ResponseWriter, request *http.Request) {
		http.ServeFile(w, request, wasmPath)
	})
	mux.HandleFunc("GET /page/wasm_exec.js", func(w http.ResponseWriter, request *http.Request) {
		http.ServeFile(w, request, filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	})
	mux.HandleFunc("POST /page/result", func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		select {
		case results <- body:
		default:
		}
	})
	return mux
}

// startChromium opens a page in a headless Chromium with an empty profile, which trusts the relay's certificate and no other
// self-signed one. Its standard error has the page's console.
func startChromium(t *testing.T, r *relay, target string) *process {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; install Debian's package chromium", err)
	}
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--no-default-browser-check", "--no-proxy-server", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-breakpad", "--enable-logging=stderr",
		// Chromium's own services have nothing to look up.
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--user-data-dir=" + t.TempDir(),
	}
	if !r.plain {
		args = append(args, "--ignore-certificate-errors-spki-list="+r.pin())
	}
	return start(t, exec.Command(path, append(args, target)...))
}

// dbusNoise is what Chromium says about desktop services where there is no desktop.
var dbusNoise = regexp.MustCompile(`(?m)^\[.*dbus/.*\n`)

// process is a program under the test, in a process group of its own.
type process struct {
	// output is what it wrote to its standard output and error.
	output kit.Buffer
	// exited is closed when it has ended.
	exited chan struct{}
}

// start starts a program; when the test ends its whole group is killed, and if the test failed, its output is shown.
func start(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	command.Stdout, command.Stderr = &p.output, &p.output
	// A child of Chromium that outlives it must not keep Wait from returning.
	command.WaitDelay = 5 * time.Second
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, command.Start())
	go func() {
		command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(command.Path), dbusNoise.ReplaceAllString(p.output.String(), ""))
		}
	})
	return p
}
