package stun

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// transports are the ways to a stream.
func transports(t *testing.T, check func(t *testing.T, dial func(*testing.T) net.Conn)) {
	t.Helper()
	for _, ipv6 := range []bool{false, true} {
		s := startServer(t, serverOptions{ipv6: ipv6, tcp: true, tls: true})
		t.Run("TCP over "+family(ipv6), func(t *testing.T) {
			check(t, func(t *testing.T) net.Conn {
				conn, err := net.Dial("tcp", s.tcp.String())
				return bounded(t, conn, err)
			})
		})
		t.Run("TLS over "+family(ipv6), func(t *testing.T) {
			check(t, func(t *testing.T) net.Conn {
				conn, err := tls.Dial("tcp", s.tls.String(), s.trust(t))
				return bounded(t, conn, err)
			})
		})
	}
}

// bounded makes a connection of a test's own, so that nothing waits longer than it should.
func bounded(t *testing.T, conn net.Conn, err error) net.Conn {
	t.Helper()
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(4*patience)))
	return conn
}

// readAnswer reads one message by the length in its head: there is no other framing.
func readAnswer(t *testing.T, conn io.Reader) answer {
	t.Helper()
	head := make([]byte, 20)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatalf("answer's head: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[2:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatalf("answer's body: %v", err)
	}
	return answer{bytes: slices.Concat(head, body)}
}

func TestAHundredPipelinedRequestsSplitAtOddPlacesAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	transports(t, func(t *testing.T, dial func(*testing.T) net.Conn) {
		for name, sizes := range map[string]func(*rand.Rand) int{
			"single bytes":   func(*rand.Rand) int { return 1 },
			"seven bytes":    func(*rand.Rand) int { return 7 },
			"up to 61 bytes": func(random *rand.Rand) int { return 1 + random.IntN(61) },
			"all at once":    func(*rand.Rand) int { return 1 << 20 },
		} {
			t.Run(name, func(t *testing.T) {
				conn := dial(t)
				if tcp, ok := conn.(*net.TCPConn); ok {
					must(t, tcp.SetNoDelay(true))
				}
				local := netip.MustParseAddrPort(conn.LocalAddr().String())
				ids := make([]transaction, 100)
				var stream []byte
				for i := range ids {
					ids[i] = newTransaction()
					body := [][]byte{message(bindingRequest, ids[i]), tailnodeRequest(ids[i]),
						message(bindingRequest, ids[i], attribute(0xf777, make([]byte, i)...))}[i%3]
					stream = append(stream, body...)
				}
				random := rand.New(rand.NewPCG(4, 8489))
				sent := make(chan error, 1)
				go func() {
					for rest := stream; len(rest) > 0; {
						n := min(sizes(random), len(rest))
						if _, err := conn.Write(rest[:n]); err != nil {
							sent <- err
							return
						}
						rest = rest[n:]
					}
					sent <- nil
				}()
				for i, id := range ids {
					got := readAnswer(t, conn)
					if got.kind() != bindingSuccess || got.transaction() != id || got.address(t, xorMappedAddress) != local {
						t.Fatalf("answer %d: %x, want %x and %v", i, got.bytes, id, local)
					}
				}
				must(t, <-sent)
			})
		}
	})
}

func TestAStreamRefusesWhatItCannotDoAndGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		layout layout
		change verdict
	}{
		// There is another address, but a connection has one; without, the attribute means nothing.
		"two addresses": {twoAddresses, verdict{refused: 400}},
		"one socket":    {oneSocket, unknown(changeRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serverOptions{layout: c.layout, tcp: true})
			tcp, err := net.Dial("tcp", s.tcp.String())
			conn := bounded(t, tcp, err)
			expectRefusal(t, conn, attribute(changeRequest, 0, 0, 0, 6), c.change)
			expectRefusal(t, conn, attribute(0x7777), unknown(0x7777))
			id := newTransaction()
			if _, err := conn.Write(message(bindingRequest, id)); err != nil {
				t.Fatal(err)
			}
			got := readAnswer(t, conn)
			if got.kind() != bindingSuccess || got.transaction() != id {
				t.Fatalf("answer %x", got.bytes)
			}
			// A client may connect there as well (RFC 5780 section 7.4).
			if c.layout == twoAddresses && got.address(t, otherAddress) != s.secondary {
				t.Errorf("OTHER-ADDRESS %v, want %v", got.address(t, otherAddress), s.secondary)
			}
		})
	}
}

// expectRefusal asks with an attribute over a stream, and wants the error that it deserves.
func expectRefusal(t *testing.T, conn net.Conn, attribute []byte, want verdict) {
	t.Helper()
	id := newTransaction()
	if _, err := conn.Write(message(bindingRequest, id, attribute)); err != nil {
		t.Fatal(err)
	}
	got := readAnswer(t, conn)
	if got.transaction() != id {
		t.Fatalf("answer %x, want one to %x", got.bytes, id)
	}
	if under == coturn {
		// It adds a phrase and SOFTWARE, which are its own business.
		if code := got.value(t, errorCode); len(code) < 4 || int(code[2])*100+int(code[3]) != want.refused {
			t.Errorf("error code %x, want %d", code, want.refused)
		}
		return
	}
	if err := compareRefusal(got, want); err != nil {
		t.Error(err)
	}
}

func TestAFaultClosesTheStream(t *testing.T) {
	t.Parallel()
	good := message(bindingRequest, newTransaction())
	transports(t, func(t *testing.T, dial func(*testing.T) net.Conn) {
		for name, bytes := range map[string][]byte{
			"HTTP":                []byte("GET / HTTP/1.1\r\nHost: stun\r\n\r\n"),
			"a wrong cookie":      edit(good, 4, 0x22),
			"an odd length":       edit(good, 3, 2),
			"more than is sound":  edit(good, 2, 0xff),
			"a wrong FINGERPRINT": edit(tailnodeRequest(newTransaction()), 39, 0),
		} {
			t.Run(name, func(t *testing.T) {
				// coturn takes 3 s to close.
				t.Parallel()
				conn := dial(t)
				if _, err := conn.Write(bytes); err != nil {
					t.Fatal(err)
				}
				n, err := conn.Read(make([]byte, 100))
				if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d bytes, error %v, want the end", n, err)
				}
			})
		}
	})
}
