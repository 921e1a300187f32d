package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ferry.invalid/lab/netns"
)

// stopGrace is how long a program may take to end after SIGTERM before it is killed.
const stopGrace = 10 * time.Second

// logTailLines is how much of a program's log an error shows.
const logTailLines = 25

// Process is a long-running program in a namespace, with its output in a file.
type Process struct {
	// name is for errors.
	name string
	// logPath is where output goes.
	logPath string
	// cmd is the started command; only its process is ever signalled.
	cmd *exec.Cmd
	// done is closed when the program has ended; waitErr is set before that.
	done chan struct{}
	// waitErr is how it ended.
	waitErr error
}

// startProcess starts a program in a namespace. Output is appended to logPath, so that a restarted program
// goes on in the same file. The program gets SIGTERM if this process dies first.
func startProcess(ns *netns.Namespace, logPath string, env []string, program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{name: filepath.Base(program) + " in " + ns.Name, logPath: logPath, done: make(chan struct{})}
	p.cmd = ns.Command(context.Background(), program, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Stop sends SIGTERM, waits, and kills what does not end. It is an error when that was needed, when the program
// had ended before, and when it ended with a failure.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %v%s", p.name, p.waitErr, p.logTail())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed%s", p.name, stopGrace, p.logTail())
	}
	if p.waitErr != nil {
		return fmt.Errorf("%s ended with a failure after SIGTERM: %w%s", p.name, p.waitErr, p.logTail())
	}
	return nil
}

// waitFor polls until ready says so, the program ends, or ctx is over. It keeps the last reason for an error.
func (p *Process) waitFor(ctx context.Context, ready func() error) error {
	for {
		reason := ready()
		if reason == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v%s", p.name, p.waitErr, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w%s", p.name, ctx.Err(), reason, p.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logTail is the end of the log, for an error.
func (p *Process) logTail() string {
	content, err := os.ReadFile(p.logPath)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-logTailLines):]
	return "\n  | " + strings.Join(lines, "\n  | ")
}
