// Wire runs a command at one end of a long wire: a network namespace, and another one, and between them a cable that takes its time.
//
// main.go is the way through, flags.go the flags, command.go the command at the near end, report.go what is said afterwards. The cable
// is package link.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ferry.invalid/lab/link"
	"ferry.invalid/lab/netns"
)

// The two ends. Nobody else is in these namespaces, so the addresses are the same for every wire.
const (
	device   = "wire"
	nearIPv4 = "10.99.0.1"
	farIPv4  = "10.99.0.2"
	nearIPv6 = "fd99::1"
	farIPv6  = "fd99::2"
)

// Exit codes: those of the command are its own.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	settings, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage())
	case err != nil:
		fmt.Fprintln(os.Stderr, "wire:", err, "(wire -help tells more)")
		os.Exit(exitUsage)
	case os.Geteuid() != 0:
		fmt.Fprintln(os.Stderr, "wire: not root: making network namespaces and devices takes root")
		os.Exit(exitFailure)
	default:
		code, err := run(settings)
		if err != nil {
			fmt.Fprintln(os.Stderr, "wire:", err)
			code = max(code, exitFailure)
		}
		os.Exit(code)
	}
}

// run makes the wire, runs the command, and takes the wire away again, whatever happened. It answers the command's exit code.
func run(settings settings) (code int, err error) {
	// Before there is anything to clean up: from here on a signal is for the command.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	if err := netns.RemoveStale(); err != nil {
		return 0, fmt.Errorf("clear what a killed run left: %w", err)
	}
	near, err := newEnd("near", settings, nearIPv4, nearIPv6)
	defer func() { err = errors.Join(err, near.Namespace.Remove()) }()
	if err != nil {
		return 0, err
	}
	far, err := newEnd("far", settings, farIPv4, farIPv6)
	defer func() { err = errors.Join(err, far.Namespace.Remove()) }()
	if err != nil {
		return 0, err
	}
	cable, err := link.Connect(near, far, settings.link)
	if err != nil {
		return 0, err
	}
	code, err = runCommand(settings, near.Namespace, far.Namespace, signals)
	there, back, closed := cable.Close()
	if !settings.quiet {
		fmt.Fprint(os.Stderr, report("there", settings.link.There, there), report("back", settings.link.Back, back))
	}
	return code, errors.Join(err, closed)
}

// newEnd makes one end's namespace. It returns what exists also when it fails.
func newEnd(name string, settings settings, ipv4, ipv6 string) (link.End, error) {
	hosts := fmt.Sprintf("%s near\n%s far\n%s near\n%s far\n", nearIPv4, farIPv4, nearIPv6, farIPv6)
	ns, err := netns.New(fmt.Sprintf("%s%d-%s", netns.Prefix, os.Getpid(), name), hosts)
	end := link.End{Namespace: ns, Device: device, Addresses: []string{ipv4 + "/24", ipv6 + "/64"}}
	if err != nil {
		return end, err
	}
	for _, setting := range settings.sysctls {
		if err := ns.Command(context.Background(), "sysctl", "-q", "-w", setting).Run(); err != nil {
			return end, fmt.Errorf("sysctl %s: %w (is it one that a network namespace has?)", setting, err)
		}
	}
	return end, nil
}
