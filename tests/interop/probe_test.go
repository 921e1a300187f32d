package interop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

// TestDerpprobeIsContent runs Tailscale's own prober once against a relay with a certificate of the test authority.
func TestDerpprobeIsContent(t *testing.T) {
	t.Parallel()
	binary, err := tools.build("derpprobe")
	if err != nil {
		t.Fatal(err)
	}
	r := startRelay(t, relayOptions{hostname: "localhost", stun: true, mesh: true})
	region := r.region()
	region.Nodes[0].CertName = ""
	region.Nodes[0].IPv6 = ""
	region.Nodes[0].STUNPort = portOf(r.stunAddr)
	derpMap, err := json.Marshal(tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{900: region}})
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "derpmap.json", string(derpMap))
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, binary, "-once", "-spread=false", "-derp-map", "file://"+file, "-bw-interval", "30s", "-bw-probe-size-bytes", "5000000",
		"-mesh-psk-file", writeFile(t, "psk", r.meshKey.String()))
	command.Env = append(os.Environ(), "SSL_CERT_FILE="+authority.rootFile, "HOME="+t.TempDir())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("derpprobe: %v", err)
	}
	for _, probe := range []string{"derpmap-probe", "derp/test/900a/tls", "derp/test/900a/udp", "derp/test/900a/900a/mesh", "derp/test/900a/900a/bw"} {
		if !strings.Contains(string(out), "good: "+probe+": ") {
			t.Errorf("probe %s did not succeed", probe)
		}
	}
	if strings.Contains(string(out), "bad: ") || t.Failed() {
		t.Errorf("derpprobe says:\n%s", tail(string(out), 4000))
	}
}
