package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sighting is a line of ferry watch --json.
type sighting struct {
	Event, Peer, Address string
	Kinds                []string
	Present              int
}

// watcher is a running ferry watch.
type watcher struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan sighting
}

// watch starts ferry watch at r with the mesh key in this file.
func (r *relay) watch(t testing.TB, meshKeyFile string) *watcher {
	t.Helper()
	w := &watcher{t: t, lines: make(chan sighting, 1000)}
	w.cmd = exec.Command(ferryBinary(t), "watch", "--relay", "https://"+r.addr, "--insecure", "--mesh-psk-file", meshKeyFile, "--json")
	output, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Kill() })
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			var said sighting
			if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
				said.Event = fmt.Sprintf("%q is no JSON: %v", lines.Text(), err)
			}
			w.lines <- said
		}
	}()
	return w
}

// next is the next line that says one of these events.
func (w *watcher) next(events ...string) sighting {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case said, open := <-w.lines:
			if !open {
				w.t.Fatalf("ferry watch ended before it said %v", events)
			}
			for _, event := range events {
				if said.Event == event {
					return said
				}
			}
		case <-deadline:
			w.t.Fatalf("ferry watch does not say %v", events)
		}
	}
}

// stop ends it as Ctrl-C does; the last line, and the exit code.
func (w *watcher) stop() (sighting, int) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	summary := w.next("summary")
	for range w.lines {
	}
	w.cmd.Wait()
	return summary, w.cmd.ProcessState.ExitCode()
}

func nodeKey(w *wire) string { return w.pub.String() }

// Ferry's client in its watching mode sees who is there, who comes, who leaves, and all of it again after a restart.
func TestFerryWatchesARelay(t *testing.T) {
	t.Parallel()
	mesh := newMeshKey(t)
	r := startRelay(t, relayOptions{meshKey: mesh})
	const n = 100
	there := make(map[string]bool)
	clients := make([]*wire, n)
	inParallel(n, func(i int) { clients[i] = r.joinPlainly(t) })
	for _, client := range clients {
		there[nodeKey(client)] = true
	}

	w := r.watch(t, filepath.Join(r.dir, "mesh.key"))
	for len(there) > 0 {
		said := w.next("present")
		if !there[said.Peer] {
			t.Fatalf("%s is told of twice, or was never there", said.Peer)
		}
		delete(there, said.Peer)
	}

	prober := r.join(t, wireOptions{info: `{"version":2,"IsProber":true}`})
	said := w.next("present", "gone")
	if want := prober.conn.LocalAddr().String(); said.Peer != nodeKey(prober) || said.Address != want || strings.Join(said.Kinds, " ") != "prober" {
		t.Errorf("%+v, want a prober %s from %s", said, nodeKey(prober), want)
	}
	prober.leave()
	if said := w.next("present", "gone"); said.Event != "gone" || said.Peer != nodeKey(prober) {
		t.Errorf("%+v, want that %s is gone", said, nodeKey(prober))
	}

	r.stop()
	w.next("disconnected")
	again := startRelay(t, relayOptions{meshKey: mesh, dir: r.dir, port: r.port})
	w.next("connected")
	last := again.joinPlainly(t)
	if said := w.next("present"); said.Peer != nodeKey(last) {
		t.Errorf("%+v, want %s", said, nodeKey(last))
	}
	if summary, code := w.stop(); summary.Present != 1 || code != 0 {
		t.Errorf("%d present and exit code %d at the end, want 1 and 0", summary.Present, code)
	}
}

// With another mesh key nothing is told, and the watcher says why.
func TestFerryWatchingWithAnotherMeshKeyIsToldSo(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	r.joinPlainly(t)
	w := r.watch(t, writeFile(t, "mesh.key", strings.Repeat("ab", 32)))
	w.next("refused")
	if summary, code := w.stop(); summary.Present != 0 || code != 1 {
		t.Errorf("%d present and exit code %d at the end, want 0 and 1", summary.Present, code)
	}
}
