// Command bench compares what a relay costs with what derper costs, in one run and in turns, with the public Go DERP
// client as the load: CPU time per delivered frame at a fixed rate and without limit, resident memory per idle client,
// and CPU time per connect. It is a first figure; the load shares the machine with the relay, so only ratios count.
//
//	go run ./bench -ferry ../../target/release/ferry-relay -derper /path/to/derper -rounds 5
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	ferry := flag.String("ferry", "", "path of the ferry-relay binary")
	derper := flag.String("derper", "", "path of the derper binary")
	rounds := flag.Int("rounds", 5, "rounds; the relays take turns within each")
	seconds := flag.Float64("seconds", 4, "length of each measurement")
	idle := flag.Int("idle", 5000, "idle TLS clients for the memory measurement; 0 leaves it out")
	only := flag.String("only", "", "comma-separated measurements: rate, window, flood, connect, idle (default: all)")
	ferryArgs := flag.String("ferry-args", "", "further flags for ferry-relay, separated by spaces")
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	flag.Parse()
	if *ferry == "" || *derper == "" {
		log.Fatal("bench: -ferry and -derper are required: there is no figure without the peer")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	relays := []*relay{{name: "ferry", binary: *ferry, extra: strings.Fields(*ferryArgs)}, {name: "derper", binary: *derper}}
	defer func() {
		for _, r := range relays {
			r.stop()
		}
	}()
	go func() {
		<-stop
		for _, r := range relays {
			r.stop()
		}
		os.Exit(130)
	}()

	length := time.Duration(*seconds * float64(time.Second))
	table := map[string]map[string][]float64{}
	for _, m := range measurements(length, *idle) {
		if *only != "" && !contains(strings.Split(*only, ","), m.name) {
			continue
		}
		for round := range *rounds {
			for turn := range relays {
				// Who goes first changes with the round, so that drift favours nobody.
				r := relays[(turn+round)%len(relays)]
				if err := r.start(); err != nil {
					log.Fatalf("bench: %s: %v", r.name, err)
				}
				figures, err := m.run(r)
				r.stop()
				if err != nil {
					log.Fatalf("bench: %s on %s: %v", m.name, r.name, err)
				}
				for unit, value := range figures {
					key := m.name + ": " + unit
					if table[key] == nil {
						table[key] = map[string][]float64{}
					}
					table[key][r.name] = append(table[key][r.name], value)
				}
				fmt.Fprintf(os.Stderr, "%-8s round %d %-7s %s\n", m.name, round+1, r.name, describe(figures))
			}
		}
	}
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(table); err != nil {
			log.Fatal(err)
		}
		return
	}
	fmt.Printf("%-44s %12s %12s %8s\n", "median", "ferry", "derper", "ratio")
	for _, key := range sorted(table) {
		f, d := median(table[key]["ferry"]), median(table[key]["derper"])
		fmt.Printf("%-44s %12.3f %12.3f %8.3f\n", key, f, d, f/d)
	}
}

func describe(figures map[string]float64) string {
	parts := []string{}
	for _, unit := range sorted(figures) {
		parts = append(parts, fmt.Sprintf("%s %.3f", unit, figures[unit]))
	}
	return strings.Join(parts, ", ")
}

func median(values []float64) float64 {
	ordered := append([]float64(nil), values...)
	sort.Float64s(ordered)
	if len(ordered) == 0 {
		return 0
	}
	middle := len(ordered) / 2
	if len(ordered)%2 == 1 {
		return ordered[middle]
	}
	return (ordered[middle-1] + ordered[middle]) / 2
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func contains(list []string, wanted string) bool {
	for _, item := range list {
		if item == wanted {
			return true
		}
	}
	return false
}
