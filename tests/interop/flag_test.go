package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry.test/interop/kit"
)

// execute runs the relay binary with exactly these arguments until it exits, for at most 10 s.
func execute(t testing.TB, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, *relayPath, args...)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%v: still running after 10 s\n%s", args, tail(string(out), 2000))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

// refusedToStart checks that a relay with otherwise good flags exits non-zero because of the given ones, and says something.
func refusedToStart(t *testing.T, args ...string) {
	t.Helper()
	dir := t.TempDir()
	good := []string{"-a", fmt.Sprintf("127.0.0.1:%d", kit.FreePort(t)), "-c", filepath.Join(dir, "relay.key"), "-stun=false", "-http-port=-1",
		"-certmode=manual", "-certdir", filepath.Join(dir, "certs"), "-hostname=127.0.0.1"}
	code, output := execute(t, append(good, args...)...)
	if code == 0 || strings.TrimSpace(output) == "" {
		t.Errorf("%v: exit code %d, output %q", args, code, output)
	}
	t.Logf("%v: exit code %d: %s", args, code, tail(strings.TrimSpace(output), 200))
}

func TestVersionIsPrinted(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"-version", "--version", "-version=true"} {
		if code, output := execute(t, form); code != 0 || strings.TrimSpace(output) == "" {
			t.Errorf("%s: exit code %d, output %q", form, code, output)
		}
	}
}

func TestWrongUsageExitsWithTwo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-no-such-flag"}, {"--no-such-flag=1"}, {"-http-port", "x"}, {"-stun=maybe"}, {"-tcp-write-timeout", "2"}, {"-a"},
		{"-accept-connection-limit=fast"}, {"-accept-connection-burst=1.5"}} {
		if code, output := execute(t, args...); code != 2 || output == "" {
			t.Errorf("%v: exit code %d, output %.200q", args, code, output)
		}
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"-h", "-help", "--help"} {
		code, output := execute(t, form)
		if code != 0 {
			t.Errorf("%s: exit code %d", form, code)
		}
		for _, flag := range derperFlags {
			if !strings.Contains(output, "-"+flag) {
				t.Errorf("%s does not name -%s", form, flag)
			}
		}
	}
}

// derperFlags are all flags of derper.
var derperFlags = strings.Fields(`a accept-connection-burst accept-connection-limit ace acme-eab-key acme-eab-kid acme-email acme-ip-certs
	bootstrap-dns-names c certdir certmode derp dev home hostname http-port mesh-psk-file mesh-with rate-config secrets-cache-dir
	secrets-path-prefix secrets-url socket stun stun-port tcp-keepalive-time tcp-user-timeout tcp-write-timeout
	unpublished-bootstrap-dns-names verify-client-url verify-client-url-fail-open verify-clients version`)

func TestFlagsAreReadInEveryGoForm(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"dash and equals":     {"-home=blank", "-tcp-write-timeout=3s", "-verify-client-url-fail-open=false", "-accept-connection-limit=+Inf"},
		"two dashes, a space": {"--home", "blank", "--tcp-keepalive-time", "1h2m3.5s", "--accept-connection-limit", "1e3", "--accept-connection-burst", "0x400"},
		"booleans":            {"-home", "blank", "-ace", "--derp=1", "-verify-clients=F", "-acme-ip-certs=0", "-dev=FALSE"},
		"the last one wins":   {"-home=https://example.com", "-home=blank"},
		"all in one":          {"-home", "blank", "-tcp-user-timeout=15000ms", "-mesh-with=", "-rate-config=", "-socket=", "-secrets-url=", "-acme-email=a@b.c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startRelay(t, relayOptions{args: args}).get(t, "/").check(t, 200, "")
		})
	}
}

func TestBadSettingsStopTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	takenPort := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	otherName := t.TempDir()
	if err := authority.write(otherName, "other.test", time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"crt", "key"} {
		if err := os.Rename(filepath.Join(otherName, "other.test."+file), filepath.Join(otherName, "relay.test."+file)); err != nil {
			t.Fatal(err)
		}
	}
	// Port 443 means TLS in every certificate mode; these relays give up before they bind it.
	for name, args := range map[string][]string{
		"home":                        {"-home", "ftp://x"},
		"certmode":                    {"-a", "127.0.0.1:443", "-certmode", "none"},
		"address":                     {"-a", "nonsense"},
		"address in use":              {"-a", "127.0.0.1:" + takenPort},
		"http port in use":            {"-http-port", takenPort},
		"certificate missing":         {"-hostname", "relay.test"},
		"certificate of another name": {"-hostname", "relay.test", "-certdir", otherName},
		"mesh key short":              {"-mesh-psk-file", writeFile(t, "psk", "abcd")},
		"mesh key not hex":            {"-mesh-psk-file", writeFile(t, "psk", strings.Repeat("zz", 32))},
		"mesh key file missing":       {"-mesh-psk-file", filepath.Join(otherName, "none")},
		"mesh without key":            {"-mesh-with", "localhost"},
		"mesh entry":                  {"-mesh-with", "a/b/c", "-mesh-psk-file", writeFile(t, "psk", strings.Repeat("ab", 32))},
		"rate config missing":         {"-rate-config", filepath.Join(otherName, "none")},
		"rate config broken":          {"-rate-config", writeFile(t, "rate", `{"PerClientRateLimitBytesPerSec":-1}`)},
		"gcp without account":         {"-a", "127.0.0.1:443", "-certmode=gcp", "-hostname=relay.test"},
		"letsencrypt for an IP":       {"-a", "127.0.0.1:443", "-certmode=letsencrypt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusedToStart(t, args...)
		})
	}
}

func TestWithoutManualCertificatesAnotherPortIsPlainHTTP(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{plain: true, args: []string{"-certmode", "letsencrypt", "-hostname", "relay.test"}})
	r.get(t, "/derp/probe").check(t, 200, "")
	r.joinPlainly(t).alive()
}
