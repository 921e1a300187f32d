package interop

import (
	"path/filepath"
	"strings"
	"testing"
)

// watch starts ferry watch at r with the mesh key in this file.
func (r *relay) watch(t testing.TB, meshKeyFile string) *ferryRun {
	t.Helper()
	return startFerry(t, "watch", "--relay", "https://"+r.addr, "--insecure", "--mesh-psk-file", meshKeyFile, "--json")
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
