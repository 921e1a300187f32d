package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"ferry.invalid/lab/netns"
)

// Ferry is a `ferry ping --json` that runs in a namespace.
type Ferry struct {
	// process is the program; its output is a file that is read as it grows.
	process *Process
	// began is when the program's own clock began, as nearly as can be told from here.
	began time.Time
}

// FerryEvent is a line that `ferry ping --json` printed. Each event has some of the fields.
type FerryEvent struct {
	Event     string  `json:"event"`
	AtMS      float64 `json:"at_ms"`
	Own       string  `json:"own"`
	Node      string  `json:"node"`
	Address   string  `json:"address"`
	Proxied   bool    `json:"proxied"`
	WebSocket bool    `json:"websocket"`
	TookMS    float64 `json:"took_ms"`
	Reason    string  `json:"reason"`
	Sent      int     `json:"sent"`
	Answered  int     `json:"answered"`
}

// at is when it happened, by the program's clock.
func (e FerryEvent) at() time.Duration { return time.Duration(e.AtMS * float64(time.Millisecond)) }

// startFerry starts `ferry ping` with more arguments.
func startFerry(binary string, ns *netns.Namespace, logPath string, env []string, args ...string) (*Ferry, error) {
	began := time.Now()
	process, err := startProcess(ns, logPath, env, binary, append([]string{"ping", "--json"}, args...)...)
	return &Ferry{process: process, began: began}, err
}

// now is the program's clock.
func (f *Ferry) now() time.Duration { return time.Since(f.began) }

// events are all lines so far; one that is not whole yet is left out.
func (f *Ferry) events() ([]FerryEvent, error) {
	output, err := os.ReadFile(f.process.logPath)
	if err != nil {
		return nil, err
	}
	var events []FerryEvent
	for line := range bytes.Lines(output) {
		var event FerryEvent
		if bytes.HasPrefix(line, []byte("{")) && bytes.HasSuffix(line, []byte("\n")) {
			if err := json.Unmarshal(line, &event); err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			events = append(events, event)
		}
	}
	return events, nil
}

// await waits for the first event from a time on that is the one.
func (f *Ferry) await(ctx context.Context, from, within time.Duration, what string, is func(FerryEvent) bool) (FerryEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var found FerryEvent
	err := f.process.waitFor(ctx, func() error {
		events, err := f.events()
		if err != nil {
			return err
		}
		for _, event := range events {
			if event.at() >= from && is(event) {
				found = event
				return nil
			}
		}
		return fmt.Errorf("no %s within %v", what, within)
	})
	return found, err
}

// finish waits for a program that ends by itself.
func (f *Ferry) finish(within time.Duration) error {
	select {
	case <-f.process.done:
		if f.process.waitErr != nil {
			return fmt.Errorf("ferry: %w%s", f.process.waitErr, f.process.logTail())
		}
		return nil
	case <-time.After(within):
		return fmt.Errorf("ferry still runs after %v%s", within, f.process.logTail())
	}
}

// localPort is the port of the one connection that leads to the relay from a namespace.
func localPort(ns *netns.Namespace) (int, error) {
	output, err := ns.Command(context.Background(), "ss", "-Htn", "state", "established", "dport", "=", ":443").Output()
	if err != nil {
		return 0, fmt.Errorf("ss: %w", err)
	}
	fields := strings.Fields(string(output))
	if len(fields) != 4 {
		return 0, fmt.Errorf("ss shows not one connection: %q", output)
	}
	return strconv.Atoi(fields[2][strings.LastIndex(fields[2], ":")+1:])
}
