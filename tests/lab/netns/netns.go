// Package netns makes network namespaces, runs programs and opens sockets in them, and removes them.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Prefix starts the name of every namespace and folder of every lab; the process id follows, so that a later run can tell
// which ones nobody owns any more.
const Prefix = "ferrylab-"

const (
	// namespacesDir is where iproute2 keeps named namespaces.
	namespacesDir = "/run/netns"
	// overlaysDir is where `ip netns exec` finds files to lay over /etc, a folder per namespace.
	overlaysDir = "/etc/netns"
)

// Namespace is a named network namespace.
type Namespace struct {
	// Name is what `ip netns` calls it.
	Name string
}

// New makes a namespace whose programs see the given hosts file, and whose name server is its own
// loopback, where nobody answers: a name that is not in the hosts file does not resolve, at once.
func New(name, hosts string) (*Namespace, error) {
	ns := &Namespace{Name: name}
	overlay := filepath.Join(overlaysDir, name)
	if err := os.MkdirAll(overlay, 0o755); err != nil {
		return ns, err
	}
	if err := os.WriteFile(filepath.Join(overlay, "resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return ns, err
	}
	if err := ns.SetHosts(hosts); err != nil {
		return ns, err
	}
	if err := RunProgram("ip", "netns", "add", name); err != nil {
		return ns, err
	}
	return ns, ns.Configure("link set lo up")
}

// SetHosts changes the hosts file, also for programs that run: they see the same file.
func (ns *Namespace) SetHosts(hosts string) error {
	text := "127.0.0.1 localhost\n::1 localhost\n" + hosts
	return os.WriteFile(filepath.Join(overlaysDir, ns.Name, "hosts"), []byte(text), 0o644)
}

// Listen listens on TCP inside the namespace.
func (ns *Namespace) Listen(address string) (net.Listener, error) {
	var listener net.Listener
	err := ns.Inside(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// Dial connects over TCP from inside the namespace. The address must hold an IP, so that Go dials it on this
// thread; local may be nil.
func (ns *Namespace) Dial(ctx context.Context, local *net.TCPAddr, address string) (net.Conn, error) {
	var conn net.Conn
	err := ns.Inside(func() (err error) {
		dialer := net.Dialer{}
		if local != nil {
			dialer.LocalAddr = local
		}
		conn, err = dialer.DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// ListenUDP opens a UDP socket inside the namespace, unconnected and of both families.
func (ns *Namespace) ListenUDP() (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := ns.Inside(func() (err error) {
		conn, err = net.ListenUDP("udp", nil)
		return err
	})
	return conn, err
}

// Command is a program to be run in the namespace. `ip netns exec` becomes that program, so its process id is
// the program's.
func (ns *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns.Name, name}, args...)...)
}

// Run runs a program in the namespace to its end.
func (ns *Namespace) Run(name string, args ...string) error {
	return RunCommand(ns.Command(context.Background(), name, args...))
}

// Configure runs `ip` commands in the namespace, up to the first that fails.
func (ns *Namespace) Configure(commands ...string) error {
	cmd := exec.Command("ip", "-netns", ns.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	return RunCommand(cmd)
}

// Inside calls f on a thread that is in the namespace: sockets made there stay there.
func (ns *Namespace) Inside(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	away, err := os.Open(filepath.Join(namespacesDir, ns.Name))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", ns.Name, err)
	}
	result := f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// A thread lost in another namespace must not run anything else, and ending it would end the
		// processes it started (they ask for a signal when their parent thread dies).
		panic(fmt.Sprintf("leave namespace %s: %v", ns.Name, err))
	}
	runtime.UnlockOSThread()
	return result
}

// Remove deletes the namespace and its files.
func (ns *Namespace) Remove() error {
	var errs []error
	if _, err := os.Stat(filepath.Join(namespacesDir, ns.Name)); err == nil {
		errs = append(errs, RunProgram("ip", "netns", "del", ns.Name))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(overlaysDir, ns.Name)))
	return errors.Join(errs...)
}

// RemoveStale deletes what labs left whose process is gone without cleaning up (it was killed).
func RemoveStale() error {
	var errs []error
	for _, dir := range []string{namespacesDir, overlaysDir, os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
		for _, entry := range entries {
			rest, ours := strings.CutPrefix(entry.Name(), Prefix)
			owner, _, _ := strings.Cut(rest, "-")
			pid, err := strconv.Atoi(owner)
			if !ours || err != nil || syscall.Kill(pid, 0) == nil {
				continue
			}
			if dir == os.TempDir() {
				errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
				continue
			}
			errs = append(errs, (&Namespace{Name: entry.Name()}).Remove())
		}
	}
	return errors.Join(errs...)
}

// RunProgram runs a program on the host to its end.
func RunProgram(name string, args ...string) error { return RunCommand(exec.Command(name, args...)) }

// RunCommand runs a command to its end; the error holds what it printed.
func RunCommand(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
