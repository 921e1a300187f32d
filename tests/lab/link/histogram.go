package link

import (
	"math/bits"
	"time"
)

// Each doubling of a time is told apart in so many steps: a quantile is at most one of them too high, 6 %.
const (
	stepBits  = 4
	stepCount = 1 << stepBits
)

// Histogram counts times, without taking memory for them.
type Histogram struct {
	counts [(64 - stepBits + 1) * stepCount]uint64
	total  uint64
	most   time.Duration
}

// Add counts a time; one below zero is none.
func (h *Histogram) Add(value time.Duration) {
	value = max(value, 0)
	h.counts[bucket(uint64(value))]++
	h.total++
	h.most = max(h.most, value)
}

// Quantile is a time that so large a share of all do not exceed; zero if there are none.
func (h *Histogram) Quantile(share float64) time.Duration {
	rank := uint64(share * float64(h.total))
	var seen uint64
	for at, count := range h.counts {
		seen += count
		if count > 0 && seen >= rank {
			return min(time.Duration(highest(at)), h.most)
		}
	}
	return 0
}

// Most is the longest time.
func (h *Histogram) Most() time.Duration { return h.most }

// bucket is where a value is counted: one for each of the first values, then steps of each doubling.
func bucket(value uint64) int {
	if value < stepCount {
		return int(value)
	}
	shift := bits.Len64(value) - 1 - stepBits
	return (shift+1)*stepCount + int(value>>shift) - stepCount
}

// highest is the greatest value of a bucket.
func highest(at int) uint64 {
	if at < stepCount {
		return uint64(at)
	}
	shift := at/stepCount - 1
	return uint64(at%stepCount+stepCount+1)<<shift - 1
}
