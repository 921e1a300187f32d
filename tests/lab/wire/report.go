package main

import (
	"fmt"
	"strings"
	"time"

	"ferry.invalid/lab/link"
)

// report says what crossed in one direction and how late it was: a line, and another for what is worth a warning.
func report(name string, direction link.Direction, crossed link.Crossed) string {
	var text strings.Builder
	fmt.Fprintf(&text, "wire %-5s %v: %d packets with %.1f MB crossed, %d lost, %d dropped; %.1f of %.1f MB under way at most; late p50 %v, p99 %v, most %v\n",
		name, direction.Delay, crossed.Packets, float64(crossed.Bytes)/1e6, crossed.Lost, crossed.Dropped,
		float64(crossed.QueuedMost)/1e6, float64(direction.QueueBytes)/1e6,
		round(crossed.Late.Quantile(0.5)), round(crossed.Late.Quantile(0.99)), round(crossed.Late.Most()))
	if crossed.Refused > 0 {
		fmt.Fprintf(&text, "wire %-5s the kernel refused %d packets that had crossed\n", name, crossed.Refused)
	}
	return text.String()
}

// round leaves what a person reads.
func round(value time.Duration) time.Duration {
	if value < time.Millisecond {
		return value.Round(time.Microsecond)
	}
	return value.Round(10 * time.Microsecond)
}
