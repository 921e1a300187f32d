package interop

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheKeyFileIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startRelay(t, relayOptions{dir: dir, ownKeyFile: true})
	text, err := os.ReadFile(first.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile("^{\n\t\"PrivateKey\": \"privkey:[0-9a-f]{64}\"\n}$").Match(text) {
		t.Fatalf("key file %q", text)
	}
	info, err := os.Stat(first.keyFile())
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	first.joinPlainly(t).alive()
	first.stop()
	second := startRelay(t, relayOptions{dir: dir, ownKeyFile: true})
	second.joinPlainly(t).alive()
	if second.pub != first.pub {
		t.Error("another server key after the restart")
	}
	if again, err := os.ReadFile(second.keyFile()); err != nil || string(again) != string(text) {
		t.Errorf("the key file was rewritten: %q, %v", again, err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range names {
		if entry.Name() != "relay.key" && entry.Name() != "certs" {
			t.Errorf("%s is left beside the key file", entry.Name())
		}
	}
}

func TestMissingFoldersOfTheKeyFileAreMade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "relay.key")
	startRelay(t, relayOptions{args: []string{"-c", path}})
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFilesAreReadAsGoReadsThem(t *testing.T) {
	t.Parallel()
	const scalar = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
	for name, text := range map[string]string{
		"compact":       `{"PrivateKey":"privkey:` + scalar + `"}`,
		"other case":    `{"privatekey":"privkey:` + strings.ToUpper(scalar) + `"}`,
		"unknown field": `{"Extra":"x","PrivateKey":"privkey:` + scalar + `"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "key", text)
			r := startRelay(t, relayOptions{args: []string{"-c", path}})
			w := r.upgrade(t, wireOptions{})
			if got, want := w.next().payload[8:], "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"; want != hex.EncodeToString(got) {
				t.Fatalf("server key %x, want %s", got, want)
			}
		})
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "privkey:" + scalar, "wrong prefix": `{"PrivateKey":"nodekey:` + scalar + `"}`, "short": `{"PrivateKey":"privkey:` + scalar[2:] + `"}`,
		"no key": `{}`, "array": `[]`, "zero key": `{"PrivateKey":"privkey:` + strings.Repeat("0", 64) + `"}`,
	} {
		t.Run("refused/"+name, func(t *testing.T) {
			t.Parallel()
			refusedToStart(t, "-c", writeFile(t, "key", text))
		})
	}
}
