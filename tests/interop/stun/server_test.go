package stun

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry.test/interop/kit"
)

// layout is what addresses a server has.
type layout int

const (
	// oneSocket is one address and one port.
	oneSocket layout = iota
	// twoPorts is one address with two ports.
	twoPorts
	// twoAddresses is RFC 5780's four sockets: 127.0.0.1 and 127.0.0.2 with two ports each.
	twoAddresses
)

// serverOptions says how to start a server; the zero value is one IPv4 socket.
type serverOptions struct {
	// layout is what addresses it has.
	layout layout
	// ipv6 serves ::1 instead of 127.0.0.1; there is no second address then.
	ipv6 bool
	// relay asks for the STUN server inside the relay.
	relay bool
	// tcp and tls serve those too, on ports of their own.
	tcp, tls bool
	// args are further flags.
	args []string
}

// server is a running server process.
type server struct {
	// primary is where it is asked: the first address and port.
	primary netip.AddrPort
	// secondary is the other address, with the other port; zero without.
	secondary netip.AddrPort
	// tcp and tls are where it serves those.
	tcp, tls netip.AddrPort
	// roots is the file with the certificate that TLS shows.
	roots string
}

// port is the port that the server is asked at, as programs take it.
func (s *server) port() string { return fmt.Sprint(s.primary.Port()) }

// ip is the address that the server is asked at.
func (s *server) ip() string { return s.primary.Addr().String() }

// eachServer runs a check against the server under test and, if there is one, the server inside the relay.
func eachServer(t *testing.T, check func(t *testing.T, relay bool)) {
	t.Helper()
	t.Run("server", func(t *testing.T) { t.Parallel(); check(t, false) })
	if *relayPath != "" {
		t.Run("relay", func(t *testing.T) { t.Parallel(); check(t, true) })
	}
}

// startServer starts a server, waits until it answers, and stops it when the test ends.
func startServer(t *testing.T, options serverOptions) *server {
	t.Helper()
	host := netip.MustParseAddr("127.0.0.1")
	if options.ipv6 {
		host = netip.MustParseAddr("::1")
	}
	s := &server{primary: netip.AddrPortFrom(host, uint16(kit.FreePort(t)))}
	switch options.layout {
	case twoPorts:
		s.secondary = netip.AddrPortFrom(host, uint16(kit.FreePort(t)))
	case twoAddresses:
		s.secondary = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(kit.FreePort(t)))
	}
	if options.tcp {
		s.tcp = netip.AddrPortFrom(host, uint16(kit.FreePort(t)))
	}
	if options.tls {
		s.tls = netip.AddrPortFrom(host, uint16(kit.FreePort(t)))
	}
	program, args := *serverPath, []string(nil)
	switch {
	case options.relay:
		program, args = *relayPath, s.relayArguments(t)
	case under == ferry:
		args = s.ferryArguments(t, options)
	default:
		args = s.coturnArguments(t, options)
	}
	launch(t, program, append(args, options.args...), under == ferry || options.relay, s.primary)
	return s
}

// startCoturn starts coturn's turnserver whatever is under test: what it says is the reference.
func startCoturn(t *testing.T, options serverOptions) *server {
	t.Helper()
	s := &server{primary: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(kit.FreePort(t)))}
	if options.layout == twoAddresses {
		s.secondary = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(kit.FreePort(t)))
	}
	launch(t, "turnserver", append(s.coturnArguments(t, options), options.args...), false, s.primary)
	return s
}

// ferryArguments are ferry-stun's flags.
func (s *server) ferryArguments(t *testing.T, options serverOptions) []string {
	t.Helper()
	args := []string{"--listen", s.primary.String(), "--drain", "0s"}
	switch options.layout {
	case twoPorts:
		args = append(args, "--alternate", fmt.Sprintf(":%d", s.secondary.Port()))
	case twoAddresses:
		args = append(args, "--alternate", s.secondary.String())
	}
	switch {
	case options.tcp && s.secondary.IsValid():
		// Without an address it is the UDP ones', which then tell of each other.
		s.tcp = s.primary
		args = append(args, "--tcp")
	case options.tcp:
		args = append(args, "--tcp", s.tcp.String())
	}
	if options.tls {
		var key string
		s.roots, key = selfSigned(t, s.tls.Addr())
		args = append(args, "--tls", s.tls.String(), "--tls-cert", s.roots, "--tls-key", key)
	}
	return args
}

// coturnArguments are turnserver's flags: no config file, no files outside the test's folder, no command port.
func (s *server) coturnArguments(t *testing.T, options serverOptions) []string {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"-n", "--no-auth", "--stun-only", "--no-cli", "--no-dtls", "-m", "1", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "-b", filepath.Join(dir, "db"),
		"-L", s.primary.Addr().String(), "-p", s.port(),
	}
	if s.secondary.IsValid() {
		args = append(args, "--alt-listening-port", fmt.Sprint(s.secondary.Port()))
		if s.secondary.Addr() != s.primary.Addr() {
			args = append(args, "-L", s.secondary.Addr().String())
		}
	}
	// coturn serves TCP on the main port, and takes TLS there too.
	if options.tcp {
		s.tcp = s.primary
	} else {
		args = append(args, "--no-tcp")
	}
	if !options.tls {
		return append(args, "--no-tls")
	}
	var key string
	s.roots, key = selfSigned(t, s.tls.Addr())
	return append(args, "--tls-listening-port", fmt.Sprint(s.tls.Port()), "--cert", s.roots, "--pkey", key)
}

// relayArguments are ferry-relay's flags for a relay that nobody relays through.
func (s *server) relayArguments(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	listen := netip.AddrPortFrom(s.primary.Addr(), uint16(kit.FreePort(t)))
	return []string{
		"-a", listen.String(), "-c", filepath.Join(dir, "relay.key"), "-http-port", "-1",
		"-certmode", "manual", "-certdir", dir, "-hostname", "127.0.0.1", "-stun-port", s.port(),
	}
}

// launch starts a program, waits until it answers STUN, and ends it with SIGTERM after the test.
// One of ours must then leave with exit code 0 within 5 s, without a panic.
func launch(t *testing.T, program string, args []string, ours bool, answers netip.AddrPort) {
	t.Helper()
	command := exec.Command(program, args...)
	output := new(kit.Buffer)
	command.Stdout, command.Stderr = output, output
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(t, command.Start())
	exited := make(chan struct{})
	go func() { command.Wait(); close(exited) }()
	t.Cleanup(func() {
		select {
		case <-exited:
			t.Errorf("%s ended by itself: %v", program, command.ProcessState)
		default:
			command.Process.Signal(syscall.SIGTERM)
		}
		select {
		case <-exited:
			if code := command.ProcessState.ExitCode(); ours && code != 0 {
				t.Errorf("%s: exit code %d after SIGTERM, want 0", program, code)
			}
		case <-time.After(5 * time.Second):
			command.Process.Kill()
			<-exited
			if ours {
				t.Errorf("%s still running 5s after SIGTERM", program)
			}
		}
		if strings.Contains(output.String(), "panicked at") {
			t.Errorf("%s panicked", program)
		}
		if t.Failed() {
			text := output.String()
			t.Logf("%v printed:\n%s", command.Args, text[max(0, len(text)-4000):])
		}
	})
	c := newClient(t, answers.Addr())
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) {
		c.send(answers, tailnodeRequest(newTransaction()))
		if _, found := c.receive(50 * time.Millisecond); found {
			c.drain()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%v exited before it answered:\n%s", command.Args, output)
		default:
		}
	}
	t.Fatalf("%v does not answer at %v after 15s:\n%s", command.Args, answers, output)
}
