package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ferry.invalid/lab/netns"
	"golang.org/x/net/proxy"
	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/tailcfg"
)

const (
	// nodeUDPPort is where both nodes take WireGuard and disco, so that a direct path is known by its port.
	nodeUDPPort = 41641
	// socksAddress is where a node without a TUN device offers its network, inside its namespace.
	socksAddress = "127.0.0.1:1055"
)

// Node is a stock tailscaled in a namespace.
type Node struct {
	// Name is the host name it logs in with.
	Name string
	// Address is its Tailscale address, once started.
	Address netip.Addr

	// ns is where it runs, dir where its state, socket and log are.
	ns  *netns.Namespace
	dir string
	// binaries, userspace and caFile are as in Options; caFile is empty for the system's authorities.
	binaries  Binaries
	userspace bool
	caFile    string
	// api talks to the daemon as the command line does.
	api local.Client
	// process is the running daemon.
	process *Process
}

// newNode describes a node; Start starts it.
func newNode(name string, options Options, ns *netns.Namespace, dir, caFile string) *Node {
	n := &Node{
		Name: name, ns: ns, dir: dir, caFile: caFile,
		binaries: options.Binaries, userspace: options.Userspace,
	}
	n.api = local.Client{Socket: n.socket(), UseSocketOnly: true}
	return n
}

// Start starts tailscaled, logs in and returns when it has an address.
func (n *Node) Start(ctx context.Context, controlURL string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	args := []string{
		"--statedir=" + n.dir,
		"--socket=" + n.socket(),
		fmt.Sprintf("--port=%d", nodeUDPPort),
		"--no-logs-no-support",
	}
	if n.userspace {
		args = append(args, "--tun=userspace-networking", "--socks5-server="+socksAddress)
	} else {
		args = append(args, "--tun=tailscale0")
	}
	process, err := startProcess(n.ns, filepath.Join(n.dir, "log"), n.env(), n.binaries.Tailscaled, args...)
	if err != nil {
		return err
	}
	n.process = process
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := process.waitFor(ctx, func() error {
		_, err := n.api.StatusWithoutPeers(ctx)
		return err
	}); err != nil {
		return err
	}
	if _, err := n.Tailscale(ctx, "up", "--login-server="+controlURL, "--hostname="+n.Name,
		"--accept-dns=false", "--timeout=25s"); err != nil {
		return fmt.Errorf("%w%s", err, process.logTail())
	}
	return process.waitFor(ctx, func() error {
		status, err := n.api.StatusWithoutPeers(ctx)
		if err != nil {
			return err
		}
		if status.BackendState != ipn.Running.String() || len(status.TailscaleIPs) == 0 {
			return fmt.Errorf("node is %s with addresses %v", status.BackendState, status.TailscaleIPs)
		}
		n.Address = status.TailscaleIPs[0]
		return nil
	})
}

// Stop ends tailscaled.
func (n *Node) Stop() error {
	if n.process == nil {
		return nil
	}
	return n.process.Stop()
}

// Tailscale runs the stock command line against this node and returns all that it printed.
func (n *Node) Tailscale(ctx context.Context, args ...string) (string, error) {
	cmd := n.command(ctx, args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("tailscale %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), err
}

// TailscaleOutput is Tailscale without what goes to standard error: for output that a machine reads.
func (n *Node) TailscaleOutput(ctx context.Context, args ...string) ([]byte, error) {
	output, err := n.command(ctx, args...).Output()
	if err != nil {
		err = fmt.Errorf("tailscale %s: %w", strings.Join(args, " "), err)
	}
	return output, err
}

// Path is how one disco ping to a peer came back.
type Path struct {
	// Endpoint is the peer's address on a direct path, else invalid.
	Endpoint netip.AddrPort
	// Region is the relay region on a relayed path, else empty.
	Region string
}

// PathTo pings a peer once. It asks the daemon as `tailscale ping` does, without that command's pause of a
// second after each pong, which would blur measured times.
func (n *Node) PathTo(ctx context.Context, peer *Node) (Path, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	result, err := n.api.Ping(ctx, peer.Address, tailcfg.PingDisco)
	if err != nil {
		return Path{}, err
	}
	if result.Err != "" {
		return Path{}, errors.New(result.Err)
	}
	path := Path{Region: result.DERPRegionCode}
	if result.Endpoint != "" {
		path.Endpoint, err = netip.ParseAddrPort(result.Endpoint)
	}
	return path, err
}

// WaitForPath pings a peer until the path is as wanted.
func (n *Node) WaitForPath(ctx context.Context, peer *Node, wanted func(Path) bool) error {
	return n.process.waitFor(ctx, func() error {
		path, err := n.PathTo(ctx, peer)
		if err == nil && !wanted(path) {
			return fmt.Errorf("path from %s to %s is %+v", n.Name, peer.Name, path)
		}
		return err
	})
}

// Listen listens on a TCP port of the node's Tailscale address.
func (n *Node) Listen(port string) (net.Listener, error) {
	if n.userspace {
		// The daemon hands what arrives for its Tailscale address to the same port of loopback.
		return n.ns.Listen(net.JoinHostPort("127.0.0.1", port))
	}
	return n.ns.Listen(net.JoinHostPort(n.Address.String(), port))
}

// Dial connects to a TCP port of a peer's Tailscale address.
func (n *Node) Dial(ctx context.Context, peer *Node, port string) (net.Conn, error) {
	address := net.JoinHostPort(peer.Address.String(), port)
	if !n.userspace {
		return n.ns.Dial(ctx, nil, address)
	}
	socks, err := proxy.SOCKS5("tcp", socksAddress, nil, namespaceDialer{ctx, n.ns})
	if err != nil {
		return nil, err
	}
	return socks.Dial("tcp", address)
}

// waitForPeer returns when the node has the peer in its network map.
func (n *Node) waitForPeer(ctx context.Context, peer *Node) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return n.process.waitFor(ctx, func() error {
		status, err := n.api.Status(ctx)
		if err != nil {
			return err
		}
		for _, known := range status.Peer {
			if known.HostName == peer.Name && len(known.TailscaleIPs) > 0 {
				return nil
			}
		}
		return fmt.Errorf("node %s does not know %s yet", n.Name, peer.Name)
	})
}

// command is the stock command line.
func (n *Node) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := n.ns.Command(ctx, n.binaries.Tailscale, append([]string{"--socket=" + n.socket()}, args...)...)
	cmd.Env = append(os.Environ(), n.env()...)
	return cmd
}

// env keeps the programs from looking for anything outside the lab. Nothing in it touches how they find paths.
func (n *Node) env() []string {
	env := []string{
		"TS_NO_LOGS_NO_SUPPORT=true",
		"TS_DISABLE_PORTMAPPER=1",
		"TS_PANIC_IF_HIT_MAIN_CONTROL=1",
		"TS_LOGS_DIR=" + n.dir,
	}
	if n.caFile != "" {
		env = append(env, "SSL_CERT_FILE="+n.caFile)
	}
	return env
}

// socket is the daemon's control socket.
func (n *Node) socket() string { return filepath.Join(n.dir, "tailscaled.sock") }

// namespaceDialer is the dialer that a SOCKS client uses to reach its proxy.
type namespaceDialer struct {
	ctx context.Context
	ns  *netns.Namespace
}

// Dial is proxy.Dialer.
func (d namespaceDialer) Dial(_, address string) (net.Conn, error) {
	return d.ns.Dial(d.ctx, nil, address)
}
