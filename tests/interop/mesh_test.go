package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// expectPresent checks the next frame announces w with its address and these flags.
func (w *wire) expectPresent(who *wire, flags derp.PeerPresentFlags) {
	w.t.Helper()
	got := w.expect(derp.FramePeerPresent)
	if want := presentPayload(who, flags); !bytes.Equal(got, want) {
		w.t.Fatalf("PeerPresent %x, want %x", got, want)
	}
}

// presentPayload is the 51 bytes of PeerPresent.
func presentPayload(who *wire, flags derp.PeerPresentFlags) []byte {
	from := who.conn.LocalAddr().(*net.TCPAddr).AddrPort()
	ip := from.Addr().Unmap().As16()
	out := append(raw32(who.pub), ip[:]...)
	return append(binary.BigEndian.AppendUint16(out, from.Port()), byte(flags))
}

// flood sends WatchConns and returns the announced payloads by key; it must contain n keys.
func (w *wire) flood(n int) map[key.NodePublic][]byte {
	w.t.Helper()
	w.send(derp.FrameWatchConns)
	seen := map[key.NodePublic][]byte{}
	for range n {
		payload := w.expect(derp.FramePeerPresent)
		who := publicKey(payload)
		if _, twice := seen[who]; twice {
			w.t.Fatalf("%v announced twice", who)
		}
		seen[who] = payload
	}
	w.expectQuiet()
	return seen
}

func publicKey(payload []byte) key.NodePublic {
	var k key.NodePublic
	if err := k.UnmarshalText(fmt.Appendf(nil, "nodekey:%x", payload[:32])); err != nil {
		panic(err)
	}
	return k
}

func TestWatchConnsFloodsWithFlags(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	prober := `{"version":2,"CanAckPings":false,"IsProber":true}`
	ideal := []string{"Ideal-Node: 900z"}
	want := map[*wire]derp.PeerPresentFlags{
		r.joinPlainly(t):                                                                         derp.PeerPresentIsRegular,
		r.join(t, wireOptions{info: prober}):                                                     derp.PeerPresentIsProber,
		r.join(t, wireOptions{headers: ideal}):                                                   derp.PeerPresentNotIdeal,
		r.join(t, wireOptions{info: prober, headers: ideal}):                                     derp.PeerPresentIsProber | derp.PeerPresentNotIdeal,
		r.join(t, wireOptions{mesh: true, info: prober, headers: ideal}):                         derp.PeerPresentIsMeshPeer | derp.PeerPresentIsProber | derp.PeerPresentNotIdeal,
		r.join(t, wireOptions{info: `{"isprober":true,"MESHKEY":"` + r.meshKey.String() + `"}`}): derp.PeerPresentIsMeshPeer | derp.PeerPresentIsProber,
	}
	watcher := r.join(t, wireOptions{mesh: true})
	want[watcher] = derp.PeerPresentIsMeshPeer
	for range 2 { // A repeated WatchConns repeats the whole flood.
		seen := watcher.flood(len(want))
		for w, flags := range want {
			if got, want := seen[w.pub], presentPayload(w, flags); !bytes.Equal(got, want) {
				t.Errorf("PeerPresent %x, want %x", got, want)
			}
		}
	}
}

func TestWatchersSeeComingAndGoing(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	watchers := []*wire{r.join(t, wireOptions{mesh: true}), r.join(t, wireOptions{mesh: true})}
	for _, w := range watchers {
		w.flood(2)
	}
	all := func(check func(w *wire)) {
		t.Helper()
		for _, w := range watchers {
			check(w)
		}
	}
	a := r.joinPlainly(t)
	all(func(w *wire) { w.expectPresent(a, derp.PeerPresentIsRegular) })
	again := r.join(t, wireOptions{private: a.private})
	all(func(w *wire) { w.expectPresent(again, derp.PeerPresentIsRegular) })
	a.leave()
	all((*wire).expectQuiet)
	again.leave()
	all(func(w *wire) { w.expectGone(a.pub, derp.PeerGoneReasonDisconnected) })
	if got := r.metrics(t)["derp_watchers"]; got != 2 {
		t.Errorf("%v watchers, want 2", got)
	}
	watchers[1].leave()
	watchers[0].expectGone(watchers[1].pub, derp.PeerGoneReasonDisconnected)
	eventually(t, patience, func() error {
		if got := r.metrics(t)["derp_watchers"]; got != 1 {
			return fmt.Errorf("%v watchers, want 1", got)
		}
		return nil
	})
}

func TestAWatcherWithTheRelaysOwnKeyGetsNothing(t *testing.T) {
	t.Parallel()
	private := key.NewNode()
	r := startRelay(t, relayOptions{mesh: true, key: private})
	r.joinPlainly(t)
	self := r.join(t, wireOptions{mesh: true, private: private})
	self.send(derp.FrameWatchConns)
	r.joinPlainly(t)
	self.expectQuiet()
}

func TestManyPeersFloodCompletely(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	const n = 60
	inParallel(n, func(int) { r.joinPlainly(t) })
	watcher := r.join(t, wireOptions{mesh: true})
	watcher.flood(n + 1)
}

func TestTheGoMeshClientFollowsPresence(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	a := r.connect(t, peerOptions{})
	mesh := r.meshClient(t)
	type change struct {
		who  key.NodePublic
		came bool
	}
	changes := make(chan change, 64)
	ctx, cancel := context.WithCancel(context.Background())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		mesh.RunWatchConnectionLoop(ctx, key.NodePublic{}, quietLog,
			func(m derp.PeerPresentMessage) { changes <- change{m.Key, true} },
			func(m derp.PeerGoneMessage) { changes <- change{m.Peer, false} },
			func(error) {})
	}()
	defer func() { cancel(); mesh.Close(); <-finished }()
	expect := func(want ...change) {
		t.Helper()
		for range want {
			select {
			case got := <-changes:
				found := false
				for _, w := range want {
					found = found || w == got
				}
				if !found {
					t.Fatalf("got %v, want one of %v", got, want)
				}
			case <-time.After(patience):
				t.Fatalf("no change, want %v", want)
			}
		}
	}
	expect(change{a.pub, true}, change{mesh.SelfPublicKey(), true})
	b := r.connect(t, peerOptions{})
	expect(change{b.pub, true})
	a.client.Close()
	expect(change{a.pub, false})
}

func TestForwardedPacketsAreDeliveredAsTheirSenders(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	mesh, b := r.connect(t, peerOptions{mesh: true}), r.joinPlainly(t)
	far := key.NewNode().Public()
	for _, size := range []int{0, 1, 62, 1400, 65535, 65536} {
		packet := randomBytes(size)
		if err := mesh.client.ForwardPacket(far, b.pub, packet); err != nil {
			t.Fatal(err)
		}
		b.expectPacket(far, packet)
	}
	moved := r.metrics(t)
	if moved["derp_packets_forwarded_in"] != 6 || moved["derp_packets_received"] != 0 || moved["derp_packets_sent"] != 6 {
		t.Errorf("forwarded in %v, received %v, sent %v; want 6, 0, 6", moved["derp_packets_forwarded_in"], moved["derp_packets_received"], moved["derp_packets_sent"])
	}
}

func TestAForwardedPacketToNobodyIsAnsweredOnlyIfDisco(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	mesh := r.join(t, wireOptions{mesh: true})
	from, nobody := raw32(key.NewNode().Public()), key.NewNode().Public()
	mesh.send(derp.FrameForwardPacket, from, raw32(nobody), randomBytes(100))
	mesh.expectQuiet()
	for range 5 {
		mesh.send(derp.FrameForwardPacket, from, raw32(nobody), discoPacket(100))
	}
	for range 3 {
		mesh.expectGone(nobody, derp.PeerGoneReasonNotHere)
	}
	mesh.expectQuiet()
	m := r.metrics(t)
	if m[`derp_packets_dropped{reason="unknown_dest_on_fwd",kind="disco"}`] != 5 || m[`derp_packets_dropped{reason="unknown_dest_on_fwd",kind="other"}`] != 1 {
		t.Errorf("drops are not counted as unknown_dest_on_fwd")
	}
}

func TestForwardedPacketsWithoutSourceMayBeDropped(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	mesh, b := r.join(t, wireOptions{mesh: true}), r.joinPlainly(t)
	packet := randomBytes(40)
	mesh.send(derp.FrameForwardPacket, make([]byte, 32), raw32(b.pub), packet)
	select {
	case f := <-b.incoming:
		if under == ferry || f.kind != derp.FrameRecvPacket || !bytes.Equal(f.payload, packet) {
			t.Fatalf("got %v", f)
		}
	case <-time.After(quiet):
		if under == derper {
			t.Fatal("derper dropped a packet without source")
		}
		deviated(t, "ForwardPacket with a zero source is dropped")
	}
}

func TestClosePeerClosesAllConnectionsOfAKey(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	mesh, other := r.connect(t, peerOptions{mesh: true}), r.joinPlainly(t)
	a := r.joinPlainly(t)
	again := r.join(t, wireOptions{private: a.private})
	if err := mesh.client.ClosePeer(key.NewNode().Public()); err != nil {
		t.Fatal(err)
	}
	if err := mesh.client.ClosePeer(a.pub); err != nil {
		t.Fatal(err)
	}
	a.expectClosed(patience)
	again.expectClosed(patience)
	other.alive()
	r.join(t, wireOptions{private: a.private}).alive()
}

func TestOrdinaryClientsMayNotUseMeshFrames(t *testing.T) {
	t.Parallel()
	meshed, lone := startRelay(t, relayOptions{mesh: true}), startRelay(t, relayOptions{})
	zero, wrong := strings.Repeat("0", 64), strings.Repeat("ab", 32)
	someone := raw32(key.NewNode().Public())
	frames := map[string][]byte{
		"WatchConns":    encode(derp.FrameWatchConns),
		"ForwardPacket": encode(derp.FrameForwardPacket, someone, someone, []byte("x")),
		"ClosePeer":     encode(derp.FrameClosePeer, someone),
	}
	for relayName, r := range map[string]*relay{"with mesh key": meshed, "without mesh key": lone} {
		for clientName, info := range map[string]string{
			"no key":    defaultInfo,
			"zero key":  fmt.Sprintf(`{"meshKey":%q,"version":2,"CanAckPings":true}`, zero),
			"wrong key": fmt.Sprintf(`{"meshKey":%q,"version":2,"CanAckPings":true}`, wrong),
		} {
			for frameName, raw := range frames {
				t.Run(relayName+"/"+clientName+"/"+frameName, func(t *testing.T) {
					t.Parallel()
					w := r.join(t, wireOptions{info: info})
					w.alive()
					w.write(raw)
					if before := w.expectClosed(patience); len(before) > 0 {
						t.Fatalf("got %v before the close", before)
					}
				})
			}
		}
	}
}

func TestTheMeshKeyIsReadTrimmedAndInAnyCase(t *testing.T) {
	t.Parallel()
	mesh := newMeshKey(t)
	for name, text := range map[string]string{"spaces": " \t" + mesh.String() + "\r\n\n", "upper case": strings.ToUpper(mesh.String())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRelay(t, relayOptions{args: []string{"-mesh-psk-file", writeFile(t, "psk", text)}})
			r.meshKey = mesh
			w := r.join(t, wireOptions{mesh: true})
			w.flood(1)
		})
	}
}

func TestMeshClientsAreAddressableLikeOthers(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	mesh, a := r.join(t, wireOptions{mesh: true}), r.joinPlainly(t)
	a.sendTo(mesh.pub, []byte("to mesh"))
	mesh.expectPacket(a.pub, []byte("to mesh"))
	mesh.sendTo(a.pub, []byte("from mesh"))
	a.expectPacket(mesh.pub, []byte("from mesh"))
}

func TestPresenceCarriesTheClientsSourceAddress(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{mesh: true})
	watcher := r.connect(t, peerOptions{mesh: true, watch: true})
	await[derp.PeerPresentMessage](watcher)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
	tcp, err := dialer.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.secure(tcp, insecure())
	if err != nil {
		t.Fatal(err)
	}
	w := r.join(t, wireOptions{conn: conn})
	present := await[derp.PeerPresentMessage](watcher)
	want := netip.MustParseAddrPort(conn.LocalAddr().String())
	if present.Key != w.pub || present.IPPort != want || present.Flags != derp.PeerPresentIsRegular {
		t.Fatalf("got %+v, want %v", present, want)
	}
}
