package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ferry.invalid/lab/netns"
)

// Modules that the stock programs come from; go.mod says which versions.
const (
	module     = "tailscale.com"
	pionModule = "github.com/pion/stun/v3"
)

// Binaries are the programs that a lab runs.
type Binaries struct {
	// Tailscaled and Tailscale are the stock node and its command line.
	Tailscaled, Tailscale string
	// Relay is the relay under test.
	Relay string
	// Derper is the stock relay.
	Derper string
	// Ferry is the client's program under test; empty without.
	Ferry string
	// Behaviour is pion's NAT probe, stun-nat-behaviour.
	Behaviour string
	// STUN is the STUN server under test, ferry-stun, which is a NAT probe too; empty without.
	STUN string
}

// Build builds the stock programs into a folder per module's and Go's version under cache, once; the stock derper
// is the relay under test when none is named. Builds need minutes the first time, nothing afterwards.
func Build(ctx context.Context, cache, relay string, logf func(format string, args ...any)) (Binaries, error) {
	binaries := Binaries{Relay: relay}
	for _, program := range []struct {
		module, source string
		path           *string
	}{
		{module, module + "/cmd/tailscaled", &binaries.Tailscaled},
		{module, module + "/cmd/tailscale", &binaries.Tailscale},
		{module, module + "/cmd/derper", &binaries.Derper},
		{pionModule, pionModule + "/cmd/stun-nat-behaviour", &binaries.Behaviour},
	} {
		if *program.path != "" {
			continue
		}
		version, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", program.module).Output()
		if err != nil {
			return Binaries{}, fmt.Errorf("go list -m %s: %w", program.module, err)
		}
		dir := filepath.Join(cache, strings.TrimSpace(string(version))+"-"+runtime.Version())
		*program.path = filepath.Join(dir, filepath.Base(program.source))
		if err := buildOnce(ctx, *program.path, program.source, logf); err != nil {
			return Binaries{}, err
		}
	}
	if binaries.Relay == "" {
		binaries.Relay = binaries.Derper
	}
	return binaries, nil
}

// buildOnce builds a program unless it is there. It appears under its name only when complete, so a build that
// was interrupted is never mistaken for one.
func buildOnce(ctx context.Context, path, source string, logf func(format string, args ...any)) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	partial := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(partial)
	began := time.Now()
	if err := netns.RunCommand(exec.CommandContext(ctx, "go", "build", "-o", partial, source)); err != nil {
		return err
	}
	logf("built %s in %v", source, round(time.Since(began)))
	return os.Rename(partial, path)
}
