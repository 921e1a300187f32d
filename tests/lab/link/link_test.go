package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferry.invalid/lab/netns"
)

// How much longer a round trip may be than the delays: of several the shortest, so that a busy machine does not matter.
const roundTripSlack = 5 * ms

func TestTCPHasTheRoundTripOfTheDelays(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "10.98.0.2", "IPv6": "fd98::2"} {
		t.Run(name, func(t *testing.T) {
			w := lay(t, Options{There: direction(15 * ms), Back: direction(25 * ms)})
			conn := w.echo(address)
			var fastest time.Duration
			for range 5 {
				began := time.Now()
				expectEcho(t, conn, []byte("ping"))
				if took := time.Since(began); fastest == 0 || took < fastest {
					fastest = took
				}
			}
			if fastest < 40*ms || fastest > 40*ms+roundTripSlack {
				t.Errorf("a round trip took %v, want 40 ms", fastest)
			}
			if seen := time.Duration(info(t, conn).Min_rtt) * time.Microsecond; seen < 40*ms || seen > 40*ms+roundTripSlack {
				t.Errorf("TCP saw a round trip of %v, want 40 ms", seen)
			}
		})
	}
}

// Bulk crosses in trains of segments, in few pieces, and TCP's own segments are as long as Ethernet lets them be.
func TestBulkCrossesWholeInTrainsOfSegments(t *testing.T) {
	w := lay(t, Options{There: direction(5 * ms), Back: direction(5 * ms)})
	conn := w.echo("10.98.0.2")
	const size = 32 << 20
	expectEcho(t, conn, random(size))
	tcp := info(t, conn)
	there, back := w.close()
	// 1500 bytes less 20 for IP, 20 for TCP and 12 for its timestamps.
	if tcp.Snd_mss != 1448 {
		t.Errorf("segments of %d bytes, want 1448", tcp.Snd_mss)
	}
	for name, crossed := range map[string]Crossed{"there": there, "back": back} {
		if crossed.Bytes < size || crossed.Dropped != 0 || crossed.Lost != 0 || crossed.Refused != 0 {
			t.Errorf("%s: %d bytes crossed, %d dropped, %d lost, %d refused", name, crossed.Bytes, crossed.Dropped, crossed.Lost, crossed.Refused)
		}
		// Without trains these would be 23,000, with as many acknowledgements or half of them.
		if crossed.Packets > size/1448 {
			t.Errorf("%s: %d packets for %d bytes", name, crossed.Packets, size)
		}
	}
}

func TestLostPacketsAreSentAgain(t *testing.T) {
	lossy := Direction{Delay: 2 * ms, QueueBytes: 16 << 20, Loss: 0.02, Seed: 1}
	w := lay(t, Options{There: lossy, Back: lossy})
	conn := w.echo("10.98.0.2")
	expectEcho(t, conn, random(2<<20))
	again := info(t, conn).Total_retrans
	there, back := w.close()
	t.Logf("lost %d of %d there, %d of %d back; %d sent again", there.Lost, there.Packets, back.Lost, back.Packets, again)
	// 1,448 segments there at least.
	if there.Lost < 10 || again == 0 {
		t.Errorf("%d lost there, %d sent again: want some 30 of each", there.Lost, again)
	}
}

func TestAFullQueueDropsAndTCPGoesOn(t *testing.T) {
	narrow := Direction{Delay: 5 * ms, QueueBytes: 160 << 10, BitsPerSecond: 100e6}
	w := lay(t, Options{There: narrow, Back: direction(5 * ms)})
	began := time.Now()
	expectEcho(t, w.echo("10.98.0.2"), random(4<<20))
	took := time.Since(began)
	there, _ := w.close()
	if there.QueuedMost > narrow.QueueBytes || there.Dropped == 0 {
		t.Errorf("at most %d bytes were under way, %d packets dropped: want %d and some", there.QueuedMost, there.Dropped, narrow.QueueBytes)
	}
	// 4 MiB at 100 Mbit/s.
	if took < 335*ms {
		t.Errorf("took %v, faster than the wire", took)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	w := lay(t, Options{There: direction(ms), Back: direction(ms)})
	if err := exec.Command("ip", "-netns", w.near.Name, "link", "show", "long").Run(); err != nil {
		t.Fatalf("no device while the link is there: %v", err)
	}
	w.close()
	for _, ns := range []*netns.Namespace{w.near, w.far} {
		if exec.Command("ip", "-netns", ns.Name, "link", "show", "long").Run() == nil {
			t.Errorf("the device in %s is left", ns.Name)
		}
		if err := ns.Remove(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob("/run/netns/" + ns.Name); left != nil {
			t.Errorf("%v is left", left)
		}
	}
}

// laid is a link between two namespaces of its own.
type laid struct {
	t         *testing.T
	near, far *netns.Namespace
	link      *Link
	closed    bool
}

// lay makes one, until the end of the test.
func lay(t *testing.T, options Options) *laid {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces and devices take root; without it, name the other tests: -run 'Packet|Order|Bound|Rate|Seed|Allocated|Quantile'")
	}
	w := &laid{t: t}
	var err error
	for at, ns := range []**netns.Namespace{&w.near, &w.far} {
		*ns, err = netns.New(fmt.Sprintf("%s%d-link%d", netns.Prefix, os.Getpid(), at), "")
		made := *ns
		t.Cleanup(func() {
			if err := made.Remove(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.link, err = Connect(
		End{Namespace: w.near, Device: "long", Addresses: []string{"10.98.0.1/24", "fd98::1/64"}},
		End{Namespace: w.far, Device: "long", Addresses: []string{"10.98.0.2/24", "fd98::2/64"}},
		options,
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close() })
	return w
}

// close takes the link away, once.
func (w *laid) close() (there, back Crossed) {
	w.t.Helper()
	if w.closed {
		return there, back
	}
	w.closed = true
	there, back, err := w.link.Close()
	if err != nil {
		w.t.Error(err)
	}
	return there, back
}

// echo is a connection to somebody at the far end who sends everything back.
func (w *laid) echo(address string) *net.TCPConn {
	w.t.Helper()
	listener, err := w.far.Listen(net.JoinHostPort(address, "7"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := w.near.Dial(ctx, nil, net.JoinHostPort(address, "7"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// expectEcho sends bytes and wants them back.
func expectEcho(t *testing.T, conn net.Conn, sent []byte) {
	t.Helper()
	go func() { _, _ = io.Copy(conn, bytes.NewReader(sent)) }()
	received := sha256.New()
	if _, err := io.CopyN(received, conn, int64(len(sent))); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(sent); !bytes.Equal(received.Sum(nil), want[:]) {
		t.Fatal("other bytes came back")
	}
}

// info is what TCP knows of a connection.
func info(t *testing.T, conn *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var tcp *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) { tcp, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return tcp
}

func direction(delay time.Duration) Direction { return Direction{Delay: delay, QueueBytes: 64 << 20} }

// random is bytes that do not repeat.
func random(length int) []byte {
	chance, text := rand.NewChaCha8([32]byte{1}), make([]byte, length)
	_, _ = chance.Read(text)
	return text
}
