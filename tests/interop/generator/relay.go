package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The relay between both loads: one process on a free loopback port, with the certificate it made for itself.
type relay struct {
	binary string

	command *exec.Cmd
	dir     string
	addr    string
	roots   *x509.CertPool
}

func (r *relay) start() error {
	dir, err := os.MkdirTemp("", "generator-relay")
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
	r.command = exec.Command(r.binary, args...)
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
