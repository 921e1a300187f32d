package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ferry.invalid/lab/netns"
)

// runCommand runs the command at the near end, hands it the signals that come, and answers its exit code: as in a shell, 128 and the
// signal's number if it died of one.
func runCommand(settings settings, near, far *netns.Namespace, signals <-chan os.Signal) (int, error) {
	places := map[string]string{"near": nearIPv4, "far": farIPv4, "far-namespace": far.Name}
	arguments := make([]string, len(settings.command))
	for at, argument := range settings.command {
		for name, value := range places {
			argument = strings.ReplaceAll(argument, "{"+name+"}", value)
		}
		arguments[at] = argument
	}
	cmd := near.Command(context.Background(), arguments[0], arguments[1:]...)
	cmd.Dir = settings.folder
	cmd.Env = append(os.Environ(), "WIRE_NEAR="+nearIPv4, "WIRE_FAR="+farIPv4, "WIRE_FAR_NAMESPACE="+far.Name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A group of its own, so that Ctrl-C reaches it once and from here; the terminal is its while it runs. It ends if this process is
	// killed, which is seen from the thread that started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil {
		cmd.SysProcAttr.Foreground = true
		defer takeTerminalBack()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", arguments[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case received := <-signals:
			// To the whole group, as a terminal does it. It may have just ended.
			_ = syscall.Kill(-cmd.Process.Pid, received.(syscall.Signal))
		case err := <-ended:
			return exitCode(cmd, err)
		}
	}
}

// exitCode is what the command's end says.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// takeTerminalBack makes this process the terminal's foreground again. The terminal stops who does that from the background, unless
// its signal is ignored.
func takeTerminalBack() {
	signal.Ignore(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
}
