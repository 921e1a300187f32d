package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
)

var (
	// relayFlag is the relay under test.
	relayFlag = flag.String("relay", "", "relay binary, relative to this folder or absolute; empty with -kind=derper builds the stock one")
	// kindFlag names it in the summary.
	kindFlag = flag.String("kind", "derper", "what the relay is: derper or ferry")
	// stunFlag is the STUN server under test.
	stunFlag = flag.String("stun", "", "ferry-stun binary; empty proves the NATs with the programs of others alone")
	// ferryFlag is the client's program under test.
	ferryFlag = flag.String("ferry", "", "ferry binary; empty leaves out what is proved of it")
	// userspaceFlag chooses the nodes' kind of network.
	userspaceFlag = flag.Bool("userspace", false, "run the nodes without a TUN device (also when there is none)")
	// skipFlag is for machines where tests cannot run as root.
	skipFlag = flag.Bool("skip-without-root", false, "skip, instead of failing, when not run as root")
)

// Bounds: how long a path may take to change. Generous beside what derper shows on a slow machine, so that a
// failure means something; the summary shows the times themselves.
const (
	// relayedWithin bounds the first relayed pong after both nodes are up.
	relayedWithin = 15 * time.Second
	// directWithin bounds the change to a direct path once there is a way.
	directWithin = 30 * time.Second
	// fallbackWithin bounds the change back to the relay once the way is cut: tailscaled trusts a path that
	// worked for 6.5 s.
	fallbackWithin = 30 * time.Second
	// reconnectWithin bounds the first relayed pong after the relay was started again.
	reconnectWithin = 30 * time.Second
	// stopWithin bounds the relay's end after SIGTERM; systemd's patience with a unit is far longer.
	stopWithin = 5 * time.Second
	// transferWithin bounds one bulk transfer.
	transferWithin = 60 * time.Second
)

// transferBytes is the size of a bulk transfer.
const transferBytes = 16 << 20

// binaries is what TestMain built.
var binaries Binaries

func TestMain(m *testing.M) {
	if mapFile := os.Getenv(stockNetcheckMap); mapFile != "" {
		os.Exit(stockNetcheck(mapFile))
	}
	// What runs in parallel waits more than it computes; -parallel on the command line still wins.
	flag.Set("test.parallel", "16")
	flag.Parse()
	if err := checkMachine(); err != nil {
		if *skipFlag {
			fmt.Println("skipped:", err)
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	go func() {
		<-ctx.Done()
		err := CloseAll()
		fmt.Fprintln(os.Stderr, "FAIL: interrupted; lab taken down:", errors.Join(err, errors.New("no test completed")))
		os.Exit(130)
	}()
	var err error
	if binaries, err = prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The whole story with a relay that has no domain: its self-signed certificate is pinned in the DERP map.
func TestNodesMeetThroughARelayWithoutADomain(t *testing.T) {
	lab, summary := startLab(t, SelfSignedAddress)
	ctx := t.Context()

	step(t, "kept apart, nodes cannot reach each other by themselves", func(t *testing.T) {
		expectUnderlay(t, lab, false)
	})
	step(t, "ping goes through the relay", func(t *testing.T) { expectRelayed(t, lab, summary) })
	step(t, "bulk data goes through the relay", func(t *testing.T) { expectBulkRelayed(t, lab, summary) })
	step(t, "netcheck and debug derp find no fault", func(t *testing.T) {
		expectCleanNetcheck(t, lab, true)
		expectCleanReport(t, lab, nil)
	})
	step(t, "debug pages are refused to the nodes", func(t *testing.T) {
		status, err := lab.Relay.StatusFrom(ctx, lab.Network.A, "/debug/vars")
		if err != nil || status != 403 {
			t.Fatalf("/debug/vars from node a: status %d, error %v, want 403", status, err)
		}
	})

	flow, err := StartFlow(ctx, lab.A, lab.B)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	step(t, "a flow runs through the relay", func(t *testing.T) { expectProgress(t, flow, summary, "relayed") })
	step(t, "joined, nodes go direct and the flow goes on", func(t *testing.T) {
		expectDirect(t, lab, summary)
		expectProgress(t, flow, summary, "going direct")
		expectBulkDirect(t, lab, summary)
	})
	step(t, "kept apart again, nodes fall back to the relay and the flow goes on", func(t *testing.T) {
		expectFallback(t, lab, summary)
		expectProgress(t, flow, summary, "falling back")
	})
	step(t, "a restarted relay is found again and the flow goes on", func(t *testing.T) {
		expectReconnect(t, lab, summary)
		expectProgress(t, flow, summary, "during the restart")
	})
	step(t, "without the relay there is no path, and the flow outlives the outage", func(t *testing.T) {
		expectOutage(t, lab, summary)
		expectProgress(t, flow, summary, "during the outage")
	})
	step(t, "bulk data goes through the restarted relay", func(t *testing.T) { expectBulkRelayed(t, lab, summary) })
	step(t, "nobody tried to leave the lab", func(t *testing.T) { expectInside(t, lab, summary) })
}

// The start of the story with a relay that has a name and a certificate from an authority, and is bound to one
// address.
func TestNodesMeetThroughARelayWithAName(t *testing.T) {
	lab, summary := startLab(t, NamedByAuthority)
	step(t, "ping goes through the relay", func(t *testing.T) { expectRelayed(t, lab, summary) })
	step(t, "bulk data goes through the relay", func(t *testing.T) { expectBulkRelayed(t, lab, summary) })
	step(t, "netcheck and debug derp find no fault but the missing IPv6", func(t *testing.T) {
		expectCleanNetcheck(t, lab, false)
		expectCleanReport(t, lab, []string{"over IPv6"})
	})
	step(t, "nobody tried to leave the lab", func(t *testing.T) { expectInside(t, lab, summary) })
}

// startLab puts a lab up for one test, and prints its summary, and its logs if the test failed, at the end.
func startLab(t *testing.T, certificate Certificate) (*Lab, *Summary) {
	t.Helper()
	_, noTUN := os.Stat("/dev/net/tun")
	summary := &Summary{}
	began := time.Now()
	lab, err := Start(t.Context(), Options{
		Binaries:    binaries,
		Certificate: certificate,
		Userspace:   *userspaceFlag || noTUN != nil,
		Logf:        t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	summary.Title = fmt.Sprintf("%s: relay %s, version %s", t.Name(), *kindFlag, lab.Relay.Version)
	summary.Time("lab up: relay, control plane and two nodes", time.Since(began), 0)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(lab.Logs())
		}
		if err := lab.Close(); err != nil {
			t.Errorf("taking the lab down: %v", err)
		}
		summary.Time("all of it", time.Since(began), 0)
		t.Log(summary)
	})
	return lab, summary
}

// step is a subtest whose failure ends the story: what follows builds on it.
func step(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// checkMachine says what the machine lacks.
func checkMachine() error {
	if runtime.GOOS != "linux" {
		return errors.New("the lab needs Linux: it is made of network namespaces")
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root to make network namespaces; run it as root, or pass -skip-without-root")
	}
	for _, tool := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the lab needs the %s command; on Debian: apt-get install iproute2 nftables procps", tool)
		}
	}
	for _, tool := range []string{"turnserver", "turnutils_natdiscovery"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("the lab needs coturn's %s; on Debian: apt-get install coturn", tool)
		}
	}
	return nil
}

// prepare checks the flags, clears what killed runs left, and builds the programs.
func prepare(ctx context.Context) (Binaries, error) {
	relay := *relayFlag
	switch {
	case *kindFlag != "derper" && *kindFlag != "ferry":
		return Binaries{}, fmt.Errorf("-kind is derper or ferry, not %q", *kindFlag)
	case relay == "" && *kindFlag == "ferry":
		return Binaries{}, errors.New("-kind=ferry needs -relay=BINARY, for example -relay=../../target/release/ferry-relay")
	}
	relay, err := program("-relay", relay)
	if err != nil {
		return Binaries{}, err
	}
	stun, err := program("-stun", *stunFlag)
	if err != nil {
		return Binaries{}, err
	}
	ferry, err := program("-ferry", *ferryFlag)
	if err != nil {
		return Binaries{}, err
	}
	cache := os.Getenv("LAB_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Binaries{}, fmt.Errorf("no folder to keep built programs in, set LAB_CACHE: %w", err)
		}
		cache = filepath.Join(user, "ferry-lab")
	}
	if err := netns.RemoveStale(); err != nil {
		return Binaries{}, err
	}
	built, err := Build(ctx, cache, relay, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	built.STUN, built.Ferry = stun, ferry
	return built, err
}

// program is the absolute path of a program that a flag names, or empty.
func program(name, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return path, nil
}
