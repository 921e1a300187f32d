package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// tools builds programs of the Go module on first use.
var tools *binaryCache

// binaryCache holds the programs built from the Go module, in INTEROP_CACHE if set, else in a directory that lives for one run.
type binaryCache struct {
	dir   string
	stays bool
	mu    sync.Mutex
}

func newBinaryCache() (*binaryCache, error) {
	if dir := os.Getenv("INTEROP_CACHE"); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		return &binaryCache{dir: dir, stays: true}, os.MkdirAll(dir, 0o755)
	}
	dir, err := os.MkdirTemp("", "interop-bin-")
	return &binaryCache{dir: dir}, err
}

// build compiles tailscale.com/cmd/NAME; go's own cache makes a repeat cheap.
func (c *binaryCache) build(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.dir, name)
	if out, err := exec.Command("go", "build", "-p=2", "-o", path, "tailscale.com/cmd/"+name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}

func (c *binaryCache) close() {
	if !c.stays {
		os.RemoveAll(c.dir)
	}
}
