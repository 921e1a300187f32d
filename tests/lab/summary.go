package lab

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Summary collects what a run measured, to be printed in one place at its end.
type Summary struct {
	// Title says what was run.
	Title string

	// mu guards lines.
	mu sync.Mutex
	// lines are the measurements, in order.
	lines []string
}

// Time notes a measured time. When it has a bound, that is shown beside it.
func (s *Summary) Time(what string, took, bound time.Duration) {
	if bound == 0 {
		s.Note(what, round(took).String())
		return
	}
	s.Note(what, fmt.Sprintf("%v (at most %v)", round(took), bound))
}

// Transfer notes the time and rate of a bulk transfer.
func (s *Summary) Transfer(what string, took time.Duration, bytes int) {
	rate := float64(bytes) / (1 << 20) / took.Seconds()
	s.Note(what, fmt.Sprintf("%d MiB in %v, %.0f MiB/s", bytes>>20, round(took), rate))
}

// Note notes anything else.
func (s *Summary) Note(what, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("  %-52s %s", what, value))
}

// String is the whole summary.
func (s *Summary) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Title + "\n" + strings.Join(s.lines, "\n")
}
