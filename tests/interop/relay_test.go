package interop

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferry.test/interop/kit"
	"tailscale.com/types/key"
)

// relayOptions says how to start a relay; the zero value is TLS on 127.0.0.1 with a self-signed certificate and nothing else.
type relayOptions struct {
	// hostname is -hostname; the default 127.0.0.1 makes the relay generate its own certificate.
	hostname string
	// ip is the address listened on; the default is 127.0.0.1.
	ip string
	// plain serves HTTP without TLS.
	plain bool
	// mesh gives the relay a random mesh key.
	mesh bool
	// meshKey gives it this one.
	meshKey key.DERPMesh
	// stun runs the STUN server.
	stun bool
	// http runs the port-80 listener.
	http bool
	// key is the relay's identity; zero means a fresh one.
	key key.NodePrivate
	// ownKeyFile leaves it to the relay to make its key.
	ownKeyFile bool
	// dir is the relay's state; empty means a fresh directory.
	dir string
	// binary is started instead of the one under test.
	binary string
	// port fixes the main port.
	port int
	// args are further flags.
	args []string
	// env are further environment entries.
	env []string
}

// relay is a running relay process.
type relay struct {
	t        testing.TB
	options  relayOptions
	cmd      *exec.Cmd
	stderr   *kit.Buffer
	exited   chan struct{}
	exitCode int
	// stopped says that a test ended the process itself.
	stopped atomic.Bool
	once    sync.Once

	dir      string
	addr     string
	port     int
	httpAddr string
	stunAddr string
	pub      key.NodePublic
	meshKey  key.DERPMesh
}

// startRelay starts a relay, waits until it accepts connections and stops it when the test ends, checking exit code 0.
func startRelay(t testing.TB, options relayOptions) *relay {
	t.Helper()
	for attempt := range 3 {
		r, err := launch(t, options)
		if err == nil {
			t.Cleanup(r.stop)
			return r
		}
		notServed(t, err.Error())
		t.Logf("start attempt %d: %v", attempt, err)
		if options.port != 0 && attempt == 0 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	t.Fatalf("relay %s did not start", *relayPath)
	return nil
}

// launch makes one attempt to start a relay.
func launch(t testing.TB, options relayOptions) (*relay, error) {
	t.Helper()
	r := &relay{t: t, options: options, dir: options.dir, stderr: new(kit.Buffer), exited: make(chan struct{})}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	r.port = cmp.Or(options.port, kit.FreePort(t))
	r.addr = r.at(r.port)
	r.cmd = exec.Command(cmp.Or(options.binary, *relayPath), r.arguments()...)
	r.cmd.Stderr = r.stderr
	r.cmd.Stdout = r.stderr
	r.cmd.Env = append(os.Environ(), append([]string{"HOME=" + r.dir, "SSL_CERT_FILE=" + authority.rootFile}, options.env...)...)
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		r.cmd.Wait()
		r.exitCode = r.cmd.ProcessState.ExitCode()
		close(r.exited)
	}()
	for _, addr := range []string{r.addr, r.httpAddr} {
		if addr == "" {
			continue
		}
		if err := r.awaitListener(addr); err != nil {
			r.kill()
			return nil, fmt.Errorf("%w\n%s", err, r.stderr)
		}
	}
	r.pub = r.readKey().Public()
	return r, nil
}

// at is the relay's address with a port.
func (r *relay) at(port int) string {
	return net.JoinHostPort(cmp.Or(r.options.ip, "127.0.0.1"), fmt.Sprint(port))
}

// certFile is the path of the served certificate with another extension; derper leaves out what is not a letter, digit, dot or dash.
func (r *relay) certFile(extension string) string {
	host := strings.ReplaceAll(cmp.Or(r.options.hostname, "127.0.0.1"), ":", "")
	return filepath.Join(r.dir, "certs", host+extension)
}

// arguments writes the files the flags name and returns the flags.
func (r *relay) arguments() []string {
	o := r.options
	certs := filepath.Join(r.dir, "certs")
	args := []string{"-a", r.addr, "-c", r.keyFile()}
	if !o.ownKeyFile {
		if o.key.IsZero() {
			o.key = key.NewNode()
		}
		text, err := o.key.MarshalText()
		r.must(err)
		r.must(os.WriteFile(r.keyFile(), fmt.Appendf(nil, "{\n\t\"PrivateKey\": %q\n}", text), 0o600))
	}
	if !o.plain {
		host := cmp.Or(o.hostname, "127.0.0.1")
		args = append(args, "-certmode", "manual", "-certdir", certs, "-hostname", host)
		if net.ParseIP(host) == nil {
			r.must(authority.write(certs, host, 90*24*time.Hour))
		}
	}
	r.meshKey = o.meshKey
	if o.mesh && r.meshKey.IsZero() {
		r.meshKey = newMeshKey(r.t)
	}
	if !r.meshKey.IsZero() {
		file := filepath.Join(r.dir, "mesh.key")
		r.must(os.WriteFile(file, []byte(r.meshKey.String()+"\n"), 0o600))
		args = append(args, "-mesh-psk-file", file)
	}
	if o.stun {
		port := kit.FreePort(r.t)
		r.stunAddr = r.at(port)
		args = append(args, "-stun", fmt.Sprintf("-stun-port=%d", port))
	} else {
		args = append(args, "-stun=false")
	}
	if o.http {
		port := kit.FreePort(r.t)
		r.httpAddr = r.at(port)
		args = append(args, fmt.Sprintf("--http-port=%d", port))
	} else {
		args = append(args, "-http-port", "-1")
	}
	return append(args, o.args...)
}

// writeFile writes text into a fresh file and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newMeshKey is a random mesh key.
func newMeshKey(t testing.TB) key.DERPMesh {
	t.Helper()
	mesh, err := key.ParseDERPMesh(key.NewNode().UntypedHexString())
	if err != nil {
		t.Fatal(err)
	}
	return mesh
}

// keyFile is where -c points.
func (r *relay) keyFile() string { return filepath.Join(r.dir, "relay.key") }

// readKey parses the key file as derper writes it.
func (r *relay) readKey() key.NodePrivate {
	r.t.Helper()
	text, err := os.ReadFile(r.keyFile())
	r.must(err)
	parts := strings.Split(string(text), `"`)
	if len(parts) != 5 {
		r.t.Fatalf("key file is not one JSON field: %q", text)
	}
	var private key.NodePrivate
	r.must(private.UnmarshalText([]byte(parts[3])))
	return private
}

// leafDER is the served certificate as it stands in the certificate directory.
func (r *relay) leafDER() []byte {
	r.t.Helper()
	text, err := os.ReadFile(r.certFile(".crt"))
	r.must(err)
	block, _ := pem.Decode(text)
	if block == nil {
		r.t.Fatalf("no PEM in certificate file")
	}
	return block.Bytes
}

// awaitListener waits until addr accepts, the process ends or 15 s pass.
func (r *relay) awaitListener(addr string) error {
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-r.exited:
			return fmt.Errorf("exited with %d before listening on %s", r.exitCode, addr)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("not listening on %s after 15s", addr)
}

// signal sends a signal to the process.
func (r *relay) signal(s syscall.Signal) {
	r.t.Helper()
	r.stopped.Store(true)
	r.must(r.cmd.Process.Signal(s))
}

// awaitExit returns the exit code (-1 for a signal) once the process is gone.
func (r *relay) awaitExit(within time.Duration) int {
	r.t.Helper()
	select {
	case <-r.exited:
		return r.exitCode
	case <-time.After(within):
		r.t.Fatalf("relay still running after %v", within)
		return 0
	}
}

// kill ends the process without judging it.
func (r *relay) kill() {
	r.stopped.Store(true)
	r.cmd.Process.Kill()
	<-r.exited
}

// stop ends the relay as its operator would; unless the test signalled it before, it must leave with code 0 within 5 s.
func (r *relay) stop() {
	r.t.Helper()
	r.once.Do(func() {
		if !r.stopped.Load() {
			r.terminate()
		}
		r.cmd.Process.Kill()
		<-r.exited
		log := r.stderr.String()
		if strings.Contains(log, "panicked at") {
			r.t.Errorf("the relay panicked")
		}
		if r.t.Failed() {
			r.t.Logf("relay %v output:\n%s", r.cmd.Args, tail(log, 6000))
		}
	})
}

// terminate sends SIGTERM to a relay that should be running and judges how it leaves.
func (r *relay) terminate() {
	r.t.Helper()
	select {
	case <-r.exited:
		r.t.Errorf("relay exited by itself with code %d", r.exitCode)
		return
	default:
	}
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
		if r.exitCode != 0 {
			r.t.Errorf("relay exit code %d after SIGTERM, want 0", r.exitCode)
		}
	case <-time.After(5 * time.Second):
		r.t.Errorf("relay still running 5s after SIGTERM")
	}
}

func (r *relay) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
