package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
)

// goldenDir holds the recorded conversations; TestGolden compares with them, or rewrites them under -record.
const goldenDir = "../golden"

// The fixed identities of the recordings.
const (
	goldenServerKey = "privkey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
	goldenClientKey = "privkey:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e7f"
	goldenOtherKey  = "privkey:404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
)

// goldenMeshKey is the mesh key of the recordings.
var goldenMeshKey = strings.Repeat("a1", 32)

// conversation is one recorded connection: the plaintext bytes of both directions, cut into request head and frames.
type conversation struct {
	// Name is the file's name without .json.
	Name string
	// Description says what happens, in order.
	Description string
	// ServerPrivate, ClientPrivate and OtherPrivate are the keys of the relay, the recorded client and the second client.
	ServerPrivate, ClientPrivate, OtherPrivate string
	// MeshKey is the relay's.
	MeshKey string
	// ToRelay are the bytes the Go client wrote, ToClient the relay's.
	ToRelay, ToClient []goldenPart
}

// goldenPart is an HTTP head or one whole frame.
type goldenPart struct {
	// What names the part.
	What string
	// Hex are its bytes as they travelled, frame header included.
	Hex string
	// Text is the head, or the plaintext of the part's box.
	Text string `json:",omitempty"`
}

// goldenCase says how one conversation comes about.
type goldenCase struct {
	name, description string
	// tls ends TLS in the recorder, so that the client finds a meta certificate and starts fast.
	tls bool
	// mesh makes the client a meshed relay's.
	mesh bool
	// talk is what client and relay do once connected.
	talk func(t *testing.T, r *relay, p *peer)
}

var goldenCases = []goldenCase{
	{"upgrade", "ordinary upgrade over plain HTTP; NotePreferred; packets to oneself of 0, 5, 62 (disco) and 3000 bytes; disco to an unknown key; ping; NotePreferred(0)", false, false, talkOrdinarily},
	{"faststart", "fast start over TLS 1.3, the same conversation", true, false, talkOrdinarily},
	{"mesh", "a meshed relay's client, prober, app name: WatchConns; a second client comes; ForwardPacket to it; ClosePeer; it goes", false, true, talkMeshed},
}

func talkOrdinarily(t *testing.T, _ *relay, p *peer) {
	for _, packet := range [][]byte{{}, []byte("hello"), discoPacket(62), bytes.Repeat([]byte{0x5a}, 3000)} {
		p.send(p.pub, packet)
		if got := p.nextPacket(p.pub); !bytes.Equal(got, packet) {
			t.Fatalf("got %x", got)
		}
	}
	p.send(goldenPrivate(t, goldenOtherKey).Public(), discoPacket(80))
	await[derp.PeerGoneMessage](p)
	p.client.NotePreferred(false)
	p.ping([8]byte{'1', '2', '3', '4', '5', '6', '7', '8'})
}

func talkMeshed(t *testing.T, r *relay, p *peer) {
	await[derp.PeerPresentMessage](p)
	other := r.join(t, wireOptions{private: goldenPrivate(t, goldenOtherKey)})
	await[derp.PeerPresentMessage](p)
	if err := p.client.ForwardPacket(goldenPrivate(t, goldenServerKey).Public(), other.pub, []byte("forwarded")); err != nil {
		t.Fatal(err)
	}
	other.expectPacket(r.pub, []byte("forwarded"))
	if err := p.client.ClosePeer(other.pub); err != nil {
		t.Fatal(err)
	}
	await[derp.PeerGoneMessage](p)
	p.ping([8]byte{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})
}

// ping exchanges one ping, after which the relay has read all before it.
func (p *peer) ping(data [8]byte) {
	p.t.Helper()
	if err := p.client.SendPing(data); err != nil {
		p.t.Fatal(err)
	}
	if pong := await[derp.PongMessage](p); pong != derp.PongMessage(data) {
		p.t.Fatalf("pong %x", pong)
	}
}

// TestGolden holds the same conversations with the relay under test and compares every byte that is not random or a port.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range goldenCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := c.record(t)
			if *recordDir != "" {
				got.save(t, *recordDir)
				return
			}
			text, err := os.ReadFile(filepath.Join(goldenDir, c.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var want conversation
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			compareParts(t, "to the relay", got.ToRelay, want.ToRelay)
			compareParts(t, "to the client", got.ToClient, want.ToClient)
		})
	}
}

// record holds the conversation through a recording proxy.
func (c goldenCase) record(t *testing.T) conversation {
	t.Helper()
	mesh, err := key.ParseDERPMesh(goldenMeshKey)
	if err != nil {
		t.Fatal(err)
	}
	private := goldenPrivate(t, goldenClientKey)
	r := startRelay(t, relayOptions{plain: true, key: goldenPrivate(t, goldenServerKey), meshKey: mesh})
	proxy := newRecorder(t, r, c.tls)
	scheme := "http"
	if c.tls {
		scheme = "https"
	}
	client, err := derphttp.NewClient(private, scheme+"://relay.test/derp", quietLog, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	client.SetURLDialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", proxy.listener.Addr().String())
	})
	client.TLSConfig = &tls.Config{RootCAs: authority.pool}
	if c.mesh {
		client.MeshKey, client.IsProber, client.AppName, client.WatchConnectionChanges = mesh, true, "app", true
	} else {
		client.SetCanAckPings(true)
		client.NotePreferred(true)
	}
	if err := client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, client: client, private: private, pub: private.Public(), messages: make(chan derp.ReceivedMessage, 64)}
	go p.receive()
	await[derp.ServerInfoMessage](p)
	c.talk(t, r, p)
	client.Close()
	proxy.wait()
	out := conversation{Name: c.name, Description: c.description, ServerPrivate: goldenServerKey, ClientPrivate: goldenClientKey, OtherPrivate: goldenOtherKey, MeshKey: goldenMeshKey}
	opens := func(payload []byte) string {
		text, ok := private.OpenFrom(r.pub, payload)
		if !ok {
			t.Fatalf("box does not open: %x", payload)
		}
		return string(text)
	}
	out.ToRelay = cutParts(t, proxy.toRelay.Bytes(), true, func(payload []byte) string {
		// The key pair is symmetric: the client's secret opens its own box, too.
		return opens(payload[32:])
	})
	out.ToClient = cutParts(t, proxy.toClient.Bytes(), !c.tls, opens)
	return out
}

// cutParts splits a direction into its head, if it has one, and frames.
func cutParts(t *testing.T, raw []byte, head bool, open func([]byte) string) (parts []goldenPart) {
	t.Helper()
	if head {
		end := bytes.Index(raw, []byte("\r\n\r\n")) + 4
		parts = append(parts, goldenPart{"HTTP head", hex.EncodeToString(raw[:end]), string(raw[:end])})
		raw = raw[end:]
	}
	for rest := bytes.NewReader(raw); rest.Len() > 0; {
		f, err := readFrame(rest)
		if err != nil {
			t.Fatal(err)
		}
		part := goldenPart{What: frameNames[f.kind], Hex: hex.EncodeToString(encode(f.kind, f.payload))}
		if f.kind == derp.FrameClientInfo || f.kind == derp.FrameServerInfo {
			part.Text = open(f.payload)
		}
		parts = append(parts, part)
	}
	return parts
}

// frameNames are the names of the frames that occur.
var frameNames = map[derp.FrameType]string{
	derp.FrameServerKey: "ServerKey", derp.FrameClientInfo: "ClientInfo", derp.FrameServerInfo: "ServerInfo", derp.FrameSendPacket: "SendPacket",
	derp.FrameRecvPacket: "RecvPacket", derp.FrameKeepAlive: "KeepAlive", derp.FrameNotePreferred: "NotePreferred", derp.FramePeerGone: "PeerGone",
	derp.FramePeerPresent: "PeerPresent", derp.FrameForwardPacket: "ForwardPacket", derp.FrameWatchConns: "WatchConns", derp.FrameClosePeer: "ClosePeer",
	derp.FramePing: "Ping", derp.FramePong: "Pong",
}

// compareParts compares two recordings: boxes by their plaintext, PeerPresent without its port, all else by its bytes.
func compareParts(t *testing.T, direction string, got, want []goldenPart) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d parts, want %d: %v", direction, len(got), len(want), got)
		return
	}
	for i := range got {
		if a, b := steady(got[i]), steady(want[i]); a != b {
			t.Errorf("%s, part %d:\n got %+v\nwant %+v", direction, i, a, b)
		}
	}
}

// steady is the part without what differs between two runs.
func steady(p goldenPart) goldenPart {
	const frameHeader, publicKey, address, port = 2 * 5, 2 * 32, 2 * 16, 2 * 2
	switch p.What {
	case "ClientInfo", "ServerInfo":
		p.Hex = p.Hex[:frameHeader]
	case "PeerPresent":
		at := frameHeader + publicKey + address
		p.Hex = p.Hex[:at] + "...." + p.Hex[at+port:]
	}
	return p
}

func (c conversation) save(t *testing.T, dir string) {
	t.Helper()
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, c.Name+".json"), append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	notes.Add("recorded %s.json: %d parts to the relay, %d to the client", c.Name, len(c.ToRelay), len(c.ToClient))
}

func goldenPrivate(t testing.TB, text string) key.NodePrivate {
	t.Helper()
	var private key.NodePrivate
	if err := private.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return private
}
