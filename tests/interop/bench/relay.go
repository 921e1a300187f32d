package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A relay under measurement: one process on a free loopback port, with the certificate it made for itself.
type relay struct {
	name, binary string
	extra        []string

	command *exec.Cmd
	dir     string
	addr    string
	roots   *x509.CertPool
}

func (r *relay) start() error {
	dir, err := os.MkdirTemp("", "bench-"+r.name)
	if err != nil {
		return err
	}
	r.dir = dir
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.addr = free.Addr().String()
	free.Close()
	args := []string{"-a", r.addr, "-certmode", "manual", "-certdir", filepath.Join(dir, "certs"), "-hostname", "127.0.0.1",
		"-c", filepath.Join(dir, "key"), "-http-port", "-1", "-stun=false"}
	r.command = exec.Command(r.binary, append(args, r.extra...)...)
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	r.command.Stderr = stderr
	if err := r.command.Start(); err != nil {
		return err
	}
	for range 200 {
		time.Sleep(25 * time.Millisecond)
		pem, err := os.ReadFile(filepath.Join(dir, "certs", "127.0.0.1.crt"))
		if err != nil {
			continue
		}
		r.roots = x509.NewCertPool()
		r.roots.AppendCertsFromPEM(pem)
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: r.roots})
		if err == nil {
			conn.Close()
			return nil
		}
	}
	output, _ := os.ReadFile(stderr.Name())
	return fmt.Errorf("does not answer on %s: %s", r.addr, output)
}

func (r *relay) stop() {
	if r.command == nil {
		return
	}
	r.command.Process.Signal(syscall.SIGTERM)
	r.command.Wait()
	r.command = nil
	os.RemoveAll(r.dir)
}

// cpu is the processor time of all threads so far, by the scheduler's own nanosecond clock.
func (r *relay) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(content))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ns)
	}
	return total, nil
}

// resident is VmRSS in bytes.
func (r *relay) resident() (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", r.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}
