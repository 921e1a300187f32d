package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"ferry.invalid/lab/netns"
)

// The ports of every STUN server in the lab, and of the channel between two that work together.
const (
	stunPort        = 3478
	stunOtherPort   = 3479
	stunPartnerPort = 3480
)

// STUNServer is a STUN server with two ports, and one address or two.
type STUNServer struct {
	// Address is where clients ask, and Address6 over IPv6.
	Address, Address6 netip.AddrPort
	// host is where it runs.
	host *Host
	// log is its output.
	log string
	// program and args start it.
	program string
	args    []string
	// process is the running server, or nil.
	process *Process
}

// Coturn is coturn's turnserver on a host with two addresses.
func (s *Segment) Coturn(host *Host) *STUNServer {
	args := []string{
		"-n", "--no-auth", "--stun-only", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "-m", "1", "--log-file", "stdout",
		"--pidfile", s.path("coturn.pid"), "-b", s.path("coturn.db"),
		"-p", fmt.Sprint(stunPort), "--alt-listening-port", fmt.Sprint(stunOtherPort),
	}
	for _, address := range append(host.IPv4, host.IPv6...) {
		args = append(args, "-L", address.String())
	}
	return s.server("coturn", host, "turnserver", args)
}

// FerrySTUN is ferry-stun on a host with two addresses.
func (s *Segment) FerrySTUN(name string, binary string, host *Host, args ...string) *STUNServer {
	at := func(ip netip.Addr, port uint16) string { return netip.AddrPortFrom(ip, port).String() }
	return s.server(name, host, binary, append([]string{
		"--drain", "0s",
		"--listen", at(host.IPv4[0], stunPort), "--alternate", at(host.IPv4[1], stunOtherPort),
		"--listen", at(host.IPv6[0], stunPort), "--alternate", at(host.IPv6[1], stunOtherPort),
	}, args...))
}

// FerryPair is ferry-stun on two hosts with one address each, which work together.
func (s *Segment) FerryPair(name string, binary string, a, b *Host) (*STUNServer, *STUNServer, error) {
	key := s.path(name + ".key")
	if err := os.WriteFile(key, fmt.Appendf(nil, "%064x\n", 0x5780), 0o600); err != nil {
		return nil, nil, err
	}
	half := func(suffix string, host, partner *Host) *STUNServer {
		at := func(ip netip.Addr, port uint16) string { return netip.AddrPortFrom(ip, port).String() }
		return s.server(name+suffix, host, binary, []string{
			"--drain", "0s", "--alternate", fmt.Sprintf(":%d", stunOtherPort),
			"--listen", at(host.IPv4[0], stunPort), "--listen", at(host.IPv6[0], stunPort),
			"--partner", at(partner.IPv4[0], stunPartnerPort), "--partner-listen", at(host.IPv4[0], stunPartnerPort),
			"--partner-key-file", key,
		})
	}
	return half("-a", a, b), half("-b", b, a), nil
}

func (s *Segment) server(name string, host *Host, program string, args []string) *STUNServer {
	return &STUNServer{
		Address:  netip.AddrPortFrom(host.IPv4[0], stunPort),
		Address6: netip.AddrPortFrom(host.IPv6[0], stunPort),
		host:     host, log: s.path(name + ".log"), program: program, args: args,
	}
}

// Start starts the server and returns when it answers on its own host.
func (s *STUNServer) Start(ctx context.Context) error {
	process, err := startProcess(s.host.Namespace, s.log, nil, s.program, s.args...)
	if err != nil {
		return err
	}
	s.process = process
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return process.waitFor(ctx, func() error {
		_, err := AskSTUN(s.host.Namespace, s.Address, 0, 100*time.Millisecond)
		return err
	})
}

// Stop ends the server with SIGTERM. coturn is not ours to judge: it ends with a failure now and then.
func (s *STUNServer) Stop() error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	err := process.Stop()
	if s.program == "turnserver" {
		return nil
	}
	return err
}

// STUNAnswer is what a server said.
type STUNAnswer struct {
	// From is the address that it came from.
	From netip.AddrPort
	// Refused is the number of an error, 0 for success.
	Refused int
	// OtherAddress is whether it tells of another address.
	OtherAddress bool
}

// errSilence is no answer in time.
var errSilence = errors.New("no answer")

// AskSTUN sends a bare request from a namespace, with CHANGE-REQUEST if there are bits, and waits for the answer.
func AskSTUN(ns *netns.Namespace, server netip.AddrPort, change byte, within time.Duration) (STUNAnswer, error) {
	conn, err := ns.ListenUDP()
	if err != nil {
		return STUNAnswer{}, err
	}
	defer conn.Close()
	return askSTUN(conn, server, change, within)
}

// askSTUN is AskSTUN from a socket.
func askSTUN(conn *net.UDPConn, server netip.AddrPort, change byte, within time.Duration) (STUNAnswer, error) {
	id := newTransactionID()
	if _, err := conn.WriteToUDPAddrPort(stunRequest(id, change), server); err != nil {
		return STUNAnswer{}, err
	}
	conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 2000)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return STUNAnswer{}, fmt.Errorf("%w from %v within %v", errSilence, server, within)
		}
		if answer, ok := parseSTUNAnswer(buffer[:n], id); ok {
			answer.From = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			return answer, nil
		}
	}
}
