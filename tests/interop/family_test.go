package interop

import (
	"net"
	"os"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/net/stun"
)

func TestEverythingWorksOverIPv6(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{ip: "::1", hostname: "::1", mesh: true, stun: true, http: true})
	a, b := r.connect(t, peerOptions{}), r.joinPlainly(t)
	a.send(b.pub, []byte("over IPv6"))
	b.expectPacket(a.pub, []byte("over IPv6"))
	for _, extension := range []string{".crt", ".key"} {
		if _, err := os.Stat(r.certFile(extension)); err != nil {
			t.Error(err)
		}
	}
	watcher := r.join(t, wireOptions{mesh: true})
	seen := watcher.flood(3)
	if got, want := string(seen[b.pub]), string(presentPayload(b, derp.PeerPresentIsRegular)); got != want {
		t.Errorf("PeerPresent %x, want %x", got, want)
	}
	conn := r.stunSocket(t)
	id := stun.NewTxID()
	reply := ask(t, conn, stun.Request(id), patience)
	got, addr, err := stun.ParseResponse(reply)
	if err != nil || got != id || addr.String() != conn.LocalAddr().String() || len(reply) != 44 {
		t.Errorf("STUN answer %x: %v %v, want %v", reply, addr, err, conn.LocalAddr())
	}
	if m := r.metrics(t); m[`stun_addrfamily{family="ipv6"}`] != 1 {
		t.Error("stun_addrfamily does not count ipv6")
	}
	fetch(t, "GET", "http://"+r.httpAddr+"/generate_204", "").check(t, 204, "")
}

// TestAWildcardAddressServesBothFamilies listens as derper does by default, on all addresses; only loopback is dialled.
func TestAWildcardAddressServesBothFamilies(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{ip: "::", stun: true, mesh: true})
	_, port, _ := net.SplitHostPort(r.addr)
	_, stunPort, _ := net.SplitHostPort(r.stunAddr)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		tcp, err := net.Dial("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := r.secure(tcp, insecure())
		if err != nil {
			t.Fatal(err)
		}
		w := r.join(t, wireOptions{conn: conn})
		watcher := r.join(t, wireOptions{mesh: true})
		seen := watcher.flood(2)
		if got, want := string(seen[w.pub]), string(presentPayload(w, derp.PeerPresentIsRegular)); got != want {
			t.Errorf("PeerPresent %x, want %x", got, want)
		}
		w.leave()
		watcher.leave()
		r.awaitConnections(t, 0)
		udp, err := net.Dial("udp", net.JoinHostPort(ip, stunPort))
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		reply := ask(t, udp.(*net.UDPConn), stun.Request(stun.NewTxID()), patience)
		_, addr, err := stun.ParseResponse(reply)
		if err != nil || addr.Addr().Unmap().String() != ip || int(addr.Port()) != udp.LocalAddr().(*net.UDPAddr).Port {
			t.Errorf("STUN answer %x: %v %v, want %v", reply, addr, err, udp.LocalAddr())
		}
		if ip == "127.0.0.1" && len(reply) == 32 {
			deviated(t, "a dual-stack STUN socket answers IPv4 clients with family 1")
		}
	}
}
