package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry.invalid/lab/netns"
)

// asWire in the environment makes this test the program.
const asWire = "WIRE_TEST_IS_WIRE"

func TestMain(m *testing.M) {
	if os.Getenv(asWire) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestTheCommandIsToldWhereItIs(t *testing.T) {
	output, code := wire(t, "-quiet", "--", "sh", "-c",
		"echo $WIRE_NEAR $WIRE_FAR {near} {far}; [ $WIRE_FAR_NAMESPACE = {far-namespace} ] && ip netns exec {far-namespace} ip -brief addr show dev wire")
	if code != 0 || !strings.HasPrefix(output, "10.99.0.1 10.99.0.2 10.99.0.1 10.99.0.2\n") || !strings.Contains(output, "10.99.0.2/24 fd99::2/64") {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -KILL $$": 137} {
		if output, code := wire(t, "-quiet", "--", "sh", "-c", script); code != want || output != "" {
			t.Errorf("%s: exit code %d, want %d; %q", script, code, want, output)
		}
	}
}

func TestWhatCrossedIsTold(t *testing.T) {
	output, code := wire(t, "-there", "1ms", "-sysctl", "net.ipv4.ip_default_ttl=7", "--", "sh", "-c", "cat /proc/sys/net/ipv4/ip_default_ttl; exit 4")
	if code != 4 || !strings.HasPrefix(output, "7\nwire there 1ms: ") || !strings.Contains(output, "\nwire back  0s: ") {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
}

func TestWrongUsageSaysWhatIsWanted(t *testing.T) {
	for wrong, wanted := range map[string]string{
		"-there 2m -- true":     "invalid value \"2m\" for flag -there: want a time like 20ms, from 0 to 1m0s",
		"-there 20ms":           "no command to run",
		"-loss 2 -- true":       "want a number from 0 to 1",
		"-queue 0 -- true":      "want a whole number from 1 to 4096",
		"-rate NaN -- true":     "want a number from 0.001 to 1000000",
		"-cores a -- true":      "want numbers of cores",
		"-sysctl wrong -- true": "want KEY=VALUE",
		"-wrong":                "flag provided but not defined: -wrong",
	} {
		if output, code := wire(t, strings.Fields(wrong)...); code != exitUsage || !strings.Contains(output, wanted) {
			t.Errorf("wire %s: exit code %d, want %d and %q: %s", wrong, code, exitUsage, wanted, output)
		}
	}
	if output, code := wire(t, "-help"); code != 0 || !strings.Contains(output, "-there delay") {
		t.Errorf("-help: exit code %d\n%s", code, output)
	}
	if output, code := wire(t, "-sysctl", "no.such=1", "--", "true"); code != exitFailure || !strings.Contains(output, "sysctl no.such=1") {
		t.Errorf("a sysctl that is not there: exit code %d: %s", code, output)
	}
	if output, code := wire(t, "-cores", "1000", "--", "true"); code != exitFailure || !strings.Contains(output, "sched_setaffinity") {
		t.Errorf("a core that is not there: exit code %d: %s", code, output)
	}
}

func TestASignalReachesTheCommandAndNothingIsLeft(t *testing.T) {
	cmd := command(t, "-quiet", "--", "sh", "-c", `trap "echo stopped; exit 5" INT; echo ready; while :; do sleep 0.1; done`)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	expectLine(t, lines, "ready")
	if left := leftBy(t, cmd.Process.Pid); len(left) != 4 {
		t.Fatalf("while it runs there are %v, want two namespaces and their folders", left)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	expectLine(t, lines, "stopped")
	if code := ended(t, cmd.Wait()); code != 5 {
		t.Errorf("exit code %d, want the command's 5", code)
	}
	if left := leftBy(t, cmd.Process.Pid); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

func TestTheNextRunRemovesWhatAKilledOneLeft(t *testing.T) {
	cmd := command(t, "--", "sh", "-c", "echo ready; exec sleep 60")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	expectLine(t, bufio.NewScanner(output), "ready")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if left := leftBy(t, cmd.Process.Pid); len(left) != 4 {
		t.Fatalf("after kill -9 there are %v, want two namespaces and their folders", left)
	}
	if output, code := wire(t, "-quiet", "--", "true"); code != 0 {
		t.Fatalf("exit code %d: %s", code, output)
	}
	if left := leftBy(t, cmd.Process.Pid); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// command is wire with these arguments.
func command(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("wire needs root, for namespaces and devices")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], arguments...)
	cmd.Env = append(os.Environ(), asWire+"=1")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// wire runs it to its end, wants nothing left of it, and answers what it said and its exit code.
func wire(t *testing.T, arguments ...string) (string, int) {
	t.Helper()
	cmd := command(t, arguments...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	code := ended(t, cmd.Run())
	if left := leftBy(t, cmd.Process.Pid); len(left) != 0 {
		t.Errorf("wire %v left %v", arguments, left)
	}
	return output.String(), code
}

// ended is the exit code of a program.
func ended(t *testing.T, err error) int {
	t.Helper()
	failed := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if failed == nil {
		return 0
	}
	return failed.ExitCode()
}

// leftBy lists a process' namespaces and their folders.
func leftBy(t *testing.T, pid int) (left []string) {
	t.Helper()
	for _, folder := range []string{"/run/netns", "/etc/netns"} {
		found, err := filepath.Glob(fmt.Sprintf("%s/%s%d-*", folder, netns.Prefix, pid))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return left
}

// expectLine reads a line.
func expectLine(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("read %q (%v), want %q", lines.Text(), lines.Err(), want)
	}
}
