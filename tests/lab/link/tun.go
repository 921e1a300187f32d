package link

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ferry.invalid/lab/netns"
)

const (
	// headerBytes is the virtio header before each packet. It says what the kernel has left undone: where a checksum goes, and into
	// segments of which size to cut. Handed on as it is, the other kernel knows.
	headerBytes = 10
	// mtu is Ethernet's, so that TCP's segments have their usual size whatever crosses in one piece.
	mtu = 1500
	// queuePackets is how many packets wait for the reader in the kernel; the usual 500 are less than a window of small ones.
	queuePackets = 10_000
)

// tun is a network device whose cable ends in this process.
type tun struct {
	// fd does not block. The device goes when it is closed.
	fd int
}

func (t *tun) close() error { return unix.Close(t.fd) }

// openTUN makes a device in a namespace. With segmentation, TCP hands over trains of up to 64 KiB and takes them too: one read and
// one write for some 44 packets.
func openTUN(ns *netns.Namespace, name string, segmentation bool, addresses ...string) (*tun, error) {
	fd := -1
	err := ns.Inside(func() (err error) {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		return os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	t := &tun{fd: fd}
	offload := unix.TUN_F_CSUM
	if segmentation {
		offload |= unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload); err != nil {
		t.close()
		return nil, os.NewSyscallError("TUNSETOFFLOAD", err)
	}
	commands := []string{fmt.Sprintf("link set %s mtu %d txqueuelen %d up", name, mtu, queuePackets)}
	for _, address := range addresses {
		commands = append(commands, fmt.Sprintf("address add %s dev %s nodad", address, name))
	}
	if err := ns.Configure(commands...); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}
