package stun

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"ferry.test/interop/kit"
)

// verdict is what a server has to say to one request of the table.
type verdict struct {
	// silent is nothing at all.
	silent bool
	// refused is the number of an error, 0 for success.
	refused int
	// list is what a 420 names.
	list []uint16
	// minimal is XOR-MAPPED-ADDRESS alone, even from a server that has more to tell.
	minimal bool
	// fingerprint is that FINGERPRINT ends it.
	fingerprint bool
	// otherIP and otherPort are whence it comes.
	otherIP, otherPort bool
	// redirected is that it goes to the client's second socket.
	redirected bool
	// old is an answer as RFC 3489 has it.
	old bool
}

var (
	succeeds = verdict{}
	silent   = verdict{silent: true}
)

func unknown(list ...uint16) verdict { return verdict{refused: 420, list: list} }

// request is a row of the table.
type request struct {
	name  string
	bytes []byte
	// oneSocket, twoPorts and twoAddresses are what servers of those layouts have to say.
	oneSocket, twoPorts, twoAddresses verdict
}

// expected is what a server of the layout has to say.
func (r *request) expected(l layout) verdict {
	return [...]verdict{r.oneSocket, r.twoPorts, r.twoAddresses}[l]
}

// table is 26 requests, sound and odd, that servers of seven makes were asked. Answers that are to go elsewhere go
// to the port named here.
func table(id transaction, elsewhere uint16) []request {
	port := binary.BigEndian.AppendUint16(nil, elsewhere)
	bare := message(bindingRequest, id)
	plain := func(attributes ...[]byte) []byte { return message(bindingRequest, id, attributes...) }
	change := func(bits byte) []byte { return plain(attribute(changeRequest, 0, 0, 0, bits)) }
	everywhere := func(name string, bytes []byte, v verdict) request { return request{name, bytes, v, v, v} }
	return []request{
		everywhere("bare 20 bytes", bare, succeeds),
		everywhere("tailnode and FINGERPRINT", tailnodeRequest(id), verdict{minimal: true}),
		everywhere("bare and FINGERPRINT", withFingerprint(bare), verdict{fingerprint: true}),
		everywhere("wrong FINGERPRINT", edit(tailnodeRequest(id), 39, tailnodeRequest(id)[39]^1), silent),
		everywhere("unknown mandatory attribute", plain(attribute(0x7777)), unknown(0x7777)),
		everywhere("unknown optional attribute", plain(attribute(0xf777, []byte("any")...)), succeeds),
		everywhere("indication", message(0x0011, id), silent),
		everywhere("success response", message(bindingSuccess, id), silent),
		everywhere("error response", message(bindingError, id), silent),
		everywhere("junk", []byte("GET / HTTP/1.1\r\nHost: relay\r\n\r\n"), silent),
		everywhere("junk with a top bit", slices.Repeat([]byte{0xff}, 40), silent),
		everywhere("19 bytes", bare[:19], silent),
		everywhere("Allocate", message(0x0003, id), silent),
		everywhere("unknown method", message(0x0eef, id), silent),
		everywhere("no cookie (RFC 3489)", edit(bare, 4, 0x22), silent),
		everywhere("trailing bytes", append(slices.Clone(bare), 0, 0, 0, 0), silent),
		everywhere("length no multiple of four", append(edit(bare, 3, 2), 0, 0), silent),
		everywhere("attribute overruns", edit(plain(attribute(software, []byte("four")...)), 23, 5), silent),
		everywhere("CHANGE-REQUEST nothing", change(0), succeeds),
		{"CHANGE-REQUEST port", change(2), unknown(changeRequest), verdict{otherPort: true}, verdict{otherPort: true}},
		{"CHANGE-REQUEST IP", change(4), unknown(changeRequest), unknown(changeRequest), verdict{otherIP: true}},
		{"CHANGE-REQUEST both", change(6), unknown(changeRequest), unknown(changeRequest), verdict{otherIP: true, otherPort: true}},
		{"RESPONSE-PORT length 4", plain(attribute(responsePort, append(slices.Clone(port), 0, 0)...)),
			unknown(responsePort), verdict{redirected: true}, verdict{redirected: true}},
		{"RESPONSE-PORT length 2", plain(attribute(responsePort, port...)),
			unknown(responsePort), verdict{redirected: true}, verdict{redirected: true}},
		{"PADDING", plain(attribute(padding, make([]byte, 1000)...)), unknown(padding), succeeds, succeeds},
		{"PADDING and RESPONSE-PORT", plain(attribute(padding), attribute(responsePort, port...)),
			unknown(padding, responsePort), verdict{refused: 400}, verdict{refused: 400}},
	}
}

// layouts names what the table is asked of.
var layouts = map[string]serverOptions{
	"one socket over IPv4":    {},
	"one socket over IPv6":    {ipv6: true},
	"two ports over IPv4":     {layout: twoPorts},
	"two ports over IPv6":     {layout: twoPorts, ipv6: true},
	"two addresses and ports": {layout: twoAddresses},
}

func TestOddRequestsGetWhatTheyMust(t *testing.T) {
	ferryOnly(t, "coturn answers requests whose attributes overrun, and pads a 24-byte request to 1,596 bytes")
	for name, options := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectTable(t, startServer(t, options), options.layout, nil)
		})
	}
}

func TestOddRequestsGetWhatTheyMustFromAWildcardSocket(t *testing.T) {
	ferryOnly(t, "coturn fails the table on any socket")
	t.Parallel()
	port := kit.FreePort(t)
	// The last --listen counts too: here it is the only one that a client asks.
	s := startServer(t, serverOptions{args: []string{"--listen", fmt.Sprintf("[::]:%d", port)}})
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		s.primary = netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port))
		t.Run(host, func(t *testing.T) { expectTable(t, s, oneSocket, nil) })
	}
}

func TestTheRelaysServerGivesTheSameAnswers(t *testing.T) {
	if *relayPath == "" {
		notes.Add("not run without -relay: %s", t.Name())
		t.Skip("no -relay")
	}
	for name, options := range map[string]serverOptions{"IPv4": {relay: true}, "IPv6": {relay: true, ipv6: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectTable(t, startServer(t, options), oneSocket, nil)
		})
	}
}

func TestRFC3489IsAnsweredOnlyOnDemand(t *testing.T) {
	ferryOnly(t, "coturn 4.6 answers them unless a flag forbids it")
	for name, options := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options.args = []string{"--rfc3489"}
			expectTable(t, startServer(t, options), options.layout, func(r *request, v verdict) verdict {
				if r.name == "no cookie (RFC 3489)" {
					return verdict{old: true}
				}
				return v
			})
		})
	}
}

// With a surplus budget of nothing, silence or less than 1.1 times the request is all that anybody gets.
func TestWithoutSurplusNoAnswerIsLargerThanItsRequest(t *testing.T) {
	ferryOnly(t, "coturn answers 20 bytes with 92, by default")
	for name, options := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options.args = []string{"--source-surplus", "0"}
			s := startServer(t, options)
			c := newClient(t, s.primary.Addr())
			answered := 0
			for _, r := range table(newTransaction(), c.local.Port()) {
				// The mark after each request is a tailnode request, which has its answer within the rule.
				for _, got := range append(c.said(s.primary, r.bytes), c.late()...) {
					answered++
					if len(got.bytes)*10 > len(r.bytes)*11 {
						t.Errorf("%s: %d bytes got %d", r.name, len(r.bytes), len(got.bytes))
					}
				}
			}
			if answered < 2 {
				t.Errorf("%d requests were answered, want at least those of Tailscale's client and with PADDING or options", answered)
			}
		})
	}
}

// expectTable asks a server the table. change, if there is one, says where a flag makes it say something else.
func expectTable(t *testing.T, s *server, l layout, change func(*request, verdict) verdict) {
	t.Helper()
	c, second := newClient(t, s.primary.Addr()), newClient(t, s.primary.Addr())
	rows := table(newTransaction(), second.local.Port())
	if len(rows) != 26 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for i := range rows {
		r := &rows[i]
		want := r.expected(l)
		if change != nil {
			want = change(r, want)
		}
		if err := s.judge(t, c, second, r, want); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}

// judge asks one request and compares.
func (s *server) judge(t *testing.T, c, second *client, r *request, want verdict) error {
	t.Helper()
	answers := c.said(s.primary, r.bytes)
	switch {
	case want.redirected:
		if len(answers) != 0 {
			return fmt.Errorf("%d answers to the port that asked", len(answers))
		}
		got, found := second.receive(patience)
		if !found {
			return fmt.Errorf("no answer to the port it names")
		}
		answers = []answer{got}
	case want.otherIP, want.otherPort:
		// Another socket sends it, so it may come after the mark.
		if len(answers) == 0 {
			if got, found := c.receive(patience); found {
				answers = []answer{got}
			}
		}
	}
	if want.silent {
		if len(answers) != 0 {
			return fmt.Errorf("answer %x, want silence", answers[0].bytes)
		}
		return nil
	}
	if len(answers) != 1 {
		return fmt.Errorf("%d answers, want one", len(answers))
	}
	return s.compare(t, c, answers[0], r, want)
}

// compare holds one answer against the verdict.
func (s *server) compare(t *testing.T, c *client, got answer, r *request, want verdict) error {
	t.Helper()
	from := s.primary
	if want.otherIP {
		from = netip.AddrPortFrom(s.secondary.Addr(), from.Port())
	}
	if want.otherPort {
		from = netip.AddrPortFrom(from.Addr(), s.secondary.Port())
	}
	if got.from != from {
		return fmt.Errorf("answer from %v, want %v", got.from, from)
	}
	// All 16 bytes are the transaction ID of an old client; they are the same places.
	if !slices.Equal(got.bytes[4:20], r.bytes[4:20]) {
		return fmt.Errorf("transaction %x, want %x", got.bytes[4:20], r.bytes[4:20])
	}
	if want.refused != 0 {
		return compareRefusal(got, want)
	}
	if got.kind() != bindingSuccess {
		return fmt.Errorf("type %04x, want success: %x", got.kind(), got.bytes)
	}
	mapped := uint16(xorMappedAddress)
	told := []uint16{xorMappedAddress}
	alternates := s.secondary.IsValid() && !want.minimal
	otherIP := alternates && s.secondary.Addr() != s.primary.Addr()
	origin, other := uint16(responseOrigin), uint16(otherAddress)
	switch {
	case want.old:
		mapped, told = mappedAddress, []uint16{mappedAddress}
		origin, other = sourceAddress, changedAddress
	case alternates:
		told = append(told, mappedAddress)
	}
	if alternates {
		told = append(told, origin)
	}
	if otherIP {
		told = append(told, other)
	}
	if want.fingerprint {
		told = append(told, fingerprint)
	}
	kinds := slices.DeleteFunc(got.kinds(t), func(kind uint16) bool { return kind == padding })
	if !slices.Equal(kinds, told) {
		return fmt.Errorf("attributes %04x, want %04x", kinds, told)
	}
	if address := got.address(t, mapped); address != c.local {
		return fmt.Errorf("address %v, want %v", address, c.local)
	}
	if alternates && got.address(t, origin) != from {
		return fmt.Errorf("RESPONSE-ORIGIN %v, but it came from %v", got.address(t, origin), from)
	}
	if otherIP && got.address(t, other) != s.secondary {
		return fmt.Errorf("OTHER-ADDRESS %v, want %v", got.address(t, other), s.secondary)
	}
	if want.fingerprint && !slices.Equal(got.bytes, withFingerprint(got.bytes[:len(got.bytes)-8])) {
		return fmt.Errorf("FINGERPRINT is wrong: %x", got.bytes)
	}
	if r.name == "PADDING" && len(got.bytes) > len(r.bytes) {
		return fmt.Errorf("PADDING made %d bytes of %d", len(got.bytes), len(r.bytes))
	}
	return nil
}

// compareRefusal holds an error response against the verdict: an empty phrase, and a list for 420.
func compareRefusal(got answer, want verdict) error {
	id := transaction(got.bytes[8:20])
	parts := [][]byte{attribute(errorCode, 0, 0, byte(want.refused/100), byte(want.refused%100))}
	if want.list != nil {
		var list []byte
		for _, kind := range want.list {
			list = binary.BigEndian.AppendUint16(list, kind)
		}
		parts = append(parts, attribute(unknownList, list...))
	}
	if expected := message(bindingError, id, parts...); !slices.Equal(got.bytes, expected) {
		return fmt.Errorf("answer %x, want %x", got.bytes, expected)
	}
	return nil
}
