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
)

// module is where the stock programs come from; go.mod says which version.
const module = "tailscale.com"

// Binaries are the programs that a lab runs.
type Binaries struct {
	// Tailscaled and Tailscale are the stock node and its command line.
	Tailscaled, Tailscale string
	// Relay is the relay under test.
	Relay string
}

// Build builds the stock programs into a folder per module and Go version under cache, once, and adds the
// stock derper when no relay is named. Builds need minutes the first time, nothing afterwards.
func Build(ctx context.Context, cache, relay string, logf func(format string, args ...any)) (Binaries, error) {
	version, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("go list -m %s: %w", module, err)
	}
	dir := filepath.Join(cache, strings.TrimSpace(string(version))+"-"+runtime.Version())
	binaries := Binaries{Relay: relay}
	for _, program := range []struct {
		name string
		path *string
	}{{"tailscaled", &binaries.Tailscaled}, {"tailscale", &binaries.Tailscale}, {"derper", &binaries.Relay}} {
		if *program.path != "" {
			continue
		}
		*program.path = filepath.Join(dir, program.name)
		if err := buildOnce(ctx, *program.path, module+"/cmd/"+program.name, logf); err != nil {
			return Binaries{}, err
		}
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
	if err := runCommand(exec.CommandContext(ctx, "go", "build", "-o", partial, source)); err != nil {
		return err
	}
	logf("built %s in %v", source, round(time.Since(began)))
	return os.Rename(partial, path)
}
