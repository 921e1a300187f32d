package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"ferry.invalid/lab/netns"
	_ "tailscale.com/feature/captiveportal/netcheckhook"
	"tailscale.com/net/netcheck"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
)

// stockNetcheckMap is set in a process that is to be Tailscale's netcheck: `tailscale netcheck` itself asks its daemon for the map,
// so this program runs the same package in the namespace instead.
const stockNetcheckMap = "LAB_STOCK_NETCHECK_MAP"

// stockReport is what it prints.
type stockReport struct {
	Report *netcheck.Report
	Took   time.Duration
}

// stockNetcheck makes Tailscale's report, prints it as JSON, and says how the process is to end.
func stockNetcheck(mapFile string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	text, err := os.ReadFile(mapFile)
	if err != nil {
		return fail(err)
	}
	derpMap := &tailcfg.DERPMap{}
	if err := json.Unmarshal(text, derpMap); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), netcheckWithin)
	defer cancel()
	client := &netcheck.Client{NetMon: netmon.NewStatic(), Logf: func(string, ...any) {}}
	if err := client.Standalone(ctx, ""); err != nil {
		return fail(err)
	}
	began := time.Now()
	report, err := client.GetReport(ctx, derpMap, nil)
	if err != nil {
		return fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(stockReport{report, time.Since(began)}); err != nil {
		return fail(err)
	}
	return 0
}

// askStock runs this program as Tailscale's netcheck in a namespace.
func askStock(ctx context.Context, ns *netns.Namespace, mapFile string) (stockReport, error) {
	ctx, cancel := context.WithTimeout(ctx, netcheckWithin)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return stockReport{}, err
	}
	cmd := ns.Command(ctx, self)
	cmd.Env = append(os.Environ(), stockNetcheckMap+"="+mapFile)
	output, err := cmd.Output()
	if err != nil {
		return stockReport{}, fmt.Errorf("Tailscale's netcheck: %w: %s", err, output)
	}
	var report stockReport
	return report, json.Unmarshal(output, &report)
}
