// Command generator compares what a load costs the machine it is made on: ferry-load's processor time per frame beside that of the public
// Go DERP client, for the same work on the same derper, in turns. A load that is dear leaves less of a shared machine to the relay,
// and reaches its own limit before the relay's.
//
//	go run ./generator -load ../../target/release/ferry-load -derper /path/to/derper -rounds 5
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	binary := flag.String("load", "", "path of the ferry-load binary")
	derper := flag.String("derper", "", "path of the derper binary")
	rounds := flag.Int("rounds", 5, "rounds; the loads take turns within each")
	seconds := flag.Float64("seconds", 3, "length of each measurement")
	most := flag.Float64("most", 1, "fail if ferry-load's median is more than this times the Go client's")
	flag.Parse()
	if *binary == "" || *derper == "" {
		log.Fatal("generator: -load and -derper are required")
	}
	r := &relay{binary: *derper}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		r.stop()
		os.Exit(130)
	}()

	length := time.Duration(*seconds * float64(time.Second))
	worst := 0.0
	for _, l := range loads {
		var ours, theirs []float64
		for round := range *rounds {
			for turn := range 2 {
				if err := r.start(); err != nil {
					log.Fatalf("generator: %v", err)
				}
				var figure float64
				var err error
				// Who goes first changes with the round, so that drift favours nobody.
				if (turn+round)%2 == 0 {
					figure, err = ferryLoad(*binary, r, l, length)
					ours = append(ours, figure)
				} else {
					figure, err = publicClient(r, l, length)
					theirs = append(theirs, figure)
				}
				r.stop()
				if err != nil {
					log.Fatalf("generator: %s: %v", l.name, err)
				}
			}
			fmt.Fprintf(os.Stderr, "%-8s round %d: ferry-load %.2f us, Go client %.2f us per frame\n", l.name, round+1, ours[round], theirs[round])
		}
		ratio := median(ours) / median(theirs)
		worst = max(worst, ratio)
		fmt.Printf("%-8s medians: ferry-load %.2f us, Go client %.2f us per frame sent and received, ratio %.3f\n",
			l.name, median(ours), median(theirs), ratio)
	}
	if worst > *most {
		log.Fatalf("generator: ferry-load costs %.3f of the Go client, want at most %.3f", worst, *most)
	}
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
