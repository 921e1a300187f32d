package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry.invalid/lab/link"
	"golang.org/x/net/dns/dnsmessage"
	"tailscale.com/tailcfg"
	"tailscale.com/types/opt"
)

const (
	// The regions of the netcheck lab: two relays nearby, a STUN server with two addresses, a relay at the end of a wire that
	// takes its time, more one way than the other, and a machine where nothing runs.
	nearRegion  = 1
	stockRegion = 2
	stunRegion  = 3
	farRegion   = 4
	deadRegion  = 5

	// farThere and farBack are the wire's delays.
	farThere = 10 * time.Millisecond
	farBack  = 60 * time.Millisecond
	// latencySlack is what a busy machine adds to a round trip.
	latencySlack = 40 * time.Millisecond
	// reportWithin bounds a report: 3 s of its own, and what a busy machine adds.
	reportWithin = 3500 * time.Millisecond
	// netcheckTries is how often a verdict may be missing, on a machine that stands still for a moment; none may be wrong.
	netcheckTries = 3
)

// netcheckLab is a segment with the relays that a netcheck asks.
type netcheckLab struct {
	segment *Segment
	// near is the relay under test, stock derper, far the relay under test at the end of the wire.
	near, stock, far *NetcheckRelay
	// stun is ferry-stun with two addresses.
	stun *STUNServer
	// dead is a machine where nothing runs.
	dead *Host
	// servers are all their IPv4 addresses.
	servers []netip.Addr
	// table is the lab's summary.
	table *Summary
}

func startNetcheckLab(t *testing.T) *netcheckLab {
	t.Helper()
	if binaries.Ferry == "" || binaries.STUN == "" {
		t.Skip("no -ferry, or no -stun: netcheck is not judged")
	}
	l := &netcheckLab{segment: startSegment(t), table: &Summary{Title: t.Name()}}
	// The wire first: its threads end with it, and what they had started would get SIGTERM.
	direction := func(delay time.Duration) link.Direction { return link.Direction{Delay: delay, QueueBytes: 16 << 20} }
	far, wire, err := l.segment.Far("far", link.Options{There: direction(farThere), Back: direction(farBack)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, _, err := wire.Close(); err != nil {
			t.Error(err)
		}
	})
	hosts := &natLab{segment: l.segment}
	alone := hosts.host(t, "alone", 2)
	l.dead = hosts.host(t, "dead", 1)
	l.stun = l.segment.FerrySTUN("alone", binaries.STUN, alone)
	start(t, l.stun)
	l.near = l.relay(t, "near", binaries.Relay, hosts.host(t, "near", 1))
	l.stock = l.relay(t, "stock", binaries.Derper, hosts.host(t, "stock", 1))
	l.far = l.relay(t, "far", binaries.Relay, far)
	for _, host := range []*Host{alone, l.dead, l.near.Host, l.stock.Host, l.far.Host} {
		l.servers = append(l.servers, host.IPv4...)
	}
	t.Cleanup(func() { t.Log(l.table) })
	return l
}

func (l *netcheckLab) relay(t *testing.T, name, program string, host *Host) *NetcheckRelay {
	t.Helper()
	relay, err := l.segment.NetcheckRelay(name, program, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := relay.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return relay
}

// regions is everybody; the dead one only if wanted.
func (l *netcheckLab) regions(dead bool) []*tailcfg.DERPRegion {
	two := &tailcfg.DERPNode{HostName: l.stun.Address.Addr().String(), IPv4: l.stun.Address.Addr().String(),
		IPv6: l.stun.Address6.Addr().String(), STUNOnly: true}
	regions := []*tailcfg.DERPRegion{
		l.near.Region(nearRegion), l.stock.Region(stockRegion), region(stunRegion, "stun", two), l.far.Region(farRegion),
	}
	if dead {
		regions = append(regions, region(deadRegion, "dead", &tailcfg.DERPNode{
			HostName: l.dead.IPv4[0].String(), IPv4: l.dead.IPv4[0].String(), IPv6: "none",
		}))
	}
	return regions
}

// truth is what a report has to say.
type truth struct {
	udp, ipv4, ipv6 bool
	// varies and captive are empty where nothing can be said.
	varies, captive opt.Bool
	// ports is whether the router opens ports, by PCP, NAT-PMP and UPnP alike; empty without an IPv4 router.
	ports opt.Bool
	// global is our address outside; invalid for none.
	global netip.Addr
	// mapping and filtering over IPv4, and filtering over IPv6; empty where they cannot be told.
	mapping, filtering, filtering6 Behaviour
	// hairpin is "true", "false" or "unknown".
	hairpin string
	// preferred are the regions that may be preferred; 0 is none.
	preferred []int
	// silent are the regions that have no latency.
	silent []int
	// codes are findings that have to be there, and not those of noCodes.
	codes, noCodes []string
	// flags are what ferry netcheck is told beside the map.
	flags []string
	// exit is the program's status.
	exit int
}

// open is the truth of a network where everything works.
func openTruth(home *Home) truth {
	nat := home.NAT
	want := truth{
		udp: true, ipv4: true, ipv6: true, varies: opt.NewBool(nat.Mapping != EndpointIndependent), captive: opt.NewBool(false),
		ports: opt.NewBool(false), global: home.outside(), mapping: nat.Mapping, filtering: nat.Filtering, filtering6: AddressAndPortDependent,
		hairpin: string(Unknown), preferred: []int{nearRegion, stockRegion},
		codes: []string{"ipv6-works"}, noCodes: []string{"udp-blocked", "no-relay", "captive-portal", "region-silent", "relay-unusable"},
	}
	if !nat.Translates {
		want.filtering6 = nat.Filtering
	} else if nat.Mapping == EndpointIndependent {
		want.hairpin = fmt.Sprint(nat.Hairpin)
	}
	if nat.Mapping == EndpointIndependent {
		want.codes = append(want.codes, "mapping-stable")
	} else {
		want.codes = append(want.codes, "mapping-varies")
	}
	return want
}

// withoutUDP is the truth of a network where relays are reached over TCP alone.
func withoutUDP() truth {
	return truth{
		ipv4: true, ipv6: true, captive: opt.NewBool(false), ports: opt.NewBool(false), hairpin: string(Unknown), preferred: []int{nearRegion, stockRegion},
		silent: []int{stunRegion}, codes: []string{"udp-blocked"}, noCodes: []string{"no-relay", "captive-portal"}, exit: 1,
	}
}

// Behind every kind of NAT, ferry netcheck says what it is, where our outside address is, and which relay is nearest.
func TestNetcheckTellsEveryNAT(t *testing.T) {
	l := startNetcheckLab(t)
	derpMap := l.write(t, "all", false)
	for _, nat := range NATs(l.servers) {
		home, err := l.segment.Home(nat)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(nat.Name, func(t *testing.T) {
			want := openTruth(home)
			if nat.Blocked {
				want = withoutUDP()
			}
			l.expect(t, home, derpMap, want)
		})
	}
}

// What else can be wrong with a network is found and named.
func TestNetcheckTellsWhatIsWrong(t *testing.T) {
	l := startNetcheckLab(t)
	all, withDead := l.write(t, "all", false), l.write(t, "with-dead", true)
	nat := func(name string) NAT {
		for _, nat := range NATs(l.servers) {
			if nat.Name == "port-restricted" {
				nat.Name = name
				return nat
			}
		}
		t.Fatal("no such NAT")
		return NAT{}
	}
	home := func(t *testing.T, name string) *Home {
		home, err := l.segment.Home(nat(name))
		if err != nil {
			t.Fatal(err)
		}
		return home
	}
	rules := func(t *testing.T, home *Home, lines string) {
		cmd := home.router.Command(t.Context(), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(lines)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
	}
	t.Run("only TCP 443", func(t *testing.T) {
		home := home(t, "only-443")
		rules(t, home, `insert rule inet filter forward iifname "lan" tcp dport != 443 drop
insert rule inet filter forward meta l4proto udp drop
`)
		l.expect(t, home, all, withoutUDP())
	})
	t.Run("only by a proxy", func(t *testing.T) {
		home := home(t, "only-proxy")
		rules(t, home, `insert rule inet filter forward iifname "lan" drop
`)
		want := withoutUDP()
		// Tailscale's netcheck knows no proxy and finds nothing; neither does anybody know which families the proxy has.
		want.ipv4, want.ipv6 = false, false
		want.codes = append(want.codes, "relays-proxied")
		want.flags = []string{"--proxy", serveProxy(t, home)}
		l.expect(t, home, all, want)
	})
	t.Run("captive portal", func(t *testing.T) {
		home := home(t, "captive")
		servePortal(t, home)
		rules(t, home, `insert rule inet filter forward iifname "lan" drop
table ip portal {
	chain incoming {
		type nat hook prerouting priority dstnat - 5;
		iifname "lan" tcp dport 80 redirect to :80
	}
}
`)
		l.expect(t, home, all, truth{
			captive: opt.NewBool(true), ports: opt.NewBool(false), hairpin: string(Unknown), preferred: []int{0},
			silent: []int{nearRegion, stockRegion, stunRegion, farRegion},
			codes:  []string{"captive-portal", "no-relay"}, exit: 3,
		})
	})
	t.Run("IPv6 only", func(t *testing.T) {
		home := home(t, "v6-only")
		if err := home.Client.Configure(fmt.Sprintf("address del %v/24 dev eth0", home.Client.IPv4[0])); err != nil {
			t.Fatal(err)
		}
		l.expect(t, home, all, truth{
			udp: true, ipv6: true, filtering6: AddressAndPortDependent, captive: opt.NewBool(false),
			hairpin: string(Unknown), preferred: []int{nearRegion, stockRegion},
			codes: []string{"ipv6-only"}, noCodes: []string{"udp-blocked", "no-relay"},
		})
	})
	t.Run("IPv6 leads nowhere", func(t *testing.T) {
		home := home(t, "v6-hole")
		rules(t, home, "insert rule inet filter forward meta nfproto ipv6 drop\n")
		want := openTruth(home)
		want.ipv6, want.filtering6, want.codes, want.noCodes = false, "", []string{"ipv6-broken"}, []string{"ipv6-works"}
		l.expect(t, home, all, want)
	})
	t.Run("one relay dead", func(t *testing.T) {
		home := home(t, "one-dead")
		want := openTruth(home)
		want.silent, want.codes, want.noCodes = []int{deadRegion}, []string{"region-silent"}, []string{"udp-blocked", "no-relay"}
		l.expect(t, home, withDead, want)
	})
	t.Run("router opens ports", func(t *testing.T) {
		home := home(t, "opens-ports")
		servePorts(t, home)
		want := openTruth(home)
		want.ports, want.codes = opt.NewBool(true), append(want.codes, "port-mapping")
		l.expect(t, home, all, want)
	})
	t.Run("names and NAT64", func(t *testing.T) {
		home := home(t, "names")
		near := l.near.Region(nearRegion)
		near.Nodes[0].HostName, near.Nodes[0].IPv4, near.Nodes[0].IPv6 = relayName, "", ""
		serveNames(t, home.Client, map[string][]netip.Addr{
			relayName: {l.near.Host.IPv4[0], l.near.Host.IPv6[0]},
			// What a DNS64 makes of the name that has IPv4 addresses alone (RFC 7050).
			"ipv4only.arpa": {netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("64:ff9b::c000:aa")},
		})
		regions := l.regions(false)
		regions[0] = near
		byName, err := l.segment.writeMap("by-name", regions...)
		if err != nil {
			t.Fatal(err)
		}
		want := openTruth(home)
		want.codes = append(want.codes, "nat64")
		l.expect(t, home, byName, want)
	})
	t.Run("no way out", func(t *testing.T) {
		home := home(t, "offline")
		gateway6 := home.Client.IPv6[0].Prev()
		if err := home.Client.Configure("route del default", fmt.Sprintf("route del default via %v", gateway6)); err != nil {
			t.Fatal(err)
		}
		l.expect(t, home, all, truth{
			captive: opt.NewBool(false), hairpin: string(Unknown), preferred: []int{0},
			silent: []int{nearRegion, stockRegion, stunRegion, farRegion}, codes: []string{"no-relay"}, exit: 3,
		})
	})
}

func (l *netcheckLab) write(t *testing.T, name string, dead bool) string {
	t.Helper()
	path, err := l.segment.writeMap(name, l.regions(dead)...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// servePortal plays a captive portal on a home's router: whatever is asked for, it leads to a login page.
func servePortal(t *testing.T, home *Home) {
	t.Helper()
	var listener net.Listener
	if err := home.router.Inside(func() (err error) {
		listener, err = net.Listen("tcp4", ":80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://login.example/")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "please log in")
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
}

// serveProxy runs an HTTP proxy on a home's router; answers its URL.
func serveProxy(t *testing.T, home *Home) string {
	t.Helper()
	router := home.Client.IPv4[0].As4()
	router[3] = 1
	listener, err := home.router.Listen(net.JoinHostPort(netip.AddrFrom4(router).String(), "3128"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go serveEach(listener, connectProxy(home.router), t.Logf)
	return fmt.Sprintf("http://%s:%s@%s", proxyUser, proxyPassword, listener.Addr())
}

// servePorts plays a router that opens ports by NAT-PMP, PCP and UPnP.
func servePorts(t *testing.T, home *Home) {
	t.Helper()
	wan := home.WAN.As4()
	serve := func(port int, answer func(question []byte) []byte) {
		var conn *net.UDPConn
		if err := home.router.Inside(func() (err error) {
			conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			question := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(question)
				if err != nil {
					return
				}
				if text := answer(question[:n]); text != nil {
					_, _ = conn.WriteToUDPAddrPort(text, from)
				}
			}
		}()
	}
	serve(5351, func(question []byte) []byte {
		switch {
		case len(question) == 2 && question[0] == 0 && question[1] == 0:
			return append([]byte{0, 128, 0, 0, 0, 0, 0, 1}, wan[:]...)
		case len(question) == 24 && question[0] == 2 && question[1] == 0:
			return append([]byte{2, 128, 0, 0}, make([]byte, 20)...)
		}
		// A mapping would be another question: netcheck asks for none.
		t.Errorf("the router was asked %x", question)
		return nil
	})
	serve(1900, func(question []byte) []byte {
		if !strings.HasPrefix(string(question), "M-SEARCH * HTTP/1.1") {
			return nil
		}
		return []byte("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n" +
			"USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/root.xml\r\n\r\n")
	})
}

// serveNames plays the resolver that a client's programs ask: on its own loopback, as the lab's namespaces have it.
func serveNames(t *testing.T, client *Host, names map[string][]netip.Addr) {
	t.Helper()
	var conn *net.UDPConn
	if err := client.Inside(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		question := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(question)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(question[:n]) != nil || len(message.Questions) != 1 {
				continue
			}
			message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
			asked := message.Questions[0]
			addresses, known := names[strings.TrimSuffix(asked.Name.String(), ".")]
			if !known {
				message.RCode = dnsmessage.RCodeNameError
			}
			for _, address := range addresses {
				header := dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 60}
				switch {
				case address.Is4() && asked.Type == dnsmessage.TypeA:
					message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
				case address.Is6() && asked.Type == dnsmessage.TypeAAAA:
					message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
				}
			}
			if answer, err := message.Pack(); err == nil {
				_, _ = conn.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
}

// expect has ferry netcheck judge a home's network, and Tailscale's netcheck beside it. What Ferry says may be incomplete on a
// machine that stands still, and is then asked again; it may never be wrong.
func (l *netcheckLab) expect(t *testing.T, home *Home, derpMap string, want truth) {
	t.Helper()
	for try := 1; ; try++ {
		got, err := binaries.Netcheck(t.Context(), home.Client.Namespace, derpMap, want.flags...)
		if err != nil {
			t.Fatal(err)
		}
		missing, wrong := l.compare(got, want)
		if len(wrong) > 0 || len(missing) > 0 && try == netcheckTries {
			t.Fatalf("netcheck, try %d: wrong %q, missing %q\n%s", try, wrong, missing, got.Output)
		}
		if len(missing) > 0 {
			t.Logf("try %d: missing %q", try, missing)
			continue
		}
		l.beside(t, home, derpMap, got)
		return
	}
}

// beside prints what Tailscale's netcheck says of the same network.
func (l *netcheckLab) beside(t *testing.T, home *Home, derpMap string, ferry FerryReport) {
	t.Helper()
	stock, err := askStock(t.Context(), home.Client.Namespace, derpMap)
	if err != nil {
		// Where there is no network at all it may give up: its business.
		l.table.Note(t.Name()+", Tailscale", err.Error())
		return
	}
	line := func(udp, ipv4, ipv6 bool, varies opt.Bool, global netip.AddrPort, captive opt.Bool, preferred int, far, took time.Duration) string {
		return fmt.Sprintf("UDP %-5v IPv4 %-5v IPv6 %-5v varies %-7s seen as %-20s portal %-7s nearest %d, far %3.0f ms, took %4.0f ms",
			udp, ipv4, ipv6, known(varies), global, known(captive), preferred, far.Seconds()*1e3, took.Seconds()*1e3)
	}
	name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
	own := ferry.Report
	l.table.Note(name+", Ferry", line(own.UDP, own.IPv4, own.IPv6, own.MappingVariesByDestIP, own.GlobalV4, own.CaptivePortal, own.PreferredDERP,
		own.RegionLatency[farRegion], time.Duration(ferry.Ferry.TookNs)))
	its := stock.Report
	l.table.Note(name+", Tailscale", line(its.UDP, its.IPv4, its.IPv6, its.MappingVariesByDestIP, its.GlobalV4, its.CaptivePortal, its.PreferredDERP,
		its.RegionLatency[farRegion], stock.Took))
	four := ferry.Ferry.IPv4
	l.table.Note(name+", Ferry beside", fmt.Sprintf("mapping %s, filtering %s, hairpin %s; IPv6 filtering %s", orUnknown(four.Mapping),
		orUnknown(four.Filtering), show(four.Hairpin), orUnknown(ferry.Ferry.IPv6.Filtering)))
}

// known is what was said, if anything.
func known(said opt.Bool) string {
	if value, ok := said.Get(); ok {
		return fmt.Sprint(value)
	}
	return string(Unknown)
}

func orUnknown(behaviour Behaviour) Behaviour {
	if behaviour == "" {
		return Unknown
	}
	return behaviour
}

// compare says what of a report is missing, and what is not so.
func (l *netcheckLab) compare(got FerryReport, want truth) (missing, wrong []string) {
	exact := func(what string, is, wanted any) {
		if is != wanted {
			wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", what, wanted, is))
		}
	}
	verdict := func(what string, is, wanted Behaviour) {
		switch is, wanted = orUnknown(is), orUnknown(wanted); {
		case is == wanted:
		case is == Unknown:
			missing = append(missing, what)
		default:
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", what, wanted, is))
		}
	}
	four, six := got.Ferry.IPv4, got.Ferry.IPv6
	exact("UDP", got.UDP, want.udp)
	exact("IPv4", got.IPv4, want.ipv4)
	exact("IPv6", got.IPv6, want.ipv6)
	exact("MappingVariesByDestIP", known(got.MappingVariesByDestIP), known(want.varies))
	exact("CaptivePortal", known(got.CaptivePortal), known(want.captive))
	for service, said := range map[string]opt.Bool{"PCP": got.PCP, "PMP": got.PMP, "UPnP": got.UPnP} {
		exact(service, known(said), known(want.ports))
	}
	exact("outside address", got.GlobalV4.Addr(), want.global)
	exact("exit status", got.Exit, want.exit)
	verdict("mapping", four.Mapping, want.mapping)
	verdict("filtering", four.Filtering, want.filtering)
	verdict("IPv6 filtering", six.Filtering, want.filtering6)
	verdict("hairpin", Behaviour(show(four.Hairpin)), Behaviour(want.hairpin))
	if !slices.Contains(want.preferred, got.PreferredDERP) {
		wrong = append(wrong, fmt.Sprintf("region %d is preferred, want one of %v", got.PreferredDERP, want.preferred))
	}
	for _, code := range want.codes {
		if !got.Has(code) {
			missing = append(missing, code)
		}
	}
	for _, code := range want.noCodes {
		if got.Has(code) {
			wrong = append(wrong, code)
		}
	}
	wrong = append(wrong, compareLatencies(got, want)...)
	if took := time.Duration(got.Ferry.TookNs); took > reportWithin {
		wrong = append(wrong, fmt.Sprintf("took %v, more than %v", took, reportWithin))
	}
	return missing, wrong
}

// compareLatencies holds the regions' latencies to the wires.
func compareLatencies(got FerryReport, want truth) (wrong []string) {
	for id := nearRegion; id <= deadRegion; id++ {
		latency, measured := got.RegionLatency[id]
		if id == deadRegion && !slices.Contains(want.silent, id) {
			continue
		}
		if silent := slices.Contains(want.silent, id); silent == measured {
			wrong = append(wrong, fmt.Sprintf("region %d: measured %v, want %v", id, measured, !silent))
			continue
		}
		if !measured {
			continue
		}
		least := time.Duration(0)
		if id == farRegion {
			least = farThere + farBack
		}
		if latency < least || latency > least+latencySlack {
			wrong = append(wrong, fmt.Sprintf("region %d: latency %v, want %v to %v", id, latency, least, least+latencySlack))
		}
	}
	return wrong
}
