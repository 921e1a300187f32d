package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ferry.invalid/lab/link"
)

// Bounds of the flags.
const (
	delayMost    = time.Minute
	queueLeast   = 1
	queueMost    = 4096
	queueDefault = 64
)

// settings are what the flags said.
type settings struct {
	link link.Options
	// sysctls are KEY=VALUE, set at both ends.
	sysctls []string
	// folder is where the command runs; empty is here.
	folder string
	quiet  bool
	// command is the program and its arguments, with placeholders.
	command []string
}

// head is before the flags in the help.
const head = `Runs a command at the near end of a long wire, and takes the wire away again.

  wire [flags] -- COMMAND [ARGUMENT ...]

Two network namespaces are joined by a cable with a delay. The command runs in the near one; it is told where it is by its environment
and by what is in braces in its arguments:

  WIRE_NEAR, {near}     its own address, 10.99.0.1; fd99::1 and the name "near" are too
  WIRE_FAR, {far}       the far end's, 10.99.0.2; fd99::2 and the name "far" are too
  WIRE_FAR_NAMESPACE, {far-namespace}
                        the far end's network namespace: ip netns exec "$WIRE_FAR_NAMESPACE" PROGRAM runs something there

What the command leaves running at either end is not stopped. The exit code is the command's, 2 for wrong usage.

  wire -there 20ms -back 20ms -- ping -c 3 {far}
  wire -there 5ms -back 80ms -loss 0.01 -- bash

`

// parse reads the command line.
func parse(arguments []string) (settings, error) {
	var s settings
	flags := declare(&s)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	s.command = flags.Args()
	if len(s.command) == 0 {
		return s, errors.New("no command to run: wire -there 20ms -back 20ms -- ping -c 3 {far}")
	}
	return s, nil
}

// usage is the help.
func usage() string {
	var text bytes.Buffer
	text.WriteString(head)
	flags := declare(&settings{})
	flags.SetOutput(&text)
	flags.PrintDefaults()
	return text.String()
}

// declare says which flags there are, and where what they say goes.
func declare(s *settings) *flag.FlagSet {
	flags := flag.NewFlagSet("wire", flag.ContinueOnError)
	there, back := &s.link.There, &s.link.Back
	both := func(set func(*link.Direction)) error {
		set(there)
		set(back)
		return nil
	}
	there.QueueBytes, back.QueueBytes = queueDefault<<20, queueDefault<<20

	flags.Func("there", "`delay` from the near end to the far one, up to 1m (default 0)", delay(&there.Delay))
	flags.Func("back", "`delay` from the far end to the near one", delay(&back.Delay))
	flags.Func("queue", fmt.Sprintf("most `MiB` under way in each direction; what comes beyond is dropped (default %d)", queueDefault),
		func(text string) error {
			mib, err := strconv.Atoi(text)
			if err != nil || mib < queueLeast || mib > queueMost {
				return fmt.Errorf("want a whole number from %d to %d", queueLeast, queueMost)
			}
			return both(func(d *link.Direction) { d.QueueBytes = mib << 20 })
		})
	flags.Func("rate", "`Mbit/s` in each direction (default no limit)", func(text string) error {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || !(rate >= 0.001 && rate <= 1e6) {
			return errors.New("want a number from 0.001 to 1000000")
		}
		return both(func(d *link.Direction) { d.BitsPerSecond = rate * 1e6 })
	})
	flags.Func("loss", "`share` of the packets of each direction that is lost, 0 to 1; each crosses alone then (default 0)", func(text string) error {
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return errors.New("want a number from 0 to 1")
		}
		return both(func(d *link.Direction) { d.Loss = share })
	})
	flags.Func("seed", "`number` that decides which ones are lost (default 0)", func(text string) error {
		seed, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return errors.New("want a whole number")
		}
		there.Seed, back.Seed = 2*seed, 2*seed+1
		return nil
	})
	flags.Func("cores", "`list` of the cores that the wire itself may use: 0,1 (default all)", func(text string) error {
		for word := range strings.SplitSeq(text, ",") {
			core, err := strconv.ParseUint(word, 10, 10)
			if err != nil {
				return errors.New("want numbers of cores with commas between them")
			}
			s.link.Cores = append(s.link.Cores, int(core))
		}
		return nil
	})
	flags.Func("sysctl", "`KEY=VALUE` to set at both ends, as often as needed: net.ipv4.tcp_congestion_control=cubic", func(text string) error {
		if key, value, ok := strings.Cut(text, "="); !ok || key == "" || value == "" {
			return errors.New("want KEY=VALUE")
		}
		s.sysctls = append(s.sysctls, text)
		return nil
	})
	flags.StringVar(&s.folder, "C", "", "`folder` to run the command in")
	flags.BoolVar(&s.quiet, "quiet", false, "do not say what crossed")
	return flags
}

// delay reads a delay.
func delay(to *time.Duration) func(string) error {
	return func(text string) error {
		value, err := time.ParseDuration(text)
		if err != nil || value < 0 || value > delayMost {
			return fmt.Errorf("want a time like 20ms, from 0 to %v", delayMost)
		}
		*to = value
		return nil
	}
}
