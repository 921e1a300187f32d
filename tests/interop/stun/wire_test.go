package stun

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// What of STUN the checks name themselves; the clients under others' hands have their own.
const (
	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	bindingError   = 0x0111

	mappedAddress    = 0x0001
	changeRequest    = 0x0003
	sourceAddress    = 0x0004
	changedAddress   = 0x0005
	errorCode        = 0x0009
	unknownList      = 0x000a
	xorMappedAddress = 0x0020
	padding          = 0x0026
	responsePort     = 0x0027
	software         = 0x8022
	fingerprint      = 0x8028
	responseOrigin   = 0x802b
	otherAddress     = 0x802c

	cookie = 0x2112a442
)

// transaction is a transaction ID.
type transaction [12]byte

func newTransaction() (id transaction) {
	rand.Read(id[:])
	return id
}

// message lays out a message.
func message(kind uint16, id transaction, attributes ...[]byte) []byte {
	body := slices.Concat(attributes...)
	out := binary.BigEndian.AppendUint16(nil, kind)
	out = binary.BigEndian.AppendUint16(out, uint16(len(body)))
	out = binary.BigEndian.AppendUint32(out, cookie)
	return slices.Concat(out, id[:], body)
}

// attribute lays out one attribute with padding.
func attribute(kind uint16, value ...byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, kind)
	out = binary.BigEndian.AppendUint16(out, uint16(len(value)))
	out = append(out, value...)
	return append(out, make([]byte, -len(value)&3)...)
}

// withFingerprint appends a right FINGERPRINT.
func withFingerprint(m []byte) []byte {
	out := slices.Clone(m)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)-20+8))
	sum := crc32.ChecksumIEEE(out) ^ 0x5354554e
	return binary.BigEndian.AppendUint32(append(out, 0x80, 0x28, 0, 4), sum)
}

// tailnodeRequest is what Tailscale's clients send; every server answers it.
func tailnodeRequest(id transaction) []byte {
	return withFingerprint(message(bindingRequest, id, attribute(software, []byte("tailnode")...)))
}

// edit is the same bytes but for one.
func edit(m []byte, at int, to byte) []byte {
	out := slices.Clone(m)
	out[at] = to
	return out
}

// answer is what came, and from where.
type answer struct {
	// from is the source address of the datagram; invalid on a stream.
	from netip.AddrPort
	// at is the port of the socket that it came to.
	at uint16
	// bytes is all of it.
	bytes []byte
}

// kind is the message type.
func (a answer) kind() uint16 { return binary.BigEndian.Uint16(a.bytes) }

// transaction is the ID that it names.
func (a answer) transaction() transaction { return transaction(a.bytes[8:20]) }

// kinds are the attribute types in their order; the check fails on a message that is not well formed.
func (a answer) kinds(t testing.TB) (kinds []uint16) {
	t.Helper()
	a.walk(t, func(kind uint16, _ []byte) { kinds = append(kinds, kind) })
	return kinds
}

// value is the value of an attribute, nil without.
func (a answer) value(t testing.TB, wanted uint16) (found []byte) {
	t.Helper()
	a.walk(t, func(kind uint16, value []byte) {
		if kind == wanted && found == nil {
			found = value
		}
	})
	return found
}

func (a answer) walk(t testing.TB, visit func(kind uint16, value []byte)) {
	t.Helper()
	if len(a.bytes) < 20 || int(binary.BigEndian.Uint16(a.bytes[2:]))+20 != len(a.bytes) {
		t.Fatalf("no well-formed message: %x", a.bytes)
	}
	for rest := a.bytes[20:]; len(rest) > 0; {
		if len(rest) < 4 || len(rest) < 4+int(binary.BigEndian.Uint16(rest[2:]))+3&^3 {
			t.Fatalf("attribute overruns: %x", a.bytes)
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		visit(binary.BigEndian.Uint16(rest), rest[4:4+length])
		rest = rest[4+(length+3)&^3:]
	}
}

// address reads an address attribute, as plain or, for XOR-MAPPED-ADDRESS, as XORed.
func (a answer) address(t testing.TB, kind uint16) netip.AddrPort {
	t.Helper()
	value := slices.Clone(a.value(t, kind))
	if len(value) != 8 && len(value) != 20 {
		t.Fatalf("attribute %04x has %d bytes in %x", kind, len(value), a.bytes)
	}
	if family := map[int]byte{8: 1, 20: 2}[len(value)]; value[0] != 0 || value[1] != family {
		t.Fatalf("attribute %04x has family %d with %d bytes", kind, value[1], len(value))
	}
	if kind == xorMappedAddress {
		value[2], value[3] = value[2]^0x21, value[3]^0x12
		for i := range value[4:] {
			value[4+i] ^= a.bytes[4+i]
		}
	}
	ip, _ := netip.AddrFromSlice(value[4:])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(value[2:]))
}

// client is an unconnected UDP socket on loopback, so that it hears answers from anywhere.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	// local is its address.
	local netip.AddrPort
}

func newClient(t testing.TB, ip netip.Addr) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, local: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (c *client) send(to netip.AddrPort, datagram []byte) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort(datagram, to); err != nil {
		c.t.Fatal(err)
	}
}

// receive waits for one datagram.
func (c *client) receive(within time.Duration) (answer, bool) {
	c.conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 4096)
	n, from, err := c.conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return answer{}, false
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	return answer{from: from, at: c.local.Port(), bytes: buffer[:n]}, true
}

// drain discards what is there or under way.
func (c *client) drain() {
	for found := true; found; {
		_, found = c.receive(quiet)
	}
}

// ask sends a request and waits for the answer that has to come.
func (c *client) ask(to netip.AddrPort, request []byte) answer {
	c.t.Helper()
	c.send(to, request)
	got, found := c.receive(patience)
	if !found {
		c.t.Fatalf("no answer from %v to %x", to, request)
	}
	return got
}

// said sends a datagram, then a request that every server answers from the asked socket, and returns what came
// before that answer. A server answers one client's datagrams in order, so silence needs no waiting.
func (c *client) said(to netip.AddrPort, datagram []byte) (answers []answer) {
	c.t.Helper()
	mark := newTransaction()
	c.send(to, datagram)
	c.send(to, tailnodeRequest(mark))
	for {
		got, found := c.receive(patience)
		if !found {
			c.t.Fatalf("the server at %v is gone after %x", to, datagram)
		}
		if len(got.bytes) >= 20 && got.transaction() == mark {
			return answers
		}
		answers = append(answers, got)
	}
}

// late returns what comes without being asked for any more.
func (c *client) late() (answers []answer) {
	for {
		got, found := c.receive(20 * time.Millisecond)
		if !found {
			return answers
		}
		answers = append(answers, got)
	}
}
