package interop

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
	"testing"
	"time"

	"tailscale.com/net/stun"
)

// stunSocket is a UDP socket connected to the relay's STUN port.
func (r *relay) stunSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", r.stunAddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// ask sends one datagram and returns the answer, nil for silence.
func ask(t testing.TB, conn *net.UDPConn, request []byte, within time.Duration) []byte {
	t.Helper()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 2000)
	n, err := conn.Read(buffer)
	if err != nil {
		return nil
	}
	return buffer[:n]
}

func TestSTUNTellsTheClientsAddress(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	for range 20 {
		conn := r.stunSocket(t)
		id := stun.NewTxID()
		reply := ask(t, conn, stun.Request(id), patience)
		if len(reply) != 32 {
			t.Fatalf("answer of %d bytes: %x", len(reply), reply)
		}
		got, addr, err := stun.ParseResponse(reply)
		if err != nil || got != id || addr.String() != conn.LocalAddr().String() {
			t.Fatalf("%v %v %v, want %v", got, addr, err, conn.LocalAddr())
		}
	}
}

func TestTheSTUNAnswerIsExact(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	conn := r.stunSocket(t)
	request, _ := hex.DecodeString("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f")
	port := uint16(conn.LocalAddr().(*net.UDPAddr).Port) ^ 0x2112
	want, _ := hex.DecodeString(fmt.Sprintf("0101000c2112a4420102030405060708090a0b0c002000080001%04x%08x", port, 0x7f000001^0x2112a442))
	if got := ask(t, conn, request, patience); !bytes.Equal(got, want) {
		t.Fatalf("answer %x, want %x", got, want)
	}
}

// stunMessage lays out a message with the given type and attributes and, if asked, a right FINGERPRINT.
func stunMessage(kind uint16, fingerprint bool, attributes ...[]byte) []byte {
	body := slices.Concat(attributes...)
	out := binary.BigEndian.AppendUint16(nil, kind)
	length := len(body)
	if fingerprint {
		length += 8
	}
	out = binary.BigEndian.AppendUint16(out, uint16(length))
	out = binary.BigEndian.AppendUint32(out, 0x2112a442)
	out = append(out, "0123456789ab"...)
	out = append(out, body...)
	if fingerprint {
		sum := crc32.ChecksumIEEE(out) ^ 0x5354554e
		out = binary.BigEndian.AppendUint32(append(out, 0x80, 0x28, 0, 4), sum)
	}
	return out
}

// attribute lays out one STUN attribute with padding.
func attribute(kind uint16, value string) []byte {
	out := binary.BigEndian.AppendUint16(nil, kind)
	out = binary.BigEndian.AppendUint16(out, uint16(len(value)))
	out = append(out, value...)
	return append(out, make([]byte, -len(value)&3)...)
}

func TestSTUNIsSilentToGarbage(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	tailnode := attribute(0x8022, "tailnode")
	good := stunMessage(1, true, tailnode)
	if ask(t, r.stunSocket(t), good, patience) == nil {
		t.Fatal("no answer to a good request")
	}
	changed := func(at int, to byte) []byte {
		out := bytes.Clone(good)
		out[at] = to
		return out
	}
	for name, request := range map[string][]byte{
		"empty":                 {},
		"one byte":              {0},
		"19 bytes":              good[:19],
		"cut":                   good[:39],
		"trailing byte":         append(bytes.Clone(good), 0),
		"trailing bytes":        append(bytes.Clone(good), 0, 0, 0, 0),
		"wrong CRC":             changed(39, good[39]^1),
		"wrong cookie":          changed(4, 0x20),
		"top bit":               changed(0, 0x80),
		"second bit":            changed(0, 0x40),
		"indication":            stunMessage(0x0011, true, tailnode),
		"success":               stunMessage(0x0101, true, tailnode),
		"error":                 stunMessage(0x0111, true, tailnode),
		"Allocate":              stunMessage(0x0003, true, tailnode),
		"own answer":            ask(t, r.stunSocket(t), good, patience),
		"attribute overruns":    stunMessage(1, false, []byte{0x80, 0x22, 0, 200, 1, 2, 3, 4}),
		"random":                randomBytes(40),
		"DERP magic":            []byte("DERP\xf0\x9f\x94\x91"),
		"1500 bytes of nothing": make([]byte, 1500),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ask(t, r.stunSocket(t), request, quiet); got != nil {
				t.Fatalf("answer %x", got)
			}
		})
	}
}

func TestForeignSTUNRequestsAreAnsweredOnlyByFerry(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	for name, request := range map[string][]byte{
		"bare RFC 5389 request":     stunMessage(1, false),
		"FINGERPRINT alone":         stunMessage(1, true),
		"other SOFTWARE":            stunMessage(1, true, attribute(0x8022, "otherapp")),
		"tailnode, no FINGERPRINT":  stunMessage(1, false, attribute(0x8022, "tailnode")),
		"optional attribute before": stunMessage(1, true, attribute(0x8099, "x"), attribute(0x8022, "other")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.stunSocket(t)
			reply := ask(t, conn, request, quiet)
			if reply == nil {
				return
			}
			if under == derper {
				t.Fatalf("derper answered %x", reply)
			}
			if id, addr, err := stun.ParseResponse(reply); err != nil || string(id[:]) != "0123456789ab" || addr.String() != conn.LocalAddr().String() {
				t.Fatalf("%x: %v %v", reply, addr, err)
			}
			deviated(t, "STUN answers any valid Binding request")
		})
	}
}

func TestSTUNCountsWhatItDoes(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	conn := r.stunSocket(t)
	for range 7 {
		if ask(t, conn, stun.Request(stun.NewTxID()), patience) == nil {
			t.Fatal("no answer")
		}
	}
	for range 3 {
		ask(t, conn, []byte("nonsense"), 20*time.Millisecond)
	}
	r.expectMoves(t, map[string]float64{}, map[string]float64{
		`stun_requests{disposition="success"}`: 7, `stun_requests{disposition="not_stun"}`: 3, `stun_addrfamily{family="ipv4"}`: 7,
		`stun_addrfamily{family="ipv6"}`: 0, `stun_requests{disposition="write_error"}`: 0,
	})
}

func TestSTUNAnswersABurst(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{stun: true})
	conn := r.stunSocket(t)
	const n = 100
	open := map[stun.TxID]bool{}
	for range n {
		id := stun.NewTxID()
		open[id] = true
		if _, err := conn.Write(stun.Request(id)); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 2000)
	for range n {
		size, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%d answers missing: %v", len(open), err)
		}
		id, _, err := stun.ParseResponse(buffer[:size])
		if err != nil || !open[id] {
			t.Fatalf("answer %x: %v", buffer[:size], err)
		}
		delete(open, id)
	}
}
