package link

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pump carries one direction, on a thread of its own. It reads, waits and writes alone, so that a packet changes no hands: it is
// read into the line's ring once and written from there.
type pump struct {
	from, to *tun
	line     *Line
	// cores is where it may run; empty is anywhere.
	cores []int
	// stopping says that it shall end, and wake is a descriptor that becomes readable then.
	stopping *atomic.Bool
	wake     int
	// ready and left are what the kernel is told when there is nothing to do; here, so that nothing is allocated for it.
	ready [2]unix.PollFd
	left  unix.Timespec
	// refused are packets that the device they came out at did not take.
	refused uint64
}

// run carries packets until it is told to stop.
func (p *pump) run() error {
	// Not unlocked: the thread has a priority and cores of its own, and ends with the goroutine.
	runtime.LockOSThread()
	if err := p.settle(); err != nil {
		return err
	}
	began := time.Now()
	for !p.stopping.Load() {
		for packet := p.line.Pop(time.Since(began)); packet != nil; packet = p.line.Pop(time.Since(began)) {
			if err := p.write(packet); err != nil {
				return err
			}
		}
		length, err := call(unix.SYS_READ, p.from.fd, p.line.Room())
		switch {
		case err == nil:
			p.line.Push(time.Since(began), length)
		case errors.Is(err, unix.EAGAIN):
			if err := p.wait(began); err != nil {
				return err
			}
		case !errors.Is(err, unix.EINTR):
			return os.NewSyscallError("read tun", err)
		}
	}
	return nil
}

// settle puts the thread where it belongs: on its cores, and ahead of every program, as a network card's interrupts are. What is due
// is not late then because a relay is busy, and the kernel does not round its waits up.
func (p *pump) settle() error {
	if len(p.cores) > 0 {
		var set unix.CPUSet
		for _, core := range p.cores {
			set.Set(core)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	return os.NewSyscallError("sched_setattr", unix.SchedSetAttr(0, &attr, 0))
}

// write lets a packet out.
func (p *pump) write(packet []byte) error {
	for {
		_, err := call(unix.SYS_WRITE, p.to.fd, packet)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		// Packets that the kernel finds nothing right with, or has no memory for; a cable does not end for that.
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			p.refused++
			return nil
		default:
			return os.NewSyscallError("write tun", err)
		}
	}
}

// wait sleeps until there is something to read or to let out, or it is over.
func (p *pump) wait(began time.Time) error {
	p.ready = [2]unix.PollFd{{Fd: int32(p.from.fd), Events: unix.POLLIN}, {Fd: int32(p.wake), Events: unix.POLLIN}}
	var timeout unsafe.Pointer
	if due, any := p.line.Due(); any {
		p.left = unix.NsecToTimespec(int64(max(due-time.Since(began), 0)))
		timeout = unsafe.Pointer(&p.left)
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.ready)), uintptr(len(p.ready)), uintptr(timeout), 0, 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return os.NewSyscallError("ppoll", errno)
	}
	return nil
}

// call reads or writes without Go's scheduler knowing. To it, a system call is a chance to give the thread's place to another, and coming
// back means to ask for a place: of threads that have no priority, and are late on a busy machine. Connect makes room for this instead.
func call(number uintptr, fd int, data []byte) (int, error) {
	length, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)))
	if errno != 0 {
		return 0, errno
	}
	return int(length), nil
}
