package main

import (
	"fmt"
	"slices"
	"time"
)

// quantile returns the value below which the share q of the sorted values
// lies (nearest rank).
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	rank := int(q*float64(len(v))+0.999999) - 1
	return v[min(max(rank, 0), len(v)-1)]
}

func median(values []time.Duration) time.Duration { return quantile(values, 0.5) }

func p99(values []time.Duration) time.Duration { return quantile(values, 0.99) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func mib(kib int64) string { return fmt.Sprintf("%.0f MiB", float64(kib)/1024) }
